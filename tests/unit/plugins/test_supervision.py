"""When a plugin is started again, and when it is given up, by a clock that the tests turn."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capnet.plugins.spec import Restart
from capnet.plugins.supervision import JITTER, Rules, Supervision

HALF = 0.5
"""A chance that changes nothing."""


def supervision(
    restart: Restart = "on-failure", *, max_restarts: int = 3, period: float = 60, chance: float = HALF
) -> Supervision:
    rules = Rules(restart=restart, max_restarts=max_restarts, period=period, backoff=0.1, max_backoff=1.0)
    return Supervision(rules, lambda: chance)


def state(one: Supervision) -> str:
    """What it is now; type checkers take it for what it was."""
    return one.state


def run(one: Supervision, now: float, seconds: float, *, failed: bool = True) -> float:
    """It starts at once, runs for some seconds, and ends; the time at which it does."""
    one.is_ready(now)
    one.ended(now + seconds, failed=failed)
    return now + seconds


@pytest.mark.parametrize(
    ("restart", "failed", "state"),
    [
        ("always", True, "backoff"),
        ("always", False, "backoff"),
        ("on-failure", True, "backoff"),
        ("on-failure", False, "stopped"),
        ("never", True, "stopped"),
        ("never", False, "stopped"),
    ],
)
def test_what_is_started_again(restart: Restart, failed: bool, state: str) -> None:
    one = supervision(restart)
    one.start()
    run(one, 0, 10, failed=failed)
    assert one.state == state
    assert (one.due is not None) == (state == "backoff")


def test_pauses_double_up_to_the_longest() -> None:
    one = supervision(max_restarts=6)
    one.start()
    pauses: list[float] = []
    now = 0.0
    for _ in range(6):
        one.ended(now, failed=True)
        assert one.due is not None
        pauses.append(one.due - now)
        now = one.due
        one.start_again()
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
    assert one.restarts == 6


@pytest.mark.parametrize(("chance", "share"), [(0.0, 1 - JITTER), (1.0, 1 + JITTER)])
def test_a_part_of_a_pause_is_chance(chance: float, share: float) -> None:
    one = supervision(chance=chance)
    one.start()
    one.ended(5, failed=True)
    assert one.due == pytest.approx(5 + 0.1 * share)


def test_a_pause_is_short_again_after_a_period_without_failure() -> None:
    one = supervision(period=60)
    one.start()
    now = run(one, 0, 1)
    one.start_again()
    now = run(one, now, 1)
    assert one.due == pytest.approx(now + 0.2)
    one.start_again()
    now = run(one, now, 60)
    assert one.due == pytest.approx(now + 0.1)


def test_too_many_in_a_period_are_quarantine() -> None:
    one = supervision(max_restarts=3, period=60)
    one.start()
    now = 0.0
    for _ in range(3):
        now = run(one, now, 1)
        assert one.state == "backoff"
        one.start_again()
    run(one, now, 1)
    assert (one.state, one.due, one.running) == ("quarantined", None, False)


def test_as_many_over_a_longer_time_are_none() -> None:
    one = supervision(max_restarts=3, period=60)
    one.start()
    now = 0.0
    for _ in range(20):
        now = run(one, now, 20.1)
        assert one.state == "backoff"
        one.start_again()


def test_failed_starts_count_like_ends() -> None:
    one = supervision(max_restarts=2)
    one.start()
    one.is_ready(0)
    for now in (1, 2):
        one.ended(now, failed=True)
        one.start_again()
    one.ended(3, failed=True)
    assert one.state == "quarantined"


def test_who_starts_it_forgets_what_was() -> None:
    one = supervision(max_restarts=0)
    one.start()
    run(one, 0, 1)
    assert state(one) == "quarantined"
    one.start()
    assert state(one) == "starting"
    run(one, 2, 1)
    assert state(one) == "quarantined"


@pytest.mark.parametrize("before", ["starting", "ready", "swapping", "backoff", "quarantined", "stopped"])
def test_it_can_be_stopped_whatever_it_does(before: str) -> None:
    one = supervision(max_restarts=1)
    if before != "stopped":
        one.start()
    if before in ("ready", "swapping"):
        one.is_ready(0)
    if before == "swapping":
        one.swap_begins()
    if before in ("backoff", "quarantined"):
        one.ended(0, failed=True)
    if before == "quarantined":
        one.start_again()
        one.ended(0, failed=True)
    assert one.state == before
    runs = before in ("starting", "ready", "swapping")
    one.stop()
    assert (one.state, one.due) == ("draining" if runs else "stopped", None)
    one.stopped()
    assert one.state == "stopped"


def test_a_swap_leaves_it_running() -> None:
    one = supervision()
    one.start()
    one.is_ready(0)
    one.swap_begins()
    assert (one.state, one.running) == ("swapping", True)
    one.swap_ends()
    assert state(one) == "ready"
    one.swap_begins()
    one.ended(1, failed=True)
    one.swap_ends()  # both have gone meanwhile: nothing comes back
    assert state(one) == "backoff"


@given(
    lives=st.lists(st.tuples(st.floats(0, 100), st.booleans(), st.floats(0, 1)), max_size=40),
    most=st.integers(0, 5),
)
def test_never_more_starts_in_a_period_than_it_may(lives: list[tuple[float, bool, float]], most: int) -> None:
    """Whatever happens when, and whatever chance says."""
    chances = [chance for _, _, chance in lives]
    rules = Rules(restart="always", max_restarts=most, period=60, backoff=0.1, max_backoff=30)
    one = Supervision(rules, lambda: chances.pop(0))
    one.start()
    now, ends = 0.0, list[float]()
    for seconds, starts, _ in lives:
        if starts:
            one.is_ready(now)
        now += seconds
        one.ended(now, failed=True)
        if one.state == "quarantined":
            assert len([end for end in ends if now - end < 60]) == most
            return
        assert one.due is not None and 0 < one.due - now <= 30 * (1 + JITTER)
        ends.append(now)
        now = one.due
        one.start_again()
    if most:
        assert all(later - sooner >= 60 for sooner, later in zip(ends, ends[most:], strict=False))
    assert all(sooner <= later for sooner, later in pairwise(ends))
