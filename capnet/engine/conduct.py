"""Conduct: what the peer does that it should not do often, and when it is too often (P-ERR-3, P-LIMIT-1, P-LIMIT-4)."""

from __future__ import annotations

from capnet.errors import ProtocolViolation

from .events import LimitReached
from .pace import Pace
from .tables import Tables

__all__ = ["Conduct"]


class Conduct:
    """Counts limit errors, and frames that cost the peer nothing."""

    __slots__ = ("_tables", "control_pace")

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        limits = tables.limits
        self.control_pace = Pace(limits.control_burst, limits.control_rate, tables.timers.now)
        """How many more cancels and pings the peer may send, and calls that are refused."""

    def count_strike(self, reason: str) -> None:
        """Count a limit error of the peer; raises ProtocolViolation when they are too many."""
        self._tables.emit(LimitReached(reason))
        self._tables.strikes.add(self._tables.timers.now)

    def count_control(self, what: str) -> None:
        """Count a frame of the peer's that costs it nothing.

        Raises:
            ProtocolViolation: P-LIMIT-4, more of them than an honest peer sends.
        """
        if not self.control_pace.take(self._tables.timers.now):
            raise self._too_fast(what)

    def count_late_refusal(self) -> None:
        """Count a call that is refused where nothing may be raised: `check_pace` follows."""
        self.control_pace.spend(self._tables.timers.now)

    def check_pace(self) -> None:
        """Look whether calls that were refused late, and counted then, have become too many.

        Raises:
            ProtocolViolation: P-LIMIT-4, they have.
        """
        if self.control_pace.overdrawn(self._tables.timers.now):
            raise self._too_fast("calls that are refused")

    def _too_fast(self, what: str) -> ProtocolViolation:
        limits = self._tables.limits
        text = (
            f"{what}: more than {limits.control_burst} at once and {limits.control_rate} a second after "
            f"(Limits.control_burst and Limits.control_rate of the receiver)"
        )
        return ProtocolViolation("P-LIMIT-4", text)
