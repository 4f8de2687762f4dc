"""`channel`: the two ends of a stream, of which one is passed on and the other kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from typing_extensions import TypeForm

from capnet.contract import ItemConversion, Reader, Sink, Stream
from capnet.contract.annotation import read_annotation
from capnet.errors import CallCancelled, CapnetError, FailedPrecondition, StreamStopped
from capnet.fanout import Broadcast, Subscription
from capnet.streams.sink import StoppableSink
from capnet.wire.references import MAX_CREDIT

__all__ = ["channel"]

T = TypeVar("T")


def channel(item: TypeForm[T], *, buffer: int = 64) -> tuple[Sink[T], Stream[T]]:
    """Both ends of a new stream: what is sent into the sink comes out of the stream.

        sink, prices = channel(Price)
        await exchange.watch("tea", sink)          # the other side writes
        async for price in prices: ...

    Either end can be passed to a peer, as an argument, in a result or in an item; the contract declares it as `Sink[T]`
    or as `AsyncIterable[T]`. An end that was passed belongs to the receiver; using it here as well mixes the items.

    Args:
        item: the type of the items; those that a peer sends are checked against it.
        buffer: items that wait here for their reader, from 1; beyond it `send` waits. As many may be under way to or
            from a peer.

    Raises:
        ContractError: items of that type cannot travel. InvalidArgument: `buffer` is less than 1.
    """
    broadcast: Broadcast[T] = Broadcast(buffer=buffer)
    link = _Link()
    sink = _ChannelSink(broadcast, buffer, link, ItemConversion(read_annotation(item, "channel")))
    return sink, _ChannelStream(broadcast.subscribe(), link)


class _Link:
    """What one end knows of the other; it holds neither, so that both can be collected."""

    __slots__ = ("broken_off", "on_stopped", "stopped")

    def __init__(self) -> None:
        self.stopped = False
        """The reader wants no more."""
        self.broken_off = False
        """The sink was dropped before its end."""
        self.on_stopped: Callable[[], object] | None = None

    def stop(self) -> None:
        """The reader has gone; from any thread."""
        self.stopped = True
        callback, self.on_stopped = self.on_stopped, None
        if callback is not None:
            callback()


class _ChannelSink(StoppableSink[T]):
    """The writing end."""

    __slots__ = ("_broadcast", "_buffer", "_ended", "_link", "conversion")

    def __init__(self, broadcast: Broadcast[T], buffer: int, link: _Link, conversion: ItemConversion) -> None:
        self._buffer = buffer
        self._broadcast = broadcast
        self._link = link
        self._ended = False
        self.conversion = conversion

    @property
    def __capnet_window__(self) -> tuple[int, int] | None:
        """No more than finds room here."""
        return min(self._buffer, MAX_CREDIT), MAX_CREDIT

    async def send(self, item: T) -> None:
        """See `Sink`."""
        if self._ended:
            raise FailedPrecondition("this sink was closed", reason="closed")
        if not self._link.stopped:
            await self._broadcast.send(item)
        if self._link.stopped:
            raise StreamStopped("the reader wants no more")

    async def aclose(self) -> None:
        """See `Sink`."""
        self._finish()
        self._broadcast.close()

    def fail(self, error: CapnetError) -> None:
        """See `Sink`."""
        self._finish()
        self._broadcast.fail(error)

    def let_in(self) -> bool:
        """See `StoppableSink`; it is a window at most."""
        self._broadcast.__capnet_let_in__()
        return True

    def on_stopped(self, callback: Callable[[], object]) -> None:
        """See `StoppableSink`."""
        self._link.on_stopped = callback
        if self._link.stopped:
            self._link.stop()

    def _finish(self) -> None:
        self._ended = True
        self._link.on_stopped = None  # what waited for that refers to this sink

    def __del__(self) -> None:
        # Collecting the broadcast ends the stream and wakes its reader; the link says what end that is.
        self._link.broken_off = not self._ended


class _ChannelStream(Reader[T]):
    """The reading end."""

    __slots__ = ("_link", "_subscription")

    def __init__(self, subscription: Subscription[T], link: _Link) -> None:
        self._subscription = subscription
        self._link = link

    @property
    def __capnet_window__(self) -> tuple[int, int] | None:
        """As that of what it stands for."""
        return self._subscription.__capnet_window__

    async def __anext__(self) -> T:
        try:
            return await self._subscription.__anext__()
        except StopAsyncIteration:
            if not self._link.broken_off or self._link.stopped:
                raise
        self._link.broken_off = False
        raise CallCancelled("the sink was dropped before its end", reason="abandoned")

    async def aclose(self) -> None:
        """Want no more: `send` raises `StreamStopped` from now on. Idempotent."""
        await self._subscription.aclose()
        self._link.stop()

    def __del__(self) -> None:
        self._link.stop()
