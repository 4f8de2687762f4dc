"""Turns: how much of what the peer sends is acted on at once, and when nothing is read from it for a while."""

from __future__ import annotations

from typing import Final

from capnet.limits import Limits

from .pace import Pace
from .timers import Timers

__all__ = ["VALUES_LIKE_A_FRAME", "Turn"]

VALUES_LIKE_A_FRAME: Final = 512
"""So many values in a frame take as long as another small frame."""
LONGEST_REST: Final = 5.0
"""Seconds in which nothing is read, at most, whatever a peer has led to: one that is never heard is taken for dead."""


class Turn:
    """One turn of the peer's after the other.

    Args:
        limits: ours.
        timers: know what time it is.
    """

    __slots__ = ("_timers", "work_pace", "call_pace", "frames", "paced", "unread", "work")

    def __init__(self, limits: Limits, timers: Timers) -> None:
        self._timers = timers
        self.call_pace = Pace(limits.call_burst, rate, timers.now) if (rate := limits.call_rate) else None
        """How many more calls are taken from the peer now; it may be overdrawn by those of one turn."""
        self.work_pace = Pace(limits.work_burst, limits.work_rate, timers.now)
        """How many more values the peer may have us handle beside those in its frames; it may be overdrawn likewise."""
        self.paced = self.call_pace is not None
        """Whether `rest` may be other than 0."""
        self.frames = limits.frames_per_turn
        """How many small frames are acted on in one turn."""
        self.unread = False
        """Frames wait here for another turn: `Engine.receive_data`, with nothing if need be, goes on with them."""
        self.work = 0.0
        """What the frames of this turn have led to, in small frames (`spend`)."""

    def spend(self, values: int) -> None:
        """The peer has led to work, as much as the handling of so many values takes, beside what its frames hold.

        Its turn ends sooner for that, and where it is too much for its pace nothing is read from it for a while.
        """
        self.work += values / VALUES_LIKE_A_FRAME
        self.work_pace.spend(self._timers.now, values)
        self.paced = True

    def rest(self, now: float) -> float:
        """Seconds in which nothing more is to be read from the peer, by `call_rate` and `work_rate`."""
        wait = min(self.work_pace.wait(now), LONGEST_REST)
        if self.call_pace is None:
            self.paced = wait > 0
            return wait
        return max(wait, self.call_pace.wait(now))
