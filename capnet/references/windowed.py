"""`windowed`: how much may be under way on a stream, said where it is made or where it is read."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from typing import Any, ParamSpec, TypeVar, overload

from capnet.calls.metadata import going_along
from capnet.contract import MethodSpec, Reader, Sink, Stream
from capnet.errors import CapnetError, InvalidArgument
from capnet.streams.sink import StoppableSink
from capnet.streams.windows import said, window_of
from capnet.wire.frames import WINDOW
from capnet.wire.references import MAX_CREDIT, narrower

from .proxy import Proxy

__all__ = ["windowed"]

P = ParamSpec("P")
T = TypeVar("T")


@overload
def windowed(
    stream: Callable[P, Stream[T]], /, *, items: int | None = None, size: int | None = None
) -> Callable[P, Stream[T]]: ...
@overload
def windowed(stream: AsyncIterable[T], /, *, items: int | None = None, size: int | None = None) -> Stream[T]: ...
@overload
def windowed(stream: Sink[T], /, *, items: int | None = None, size: int | None = None) -> Sink[T]: ...
def windowed(stream: Any, /, *, items: int | None = None, size: int | None = None) -> Any:
    """The same stream, of which no more than that is under way between two programs.

        return windowed(self._rows(), items=8)                     # where it is made
        async for percent in windowed(job.progress, items=1)():    # where it is read
        await exchange.watch("tea", windowed(sink, items=1))       # where it is written to

    The producer is held until its reader has used what is under way. Without it that is `Limits.stream_items` and
    `Limits.stream_bytes` of the reading program, which are a bound here as well. A `Broadcast`, a `State` and a
    `channel` have windows of their own, as large as their buffer; the smaller window counts.

    Args:
        stream: a `@stream` method of a proxy, which is called with its arguments; or a stream or sink of ours that is
            returned or passed on.
        items: from 1; None sets no bound of its own.
        size: the same for their bytes, which the last item may exceed.

    Raises:
        InvalidArgument: a number is less than 1. TypeError: it is neither a stream, nor a sink, nor such a method.
    """
    for number in (items, size):
        if number is not None and number < 1:
            raise InvalidArgument(f"a window is a number from 1, got {number!r}")
    window = min(items or MAX_CREDIT, MAX_CREDIT), min(size or MAX_CREDIT, MAX_CREDIT)
    given = stream
    method = getattr(stream, "method", None)
    if isinstance(getattr(stream, "__self__", None), Proxy) and isinstance(method, MethodSpec):
        if method.kind == "stream":
            return _saying(stream, window)
    elif isinstance(stream, Sink):
        return WindowedSink(given, window)
    elif isinstance(stream, AsyncIterable):
        return WindowedStream(given, window)
    raise TypeError("windowed() takes a stream, a sink, or a @stream method of a proxy, such as windowed(job.progress)")


def _saying(method: Callable[P, Stream[T]], window: tuple[int, int]) -> Callable[P, Stream[T]]:
    def start(*args: P.args, **kwargs: P.kwargs) -> Stream[T]:
        token = going_along.set({**(going_along.get() or {}), WINDOW: said(window)})
        try:
            return method(*args, **kwargs)
        finally:
            going_along.reset(token)

    return start


class WindowedStream(Reader[T]):
    """A stream with a window of its own."""

    __slots__ = ("_source", "_window")

    def __init__(self, source: AsyncIterable[T], window: tuple[int, int]) -> None:
        self._window = narrower(window, window_of(source)) or window
        self._source = aiter(source)

    @property
    def __capnet_window__(self) -> tuple[int, int] | None:
        """See `Reader`."""
        return self._window

    @property
    def __capnet_source__(self) -> object | None:
        """See `Reader`."""
        return self._source

    async def __anext__(self) -> T:
        return await anext(self._source)

    async def aclose(self) -> None:
        """See `Reader`."""
        close = getattr(self._source, "aclose", None)
        if close is not None:
            await close()


class WindowedSink(StoppableSink[T]):
    """A sink with a window of its own."""

    __slots__ = ("_sink", "_window", "conversion")

    def __init__(self, sink: Sink[T], window: tuple[int, int]) -> None:
        self._sink = sink
        self._window = narrower(window, window_of(sink)) or window
        self.conversion = sink.conversion if isinstance(sink, StoppableSink) else None

    @property
    def __capnet_window__(self) -> tuple[int, int] | None:
        """See `StoppableSink`."""
        return self._window

    async def send(self, item: T) -> None:
        """See `Sink`."""
        await self._sink.send(item)

    async def aclose(self) -> None:
        """See `Sink`."""
        await self._sink.aclose()

    def fail(self, error: CapnetError) -> None:
        """See `Sink`."""
        self._sink.fail(error)

    def let_in(self) -> bool:
        """See `StoppableSink`."""
        return not isinstance(self._sink, StoppableSink) or self._sink.let_in()

    def on_stopped(self, callback: Callable[[], object]) -> None:
        """See `StoppableSink`."""
        if isinstance(self._sink, StoppableSink):
            self._sink.on_stopped(callback)
