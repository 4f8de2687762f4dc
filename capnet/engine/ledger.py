"""The ledger: how much memory what a peer has sent takes up here (reliability §5.3, P-LIMIT-3).

What is held is counted by its *charge*, which is close to what it takes in memory and can be told from a frame: its
length, and a share for every value in it. The sum may pass the limit by one frame, as credit does; what comes after it
is refused.
"""

from __future__ import annotations

from typing import Any, Final

from capnet.wire.references import kind_of

__all__ = ["BYTES_PER_VALUE", "Ledger", "values_in"]

BYTES_PER_VALUE: Final = 90
"""What a value takes in memory beside its bytes on the wire, at most, on average over a frame."""


class Ledger:
    """What is held of one kind, against a limit.

    Args:
        limit: charge from which nothing more is taken.
        whole: counts the same for all connections of a host, against a limit of its own.
    """

    __slots__ = ("limit", "used", "whole")

    def __init__(self, limit: int, whole: Ledger | None = None) -> None:
        self.limit = limit
        self.used = 0
        """Charge of what is held now."""
        self.whole = whole

    @property
    def full(self) -> bool:
        """Whether nothing more is taken."""
        return self.used >= self.limit or (self.whole is not None and self.whole.used >= self.whole.limit)

    @property
    def crowded(self) -> bool:
        """Whether it is the whole that has no room, and not this one."""
        return self.used < self.limit and self.whole is not None and self.whole.used >= self.whole.limit

    def take(self, charge: int) -> bool:
        """Count it, if there is room; whether there was."""
        if self.used >= self.limit:
            return False
        whole = self.whole
        if whole is not None:
            if whole.used >= whole.limit:
                return False
            whole.used += charge
        self.used += charge
        return True

    def add(self, charge: int) -> None:
        """Count it, whether there is room or not."""
        self.used += charge
        if self.whole is not None:
            self.whole.used += charge

    def give(self, charge: int) -> None:
        """It is held no more. After `clear` this does nothing."""
        if charge > self.used:
            charge = self.used
        self.used -= charge
        if self.whole is not None:
            self.whole.used -= charge

    def clear(self) -> None:
        """Nothing is held any more."""
        self.give(self.used)


def values_in(value: Any) -> int:
    """How many values stand in plain data, keys and itself included."""
    kind = kind_of(value)
    if kind is dict:
        count = 1 + len(value)
        value = value.values()
    elif kind is list or kind is tuple:
        count = 1
    else:
        return 1
    for item in value:
        kind = kind_of(item)
        count += values_in(item) if kind is dict or kind is list or kind is tuple else 1
    return count
