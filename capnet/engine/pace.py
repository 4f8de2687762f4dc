"""Pace: so many at once, and so many a second after that."""

from __future__ import annotations

__all__ = ["Pace"]


class Pace:
    """A bucket that fills with time and is emptied by use.

    Args:
        burst: how many fit into it; it begins full.
        per_second: how many come back in a second.
        now: the time at which it begins; times are seconds on any clock that goes forwards.
    """

    __slots__ = ("_burst", "_left", "_per_second", "_seen")

    def __init__(self, burst: float, per_second: float, now: float) -> None:
        self._burst = self._left = float(burst)
        self._per_second = per_second
        self._seen = now

    def wait(self, now: float) -> float:
        """Seconds until there is one, 0 when there is."""
        if now > self._seen:
            self._left = min(self._burst, self._left + (now - self._seen) * self._per_second)
            self._seen = now
        # A hair less than one is one: the sum of many small steps is not exact.
        return 0.0 if self._left > 1 - 1e-9 else (1 - self._left) / self._per_second

    def spend(self, now: float, count: float = 1) -> None:
        """Use so many, whether they are there or not."""
        self.wait(now)
        self._left -= count

    def overdrawn(self, now: float) -> bool:
        """Whether more were used than there were."""
        return bool(self.wait(now)) and self._left < 0

    def take(self, now: float) -> bool:
        """Use one if it is there; whether it was."""
        if self.wait(now):
            return False
        self._left -= 1
        return True
