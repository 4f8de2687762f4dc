"""Closing: how a connection ends, and everything in it with it (P-CONN-4, P-CONN-6).

Three ways lead there. A goaway, ours or the peer's, drains: nothing new starts, what is in flight may end within the
grace, then the rest is answered. A violation sends one abort. A transport that is gone just ends everything. All of
them arrive at `finish`, which ends each thing exactly once and the connection last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from capnet.errors import CapnetError, ProtocolViolation, cut_text
from capnet.wire.frames import Op

from . import events as event
from .lifecycle import CloseCause, State
from .timers import Timer

if TYPE_CHECKING:
    from .engine import Engine

__all__ = ["LONGEST", "STRANGER_LINE", "Closing"]

LONGEST: Final = 1e9
"""Seconds of grace or deadline that are told apart; longer ones count as this."""
STRANGER_LINE: Final = b"this is a capnet/1 endpoint; it speaks length-prefixed CBOR, see the capnet wire reference\r\n"


class Closing:
    """The end of one connection."""

    __slots__ = ("_engine",)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def by_us(self, message: str, grace: float, code: str) -> None:
        """Say goaway. Calls that are still held back fail now: the peer would refuse them.

        Args:
            grace: seconds that what is in flight has; 0 ends it now.
        """
        engine = self._engine
        grace = min(max(grace, 0.0), LONGEST)
        if engine.lifecycle.accepts_calls:
            self._drain(CloseCause("local", message, code=code))
            last = engine.answers.last_id
            engine.outbox.send([Op.GOAWAY, last, code, cut_text(message), int(grace * 1000)])
        engine.timers.set(Timer.GRACE, engine.now + grace)
        if grace <= 0:
            self.grace_is_over()
        else:
            self.check_drained()

    def by_peer(self, last_call_id: int, cause: CloseCause, grace: float) -> None:
        """The peer takes no new calls; those it has not seen fail at once and may be made elsewhere."""
        engine = self._engine
        if engine.lifecycle.accepts_calls:
            self._drain(cause)
            engine.timers.set(Timer.GRACE, engine.now + grace + engine.limits.handshake_timeout)
            engine.answering.give_one_way_credit()
        for call in engine.calls.unseen(last_call_id):
            if call.token is not None:
                engine.emit(event.CallFailed(call.token, cause.error()))
                call.token = None
        self.check_drained()

    def by_violation(self, violation: ProtocolViolation) -> None:
        """The peer broke a clause: say so and end. A stranger, who never spoke capnet, gets a line to read."""
        engine = self._engine
        if engine.peer is None and not engine.inbound.greeted:
            engine.outbox.send_line(STRANGER_LINE)
        else:
            engine.outbox.send([Op.ABORT, violation.clause, cut_text(violation.message)])
        self.finish(CloseCause("violation", violation.message, violation.clause))

    def check_drained(self) -> None:
        """While draining: end when nothing is in flight any more."""
        engine = self._engine
        in_flight = engine.answers or engine.calls.outstanding or engine.streams
        if engine.lifecycle.state is State.DRAINING and not in_flight:
            assert engine.lifecycle.cause is not None
            self.finish(engine.lifecycle.cause)

    def grace_is_over(self) -> None:
        """What is still in flight is answered now, then everything ends."""
        engine = self._engine
        cause = engine.lifecycle.cause
        assert cause is not None
        for answer in reversed(list(engine.answers)):  # from the end of each line, so that none moves up and starts
            engine.answering.end_answer(answer, cause.error())
        self.finish(cause)

    def finish(self, cause: CloseCause) -> None:
        """End everything, each thing once, and the connection last. Later calls do nothing."""
        engine = self._engine
        if engine.lifecycle.state is State.CLOSED:
            return
        engine.lifecycle.move(State.CLOSED, cause)
        cause = engine.lifecycle.cause or cause
        for call in engine.calls.clear():
            if call.token is not None:
                engine.emit(event.CallFailed(call.token, cause.error()))
        for answer in engine.answers.clear():
            engine.emit(event.AnswerEnded(answer, cause.error()))
        engine.unread = False
        engine.pipelines.clear()
        engine.call_charge.clear()
        engine.held_charge.clear()
        engine.streaming.clear(cause.error())
        for export in [*engine.exports.clear(), *engine.lingering]:
            engine.emit(event.ExportEnded(export, "closed"))
        engine.lingering.clear()
        error = cause.error()
        for imported in engine.imports.clear():
            imported.broken = error
            engine.emit(event.ImportBroken(imported, error))
        for builtin in (engine.imports.bootstrap, engine.imports.runtime):
            builtin.broken = cause.error()
        engine.outbox.forget_drops()
        engine.timers.clear_all()
        engine.emit(event.Closed(cause))

    def error(self) -> CapnetError:
        """What an intent raises that comes too late."""
        return (self._engine.lifecycle.cause or CloseCause("local")).error()

    def _drain(self, cause: CloseCause) -> None:
        engine = self._engine
        engine.lifecycle.move(State.DRAINING, cause)
        engine.emit(event.Draining(cause))
        engine.calling.take_all_back(cause.error())
