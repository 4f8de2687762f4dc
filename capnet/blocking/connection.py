"""A connection of a background loop, and streams, as threads use them."""

from __future__ import annotations

import atexit
import os
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from inspect import isawaitable
from threading import Lock, Thread, get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, ParamSpec, Self, TypeVar, cast, overload
from weakref import WeakSet

from typing_extensions import TypeForm, Unpack

from capnet.connection.connect import GRACE
from capnet.connection.connect import connect as connect_in_loop
from capnet.connection.connection import Connection
from capnet.errors import FailedPrecondition, Unavailable, elsewhere
from capnet.limits import Limits
from capnet.policy.policy import Policy

from .background import Background, Errand, gone

if TYPE_CHECKING:
    from capnet_transports.options import ConnectOptions

__all__ = ["BlockingConnection", "BlockingStream", "connect"]

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C")


def connect(
    url: str,
    *,
    wait: float | None = None,
    name: str = "",
    limits: Limits | None = None,
    policy: Policy | None = None,
    auth: Any = None,
    backend: Literal["asyncio", "trio"] = "asyncio",
    **options: Unpack[ConnectOptions],
) -> BlockingConnection:
    """Open a connection from a program that has no event loop.

    Args:
        url: as for `capnet.connect`, and so are all others but `backend`.
        backend: the library whose loop runs in the background thread, for what you give to `call` and pass to peers.

    Close it with `close`, or use it as a context manager. What is still open when the program ends is closed then.

    Raises:
        Unavailable: nobody answers at the address. InvalidArgument: the URL makes no sense. MissingExtra: the transport
        is not installed.
    """
    loop = Background.of(backend)
    try:
        settings: dict[str, Any] = {"wait": wait, "name": name, "limits": limits, "policy": policy, "auth": auth}
        connection: Connection = Errand(lambda: connect_in_loop(url, **settings, **options)).result(loop)
        return BlockingConnection(connection, loop)
    except BaseException:
        loop.leave()
        raise


class BlockingConnection:
    """A connection of a background loop, made by `capnet.blocking.connect`.

    Attributes:
        connection: the same one for what runs in the loop. `call` its methods from outside:
            `conn.call(conn.connection.serve, MyRoom())`.
    """

    def __init__(self, connection: Connection, loop: Background) -> None:
        self.connection = connection
        self._loop = loop
        self._process = os.getpid()
        self._lock = Lock()
        self._running: set[Errand] = set()
        """What threads wait for now; only the loop looks at it."""
        self._closed = False
        _open.add(self)

    def bootstrap(self, contract: TypeForm[C], /, *, wait: float | None = None, name: str | None = None) -> C:
        """A proxy of what the peer serves under a contract's name; `call` its methods.

        Args:
            wait: seconds to wait for the name to be served; None fails at once when it is not.
            name: the name it is served under, when that is not the contract's.

        Raises:
            NotFound, PermissionDenied, VersionMismatch, ResourceExhausted: the peer says no. DeadlineExceeded: it says
            nothing. Unavailable: the connection is closed.
        """
        return self.call(partial(self.connection.bootstrap, contract, wait=wait, name=name))

    @overload
    def call(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a method of a proxy, or any other function, in the loop, and wait for what comes of it.

        Args:
            function: what is called in the loop, such as `room.post`; when it gives something to await, that is awaited
                there.
            args, kwargs: its arguments.

        Raises:
            Whatever the function raises. Unavailable: the connection is closed. FailedPrecondition: `in_loop`, called
            in the loop, by a handler; `another_loop`, in a forked process.
        """
        return self._run(partial(function, *args, **kwargs) if args or kwargs else function)

    @overload
    def iterate(self, stream: AsyncIterable[T], /) -> BlockingStream[T]: ...
    @overload
    def iterate(
        self,
        stream: Callable[P, AsyncIterable[T] | Awaitable[AsyncIterable[T]]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> BlockingStream[T]: ...

    def iterate(self, stream: Any, /, *args: Any, **kwargs: Any) -> BlockingStream[Any]:
        """The items of a stream: `for line in conn.iterate(room.lines, 10): …`.

        Args:
            stream: a method of a proxy that gives a stream, or a stream that came with a result.
            args, kwargs: the arguments of the method.

        Raises:
            As `call` does.
        """

        async def begin() -> AsyncIterator[Any]:
            source: Any = stream(*args, **kwargs) if callable(stream) else stream
            if isawaitable(source):
                source = await source
            return aiter(source)

        return BlockingStream(self._run, self._run(begin))

    @property
    def closed(self) -> bool:
        """Whether it was closed, by either side."""
        return self._closed or self.connection.closed

    def close(self) -> None:
        """Close the connection: calls that have left have a second to end. What other threads wait for ends too.

        Closing twice does nothing.
        """
        self._close(GRACE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(GRACE if error is None else 0.0)

    def __repr__(self) -> str:
        return f"<Blocking{repr(self.connection)[1:]}"

    def __del__(self) -> None:
        # It may be the loop that collects us, or a thread that holds a lock: nobody can wait here.
        if not getattr(self, "_closed", True) and os.getpid() == self._process:
            with suppress(RuntimeError):  # the interpreter is about to end
                Thread(target=_leave, args=(self._running, self.connection, self._loop, GRACE)).start()

    def _close(self, grace: float) -> None:
        if os.getpid() != self._process:
            return  # it is the other process's
        with self._lock:
            if self._closed:
                return
            self._check()
            self._closed = True
        _open.discard(self)
        _leave(self._running, self.connection, self._loop, grace)

    def _check(self) -> None:
        if os.getpid() != self._process:
            raise elsewhere("connection")
        if get_ident() == self._loop.thread.ident:
            raise FailedPrecondition(
                "this would block the loop that it waits for", reason="in_loop", hint="await it: this runs in the loop"
            )

    def _run(self, function: Callable[[], Any]) -> Any:
        self._check()
        if self._closed:
            raise gone()
        return Errand(function, self._running).result(self._loop)


class BlockingStream(Iterator[T], Generic[T]):
    """A stream as an iterator, made by `BlockingConnection.iterate`.

    The peer is told to stop when it is closed, or when nobody holds it any more.
    """

    def __init__(self, run: Callable[[Callable[[], Any]], Any], items: AsyncIterator[T]) -> None:
        self._run = run
        self._items = items

    def __next__(self) -> T:
        try:
            return cast("T", self._run(self._items.__anext__))
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """Want no more. Closing twice does nothing."""
        aclose = getattr(self._items, "aclose", None)
        if aclose is not None:
            self._run(aclose)


def _leave(running: set[Errand], connection: Connection, loop: Background, grace: float) -> None:
    """Close a connection, have all waits for it end, and let the loop go."""

    async def close() -> None:
        try:
            await connection.aclose(grace=grace)
        finally:
            for errand in tuple(running):
                errand.give_up()

    try:
        with suppress(Unavailable):  # the loop has ended
            Errand(close).result(loop)
    finally:
        loop.leave()


_open: Final[WeakSet[BlockingConnection]] = WeakSet()


@atexit.register
def _close_all() -> None:
    for connection in tuple(_open):
        connection.close()


os.register_at_fork(after_in_child=_open.clear)  # they are the other process's
