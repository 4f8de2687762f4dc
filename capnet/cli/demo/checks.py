"""What the demo finds out for itself: whether all is as it should be, and whether what has begun has ended."""

from __future__ import annotations

from collections import Counter
from typing import Final

from anyio import Event as Signal
from anyio import move_on_after

__all__ = ["Tally", "Unexpected", "expect"]

ENDS: Final = {
    "ConnectionOpened": ("ConnectionClosed",),
    "CallStarted": ("CallFinished",),
    "CapExported": ("CapDropped", "CapRevoked"),
    "StreamOpened": ("StreamClosed",),
}
"""Events that begin something, and those that end it."""


class Unexpected(Exception):
    """Something did not go as it should."""


def expect(condition: bool, otherwise: str) -> None:
    """Go on if all is as it should be.

    Raises:
        Unexpected: it is not; with the text.
    """
    if not condition:
        raise Unexpected(otherwise)


class Tally:
    """How many events of each kind there were."""

    def __init__(self) -> None:
        self._counts = Counter[str]()
        self._news = Signal()

    def note(self, kind: str) -> None:
        """There was one more."""
        self._counts[kind] += 1
        self._news.set()

    async def expect(self, kind: str, count: int) -> None:
        """Go on when there were so many; they may come a little after what they tell of.

        Raises:
            Unexpected: there were fewer for 5 seconds, or there were more.
        """
        with move_on_after(5):
            while self._counts[kind] < count:
                self._news = Signal()
                await self._news.wait()
        told = self._counts[kind]
        expect(told == count, f"there were {told} {kind}, not {count}")

    def expect_ends(self) -> None:
        """Go on if all that has begun has ended.

        Raises:
            Unexpected: something has not, or has ended twice.
        """
        for start, ends in ENDS.items():
            begun, ended = self._counts[start], sum(self._counts[end] for end in ends)
            expect(begun == ended, f"{begun} {start}, and {ended} ends")
