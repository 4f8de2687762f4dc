"""Pumps move the items of streams: one task for each that is produced here, or given to a sink of ours (P-STREAM).

A producer's items are taken one by one, each only when there is room for it, so nothing piles up on this side; on the
other no more than the window does. The ends that users hold are in `reader.py` and `sink.py`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterable, Callable, Sequence
from itertools import count
from typing import Any, Final
from weakref import WeakValueDictionary

from anyio import CancelScope, move_on_after
from anyio.lowlevel import checkpoint

from capnet.calls.metadata import moving
from capnet.contract import Sink
from capnet.contract.leaving import Leaving
from capnet.contract.position import Position
from capnet.contract.reader import taken_from
from capnet.engine.exports import Export
from capnet.engine.stream import OutStream
from capnet.engine.stream import Stream as EngineStream
from capnet.errors import CapnetError, InvalidArgument, Revoked
from capnet.registry import Hosted
from capnet.revocation.lineage import Granted, Opened, handling
from capnet.session.disclosure import cancelled, cannot_travel, goes_on, tellable, told_of
from capnet.session.session import Session
from capnet.transport import HIGH_WATER
from capnet.wire.references import Reference as WireReference
from capnet.wire.references import StreamRef, kind_of
from capnet.wire.values import is_plain, unencodable_text

from .flow import AROUND_ITEMS, MAX_RUN, Flow, Streams
from .reader import StreamReader
from .sink import StoppableSink

__all__ = ["Consumer", "Producer", "Pump", "Pumps"]

MAX_RUN_BYTES: Final = 256 * 1024
"""Bytes that a producer may send until it looks at what the transport has not taken."""
CLEAN_UP_TIMEOUT: Final = 5.0
"""Seconds that a producer has to end when its reader wants no more."""
_numbers: Final = count(1)


class Pumps:
    """The streams of one connection that have a task here."""

    __slots__ = ("_pumps", "_session")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pumps: dict[Pump, None] = {}

    @property
    def stopped(self) -> bool:
        """Whether no task is left."""
        return not self._pumps

    @property
    def running_here(self) -> bool:
        """Whether what makes or uses the items of one of them asks, also from a task that it has started."""
        moved = moving.get()
        return moved is not None and any(pump.number == moved[1] for pump in self._pumps)

    def let_in(self) -> None:
        """The connection has ended: what came on it goes to sinks of ours without waiting for their readers.

        What goes on to another peer keeps nobody here waiting; it leaves when there is room for it.
        """
        for pump in tuple(self._pumps):
            if not pump.let_in():
                del self._pumps[pump]

    def leave_behind(self) -> list[str]:
        """Wait no longer for tasks that do not end; gives what these are."""
        left = ["stream"] * len(self._pumps)
        self._pumps.clear()
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
                pump: Pump = stream.token
                pump.stream = stream
                pump.hosted = hosted
                pump.parent = parent
                if hosted is None and parent is not None:
                    pump.opened = Opened(pump.stop, parent)
                    if parent.fallen is not None:
                        pump.stop(Revoked(parent.fallen))
                if hosted is not None:
                    hosted.stream_begins()
                if self._session.bus.observed:
                    self._session.publisher.stream_opened(stream, hosted)
                self._pumps[pump] = None
                if pump.iterator is not None:
                    _sent[id(pump.iterator)] = pump
                self._session.loop.spawn(pump.run, self.ended)

    def ended(self, pump: Pump, error: CapnetError | None) -> None:
        """A task has ended."""
        session = self._session
        self._pumps.pop(pump, None)
        if pump.iterator is not None:
            del _sent[id(pump.iterator)]
        pump.opened = None
        if session.publisher.streams and type(pump.stream) is OutStream:
            session.publisher.stream_closed(pump.stream, error)
        pump.stream = None  # which refers to it
        if pump.hosted is not None:
            pump.hosted.stream_ends(session.close_hosted)
        session.driver.handle_events()  # its end may have been the last that kept a capability
        session.driver.flush_soon()
        session.part_ended()

    def id_of(self, source: object) -> int:
        """The id of the stream whose items come from an object, 0 when there is none."""
        return next((pump.stream.id for pump in self._pumps if pump.source is source), 0)

    def cut(self, hosted: Hosted, error: CapnetError, stays: Callable[[Export | None], bool]) -> int:
        """End the streams of an implementation now, unless what they came by `stays`; returns how many."""
        cut = [pump for pump in self._pumps if pump.hosted is hosted and not stays(pump.stream.export)]
        for pump in cut:
            pump.stop(error.again())
        return len(cut)


_sent: Final[WeakValueDictionary[int, Pump]] = WeakValueDictionary()
"""The streams that are being sent from iterators, by the id of that: nobody else may take its items meanwhile."""


class Pump(Flow):
    """A task that moves the items of a stream.

    Attributes:
        stream: the stream, once it is open.
        error: what has ended it from outside.
        hosted: the implementation that hands the stream out, if one does.
        iterator: what gives each item once, to this stream and no other.
        number: tells it from all others, of whatever connection.
        parent: what the capabilities in its items came of.
        opened: its place in the lineage, if it ends with `parent` and was not handed out by a call on that.
    """

    __slots__ = ("__weakref__", "_scope", "error", "hosted", "iterator", "number", "opened", "parent", "stream")

    def __init__(self, streams: Streams) -> None:
        super().__init__(streams)
        self.stream: Any = None
        self.error: CapnetError | None = None
        self.hosted: Hosted | None = None
        self.iterator: object | None = None
        self.number = next(_numbers)
        self.parent: Granted | None = None
        self.opened: Opened | None = None
        self._scope = CancelScope()

    def stop(self, error: CapnetError | None = None) -> None:
        """End it now, wherever it waits."""
        self.error = self.error or error
        self._scope.cancel()

    async def run(self, ended: Callable[[Pump, CapnetError | None], None]) -> None:
        """The task: move items until there are no more, then close both ends.

        Args:
            ended: is told of the end, and what that was.
        """
        session = self._streams.session
        error: CapnetError | None = None
        handling.set(self.parent)
        moving.set((session.number, self.number))
        try:
            with self._scope:
                await self.move()
        except BaseException as raised:
            # A cancellation that is not by our scope: somebody else ends the task.
            error = told_of(session, "stream", raised) or cancelled(session, "producer")
            if self.hosted is not None:
                error = self.hosted.seen(error)
            if goes_on(session.loop, raised):
                raise
        finally:
            error = self.error or error
            try:
                with CancelScope(shield=True), move_on_after(CLEAN_UP_TIMEOUT):
                    error = await self._end(error)
            finally:
                ended(self, error)
                error = None  # its traceback refers to this frame

    async def _end(self, error: CapnetError | None) -> CapnetError | None:
        """Close both ends. Returns what it all has ended with: one of them may say why it does not end in order."""
        try:
            await self.end(error)
        except CapnetError as raised:
            return error or tellable(self._streams.session, raised)
        except BaseException as raised:
            if goes_on(self._streams.session.loop, raised):
                raise
            self._streams.session.faults.unexpected("end of a stream", raised)
        return error

    def let_in(self) -> bool:
        """The connection has ended. Whether this ends soon, too, whoever reads what it moves or does not."""
        return True

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


class Producer(Pump):
    """Sends the items of an async iterable, which it closes at the end.

    Args:
        position: what may stand where in the items.
        leaving: what is declared of them, where that is known.

    Raises:
        TypeError: they are being sent already, to whomever.
    """

    __slots__ = ("_leaving", "_position", "_source")

    def __init__(
        self, streams: Streams, source: AsyncIterable[Any], position: Position, leaving: Leaving | None
    ) -> None:
        super().__init__(streams)
        origin = taken_from(source)
        if hasattr(kind_of(origin), "__anext__"):
            if id(origin) in _sent:
                raise TypeError("this stream is being sent already: each of its items goes to one reader only")
            self.iterator = origin
        self._source = source
        self._position = position
        self._leaving = leaving

    @property
    def source(self) -> object:
        """See `Pump`."""
        return self._source

    def changed(self, stream: OutStream) -> None:
        """There is room, or the reader wants no more."""
        if stream.closed is not None:
            self.stop()
        else:
            super().changed(stream)

    async def move(self) -> None:
        """See `Pump`."""
        # One step for each item, so nothing is looked up or called here that need not be.
        session, stream, position, leaving = self._streams.session, self.stream, self._position, self._leaving
        engine, send = session.engine, session.engine.streaming.send
        any_keys = not position.checks_keys
        exact, as_is = (None, None) if leaving is None else (leaving.exact, leaving.as_is)
        await self._room(stream)
        batch, run, floor = 1, 0, max(0, stream.bytes - MAX_RUN_BYTES)
        self._source = items = aiter(self._source)  # where that is another object, it is the one to be closed
        async for item in items:
            if stream.closed is not None:
                return  # our cancellation is on its way
            try:
                if (
                    as_is(item)
                    if as_is is not None
                    else any_keys
                    and (exact is None or kind_of(item) is exact)
                    and is_plain(item, engine.outbox.bounds, AROUND_ITEMS)
                ):
                    send(stream, item)
                else:
                    self._streams.send(stream, item, position, leaving)
            except InvalidArgument as error:
                unfit = (unencodable_text(item) if type(error) is InvalidArgument else None) or error
                raise cannot_travel(session, "item", "item of a stream", unfit, "unencodable_item") from error
            if len(stream.batch) <= batch:  # it was sent meanwhile, or this is the first: nobody has seen to it yet
                session.driver.flush_soon()
            batch = len(stream.batch)
            run += 1
            if stream.items <= 0 or stream.bytes <= floor or run == MAX_RUN:
                await self._room(stream)
                batch, run, floor = 1, 0, max(0, stream.bytes - MAX_RUN_BYTES)

    async def _room(self, stream: OutStream) -> None:
        """Wait until the next item may be sent, and let others have their turn. When it is closed we are cancelled."""
        driver = self._streams.session.driver
        if not driver.receiving:
            driver.flush()
        if stream.room:
            await checkpoint()
        while not stream.room:
            await (self.wait_observed(stream) if self._streams.session.bus.observed else self.wait())
        while driver.transport.backlog > HIGH_WATER:
            await driver.written()

    async def end(self, error: CapnetError | None) -> None:
        """See `Pump`."""
        try:
            close = getattr(self._source, "aclose", None)
            if close is not None:
                await close()
        except CapnetError as raised:
            error = error or tellable(self._streams.session, raised)
            raise
        finally:
            with self._streams.session.must_succeed:
                self._streams.session.engine.streaming.end(self.stream, error)


class Consumer(Pump):
    """Gives what comes on a stream to a sink of ours, or of another peer's."""

    __slots__ = ("_reader", "_sink")

    def __init__(self, streams: Streams, sink: Sink[Any]) -> None:
        super().__init__(streams)
        self._sink = sink
        self._reader: StreamReader | None = None

    def let_in(self) -> bool:
        """See `Pump`."""
        return not isinstance(self._sink, StoppableSink) or self._sink.let_in()

    async def move(self) -> None:
        """See `Pump`."""
        conversion = None
        if isinstance(self._sink, StoppableSink):
            conversion = self._sink.conversion
            loop = self._streams.session.loop
            self._sink.on_stopped(lambda: loop.call_soon_threadsafe(self.stop))
        self._reader = reader = StreamReader(self._streams, self.stream, conversion)
        async for item in reader:
            await self._sink.send(item)

    async def end(self, error: CapnetError | None) -> None:
        """See `Pump`."""
        if self._reader is not None:
            await self._reader.aclose()
        if error is None:
            await self._sink.aclose()
        else:
            self._sink.fail(error)
