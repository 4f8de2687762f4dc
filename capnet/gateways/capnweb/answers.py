"""What the client has asked for, by number. What it does not release is kept for as long as there is room."""

from __future__ import annotations

from collections.abc import Iterator

from capnet.gateways.reading import EACH

from .actions import Answer
from .cells import Turn
from .exports import Counts
from .messages import BadMessage
from .streams import Pipe
from .values import size_of

__all__ = ["Answers"]


class Answers:
    """Answers that are there, or will be, and that the client has not released.

    Args:
        turn: of the session.
        counts: of the session.

    Attributes:
        running: those that are not there.
        pending: what those take up.
    """

    def __init__(self, turn: Turn, counts: Counts) -> None:
        self.running = self.pending = 0
        self._turn = turn
        self._counts = counts
        self._bounds = counts.bounds
        self._held: dict[int, Answer] = {}
        self._kept = 0
        self._last = 0

    def __iter__(self) -> Iterator[Answer]:
        return iter(list(self._held.values()))

    def new(self, weight: int, streamed: bool) -> Answer:
        """One more, with the next number."""
        self._last += 1
        answer = self._held[self._last] = Answer(self._turn, self._last, weight, streamed)
        self.running += 1
        self.pending += weight
        return answer

    def find(self, number: int) -> Answer | None:
        """The one with a number; None when it was released, or kept for too long.

        Raises:
            BadMessage: there never was one.
        """
        if not 0 < number <= self._last:
            raise BadMessage("nothing was asked for under this number")
        return self._held.get(number)

    def is_there(self, answer: Answer) -> None:
        """It is there, and kept until the client releases it, or the room is needed for newer ones."""
        self.running -= 1
        self.pending -= answer.weight
        if answer.number in self._held:
            answer.size = size_of(answer.value)
            self._kept += answer.size
            self._counts.work += answer.size // EACH
            if self._too_much:
                self._make_room()

    def remove(self, answer: Answer) -> None:
        """Keep it no longer. Idempotent."""
        if self._held.pop(answer.number, None) is not None:
            self._kept -= answer.size

    @property
    def _too_much(self) -> bool:
        return self._kept > self._bounds.max_kept or len(self._held) > self._bounds.max_answers

    def _make_room(self) -> None:
        for answer in self:
            if answer.done and type(answer.value) is not Pipe:
                self.remove(answer)
                if not self._too_much:
                    return
