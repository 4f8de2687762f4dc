"""Decisions read from bytes, so that a fuzzer that changes the bytes changes one decision.

It is what `atheris.FuzzedDataProvider` is, in Python, from front to back: an input found by atheris is replayed without
it, and a decision that is added later at the end of a script leaves the inputs of the corpus as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

__all__ = ["Choices"]

T = TypeVar("T")


class Choices:
    """Decisions; all are the first choice, zero or nothing once the bytes are used up.

    Args:
        data: what decides.
    """

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        """Whether there is anything left to decide with."""
        return self._at < len(self._data)

    def below(self, bound: int) -> int:
        """A number from 0 to `bound` - 1: one byte decides as long as one can, else two, four or eight."""
        width = 1 if bound <= 1 << 8 else 2 if bound <= 1 << 16 else 4 if bound <= 1 << 32 else 8
        return int.from_bytes(self.take(width)) % bound

    def flag(self) -> bool:
        """Yes or no."""
        return bool(self.below(2))

    def one_of(self, several: Sequence[T]) -> T:
        """One of these."""
        return several[self.below(len(several))]

    def take(self, count: int) -> bytes:
        """The next `count` bytes, or what is left."""
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data))
