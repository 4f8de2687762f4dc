"""Strikes: limit errors of the peer, and when they are too many (P-ERR-3, P-LIMIT-1)."""

from __future__ import annotations

from capnet.errors import ProtocolViolation
from capnet.limits import Limits

__all__ = ["Strikes"]


class Strikes:
    """The times of the last strikes, no more of them than are allowed."""

    __slots__ = ("_limit", "_times", "_window", "count")

    def __init__(self, limits: Limits) -> None:
        self._limit = limits.max_strikes
        self._times: list[float] = []  # a deque takes as much without any as this with ninety
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
        if len(times) == self._limit and (not times or now - times[0] < self._window):
            text = f"more than {self._limit} limit errors in {self._window:g} s (Limits.max_strikes of the receiver)"
            raise ProtocolViolation("P-LIMIT-1", text)
        times.append(now)
        del times[: -self._limit]
