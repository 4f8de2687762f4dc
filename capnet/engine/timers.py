"""The clockwork: what time it is, and when the engine next wants to be told."""

from __future__ import annotations

from enum import Enum
from heapq import heapify, heappop, heappush
from typing import Final

from capnet.limits import Limits, bound

from .answers import Answer, AnswerState

__all__ = ["LONGEST", "Timer", "Timers", "time_of"]

LONGEST: Final = 1e9
"""Seconds of grace or deadline that are told apart; longer ones count as this."""


class Timer(Enum):
    """What a connection as a whole may wait for."""

    HANDSHAKE = "handshake"
    PARTIAL_FRAME = "partial_frame"
    KEEPALIVE = "keepalive"
    CANCELS = "cancels"
    HELD = "held"
    GRACE = "grace"

    __hash__ = object.__hash__  # Enum hashes its name in Python; these keys are looked up with every frame


class Timers:
    """One time for each `Timer`, and a heap of the deadlines of answers.

    An answer that ends leaves its deadline in the heap; when more than half of a large heap is such leavings it is made
    anew, so memory follows the answers that are still owed.
    """

    __slots__ = ("_deadlines", "_live", "_serial", "_set", "changed", "now")

    def __init__(self, now: float) -> None:
        self.now = now
        """The time, as it was told last: in seconds, on any clock that does not run backwards."""
        self.changed = True
        """Whether `next` may give another time than before; the driver resets it."""
        self._set: dict[Timer, float] = {}
        self._deadlines: list[tuple[float, int, Answer]] = []
        self._serial = 0
        self._live = 0

    def set(self, timer: Timer, when: float) -> None:
        """Ring at `when`, and no more at the time set before."""
        self._set[timer] = when
        self.changed = True

    def clear(self, timer: Timer) -> None:
        """Do not ring."""
        if self._set.pop(timer, None) is not None:
            self.changed = True

    def clear_all(self) -> None:
        """Nothing rings any more."""
        self._set.clear()
        self._deadlines.clear()
        self._live = 0
        self.changed = True

    def is_set(self, timer: Timer) -> bool:
        """Whether it will ring."""
        return timer in self._set

    def left(self, timer: Timer) -> float:
        """Seconds until it rings; 0 when it does not."""
        return max(0.0, self._set.get(timer, self.now) - self.now)

    def watch(self, answer: Answer) -> None:
        """Ring at the answer's deadline, which is set."""
        assert answer.deadline is not None
        self._serial += 1
        self._live += 1
        self.changed = True
        heappush(self._deadlines, (answer.deadline, self._serial, answer))

    def unwatch(self, answer: Answer) -> None:
        """The answer has ended; its deadline no longer matters."""
        if answer.deadline is None:
            return
        self._live -= 1
        if len(self._deadlines) > 64 and self._live * 2 < len(self._deadlines):
            self._deadlines = [entry for entry in self._deadlines if _owed(entry[2])]
            heapify(self._deadlines)

    def next(self) -> float | None:
        """The earliest time that rings."""
        while self._deadlines and not _owed(self._deadlines[0][2]):
            heappop(self._deadlines)
        earliest = min(self._set.values(), default=None)
        if self._deadlines and (earliest is None or self._deadlines[0][0] < earliest):
            return self._deadlines[0][0]
        return earliest

    def due(self, now: float) -> list[Timer]:
        """The timers whose time has come; they are cleared."""
        due = [timer for timer, when in self._set.items() if when <= now]
        for timer in due:
            del self._set[timer]
        return due

    def overdue(self, now: float) -> list[Answer]:
        """The answers past their deadline that are still owed, earliest first; they are no longer watched."""
        overdue: list[Answer] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            answer = heappop(self._deadlines)[2]
            if _owed(answer):
                overdue.append(answer)
        return overdue


def time_of(field: str, limits: Limits) -> str:
    """What is said where a time of ours has run out."""
    return bound(field, f"{getattr(limits, field):g} s", "receiver")


def _owed(answer: Answer) -> bool:
    return answer.state is not AnswerState.ENDED and answer.state is not AnswerState.GONE
