"""Cells: values that are there, or will be. What waits for one goes on when it is, in the order in which it came.

What becomes known may make other things known, and those others: each goes on in a line, not inside of another, so that
a client cannot nest them without end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from capnet import CapnetError

__all__ = ["Cell", "Turn", "all_of"]


class Turn:
    """What is to go on now, in order."""

    __slots__ = ("_line", "_running")

    def __init__(self) -> None:
        self._line: deque[Callable[[], None]] = deque()
        self._running = False

    def then(self, step: Callable[[], None]) -> None:
        """Go on with `step`: at once, or when what is going on now has."""
        self._line.append(step)
        if self._running:
            return
        self._running = True
        try:
            while self._line:
                self._line.popleft()()
        finally:
            self._running = False


class Cell:
    """A value that is there, or will be, or an error in its place.

    Args:
        turn: of the session.
    """

    __slots__ = ("_turn", "_waiting", "done", "error", "followed", "value")

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._waiting: list[Callable[[], None]] | None = None
        self.followed: Cell | None = None
        """Where it comes from."""
        self.done = False
        self.value: Any = None
        self.error: CapnetError | None = None

    def when_done(self, step: Callable[[], None]) -> None:
        """Go on with `step` when it is there."""
        if self.done:
            self._turn.then(step)
        elif self._waiting is None:
            self._waiting = [step]
        else:
            self._waiting.append(step)

    def settle(self, value: Any) -> None:
        """It is there; what comes later counts for nothing."""
        self._end(value, None)

    def fail(self, error: CapnetError) -> None:
        """It will not be there."""
        self._end(None, error)

    def follow(self, other: Cell) -> None:
        """Become what another one becomes."""
        self.followed = other
        other.when_done(lambda: self._end(other.value, other.error))

    @property
    def waiting(self) -> int:
        """What goes on when it is there."""
        return len(self._waiting or ())

    def _end(self, value: Any, error: CapnetError | None) -> None:
        if self.done:
            return
        self.done, self.value, self.error = True, value, error
        waiting, self._waiting = self._waiting or (), None
        for step in waiting:
            self._turn.then(step)


def all_of(turn: Turn, cells: Sequence[Cell], then: Callable[[CapnetError | None], None]) -> None:
    """Go on when each of some cells is there, or with the first error in their order."""
    left = len(cells)

    def one_more() -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            then(next((cell.error for cell in cells if cell.error is not None), None))

    if not cells:
        turn.then(one_more)
    for cell in cells:
        cell.when_done(one_more)
