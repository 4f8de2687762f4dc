"""Turns: calls on one object that run one at a time, whichever connection they come from."""

from __future__ import annotations

from collections.abc import Callable, Hashable

__all__ = ["Turns"]


class Turns:
    """Whose turn it is, and who waits, in the order they came.

    Attributes:
        holder: the call whose turn it is.
        token: text that stands for that call wherever it leads; the holder sets it.
    """

    __slots__ = ("_waiting", "holder", "token")

    def __init__(self) -> None:
        self.holder: Hashable | None = None
        self.token = ""
        self._waiting: dict[Hashable, Callable[[], None]] = {}

    def take(self, call: Hashable) -> bool:
        """Whether it is the call's turn; if nobody has it, it is now."""
        if self.holder is None:
            self.holder = call
        return self.holder is call

    def wait(self, call: Hashable, begin: Callable[[], None]) -> None:
        """Have `begin` called when it is the call's turn."""
        self._waiting[call] = begin

    def leave(self, call: Hashable) -> None:
        """The call has ended, or waits no longer: the next one has its turn."""
        self._waiting.pop(call, None)
        if self.holder is call:
            self.holder, self.token = None, ""
            if self._waiting:
                self.holder = next(iter(self._waiting))
                self._waiting.pop(self.holder)()

    def dissolve(self) -> None:
        """Nobody waits here any more: all are told to begin, the last first, and look where their turn is then."""
        waiting, self._waiting = self._waiting, {}
        for begin in reversed(waiting.values()):
            begin()
