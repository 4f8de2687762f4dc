"""The ledger: how much memory what a peer has sent takes up here (reliability §5.3, P-LIMIT-3).

What is held is counted by its *charge*, which is close to what it takes in memory and can be told from a frame: see
`capnet/wire/charge.py`. The sum stays within the limit, but for a frame that comes while it is a quarter of it or less:
so none is too large, also beside what lies there for long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from capnet.limits import bound

__all__ = ["ROOMY", "Budget", "Ledger", "call_charge", "kind_in", "whole_charge"]

ROOMY: Final = 4
"""Up to this part of the limit there is room for whatever comes."""


def call_charge(ledger: Ledger) -> str:
    """What is said where there is no room for another call."""
    return f"the calls in flight take too much memory: {bound('max_call_charge', ledger.limit, 'callee')}"


def whole_charge(ledger: Ledger, charge: int) -> str:
    """What is said where the whole has no room for so much."""
    whole = ledger.whole
    assert whole is not None, "only what is part of something has a bound for all"
    while whole.whole is not None and whole.crowded(charge):
        whole = whole.whole
    return bound(whole.field, whole.limit, "receiver")


def kind_in(whole: Ledger | None) -> type[Ledger]:
    """What is counted in the whole as well, and in all that is around that."""
    return Budget if isinstance(whole, Budget) else Ledger


class Ledger:
    """What is held of one kind, against a limit.

    Args:
        limit: of the charge that is held.
        whole: counts the same for all connections of a host, against a limit of its own.
    """

    __slots__ = ("limit", "recount", "used", "wanted", "whole")
    field = "HostLimits.max_charge"
    """Where the limit is said of one that is the whole of others."""

    def __init__(self, limit: int, whole: Ledger | None = None) -> None:
        self.limit = limit
        self.used: int = 0
        """Charge of what is held now."""
        self.wanted: int = 0
        """Charge of what it had no room for as the whole of others, the last time."""
        self.whole = whole
        self.recount: Callable[[], None] | None = None
        """Counts anew what may have become less without a word; asked before anything is refused."""

    def has_room(self, charge: int) -> bool:
        """Whether `take` would count it."""
        return self._has_room(charge) and not self.crowded(charge)

    def crowded(self, charge: int) -> bool:
        """Whether it is the whole that has no room, and not this one."""
        return self.whole is not None and self._has_room(charge) and not self.whole.has_room(charge)

    def take(self, charge: int) -> bool:
        """Count it, if there is room; whether there was."""
        # `has_room`, without another step
        if self.used + charge > self.limit and self.used * ROOMY > self.limit:
            return False
        whole = self.whole
        if whole is not None:
            if whole.used + charge > whole.limit and not whole.has_room(charge):
                whole.wanted = charge
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

    def _has_room(self, charge: int) -> bool:
        if self.used + charge <= self.limit or self.used * ROOMY <= self.limit:
            return True
        if self.recount is None:
            return False
        self.recount()
        return self.used + charge <= self.limit or self.used * ROOMY <= self.limit

    def clear(self) -> None:
        """Nothing is held any more."""
        self.give(self.used)


class Budget(Ledger):
    """A ledger whose whole is part of another: of all connections inside of one, or of one of these."""

    __slots__ = ()
    field = "Limits.max_virtual_charge"

    def take(self, charge: int) -> bool:
        """See `Ledger`."""
        if not self._has_room(charge):
            return False
        if self.whole is not None and not self.whole.take(charge):
            self.whole.wanted = charge
            return False
        self.used += charge
        return True

    def add(self, charge: int) -> None:
        """See `Ledger`."""
        self.used += charge
        if self.whole is not None:
            self.whole.add(charge)

    def give(self, charge: int) -> None:
        """See `Ledger`."""
        charge = min(charge, self.used)
        self.used -= charge
        if self.whole is not None:
            self.whole.give(charge)
