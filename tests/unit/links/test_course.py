"""`Course`: when a link tries again, and whether the peer that it found has lost what it knew."""

from __future__ import annotations

import math
from random import Random

from capnet import Retry, Unauthenticated, Unavailable
from capnet.links.course import STEADY, Course

GONE = Unavailable("gone")


def even() -> float:
    return 0.5


def test_attempts_are_ever_further_apart_until_it_has_held() -> None:
    """Also when it comes and goes: a peer that takes us and ends at once is not asked without a pause."""
    course = Course(Retry(base=1.0, cap=8.0, budget=math.inf), even)
    course.reached("a", 0.0)
    assert course.lost(100.0) == 1.0
    assert [course.failed(GONE, 101.0), course.failed(GONE, 103.0)] == [2.0, 4.0]
    course.reached("a", 107.0)
    assert course.lost(107.0 + STEADY / 2) == 8.0 and course.failures == 4
    course.reached("a", 200.0)
    assert course.lost(200.0 + STEADY) == 1.0 and course.failures == 1


def test_each_loss_has_the_whole_budget() -> None:
    course = Course(Retry(base=1.0, cap=1.0, budget=3.0), even)
    course.reached("a", 0.0)
    for began in (100.0, 101.0, 200.0):
        course.lost(began)
        assert course.failed(GONE, began + 1.0) == 1.0
        assert course.failed(GONE, began + 2.5) == 0.5
        assert course.failed(GONE, began + 3.0) is None
        course.reached("a", began)


def test_attempts_are_counted_for_each_loss() -> None:
    course = Course(Retry(attempts=2, base=1.0), even)
    course.reached("a", 0.0)
    for began in (1.0, 2.0):
        course.lost(began)
        assert course.failed(GONE, began) is not None
        assert course.failed(GONE, began) is None


def test_what_another_attempt_cannot_change_ends_it() -> None:
    course = Course(Retry(), even)
    course.reached("a", 0.0)
    course.lost(1.0)
    assert course.failed(Unauthenticated("who?"), 1.0) is None


def test_the_generation_rises_when_the_peer_is_another() -> None:
    """One that does not say who it is may be another each time."""
    course = Course(Retry(), even)
    found = [course.reached(instance, 0.0) for instance in ("a", "a", "b", "b", "", "", "a")]
    assert found == [False, False, True, False, True, True, True]
    assert course.generation == 4


def test_ten_thousand_that_were_cut_off_together_come_one_after_the_other() -> None:
    """With `jitter=1`: no hundredth of the time in which the first attempts are has a twentieth of them."""
    random = Random(1)
    retry = Retry(base=2.0, jitter=1.0)
    first = [Course(retry, random.random).lost(0.0) for _ in range(10_000)]
    slots = [0] * 100
    for pause in first:
        slots[min(int(pause / 4.0 * 100), 99)] += 1
    assert max(slots) < 500 and min(slots) > 0
