"""The driver: feeds the engine from the transport, drains it into the transport, and keeps its clock (architecture §2).

Frames that become ready in one turn of the loop leave in one write: `flush_soon` writes in the next turn, `flush` now.
Nothing here waits; what must wait (a handler, an observer, a policy) is somebody else's task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from capnet.engine.engine import Engine
from capnet.engine.events import Closed, Event, LimitReached
from capnet.errors import CapnetError, Unavailable
from capnet.limits import bound
from capnet.loop import Loop, TimerHandle, Waiter
from capnet.transport import Transport

from .fair_share import FairShare

__all__ = ["FLUSH_CHUNKS", "PER_TURN", "Driver"]

FLUSH_CHUNKS = 64
"""Chunks (two a frame) that are sent without waiting for more, so that the peer works while we do."""
LONGEST_STEP = 0.005
"""Seconds that a large frame may take for the tasks it wakes to go on in the same step of the loop."""
CLOSE_TIMEOUT = 1.0
"""Seconds that the last frames have to leave after the connection has ended (P-ERR-3)."""
PER_TURN: Final = 200
"""Capabilities that may be cleaned up in one turn of the loop."""


class Unfinished(Protocol):
    """What earlier frames have left to do."""

    due: list[Any]
    """It waits for a later turn; nothing is read meanwhile."""
    left: int
    """How much may be done in this turn."""


class Collected(Protocol):
    """Holders of what is the peer's that are gone."""

    collected: list[Any]
    """Notes of them."""

    def release_collected(self) -> None:
        """Act on these."""
        ...


class Owner(Protocol):
    """The connection."""

    part_ended: Callable[[], None]
    """Is told when the transport has closed."""

    def crash(self, error: Exception) -> None:
        """Take a fault of capnet itself."""
        ...


class Driver:
    """Between one transport and one engine.

    Args:
        held: has notes of what was collected, and acts on them.
        cleanup: what earlier frames have left to do.
        share: of the time of a host, None when nobody else wants any.
        owner: whose it is.
        handlers: what takes each type of event of the engine, with `target` before it; must not raise.
    """

    __slots__ = (
        "_cleanup",
        "_closing_timer",
        "_counts_backlog",
        "_direct",
        "_end",
        "_flush_scheduled",
        "_going_on",
        "_handlers",
        "_held",
        "_max_backlog",
        "_owner",
        "_stall",
        "_target",
        "_timer",
        "_timer_at",
        "_writers",
        "began",
        "closing",
        "engine",
        "loop",
        "receiving",
        "share",
        "transport",
        "transport_closed",
    )

    def __init__(
        self,
        loop: Loop,
        engine: Engine,
        transport: Transport,
        *,
        held: Collected,
        cleanup: Unfinished,
        share: FairShare | None,
        owner: Owner,
        target: Any,
        handlers: Mapping[type[Event], Callable[[Any, Any], None]],
    ) -> None:
        self.loop = loop
        self.transport = transport
        self.engine = engine
        self.closing = False
        """The engine has closed; the last frames are leaving."""
        self.receiving = False
        """A chunk is being handled; at its end everything ready is sent."""
        self.transport_closed = False
        self.began = 0.0
        """When the last chunk came."""
        # Without a pump the transport is called by the loop, where no task runs and woken ones may go on at once.
        self._direct = transport.pump is None
        self._owner = owner
        self._target = target
        self._handlers = handlers
        self._held = held
        self._cleanup = cleanup
        self._flush_scheduled = False
        self._max_backlog = engine.limits.max_backlog
        self._timer: TimerHandle | None = None
        self._timer_at: float | None = None
        self._stall: TimerHandle | None = None
        self._closing_timer: TimerHandle | None = None
        self._counts_backlog = False
        """Some bytes had left and were not read when that was counted last."""
        self._going_on = False
        """The peer has had its turn; nothing is read until it has the next."""
        self.share = share
        """Of the time of a host, None when nobody else wants any."""
        self._end: tuple[Exception | None] | None = None
        """How the transport ended, while what came before that has to wait for its turn."""
        self._writers: list[Waiter] = []

    def start(self) -> None:
        """Begin: reading starts, and our hello leaves, together with the first calls if they come at once."""
        self.transport.start(self)
        if self.transport.pump is not None:
            self.loop.spawn(self.transport.pump)
        self._set_clock()
        self.flush_soon()

    # Receiver

    def data_received(self, data: bytes | bytearray | memoryview) -> None:
        """Bytes from the peer. Its turn is short while others of the host want theirs, and long ones are paid for."""
        loop, engine, share = self.loop, self.engine, self.share
        self.began = started = loop.now()
        if share is not None:
            engine.turn.frames = share.begin(started, engine.limits.frames_per_turn)
        self._cleanup.left = PER_TURN
        self.receiving = True
        loop.in_callback = self._direct
        try:
            engine.receive_data(data, started)
            if engine.tables.happened:
                self.handle_events()
        except Exception as error:
            self._owner.crash(error)
        if loop.in_callback and loop.now() - started > LONGEST_STEP:
            loop.in_callback = False
            loop.call_soon(loop.run_woken)
        elif loop.in_callback:
            # Tasks that were woken run now, and what they and the events have to say leaves in one write.
            loop.run_woken()
        self.receiving = False
        if engine.outbox.chunks and not engine.tables.happened:
            self.flush()  # `drain`, without another step
        else:
            self.drain()
        owes = share is not None and share.end(loop.now())
        if engine.turn.unread or owes or engine.turn.paced or self._cleanup.due:
            self._yield_turn(engine.rest(loop.now()), owes=owes)

    def writable(self) -> None:
        """The transport has caught up: read again."""
        self._count_backlog(self.transport.backlog)
        if self._end_stall() and not self._going_on:
            if self.engine.turn.unread:
                self._going_on = True
                self.loop.call_soon(self._go_on)
            else:
                self.transport.resume()
        self._wake_writers()

    def closed(self, error: Exception | None) -> None:
        """The transport has ended; what came before that is acted on first."""
        self.transport_closed = True
        if self._going_on:
            self._end = (error,)
            return
        if not self.closing:
            self._lost(error)
        if self.share is not None:
            self.share.leave()
        self._end_stall()
        if self._writers:
            self._wake_writers()
        if self._closing_timer is not None:
            self._closing_timer.cancel()
        self._owner.part_ended()

    def _lost(self, error: Exception | None) -> None:
        """It has ended before we had closed it."""
        if error is None:
            self.engine.receive_eof(self.loop.now())
        else:
            code = error.code if isinstance(error, CapnetError) else Unavailable.code
            explained = self.transport.process is not None
            self.engine.receive_eof(self.loop.now(), str(error), code=code, explained=explained)
        self.drain()

    # For the parts of the connection

    async def written(self) -> None:
        """Wait until the transport has caught up, or has closed. For producers, whose items can wait."""
        if not self.transport_closed:
            waiter = self.loop.waiter()
            self._writers.append(waiter)
            await waiter

    def worked(self, began: float) -> None:
        """What the peer has sent led to work since then, beside its turns: that is paid for as they are."""
        if self.share is not None and not self.receiving:
            now = self.loop.now()
            self._yield_turn(0, owes=self.share.worked(now - began, now))

    def drain(self) -> None:
        """Handle what has happened, send what is ready, set the clock: after inputs, and intents that cause events."""
        engine = self.engine
        if engine.tables.happened:
            self.handle_events()
        if engine.outbox.chunks or engine.pending or self._held.collected:
            self.flush()
        elif engine.timers.changed:
            self._set_clock()

    def handle_events(self) -> None:
        """Only handle what has happened; what is ready to be sent waits for the next flush."""
        tables, target, handlers = self.engine.tables, self._target, self._handlers
        while tables.happened:
            happened, tables.happened = tables.happened, []  # `Engine.events`, without another step
            for event in happened:
                kind = type(event)
                handlers[kind](target, event)
                if kind is Closed:
                    self._close_transport()

    def flush_soon(self) -> None:
        """Send what is ready in the next turn of the loop, with whatever else becomes ready in this one."""
        if len(self.engine.outbox.chunks) >= FLUSH_CHUNKS:
            self.flush()
        elif not self._flush_scheduled and not self.receiving:
            self._flush_scheduled = True
            self.loop.call_soon(self._scheduled_flush)

    def flush(self) -> None:
        """Send what is ready now, and set the clock for what is not."""
        if self._held.collected:
            self._held.release_collected()
        try:
            chunks = self.engine.data_to_send()
        except Exception as error:
            self._owner.crash(error)
            return
        if chunks and not self.transport_closed:
            self.transport.send(chunks)
            backlog = self.transport.backlog
            if (backlog or self._counts_backlog) and not self.closing:
                self._count_backlog(backlog)
        if self.engine.timers.changed:
            self._set_clock()

    def _yield_turn(self, rest: float, *, owes: bool) -> None:
        """Let others have their turn, for `rest` seconds if that is not 0, and read nothing meanwhile."""
        if self._going_on or not (rest or owes or self.engine.turn.unread or self._cleanup.due):
            return
        self._going_on = True
        self.transport.pause()
        if rest:
            self.loop.call_at(self.loop.now() + rest, self._go_on)
        else:
            self.loop.call_soon(self._wait_for_others if owes else self._go_on)

    def _wait_for_others(self) -> None:
        wait = None if self.share is None else self.share.wait(self.loop.now())
        if wait is None:
            self._go_on()
        else:
            self.loop.call_at(self.loop.now() + wait, self._wait_for_others)

    def _go_on(self) -> None:
        if self._cleanup.due:
            self.loop.call_soon(self._go_on)
            return
        self._going_on = False
        if self._stall is not None and not self.transport_closed:
            return  # what it has sent waits as well until it has read; `writable` goes on
        if self.engine.turn.unread:
            self.data_received(b"")
            if self._going_on:
                return
        if self._end is not None:
            self.closed(*self._end)
        elif self._stall is None:
            self.transport.resume()

    def _wake_writers(self) -> None:
        writers, self._writers = self._writers, []
        for waiter in writers:
            self.loop.wake(waiter)

    def _scheduled_flush(self) -> None:
        self._flush_scheduled = False
        self.flush()

    def _count_backlog(self, backlog: int) -> None:
        self._counts_backlog = backlog > 0
        self.engine.count_backlog(backlog)
        if backlog and self.engine.tables.backlog_charge.crowded(0):
            self.engine.tables.emit(LimitReached("max_host_charge"))
            self.loop.call_soon(self.drain)
        if backlog > self._max_backlog and self._stall is None:
            self._wait_for_reader()

    def _wait_for_reader(self) -> None:
        """The peer does not read: take nothing more from it, and give up in a while (reliability T11, T12)."""
        self.transport.pause()
        self._stall = self.loop.call_at(self.loop.now() + self.engine.limits.write_timeout, self._give_up)

    def _end_stall(self) -> bool:
        """Give the peer up no more; whether it was about to be."""
        if self._stall is None:
            return False
        self._stall.cancel()
        self._stall = None
        return True

    def _give_up(self) -> None:
        self._stall = None
        longest = bound("write_timeout", f"{self.engine.limits.write_timeout:g} s", "sender")
        self.engine.receive_eof(self.loop.now(), f"the peer took nothing for too long: {longest}")
        self.drain()
        self.transport.abort()

    def _close_transport(self) -> None:
        self.closing = True
        self.flush()
        if not self.transport_closed:
            if self._stall is not None:
                self._end_stall()
            self.transport.close()
            self._closing_timer = self.loop.call_at(self.loop.now() + CLOSE_TIMEOUT, self.transport.abort)

    def _set_clock(self) -> None:
        """Have a timer no later than the engine's next deadline. An early one is harmless, so it is not moved back."""
        self.engine.timers.changed = False
        deadline = None if self.closing else self.engine.timers.next()  # `Engine.next_deadline`, without another step
        if deadline is None:
            if self._timer is not None and self.closing:
                self._timer.cancel()
                self._timer = self._timer_at = None
        elif self._timer_at is None or deadline < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = deadline
            self._timer = self.loop.call_at(deadline, self._ring)

    def _ring(self) -> None:
        self._timer = self._timer_at = None
        try:
            self.engine.handle_timeout(self.loop.now())
        except Exception as error:
            self._owner.crash(error)
        self.engine.timers.changed = True
        self.drain()
