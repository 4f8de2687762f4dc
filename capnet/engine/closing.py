"""Closing: what leads to the end of a connection (P-CONN-4).

Three ways lead there. A goaway, ours or the peer's, drains: nothing new starts, what is in flight may end within the
grace, then the rest is answered. A violation sends one abort. A transport that is gone just ends everything. All of
them arrive at `Ending.finish`.
"""

from __future__ import annotations

from typing import Final

from capnet.errors import ProtocolViolation, cut_text
from capnet.wire.frames import Op

from .answering import Answering
from .ending import Ending
from .events import CallFailed, Draining
from .held_calls import HeldCalls
from .lifecycle import CloseCause, State
from .tables import Tables
from .timers import LONGEST, Timer

__all__ = ["STRANGER_LINE", "Closing"]

STRANGER_LINE: Final = b"this is a capnet/1 endpoint; it speaks length-prefixed CBOR, see the capnet wire reference\r\n"


class Closing:
    """The ways to the end of one connection."""

    __slots__ = ("_answering", "_ending", "_held", "_tables")

    def __init__(self, tables: Tables, held: HeldCalls, answering: Answering, ending: Ending) -> None:
        self._tables = tables
        self._held = held
        self._answering = answering
        self._ending = ending

    def by_us(self, message: str, grace: float, code: str) -> None:
        """Say goaway. Calls that are still held back fail now: the peer would refuse them.

        Args:
            grace: seconds that what is in flight has; 0 ends it now.
        """
        grace = min(max(grace, 0.0), LONGEST)
        if self._tables.lifecycle.accepts_calls:
            self._drain(CloseCause("local", message, code=code))
            last = self._tables.answers.last_id
            self._tables.outbox.send([Op.GOAWAY, last, code, cut_text(message), int(grace * 1000)])
        self._tables.timers.set(Timer.GRACE, self._tables.timers.now + grace)
        if grace <= 0:
            self.grace_is_over()
        else:
            self._ending.check_drained()

    def by_peer(self, last_call_id: int, cause: CloseCause, grace: float) -> None:
        """The peer takes no new calls; those it has not seen fail at once and may be made elsewhere."""
        if self._tables.lifecycle.accepts_calls:
            self._drain(cause)
            self._tables.timers.set(
                Timer.GRACE, self._tables.timers.now + grace + self._tables.limits.handshake_timeout
            )
            self._answering.give_one_way_credit()
        for call in self._tables.calls.unseen(last_call_id):
            if call.token is not None:
                self._tables.emit(CallFailed(call.token, cause.error(seen=False)))
                call.token = None
        self._ending.check_drained()

    def by_violation(self, violation: ProtocolViolation) -> None:
        """The peer broke a clause: say so and end. A stranger, who never spoke capnet, gets a line to read."""
        if self._tables.lifecycle.peer is None and not self._tables.lifecycle.greeted:
            self._tables.outbox.send_line(STRANGER_LINE)
        else:
            self._tables.outbox.send([Op.ABORT, violation.clause, cut_text(violation.message)])
        self._ending.finish(CloseCause("violation", violation.message, violation.clause))

    def accused(self, clause: str, message: str) -> None:
        """The peer says that we broke a clause, and has ended the connection."""
        self._ending.finish(CloseCause("violation", message, clause, by_peer=False))

    def grace_is_over(self) -> None:
        """What is still in flight is answered now, then everything ends."""
        cause = self._tables.lifecycle.cause
        assert cause is not None
        for answer in reversed(
            list(self._tables.answers)
        ):  # from the end of each line, so that none moves up and starts
            self._answering.end_answer(answer, cause.error())
        self._ending.finish(cause)

    def _drain(self, cause: CloseCause) -> None:
        self._tables.lifecycle.move(State.DRAINING, cause)
        self._tables.emit(Draining(cause))
        if self._tables.calls.held:
            self._held.take_all_back(cause)
