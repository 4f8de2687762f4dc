"""`Ledger` and `values_in`: what is held, counted."""

from __future__ import annotations

from typing import Any

import pytest

from capnet.engine.ledger import Ledger, values_in


def test_the_last_may_be_larger_than_what_is_left() -> None:
    """P-LIMIT-3: the sum passes the limit by one frame at most, so one frame always fits into an empty ledger."""
    ledger = Ledger(10)
    assert ledger.take(9)
    assert ledger.take(1000)
    assert ledger.full and ledger.used == 1009
    assert not ledger.take(0)
    ledger.give(1000)
    assert ledger.take(1) and not ledger.take(1)


def test_the_whole_counts_for_all() -> None:
    """P-LIMIT-3: what one holds leaves less for the others, and who has no room for which reason can be told."""
    whole = Ledger(10)
    first, second = Ledger(8, whole), Ledger(8, whole)
    assert first.take(8) and first.full and not first.crowded
    assert second.take(7) and whole.used == 15
    assert second.full and second.crowded and not second.take(1) and second.used == 7
    first.clear()
    assert whole.used == 7 and second.take(1)
    first.give(8)
    assert (first.used, whole.used) == (0, 8)


def test_what_must_be_taken_is_counted() -> None:
    """P-CALL-7: a one-way call, whose sender has credit for it."""
    whole = Ledger(1)
    ledger = Ledger(1, whole)
    ledger.add(5)
    Ledger(1).add(5)
    assert ledger.full and whole.used == 5


@pytest.mark.parametrize(
    ("value", "count"),
    [(1, 1), ("abc", 1), ([], 1), ({}, 1), ([1, 2], 3), ((1, [2]), 4), ({"a": 1}, 3), ({"a": {"b": []}}, 5)],
)
def test_values_are_counted_with_their_keys(value: Any, count: int) -> None:
    """P-FRAME-4: as the frame counts them."""
    assert values_in(value) == count
