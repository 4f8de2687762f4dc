"""Streams as objects: what is produced here goes out while there is credit, what comes is an async iterator (P-STREAM).

    async iterable ──Producing──▶ OutStream ⇢ InStream ──▶ StreamReader        who mentions it produces: `out`
    Sink ◀──Receiving── StreamReader ◀── InStream ⇠ OutStream ◀── RemoteSink   who mentions it consumes: `in`

A producer's items are taken one by one, each only when there is room for it, so nothing piles up on this side; on the
other no more than the window does. Whoever waits is found through the stream's token, which refers to no object of a
user's: a reader that nobody holds is collected, and that stops its stream.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import AsyncIterable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_origin
from weakref import ref

from anyio import CancelScope, move_on_after
from anyio.lowlevel import checkpoint

from capnet.contract import ItemConversion, Reader, Sink, item_conversion
from capnet.engine.exports import Export
from capnet.engine.streams import Batch, InStream, OutStream
from capnet.engine.streams import Stream as EngineStream
from capnet.errors import CallCancelled, CapnetError, FailedPrecondition, InvalidArgument, Revoked
from capnet.registry import Hosted
from capnet.transport import HIGH_WATER
from capnet.wire.references import Reference as WireReference
from capnet.wire.references import StreamRef
from capnet.wire.values import is_plain, lower

from .call import Call
from .lineage import Granted, Opened, handling

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Moving", "Producing", "Receiving", "RemoteSink", "StoppableSink", "StreamReader", "Streams"]

T_contra = TypeVar("T_contra", contravariant=True)
Enrich = Callable[[Any], Any]
MAX_RUN: Final = 256
"""Items that a producer which never waits may send until others have their turn."""
MAX_RUN_BYTES: Final = 256 * 1024
"""Bytes that it may send until it looks at what the transport has not taken."""
CLEAN_UP_TIMEOUT: Final = 5.0
"""Seconds that a producer has to end when its reader wants no more."""
_AROUND_ITEMS: Final = 2
"""Arrays around an item in its frame."""


class Streams:
    """The streams of one connection that have a task here."""

    __slots__ = ("_connection", "_moving")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._moving: set[Moving] = set()

    @property
    def stopped(self) -> bool:
        """Whether no task is left."""
        return not self._moving

    def begin(self, references: Sequence[WireReference], hosted: Hosted | None, parent: Granted | None) -> None:
        """A frame that mentions streams of ours is on its way: they begin.

        Args:
            hosted: the implementation that hands them out; it stays open for them.
            parent: what the capabilities in their items came of.
        """
        for reference in references:
            if type(reference) is StreamRef and reference.id > 0:
                stream: EngineStream = reference.subject
                moving: Moving = stream.token
                moving.stream = stream
                moving.hosted = hosted
                moving.parent = parent
                if hosted is None and parent is not None:
                    moving.opened = Opened(moving.stop, parent)
                    if parent.fallen is not None:
                        moving.stop(Revoked(parent.fallen))
                if hosted is not None:
                    hosted.stream_begins()
                if self._connection.bus.observed:
                    self._connection.reports.stream_opened(stream, hosted)
                self._moving.add(moving)
                self._connection.loop.spawn(moving.run)

    def ended(self, moving: Moving, error: CapnetError | None) -> None:
        """A task has ended."""
        connection = self._connection
        self._moving.discard(moving)
        moving.opened = None
        if connection.reports.streams and type(moving.stream) is OutStream:
            connection.reports.stream_closed(moving.stream, error)
        if moving.hosted is not None:
            moving.hosted.stream_ends(connection.close_hosted)
        connection.driver.flush_soon()
        connection.finish_if_over()

    def id_of(self, source: object) -> int:
        """The id of the stream whose items come from an object, 0 when there is none."""
        return next((moving.stream.id for moving in self._moving if moving.source is source), 0)

    def cut(self, hosted: Hosted, error: CapnetError, stays: Callable[[Export | None], bool]) -> int:
        """End the streams of an implementation now, unless what they came by `stays`; returns how many."""
        cut = [moving for moving in self._moving if moving.hosted is hosted and not stays(moving.stream.export)]
        for moving in cut:
            moving.stop(error.again())
        return len(cut)

    def send(self, stream: OutStream, item: Any, enrich: Enrich) -> None:
        """Send an item, while there is room; it leaves with what else is ready in this turn of the loop.

        Raises:
            CapnetError: it cannot travel.
        """
        connection = self._connection
        references: Sequence[WireReference] = ()
        if not is_plain(item, connection.limits, _AROUND_ITEMS):
            item, references = lower(item, enrich, connection.limits, _AROUND_ITEMS)
        connection.engine.streaming.send(stream, item, references)
        if references:
            connection.exports_queued(references)
        if len(stream.batch) <= 1:
            connection.driver.flush_soon()


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


class Moving(Flow):
    """A task that moves the items of a stream.

    Attributes:
        stream: the stream, once it is open.
        error: what has ended it from outside.
        hosted: the implementation that hands the stream out, if one does.
        parent: what the capabilities in its items came of.
        opened: its place in the lineage, if it ends with `parent` and was not handed out by a call on that.
    """

    __slots__ = ("_scope", "error", "hosted", "opened", "parent", "stream")

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.stream: Any = None
        self.error: CapnetError | None = None
        self.hosted: Hosted | None = None
        self.parent: Granted | None = None
        self.opened: Opened | None = None
        self._scope = CancelScope()

    def stop(self, error: CapnetError | None = None) -> None:
        """End it now, wherever it waits."""
        self.error = self.error or error
        self._scope.cancel()

    async def run(self) -> None:
        """The task: move items until there are no more, then close both ends."""
        connection = self._connection
        error: CapnetError | None = None
        handling.set(self.parent)
        try:
            with self._scope:
                await self.move()
        except CapnetError as raised:
            error = raised
        except Exception as raised:
            error = connection.unexpected("stream", raised)
        except BaseException:  # not by our scope: somebody else ends the task
            error = CallCancelled("the producer was cancelled")
            raise
        finally:
            with CancelScope(shield=True), move_on_after(CLEAN_UP_TIMEOUT):
                await self._end(self.error or error)
            connection.streams.ended(self, self.error or error)

    async def _end(self, error: CapnetError | None) -> None:
        try:
            await self.end(error)
        except Exception as raised:
            self._connection.unexpected("end of a stream", raised)

    @property
    def source(self) -> object:
        """What the items come from, if that is an object of ours."""
        return None

    @abstractmethod
    async def move(self) -> None:
        """Move items until there are no more."""

    @abstractmethod
    async def end(self, error: CapnetError | None) -> None:
        """Close what the items come from and where they go."""


class Producing(Moving):
    """Sends the items of an async iterable, which it closes at the end.

    Args:
        enrich: what makes plain data of the items.
    """

    __slots__ = ("_enrich", "_source")

    def __init__(self, connection: Connection, source: AsyncIterable[Any], enrich: Enrich) -> None:
        super().__init__(connection)
        self._source = source
        self._enrich = enrich
        if type(source) is StreamReader:
            source.pass_on()

    @property
    def source(self) -> object:
        """See `Moving`."""
        return self._source

    def changed(self, stream: OutStream) -> None:
        """There is room, or the reader wants no more."""
        if stream.closed is not None:
            self.stop()
        else:
            super().changed(stream)

    async def move(self) -> None:
        """See `Moving`."""
        # One step for each item, so nothing is looked up or called here that need not be.
        connection, stream, enrich = self._connection, self.stream, self._enrich
        limits, send = connection.limits, connection.engine.streaming.send
        await self._room(stream)
        batch, run, floor = 1, 0, max(0, stream.bytes - MAX_RUN_BYTES)
        self._source = items = aiter(self._source)  # where that is another object, it is the one to be closed
        async for item in items:
            if stream.closed is not None:
                return  # our cancellation is on its way
            if is_plain(item, limits, _AROUND_ITEMS):
                send(stream, item)
            else:
                connection.streams.send(stream, item, enrich)
            if len(stream.batch) <= batch:  # it was sent meanwhile, or this is the first: nobody has seen to it yet
                connection.driver.flush_soon()
            batch = len(stream.batch)
            run += 1
            if stream.items <= 0 or stream.bytes <= floor or run == MAX_RUN:
                await self._room(stream)
                batch, run, floor = 1, 0, max(0, stream.bytes - MAX_RUN_BYTES)

    async def _room(self, stream: OutStream) -> None:
        """Wait until the next item may be sent, and let others have their turn. When it is closed we are cancelled."""
        driver = self._connection.driver
        if not driver.receiving:
            driver.flush()
        if stream.room:
            await checkpoint()
        while not stream.room:
            await (self.wait_observed(stream) if self._connection.bus.observed else self.wait())
        while driver.transport.backlog > HIGH_WATER:
            await driver.written()

    async def end(self, error: CapnetError | None) -> None:
        """See `Moving`."""
        try:
            close = getattr(self._source, "aclose", None)
            if close is not None:
                await close()
        finally:
            self._connection.engine.streaming.end(self.stream, error)


class StoppableSink(Sink[T_contra]):
    """A sink that tells when its reader wants no more, also while nothing is sent."""

    __slots__ = ()
    conversion: ItemConversion | None = None
    """How items that come from a peer are checked before it takes them."""

    @abstractmethod
    def on_stopped(self, callback: Callable[[], object]) -> None:
        """Call back when that is so; in any thread, and at any moment."""


class Receiving(Moving):
    """Gives what comes on a stream to a sink of ours, or of another peer's."""

    __slots__ = ("_reader", "_sink")

    def __init__(self, connection: Connection, sink: Sink[Any]) -> None:
        super().__init__(connection)
        self._sink = sink
        self._reader: StreamReader | None = None

    async def move(self) -> None:
        """See `Moving`."""
        conversion = None
        if isinstance(self._sink, StoppableSink):
            conversion = self._sink.conversion
            loop = self._connection.loop
            self._sink.on_stopped(lambda: loop.call_soon_threadsafe(self.stop))
        self._reader = reader = StreamReader(self._connection, self.stream, conversion)
        if type(self._sink) is RemoteSink:
            reader.pass_on()
        async for item in reader:
            await self._sink.send(item)

    async def end(self, error: CapnetError | None) -> None:
        """See `Moving`."""
        if self._reader is not None:
            await self._reader.aclose()
        if error is None:
            await self._sink.aclose()
        else:
            self._sink.fail(error)


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
        "_lend",
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
        self._lend = False
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

    def pass_on(self) -> None:
        """Its items go on to another peer: objects of ours in them stay what the giver holds."""
        self._lend = True

    async def __anext__(self) -> Any:
        while not self._items:
            await self._load()
        self._taken += 1
        if self._taken == self._due:
            self._report()
        return self._items.popleft()

    async def _load(self) -> None:
        """Have items to give, or raise what there is instead."""
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
        values, references, self._bytes = batch
        self._count = len(values)
        self._taken = 0
        try:
            if references:
                values = self._connection.payloads.lift(values, references, lend=self._lend)
            if self._conversion is not None:
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
        except Exception:  # also what the __post_init__ of the user's own class raises
            good: list[Any] = []
            try:
                good.extend(conversion.one(value) for value in values)
            except Exception as unfit:
                text = unfit.message if isinstance(unfit, CapnetError) else str(unfit)
                self._spoiled = InvalidArgument(f"item of a stream: {text}", reason="item_type")
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
        source, self._source = self._source, None
        self._items.clear()
        self._spoiled = None
        if type(source) is InStream:
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
    """

    __slots__ = ("__weakref__", "_connection", "_enrich", "_flow", "_run", "_stream")

    def __init__(self, connection: Connection, stream: OutStream, enrich: Enrich) -> None:
        self._connection = connection
        self._enrich = enrich
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
        self._enrich = self._connection.payloads.enricher_for(conversion.annotation)
        return self

    async def send(self, item: Any) -> None:
        """See `Sink`."""
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
        self._connection.streams.send(stream, item, self._enrich)

    async def aclose(self) -> None:
        """See `Sink`."""
        self._end(None)

    def fail(self, error: CapnetError) -> None:
        """See `Sink`."""
        self._end(error)

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
        stream, self._stream = self._stream, None
        if stream is not None:
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
            self._connection.engine.streaming.end(stream)
            self._connection.reports.stream_closed(stream)
            if self.on_closed is not None:
                on_closed, self.on_closed = self.on_closed, None
                on_closed()
