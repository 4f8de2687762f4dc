"""The ends of streams as objects: what comes is an async iterator, what goes is sent into a sink (P-STREAM).

    async iterable ──Producing──▶ OutStream ⇢ InStream ──▶ StreamReader        who mentions it produces: `out`
    Sink ◀──Receiving── StreamReader ◀── InStream ⇠ OutStream ◀── RemoteSink   who mentions it consumes: `in`

`moving.py` has the tasks, `Producing` and `Receiving`. Whoever waits is found through the stream's token, which refers
to no object of a user's: a reader that nobody holds is collected, and that stops its stream.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_origin
from weakref import ref

from anyio.lowlevel import checkpoint

from capnet.calls.call import Call
from capnet.contract import ItemConversion, Reader, Sink, item_conversion
from capnet.contract.leaving import Leaving, leaving_item
from capnet.contract.position import Position, position_of
from capnet.engine.streams import Batch, InStream, OutStream
from capnet.errors import EXITS, CapnetError, FailedPrecondition, Revoked
from capnet.session.disclosure import tellable
from capnet.transport import HIGH_WATER

if TYPE_CHECKING:
    from capnet.connection.connection import Connection

__all__ = ["MAX_RUN", "Flow", "RemoteSink", "StoppableSink", "StreamReader"]

T_contra = TypeVar("T_contra", contravariant=True)
MAX_RUN: Final = 256
"""Items that a producer which never waits may send until others have their turn."""


class Flow:
    """Where a task waits for a stream to change; the token of the stream."""

    __slots__ = ("_connection", "_waiter")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiter: Any = None

    def changed(self, stream: Any) -> None:
        """There is room, or an item, or the end."""
        if self._waiter is not None:
            self._connection.loop.wake(self._waiter)

    async def wait(self) -> None:
        """Until it changes.

        Raises:
            RuntimeError: another task waits.
        """
        if self._waiter is not None:
            raise RuntimeError("another task uses this end of the stream already")
        self._waiter = waiter = self._connection.loop.waiter()
        try:
            await waiter
        finally:
            self._waiter = None

    async def wait_observed(self, stream: OutStream) -> None:
        """Until there is room, while somebody wants to know if that takes long."""
        timer = self._connection.reports.credit_awaited(stream)
        try:
            await self.wait()
        finally:
            timer.cancel()


class StoppableSink(Sink[T_contra]):
    """A sink that tells when its reader wants no more, also while nothing is sent."""

    __slots__ = ()
    conversion: ItemConversion | None = None
    """How items that come from a peer are checked before it takes them."""

    @abstractmethod
    def on_stopped(self, callback: Callable[[], object]) -> None:
        """Call back when that is so; in any thread, and at any moment."""


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
        "_connection",
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
        self, connection: Connection, source: InStream | Call[Any], conversion: ItemConversion | None = None
    ) -> None:
        self._connection = connection
        self._source: InStream | Call[Any] | None = source
        self._conversion = conversion
        self._flow = ReaderFlow(self)
        self._items: deque[Any] = deque()
        self._count = self._bytes = 0  # of the items that were loaded and are not reported as consumed
        self._taken = self._due = 0
        self._spoiled: CapnetError | None = None
        if type(source) is InStream:
            source.token = self._flow
            if source.id < 0 and connection.bus.observed:  # those of ours are told of where they begin
                connection.reports.stream_opened(source)
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

    async def __anext__(self) -> Any:
        while not self._items:
            await self._load()
        self._taken += 1
        if self._taken == self._due:
            self._report()
        return self._items.popleft()

    async def _load(self) -> None:
        """Have items to give, or raise what there is instead."""
        self._connection.loop.check()
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
        batch = self._connection.engine.streaming.take(source)
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
                values = self._connection.payloads.lift(values, references)
            if self._conversion is not None:
                if self._conversion.annotation.growth:
                    growth = self._conversion.annotation.growth * count
                    self._connection.engine.streaming.rebuilt(stream, growth)
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
                self._spoiled = self._connection.unfit("item of a stream", unfit, "item_type")
            return good

    def _set_due(self, stream: InStream) -> None:
        """After how many items from here credit may be due: never later than half the window (P-STREAM-2)."""
        limits = self._connection.limits
        items = (limits.stream_items + 1) // 2 - stream.owed_items
        size = ((limits.stream_bytes + 1) // 2 - stream.owed_bytes) * self._count
        by_bytes = -(-size // self._bytes) if self._bytes else items
        self._due = max(1, min(items, by_bytes, self._count))

    def _report(self) -> None:
        """Items have been consumed: the producer may send others."""
        self._connection.loop.check()
        stream = self._source
        share = self._bytes * self._taken // self._count
        self._count -= self._taken
        self._bytes -= share
        taken, self._taken = self._taken, 0
        if type(stream) is InStream:
            self._connection.engine.streaming.consumed(stream, taken, share)
            self._connection.driver.flush_soon()
            self._set_due(stream)

    async def aclose(self) -> None:
        """Want no more: the producer is stopped. Idempotent."""
        self._close("")

    def _close(self, reason: str) -> None:
        self._connection.loop.check()
        source, self._source = self._source, None
        self._items.clear()
        self._spoiled = None
        if type(source) is InStream:
            with self._connection.contained:
                self._connection.engine.streaming.stop(source, reason)
            self._connection.driver.flush_soon()
            self._flow.changed(source)
        elif isinstance(source, Call):
            source.cancel()

    def __del__(self) -> None:
        if type(self._source) is InStream:
            self._connection.holdings.note_collected(self._source)

    def __repr__(self) -> str:
        return f"<stream from {self._connection!r} {'closed' if self._source is None else 'open'}>"


class ReaderFlow(Flow):
    """The token of a stream that a `StreamReader` reads; it does not keep the reader."""

    __slots__ = ("_reader",)

    def __init__(self, reader: StreamReader) -> None:
        super().__init__(reader._connection)  # noqa: SLF001 - they are one
        self._reader = ref(reader)

    def changed(self, stream: InStream | None) -> None:
        """There are items, or the end; by revocation it overtakes what has come (P-STREAM-3)."""
        if stream is not None and type(stream.error) is Revoked and (reader := self._reader()) is not None:
            reader._items.clear()  # noqa: SLF001
        super().changed(stream)


class RemoteSink(StoppableSink[Any]):
    """The writing end of a stream that the peer reads.

    Dropped without `aclose` or `fail` it breaks the stream off, so that the reader does not take it for a whole one.

    Args:
        position: what its items may be.
    """

    __slots__ = ("__weakref__", "_connection", "_flow", "_leaving", "_position", "_run", "_stream")

    def __init__(self, connection: Connection, stream: OutStream, position: Position) -> None:
        self._connection = connection
        self._position = position
        self._leaving: Leaving | None = None
        self._run = 0
        self._flow = stream.token = SinkFlow(connection)
        self._stream: OutStream | None = stream
        if connection.bus.observed:
            connection.reports.stream_opened(stream)

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
        self._connection.loop.check()
        driver = self._connection.driver
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
                await (self._flow.wait_observed(stream) if self._connection.bus.observed else self._flow.wait())
            stream = self._open_stream()
        self._connection.streams.send(stream, item, self._position, self._leaving)

    async def aclose(self) -> None:
        """See `Sink`."""
        self._end(None)

    def fail(self, error: CapnetError) -> None:
        """See `Sink`."""
        self._end(tellable(self._connection, error))

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
        self._connection.loop.check()
        stream, self._stream = self._stream, None
        if stream is not None:
            with self._connection.contained:
                self._connection.engine.streaming.end(stream, error)
            self._connection.reports.stream_closed(stream, error)
            self._connection.driver.flush_soon()
            self._flow.changed(stream)

    def __del__(self) -> None:
        if self._stream is not None:
            self._connection.holdings.note_collected(self._stream)


class SinkFlow(Flow):
    """The token of a stream that a `RemoteSink` writes."""

    __slots__ = ("on_closed",)

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.on_closed: Callable[[], object] | None = None

    def changed(self, stream: OutStream) -> None:
        """There is room, or the reader wants no more: then there is nothing to finish before the end is said."""
        super().changed(stream)
        if stream.closed is not None:
            with self._connection.contained:
                self._connection.engine.streaming.end(stream)
            self._connection.reports.stream_closed(stream)
            if self.on_closed is not None:
                on_closed, self.on_closed = self.on_closed, None
                on_closed()
