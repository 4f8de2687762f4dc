"""`Ledger`: what is held, counted."""

from __future__ import annotations

from capnet.engine.ledger import ROOMY, Budget, Ledger, kind_in, whole_charge


def test_the_sum_stays_within_the_limit() -> None:
    """P-LIMIT-3: what does not fit is refused, and what does is taken, to the last byte."""
    ledger = Ledger(100)
    assert ledger.take(60) and not ledger.take(41)
    assert not ledger.has_room(41) and ledger.has_room(40) and ledger.take(40) and ledger.used == 100
    assert not ledger.take(1)
    ledger.give(1)
    assert ledger.take(1)


def test_while_little_is_held_nothing_is_too_large() -> None:
    """P-LIMIT-3: what lies there for long keeps no large frame out, as long as it is a quarter of the limit."""
    ledger = Ledger(100)
    assert ledger.take(100 // ROOMY) and ledger.take(1000) and ledger.used == 1025
    ledger.give(999)
    assert ledger.used == 26 and not ledger.take(75) and ledger.take(74)


def test_the_whole_counts_for_all() -> None:
    """P-LIMIT-3: what one holds leaves less for the others, and who has no room for which reason can be told."""
    whole = Ledger(10)
    first, second = Ledger(8, whole), Ledger(8, whole)
    assert first.take(8) and not first.has_room(1) and not first.crowded(1)
    assert second.take(2) and whole.used == 10
    assert second.crowded(1) and not second.has_room(1) and not second.take(1) and second.used == 2
    assert whole.wanted == 1
    first.clear()
    assert whole.used == 2 and second.take(1)
    assert not second.crowded(6) and not second.has_room(6), "there is no room of its own either"
    first.give(8)
    assert (first.used, whole.used) == (0, 3)


def test_what_must_be_taken_is_counted() -> None:
    """P-CALL-7: a one-way call, whose sender has credit for it."""
    whole = Ledger(1)
    ledger = Ledger(1, whole)
    ledger.add(5)
    Ledger(1).add(5)
    assert not ledger.has_room(0) and whole.used == 5


def test_what_is_inside_counts_in_all_that_is_around_it() -> None:
    """P-VIRT-5: in the budget of its connection, and in the host around that; each may be what has no room."""
    host = Ledger(100)
    around = kind_in(host)(1000, host)
    assert type(around) is Ledger
    budget = Budget(40, host)
    first, second = kind_in(budget)(30, budget), kind_in(budget)(1000, budget)
    assert isinstance(first, Budget)
    assert first.take(20) and second.take(20) and (budget.used, host.used) == (40, 40)
    assert not second.take(1) and second.crowded(1) and budget.wanted == 1 and host.wanted == 0
    assert not first.take(11), "nor has it room of its own"
    assert "Limits.max_virtual_charge of the receiver is 40" in whole_charge(second, 1)
    second.give(15)
    second.add(1)
    assert (second.used, budget.used, host.used) == (6, 26, 26)
    around.add(80)
    assert not second.take(1) and host.wanted == 1 and second.crowded(1)
    assert "HostLimits.max_charge of the receiver is 100" in whole_charge(second, 1)
    around.clear()
    first.give(1000)
    second.clear()
    assert (first.used, second.used, budget.used, host.used) == (0, 0, 0, 0)


def test_a_budget_without_a_host() -> None:
    """P-VIRT-5: of a connection that is no host's."""
    budget = Budget(40)
    budget.add(10)
    assert budget.take(30) and not budget.take(1) and not budget.crowded(1)
    budget.give(40)
    assert budget.used == 0
