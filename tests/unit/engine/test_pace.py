"""`Pace`: so many at once, and so many a second after that."""

from __future__ import annotations

import pytest

from capnet.engine.pace import Pace


def test_a_burst_and_then_what_time_brings() -> None:
    """P-LIMIT-4: it begins full, fills no further, and says how long it takes."""
    pace = Pace(3, 2, 10.0)
    assert [pace.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert pace.wait(10.0) == pytest.approx(0.5)
    assert pace.take(10.5) and not pace.take(10.5)
    assert [pace.take(1000.0) for _ in range(4)] == [True, True, True, False]


def test_it_may_be_overdrawn() -> None:
    """`call_rate`: calls of one turn are all made, and paid for with a longer rest."""
    pace = Pace(1, 10, 0.0)
    for _ in range(6):
        pace.spend(0.0)
    assert pace.wait(0.0) == pytest.approx(0.6) and pace.overdrawn(0.0)
    assert pace.wait(0.55) and not pace.overdrawn(0.55)
    assert pace.wait(0.61) == 0 and not pace.overdrawn(0.61)


def test_what_it_costs_is_used_at_once() -> None:
    """P-LIMIT-5: a pace that has rested is full, and no fuller."""
    pace = Pace(10, 10, 0.0)
    pace.spend(100.0, 15)
    assert pace.wait(100.0) == pytest.approx(0.6)


def test_time_never_goes_backwards() -> None:
    """An engine's time is that of its last input."""
    pace = Pace(1, 10, 5.0)
    assert pace.take(5.0) and not pace.take(4.0) and pace.take(5.1)


def test_steps_that_do_not_add_up_exactly() -> None:
    """Ten tenths are one."""
    pace = Pace(1, 1, 0.0)
    pace.take(0.0)
    now = 0.0
    for _ in range(9):
        now += 0.1
        assert pace.wait(now)
    assert pace.take(now + 0.1)
