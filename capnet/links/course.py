"""`Course`: when a link is to try again, and what of the peer it has found when it is back. No clock of its own.

up ──lost──▶ down ──failed──▶ down … ──reached──▶ up
              └──failed, for the last time──▶ over
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from capnet.connection.retry import Backoff, Retry
from capnet.errors import CapnetError

__all__ = ["STEADY", "Course"]

STEADY: Final = 10.0
"""Seconds that a connection has to hold until its loss is a new one: what comes and goes is tried ever less often."""


class Course:
    """Of one link.

    Args:
        retry: how often and how fast.
        chance: gives numbers from 0 to 1.

    Attributes:
        generation: how often the peer that was found had lost what the one before knew.
        failures: attempts that failed since the link was last up for long, and losses.
    """

    __slots__ = ("_backoff", "_chance", "_instance", "_retry", "_since", "failures", "generation")

    def __init__(self, retry: Retry, chance: Callable[[], float] = random.random) -> None:
        self._retry = retry
        self._chance = chance
        self._backoff = Backoff(retry, 0.0, chance)
        self._since = 0.0
        self._instance: str | None = None
        self.generation = 0
        self.failures = 0

    def reached(self, instance: str, now: float) -> bool:
        """It is up.

        Args:
            instance: the word of the peer for its life; one that says none has another each time.

        Returns whether what the peer knew before is lost.
        """
        first, known = self._instance is None, self._instance == instance != ""
        self._instance = instance
        self._since = now
        lost = not first and not known
        self.generation += lost
        return lost

    def lost(self, now: float) -> float:
        """It is down. Returns the seconds until the first attempt: not all who lost a peer are to come at once."""
        if now - self._since >= STEADY:
            self.failures = 0
        self.failures += 1
        self._backoff = Backoff(self._retry, now, self._chance)
        return self._retry.pause(self.failures, self._chance())

    def failed(self, error: CapnetError, now: float) -> float | None:
        """An attempt has failed. Returns the seconds until the next; None when there is to be none."""
        if self._backoff.failed(error, now) is None:
            return None
        self.failures += 1
        return min(self._retry.pause(self.failures, self._chance()), max(self._backoff.left(now), 0.0))
