"""A connection of a background loop, and streams, as threads use them."""

from __future__ import annotations

import atexit
import math
import os
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from inspect import isawaitable
from threading import Lock, Thread, get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, ParamSpec, Protocol, Self, TypeVar, cast, overload
from weakref import WeakSet

from anyio import Event
from typing_extensions import TypeForm, Unpack

from capnet.connection.connect import GRACE
from capnet.connection.connect import connect as connect_in_loop
from capnet.connection.connection import Connection
from capnet.connection.retry import Retry
from capnet.errors import FailedPrecondition, Unavailable, elsewhere
from capnet.limits import Limits
from capnet.links.link import Link
from capnet.links.link import link as link_in_loop
from capnet.loop.staying import Staying
from capnet.policy.policy import Policy

from .background import Background, Errand, forget, gone

if TYPE_CHECKING:
    from capnet_transports.options import ConnectOptions

__all__ = ["BlockingConnection", "BlockingLink", "BlockingStream", "connect", "link"]

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C")
B = TypeVar("B", bound="_Blocking")


def connect(
    url: str,
    *,
    wait: float | Retry | None = None,
    ready: bool = False,
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
    settings: dict[str, Any] = {
        "wait": wait,
        "ready": ready,
        "name": name,
        "limits": limits,
        "policy": policy,
        "auth": auth,
    }
    loop = Background.of(backend)
    return _begun(loop, lambda: connect_in_loop(url, **settings, **options), BlockingConnection)


def link(
    url: str,
    *,
    wait: float | Retry | None = None,
    patience: float = math.inf,
    name: str = "",
    limits: Limits | None = None,
    policy: Policy | None = None,
    auth: Any = None,
    operations: bool = False,
    backend: Literal["asyncio", "trio"] = "asyncio",
    **options: Unpack[ConnectOptions],
) -> BlockingLink:
    """Open a connection that comes back, from a program that has no event loop.

    Args:
        url: as for `capnet.link`, and so are all others but `backend`.
        backend: the library whose loop runs in the background thread.

    Close it with `close`, or use it as a context manager.

    Raises:
        As `capnet.link` does when it is entered.
    """
    settings: dict[str, Any] = {
        "wait": wait,
        "patience": patience,
        "name": name,
        "limits": limits,
        "policy": policy,
        "auth": auth,
        "operations": operations,
    }
    loop = Background.of(backend)
    return _begun(loop, lambda: _entered(link_in_loop(url, **settings, **options)), BlockingLink)


class _Open(Protocol):
    """What is open in the loop."""

    @property
    def closed(self) -> bool: ...

    async def aclose(self, *, grace: float = ...) -> None: ...


class _Blocking:
    """What all that is open has in common."""

    def __init__(self, opened: _Open, loop: Background) -> None:
        self._opened = opened
        self._loop = loop
        self._process = os.getpid()
        self._lock = Lock()
        self._running: set[Errand] = set()
        """What threads wait for now; only the loop looks at it."""
        self._closed = False
        _open.add(self)

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
            Whatever the function raises. Unavailable: it is closed. FailedPrecondition: `in_loop`, called
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
        """Whether it was closed, by either side; a link, whether it is over."""
        return self._closed or self._opened.closed

    def close(self) -> None:
        """Close it: calls that have left have a second to end. What other threads wait for ends too.

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
        return f"<Blocking{repr(self._opened)[1:]}"

    def __del__(self) -> None:
        # It may be the loop that collects us, or a thread that holds a lock: nobody can wait here.
        if not getattr(self, "_closed", True) and os.getpid() == self._process:
            with suppress(RuntimeError):  # the interpreter is about to end
                Thread(target=_leave, args=(self._running, self._opened, self._loop, GRACE)).start()

    def _close(self, grace: float) -> None:
        if os.getpid() != self._process:
            return  # it is the other process's
        with self._lock:
            if self._closed:
                return
            self._check()
            self._closed = True
        _open.discard(self)
        _leave(self._running, self._opened, self._loop, grace)

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

    def _inside(self, opened: Callable[[], Awaitable[Any]], kind: Callable[[Any, Background], B]) -> B:
        self._check()
        self._loop.enter()
        return _begun(self._loop, opened, kind, self._running)


class BlockingConnection(_Blocking):
    """A connection of a background loop, made by `capnet.blocking.connect`.

    Attributes:
        connection: the same one for what runs in the loop. `call` its methods from outside:
            `conn.call(conn.connection.serve, MyRoom())`.
    """

    def __init__(self, connection: Connection, loop: Background) -> None:
        self.connection = connection
        super().__init__(connection, loop)

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

    def open(
        self,
        metadata: Mapping[str, Any] | None = None,
        *,
        name: str = "",
        limits: Limits | None = None,
        policy: Policy | None = None,
        auth: Any = None,
    ) -> BlockingConnection:
        """Open a virtual connection inside of this one: `with conn.open({"tenant": "blue"}) as blue: …`.

        Args and errors are those of `Connection.open`. It is closed with this one at the latest.
        """
        settings: dict[str, Any] = {"name": name, "limits": limits, "policy": policy, "auth": auth}
        return self._inside(lambda: self.connection.open(metadata, **settings), BlockingConnection)


class BlockingLink(_Blocking):
    """A link of a background loop, made by `capnet.blocking.link`: `call` what `bootstrap` gives, as on a connection.

    Attributes:
        link: the same one for what runs in the loop: `desk.call(desk.link.on_connected, give_anew)`.
    """

    def __init__(self, opened: _Entered, loop: Background) -> None:
        self.link = opened.link
        super().__init__(opened, loop)

    @property
    def generation(self) -> int:
        """How often the peer that was found again had lost its state."""
        return self.link.generation

    def bootstrap(self, contract: TypeForm[C], /, *, wait: float | None = None, name: str | None = None) -> C:
        """A proxy of what the peer serves under a contract's name, which works on when the connection is another.

        Args and errors are those of `Link.bootstrap`.
        """
        return self.call(partial(self.link.bootstrap, contract, wait=wait, name=name))

    def open(
        self,
        metadata: Mapping[str, Any] | None = None,
        *,
        wait: float | Retry | None = None,
        patience: float = math.inf,
        name: str = "",
        limits: Limits | None = None,
        policy: Policy | None = None,
        auth: Any = None,
        operations: bool = False,
    ) -> BlockingLink:
        """Open a link inside of this one: `with hub.open({"tenant": "blue"}) as blue: …`.

        Args and errors are those of `Link.open`. It is over with this one at the latest.
        """
        settings: dict[str, Any] = {
            "wait": wait,
            "patience": patience,
            "name": name,
            "limits": limits,
            "policy": policy,
            "auth": auth,
            "operations": operations,
        }
        return self._inside(lambda: _entered(self.link.open(metadata, **settings)), BlockingLink)


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


def _begun(
    loop: Background,
    opened: Callable[[], Awaitable[Any]],
    kind: Callable[[Any, Background], B],
    running: set[Errand] | None = None,
) -> B:
    """What is opened in a loop that was entered for it; the loop is left when that fails."""
    try:
        return kind(Errand(opened, running).result(loop), loop)
    except BaseException:
        loop.leave()
        raise


async def _entered(link: Link) -> _Entered:
    entered = _Entered(link)
    await entered.block.enter()
    return entered


class _Entered:
    """A link whose block is entered."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._ends = Event()
        self.block = Staying(link, lambda _: self._ends.wait())

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self.link._over is not None  # noqa: SLF001 - not for users

    async def aclose(self, *, grace: float = GRACE) -> None:
        """Leave the block, which has a grace of its own."""
        self._ends.set()
        await self.block.left.wait()

    def __repr__(self) -> str:
        return repr(self.link)


def _leave(running: set[Errand], opened: _Open, loop: Background, grace: float) -> None:
    """Close it, have all waits for it end, and let the loop go."""

    async def close() -> None:
        try:
            await opened.aclose(grace=grace)
        finally:
            for errand in tuple(running):
                errand.give_up()

    try:
        with suppress(Unavailable):  # the loop has ended
            Errand(close).result(loop)
    finally:
        loop.leave()


_open: Final[WeakSet[_Blocking]] = WeakSet()


@atexit.register
def _close_all() -> None:
    for one in tuple(_open):
        one.close()


def _forget() -> None:
    """A forked process has none of our threads."""
    forget()
    _open.clear()


os.register_at_fork(after_in_child=_forget)
