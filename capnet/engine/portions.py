"""Portions: how much of what a peer has room for each of several parties may take, so that the next one finds some.

A party is somebody for whom this side uses its connection: who they are is the driver's business. A quarter of all that
there is stays free of those who have more than their fair part. Of that quarter those who have less may take some, and
the more parties there are, the less stays free after them, for whoever may come next and for this side itself:

    parties                      1    2    3    4   …
    fair part of each            1   1/2  1/3  1/4
    stays free after them       1/4  1/6  1/8  1/10

So one that is alone may take three quarters, the second finds a part of the rest, and none is ever the last: the sum of
all that is left out has no end. When those that have much give back, the others get it.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

__all__ = ["NOBODY", "Portions"]


class Portions(dict[Hashable, int]):
    """What each party has now of one kind of thing; who has nothing is not in it."""

    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0
        """What all have together."""

    def of(self, party: Hashable) -> int:
        """How much it has."""
        return self.get(party, 0)

    def allow(self, party: Hashable, more: int, used: int, limit: int) -> bool:
        """Whether a party may take `more`.

        Args:
            used: what is taken of the limit by all, also by those that are no party.
        """
        left = limit - used - more
        if left * 4 >= limit:
            return True
        had = self.get(party)
        if had is None:  # one that has nothing may begin: with a single thing, or with half of what there is
            return left >= 0 and (more == 1 or left >= more)
        parties = len(self)
        return (had + more) * parties <= limit and left * 2 * (parties + 1) >= limit

    def take(self, party: Hashable, more: int = 1) -> Portions:
        """It has more. Returns what is to be used from now on."""
        portions = Portions() if self is NOBODY else self
        portions[party] = self.get(party, 0) + more
        portions.total += more
        return portions

    def give(self, party: Hashable, less: int = 1) -> None:
        """It has less."""
        had = self.pop(party)
        if had > less:
            self[party] = had - less
        self.total -= less

    def clear(self) -> None:
        """Nobody has anything."""
        super().clear()
        self.total = 0


NOBODY: Final = Portions()
"""Those of most connections: they are used by nobody for others."""
