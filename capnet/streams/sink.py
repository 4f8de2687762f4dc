"""`RemoteSink`: what goes on a stream is sent into it (P-STREAM)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar, get_origin

from anyio.lowlevel import checkpoint

from capnet.contract import ItemConversion, Sink, item_conversion
from capnet.contract.leaving import Leaving, leaving_item
from capnet.contract.position import Position, position_of
from capnet.engine.stream import OutStream
from capnet.errors import CapnetError, FailedPrecondition
from capnet.session.disclosure import tellable
from capnet.transport import HIGH_WATER
from capnet.wire.values import Unencodable

from .flow import MAX_RUN, Flow, Streams

__all__ = ["RemoteSink", "StoppableSink"]

T_contra = TypeVar("T_contra", contravariant=True)


class StoppableSink(Sink[T_contra]):
    """A sink that tells when its reader wants no more, also while nothing is sent."""

    __slots__ = ()
    conversion: ItemConversion | None = None
    """How items that come from a peer are checked before it takes them."""

    @property
    def __capnet_window__(self) -> tuple[int, int] | None:
        """Items and bytes that may be under way from a peer that writes it, at most; None for what our limits say."""
        return None

    def let_in(self) -> bool:
        """Its writer has gone. Whether what is on its way from there can be sent without waiting, from now on."""
        return False

    @abstractmethod
    def on_stopped(self, callback: Callable[[], object]) -> None:
        """Call back when that is so; in any thread, and at any moment."""


class RemoteSink(StoppableSink[Any]):
    """The writing end of a stream that the peer reads.

    Dropped without `aclose` or `fail` it breaks the stream off, so that the reader does not take it for a whole one.

    Args:
        position: what its items may be.
    """

    __slots__ = ("__weakref__", "_streams", "_flow", "_leaving", "_position", "_run", "_stream")

    def __init__(self, streams: Streams, stream: OutStream, position: Position) -> None:
        self._streams = streams
        self._position = position
        self._leaving: Leaving | None = None
        self._run = 0
        self._flow = stream.token = SinkFlow(streams)
        self._stream: OutStream | None = stream
        if streams.session.bus.observed:
            streams.session.publisher.stream_opened(stream)

    def __capnet_narrow__(self, hint: Any) -> RemoteSink:
        """This sink as the declared one.

        Raises:
            TypeError: a stream is wanted.
        """
        conversion = item_conversion(hint)
        if get_origin(hint) is not Sink or conversion is None:
            raise TypeError("Expected `stream`, got `sink`")
        self._position = position_of(conversion.annotation.hint)
        self._leaving = leaving_item(hint)
        return self

    async def send(self, item: Any) -> None:
        """See `Sink`."""
        self._streams.session.loop.check()
        driver = self._streams.session.driver
        self._run += 1
        if self._run == MAX_RUN:
            self._run = 0
            await checkpoint()
        stream = self._open_stream()
        while not stream.room or driver.transport.backlog > HIGH_WATER:
            if stream.closed is not None:
                raise stream.closed.again()
            driver.flush()
            if stream.room:
                await driver.written()
            else:
                await (self._flow.wait_observed(stream) if self._streams.session.bus.observed else self._flow.wait())
            stream = self._open_stream()
        try:
            self._streams.send(stream, item, self._position, self._leaving)
        except TypeError as unfit:  # who sends it is told as of any item that cannot travel
            raise Unencodable(str(unfit)) from unfit

    async def aclose(self) -> None:
        """See `Sink`."""
        self._end(None)

    def fail(self, error: CapnetError) -> None:
        """See `Sink`."""
        self._end(tellable(self._streams.session, error))

    def on_stopped(self, callback: Callable[[], object]) -> None:
        """See `StoppableSink`."""
        self._flow.on_closed = callback
        if self._stream is None or self._stream.closed is not None:
            callback()

    def _open_stream(self) -> OutStream:
        if self._stream is None:
            raise FailedPrecondition("this sink was closed", reason="closed")
        return self._stream

    def _end(self, error: CapnetError | None) -> None:
        self._streams.session.loop.check()
        stream, self._stream = self._stream, None
        if stream is not None:
            with self._streams.session.must_succeed:
                self._streams.session.engine.streaming.end(stream, error)
            self._streams.session.publisher.stream_closed(stream, error)
            self._streams.session.driver.flush_soon()
            self._flow.changed(stream)

    def __del__(self) -> None:
        if self._stream is not None:
            self._streams.held.note_collected(self._stream)


class SinkFlow(Flow):
    """The token of a stream that a `RemoteSink` writes."""

    __slots__ = ("on_closed",)

    def __init__(self, streams: Streams) -> None:
        super().__init__(streams)
        self.on_closed: Callable[[], object] | None = None

    def changed(self, stream: OutStream) -> None:
        """There is room, or the reader wants no more: then there is nothing to finish before the end is said."""
        super().changed(stream)
        if stream.closed is not None:
            with self._streams.session.must_succeed:
                self._streams.session.engine.streaming.end(stream)
            self._streams.session.publisher.stream_closed(stream)
            if self.on_closed is not None:
                on_closed, self.on_closed = self.on_closed, None
                on_closed()
