"""Moving the items of streams: one task for each that is produced here, or given to a sink of ours (P-STREAM).

A producer's items are taken one by one, each only when there is room for it, so nothing piles up on this side; on the
other no more than the window does. The ends that others hold are in `streams.py`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from anyio import CancelScope, move_on_after
from anyio.lowlevel import checkpoint

from capnet.contract import Sink
from capnet.contract.leaving import Leaving
from capnet.contract.position import Position
from capnet.engine.exports import Export
from capnet.engine.streams import OutStream
from capnet.engine.streams import Stream as EngineStream
from capnet.errors import CallCancelled, CapnetError, Revoked
from capnet.registry import Hosted
from capnet.revocation.lineage import Granted, Opened, handling
from capnet.session.disclosure import goes_on, tellable, told_of
from capnet.streams.ends import MAX_RUN, Flow, StoppableSink, StreamReader
from capnet.transport import HIGH_WATER
from capnet.wire.references import Reference as WireReference
from capnet.wire.references import StreamRef, kind_of
from capnet.wire.values import is_plain, lower

if TYPE_CHECKING:
    from capnet.connection.connection import Connection

__all__ = ["Moving", "Producing", "Receiving", "Streams"]

MAX_RUN_BYTES: Final = 256 * 1024
"""Bytes that a producer may send until it looks at what the transport has not taken."""
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

    def leave_behind(self) -> list[str]:
        """Wait no longer for tasks that do not end; gives what these are."""
        left = ["stream"] * len(self._moving)
        self._moving.clear()
        return left

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
                if hasattr(kind_of(moving.source), "__anext__"):
                    _sent[id(moving.source)] = moving
                self._connection.loop.spawn(moving.run)

    def ended(self, moving: Moving, error: CapnetError | None) -> None:
        """A task has ended."""
        connection = self._connection
        self._moving.discard(moving)
        _sent.pop(id(moving.source), None)
        moving.opened = None
        if connection.reports.streams and type(moving.stream) is OutStream:
            connection.reports.stream_closed(moving.stream, error)
        moving.stream = None  # which refers to it
        if moving.hosted is not None:
            moving.hosted.stream_ends(connection.close_hosted)
        connection.driver.handle_events()  # its end may have been the last that kept a capability
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

    def send(self, stream: OutStream, item: Any, position: Position, leaving: Leaving | None) -> None:
        """Send an item, while there is room; it leaves with what else is ready in this turn of the loop.

        Args:
            position: what may stand where in the items.
            leaving: what is declared of them, where that is known.

        Raises:
            CapnetError: it cannot travel. TypeError: it is not what is declared.
        """
        connection = self._connection
        references: Sequence[WireReference] = ()
        bounds = connection.engine.bounds
        if position.checks_keys or not is_plain(item, bounds, _AROUND_ITEMS):
            item, references = lower(item, connection.payloads.value, bounds, _AROUND_ITEMS, position)
        if leaving is not None:
            leaving.check(item)
        connection.engine.streaming.send(stream, item, references)
        if references:
            connection.exports_queued(references)
        if len(stream.batch) <= 1:
            connection.driver.flush_soon()


_sent: Final[WeakValueDictionary[int, Moving]] = WeakValueDictionary()
"""The streams that are being sent from iterators, by the id of that: nobody else may take its items meanwhile."""


class Moving(Flow):
    """A task that moves the items of a stream.

    Attributes:
        stream: the stream, once it is open.
        error: what has ended it from outside.
        hosted: the implementation that hands the stream out, if one does.
        parent: what the capabilities in its items came of.
        opened: its place in the lineage, if it ends with `parent` and was not handed out by a call on that.
    """

    __slots__ = ("__weakref__", "_scope", "error", "hosted", "opened", "parent", "stream")

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
        except BaseException as raised:
            # A cancellation that is not by our scope: somebody else ends the task.
            error = told_of(connection, "stream", raised) or CallCancelled("the producer was cancelled")
            if goes_on(connection.loop, raised):
                raise
        finally:
            error = self.error or error
            try:
                with CancelScope(shield=True), move_on_after(CLEAN_UP_TIMEOUT):
                    error = await self._end(error)
            finally:
                connection.streams.ended(self, error)
                error = None  # its traceback refers to this frame

    async def _end(self, error: CapnetError | None) -> CapnetError | None:
        """Close both ends. Returns what it all has ended with: one of them may say why it does not end in order."""
        try:
            await self.end(error)
        except CapnetError as raised:
            return error or tellable(self._connection, raised)
        except BaseException as raised:
            if goes_on(self._connection.loop, raised):
                raise
            self._connection.unexpected("end of a stream", raised)
        return error

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
        position: what may stand where in the items.
        leaving: what is declared of them, where that is known.

    Raises:
        TypeError: they are being sent already, to whomever.
    """

    __slots__ = ("_leaving", "_position", "_source")

    def __init__(
        self, connection: Connection, source: AsyncIterable[Any], position: Position, leaving: Leaving | None
    ) -> None:
        if id(source) in _sent:
            raise TypeError("this stream is being sent already: each of its items goes to one reader only")
        super().__init__(connection)
        self._source = source
        self._position = position
        self._leaving = leaving

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
        connection, stream, position, leaving = self._connection, self.stream, self._position, self._leaving
        engine, send = connection.engine, connection.engine.streaming.send
        any_keys = not position.checks_keys
        exact, as_is = (None, None) if leaving is None else (leaving.exact, leaving.as_is)
        await self._room(stream)
        batch, run, floor = 1, 0, max(0, stream.bytes - MAX_RUN_BYTES)
        self._source = items = aiter(self._source)  # where that is another object, it is the one to be closed
        async for item in items:
            if stream.closed is not None:
                return  # our cancellation is on its way
            if (
                as_is(item)
                if as_is is not None
                else any_keys
                and (exact is None or kind_of(item) is exact)
                and is_plain(item, engine.bounds, _AROUND_ITEMS)
            ):
                send(stream, item)
            else:
                connection.streams.send(stream, item, position, leaving)
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
        except CapnetError as raised:
            error = error or tellable(self._connection, raised)
            raise
        finally:
            with self._connection.contained:
                self._connection.engine.streaming.end(self.stream, error)


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
