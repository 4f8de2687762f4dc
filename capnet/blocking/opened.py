"""What is open in a background loop, as threads use it: calls, streams, and its end."""

from __future__ import annotations

import atexit
import os
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from inspect import isawaitable
from threading import Lock, Thread, get_ident
from types import TracebackType
from typing import Any, Final, Generic, ParamSpec, Protocol, Self, TypeVar, cast, overload
from weakref import WeakSet

from capnet.connection.connect import GRACE
from capnet.errors import FailedPrecondition, Unavailable, elsewhere

from .background import Background, Errand, forget, gone

__all__ = ["Blocking", "BlockingStream", "Open", "begun"]

P = ParamSpec("P")
T = TypeVar("T")
B = TypeVar("B", bound="Blocking")


class Open(Protocol):
    """What is open in the loop."""

    @property
    def closed(self) -> bool: ...

    async def aclose(self, *, grace: float = ...) -> None: ...


class Blocking:
    """What all that is open has in common."""

    def __init__(self, opened: Open, loop: Background) -> None:
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
        return begun(self._loop, opened, kind, self._running)


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


def begun(
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


def _leave(running: set[Errand], opened: Open, loop: Background, grace: float) -> None:
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


_open: Final[WeakSet[Blocking]] = WeakSet()


@atexit.register
def _close_all() -> None:
    for one in tuple(_open):
        one.close()


def _forget() -> None:
    """A forked process has none of our threads."""
    forget()
    _open.clear()


os.register_at_fork(after_in_child=_forget)
