"""`StreamReader`: what comes on a stream, as an async iterator (P-STREAM)."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Any, get_origin
from weakref import ref

from capnet.calls.call import Call
from capnet.contract import ItemConversion, Reader, Sink, item_conversion
from capnet.engine.stream import Batch, InStream
from capnet.errors import EXITS, CapnetError, Revoked

from .flow import Flow, Streams

__all__ = ["StreamReader"]


class StreamReader(Reader[Any]):
    """The reading end of a stream that the peer produces.

    It is closed by `aclose`, by leaving an `aclosing` block, or when it is collected; the producer is stopped then, and
    what had come and was not read is let go. One task reads at a time.

    Args:
        source: the stream, or the call whose result it is.
        conversion: how items are checked and rebuilt; without it they stay plain data.
    """

    __slots__ = (
        "__weakref__",
        "_bytes",
        "_streams",
        "_conversion",
        "_count",
        "_due",
        "_flow",
        "_items",
        "_source",
        "_spoiled",
        "_taken",
    )

    def __init__(
        self, streams: Streams, source: InStream | Call[Any], conversion: ItemConversion | None = None
    ) -> None:
        self._streams = streams
        self._source: InStream | Call[Any] | None = source
        self._conversion = conversion
        self._flow = ReaderFlow(self)
        self._items: deque[Any] = deque()
        self._count = self._bytes = 0  # of the items that were loaded and are not reported as consumed
        self._taken = self._due = 0
        self._spoiled: CapnetError | None = None
        if type(source) is InStream:
            source.token = self._flow
            if source.id < 0 and streams.session.bus.observed:  # those of ours are told of where they begin
                streams.session.publisher.stream_opened(source)
        elif isinstance(source, Call):
            source.when_done(partial(self._flow.changed, None))

    def __capnet_narrow__(self, hint: Any) -> StreamReader:
        """This stream as the declared one: its items are checked.

        Raises:
            TypeError: a sink is wanted.
        """
        if get_origin(hint) is Sink:
            raise TypeError("Expected `sink`, got `stream`")
        self._conversion = item_conversion(hint)
        return self

    @property
    def __capnet_window__(self) -> tuple[int, int] | None:
        """When it is passed on, no more waits here than the stream itself may have under way."""
        limits = self._streams.session.limits
        if type(self._source) is not InStream or self._source.window == (limits.stream_items, limits.stream_bytes):
            return None
        return self._source.window

    async def __anext__(self) -> Any:
        while not self._items:
            await self._load()
        self._taken += 1
        if self._taken == self._due:
            self._report()
        return self._items.popleft()

    async def _load(self) -> None:
        """Have items to give, or raise what there is instead."""
        self._streams.session.loop.check()
        source = self._source
        if self._spoiled is not None:
            spoiled, self._spoiled = self._spoiled, None
            self._close(spoiled.reason or spoiled.code)
            raise spoiled
        if source is None:
            raise StopAsyncIteration
        if isinstance(source, Call):
            if source.done:
                self._open(source)
            else:  # who leaves this wait leaves the call alone: it may be read again
                await self._flow.wait()
            return
        batch = self._streams.session.engine.streaming.take(source)
        if batch is not None:
            self._take(source, batch)
        elif source.ended:
            self._source = None
            if source.error is not None:
                raise source.error.again()
            raise StopAsyncIteration
        else:
            await self._flow.wait()

    def _open(self, call: Call[Any]) -> None:
        """The call that brings the stream is answered."""
        self._source = None
        opened: StreamReader = call.outcome()
        self._source, opened._source = opened._source, None
        self._conversion = opened._conversion
        if type(self._source) is InStream:
            self._source.token = self._flow

    def _take(self, stream: InStream, batch: Batch) -> None:
        values, references, self._bytes, _, count = batch
        self._count = len(values)
        self._taken = 0
        try:
            if references:
                values = self._streams.payloads.lift(values, references)
            if self._conversion is not None:
                if self._conversion.annotation.growth:
                    growth = self._conversion.annotation.growth * count
                    self._streams.session.engine.streaming.rebuilt(stream, growth)
                values = self._converted(self._conversion, values)
        except CapnetError as error:
            self._spoiled = error
            return
        self._items.extend(values)
        self._set_due(stream)

    def _converted(self, conversion: ItemConversion, values: list[Any]) -> list[Any]:
        """The items as their type; those before a bad one count, behind it the stream is spoiled."""
        try:
            return conversion.many(values)
        except BaseException:  # also what a class of the user's own raises
            good: list[Any] = []
            try:
                good.extend(conversion.one(value) for value in values)
            except EXITS:
                raise
            except BaseException as unfit:
                self._spoiled = self._streams.session.faults.unfit("item of a stream", unfit, "item_type")
            return good

    def _set_due(self, stream: InStream) -> None:
        """After how many items from here credit may be due: never later than half the window (P-STREAM-2)."""
        items = (stream.window[0] + 1) // 2 - stream.owed_items
        size = ((stream.window[1] + 1) // 2 - stream.owed_bytes) * self._count
        by_bytes = -(-size // self._bytes) if self._bytes else items
        self._due = max(1, min(items, by_bytes, self._count))

    def _report(self) -> None:
        """Items have been consumed: the producer may send others."""
        self._streams.session.loop.check()
        stream = self._source
        share = self._bytes * self._taken // self._count
        self._count -= self._taken
        self._bytes -= share
        taken, self._taken = self._taken, 0
        if type(stream) is InStream:
            self._streams.session.engine.streaming.consumed(stream, taken, share)
            self._streams.session.driver.flush_soon()
            self._set_due(stream)

    async def aclose(self) -> None:
        """Want no more: the producer is stopped. Idempotent."""
        self._close("")

    def _close(self, reason: str) -> None:
        self._streams.session.loop.check()
        source, self._source = self._source, None
        self._items.clear()
        self._spoiled = None
        if type(source) is InStream:
            with self._streams.session.must_succeed:
                self._streams.session.engine.streaming.stop(source, reason)
            self._streams.session.driver.flush_soon()
            self._flow.changed(source)
        elif isinstance(source, Call):
            source.cancel()

    def __del__(self) -> None:
        if type(self._source) is InStream:
            self._streams.held.note_collected(self._source)

    def __repr__(self) -> str:
        return (
            f"<stream from {self._streams.session.peer_name or 'peer'} {'closed' if self._source is None else 'open'}>"
        )


class ReaderFlow(Flow):
    """The token of a stream that a `StreamReader` reads; it does not keep the reader."""

    __slots__ = ("_reader",)

    def __init__(self, reader: StreamReader) -> None:
        super().__init__(reader._streams)  # noqa: SLF001 - they are one
        self._reader = ref(reader)

    def changed(self, stream: InStream | None) -> None:
        """There are items, or the end; by revocation it overtakes what has come (P-STREAM-3)."""
        if stream is not None and type(stream.error) is Revoked and (reader := self._reader()) is not None:
            reader._items.clear()  # noqa: SLF001
        super().changed(stream)
