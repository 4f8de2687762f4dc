"""Portions: the first may have much, the next finds some, and nobody has more than there is."""

from __future__ import annotations

import pytest

from capnet.engine.portions import Portions


def fill(portions: Portions, party: object, limit: int, used: int) -> int:
    """Take single things for a party as long as it may; returns how many."""
    before = portions.of(party)
    while portions.allow(party, 1, used, limit):
        portions.take(party)
        used += 1
    return portions.of(party) - before


@pytest.mark.parametrize("limit", [16, 20, 128, 256, 1024])
def test_one_that_is_alone_may_have_three_quarters(limit: int) -> None:
    portions = Portions()
    assert fill(portions, "a", limit, 0) == limit * 3 // 4


@pytest.mark.parametrize(("limit", "least"), [(16, 4), (128, 15), (256, 20), (1024, 40)])
def test_those_who_take_all_they_may_leave_some_for_many(limit: int, least: int) -> None:
    """However greedy the first are, and however long they keep it."""
    portions = Portions()
    used, served = 0, 0
    for party in range(limit):
        got = fill(portions, party, limit, used)
        used += got
        served += got > 0
    assert served >= least and used == portions.total == limit


def test_what_is_given_back_goes_to_those_with_less() -> None:
    """One that has more than it may, now that there are others, takes nothing until it has less."""
    portions = Portions()
    used = fill(portions, "first", 256, 0)
    used += fill(portions, "second", 256, used)
    assert (portions.of("first"), portions.of("second")) == (192, 21)
    for _ in range(100):
        assert not portions.allow("first", 1, used, 256)
        portions.give("first")
        assert portions.allow("second", 1, used - 1, 256)
        portions.take("second")
    assert (portions.of("first"), portions.of("second")) == (92, 121)


def test_who_has_nothing_may_begin() -> None:
    """With one thing while there is any, or with half of what there is: one alone has no more than three quarters."""
    portions = Portions()
    assert portions.allow("big", 12, 0, 16) and not portions.allow("big", 13, 0, 16)
    portions.take("a")
    assert portions.allow("b", 1, 15, 16) and not portions.allow("a", 1, 15, 16)
    assert not portions.allow("b", 1, 16, 16)
    assert portions.allow("b", 5, 1000 - 10, 1000) and not portions.allow("b", 6, 1000 - 10, 1000)


def test_one_that_has_more_than_its_part_leaves_a_quarter() -> None:
    """Also when it is the coming and going of others that makes the parts of what is left small."""
    portions = Portions()
    used = fill(portions, "greedy", 256, 0)
    for party in range(20):
        portions.take(party)
    assert not portions.allow("greedy", 1, used + 20, 256) and portions.allow(3, 1, used + 20, 256)
    for party in range(20):
        portions.give(party)
    assert fill(portions, "greedy", 256, used) == 0


def test_giving_back_and_clearing() -> None:
    portions = Portions()
    portions.take("a", 30)
    portions.take("b")
    portions.give("a", 10)
    assert [portions.of(party) for party in ("a", "b", "c")] == [20, 1, 0] and portions.total == 21
    portions.give("a", 20)
    assert portions.total == 1 and portions.of("a") == 0
    portions.clear()
    assert portions.total == portions.of("b") == 0
