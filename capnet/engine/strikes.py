"""Strikes: limit errors of the peer, and when they are too many (P-ERR-3, P-LIMIT-1)."""

from __future__ import annotations

from collections import deque

from capnet.errors import ProtocolViolation
from capnet.limits import Limits

__all__ = ["Strikes"]


class Strikes:
    """The times of the last strikes, no more of them than are allowed."""

    __slots__ = ("_times", "_window", "count")

    def __init__(self, limits: Limits) -> None:
        self._times: deque[float] = deque(maxlen=limits.max_strikes)
        self._window = limits.strike_window
        self.count = 0
        """All strikes ever."""

    def add(self, now: float) -> None:
        """Count one.

        Raises:
            ProtocolViolation: P-LIMIT-1, more than `max_strikes` within `strike_window`.
        """
        self.count += 1
        times = self._times
        if len(times) == times.maxlen and (not times or now - times[0] < self._window):
            text = f"more than {times.maxlen} limit errors in {self._window:g} s (Limits.max_strikes of the receiver)"
            raise ProtocolViolation("P-LIMIT-1", text)
        times.append(now)
