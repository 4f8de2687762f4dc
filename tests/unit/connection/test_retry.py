"""`Retry`: how often, how fast, and what ends it at once."""

from __future__ import annotations

import math

import pytest

from capnet import (
    CapnetError,
    DeadlineExceeded,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    Retry,
    Unauthenticated,
    Unavailable,
)
from capnet.connection.retry import ONCE, VARIABLE, Backoff, retry_of

AGAIN = Unavailable("refused")


def pauses(retry: Retry, *, chance: float = 0.5, most: int = 50) -> list[float]:
    """What is waited, on a clock on which attempts take no time."""
    now, found = 0.0, list[float]()
    backoff = Backoff(retry, now, lambda: chance)
    while len(found) < most and (pause := backoff.failed(AGAIN, now)) is not None:
        found.append(round(pause, 3))
        now += pause
    return found


def test_pauses_grow_up_to_a_cap_and_end_with_the_budget() -> None:
    assert pauses(Retry(budget=4.0, base=0.1, cap=1.0)) == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 0.5]
    assert pauses(Retry(attempts=3, budget=math.inf)) == [0.1, 0.2]
    assert pauses(Retry(attempts=1)) == pauses(ONCE) == pauses(Retry(budget=0)) == []
    assert pauses(Retry(budget=math.inf, factor=1e300, cap=7.0))[-2:] == [7.0, 7.0]


def test_chance_spreads_those_who_were_cut_off_together() -> None:
    assert pauses(Retry(attempts=2, base=1.0), chance=0.0) == [0.8]
    assert pauses(Retry(attempts=2, base=1.0), chance=1.0) == [1.2]
    full = Retry(attempts=2, base=1.0, jitter=1.0)
    assert [pauses(full, chance=chance) for chance in (0.0, 0.5, 1.0)] == [[0.0], [1.0], [2.0]]


@pytest.mark.parametrize(
    "error",
    [
        Unauthenticated("who?"),
        PermissionDenied("another user"),
        InvalidArgument("no such option"),
        DeadlineExceeded("not a matter of the address"),
        Unavailable("another protocol", retry="never"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_another_attempt_cannot_change_ends_it(error: CapnetError) -> None:
    assert Backoff(Retry(), 0.0).failed(error, 0.0) is None


def test_whoever_has_no_room_now_may_have_some_later() -> None:
    assert Backoff(Retry(), 0.0, lambda: 0.5).failed(ResourceExhausted("full", reason="max_connections"), 0.0) == 0.1


@pytest.mark.parametrize(
    "wrong",
    [{"attempts": 0}, {"attempts": 1.5}, {"budget": -1}, {"budget": math.nan}, {"factor": 0.5}, {"jitter": 1.1},
     {"base": 0}, {"cap": "5"}, {"attempt_timeout": 0}, {"attempts": True}],
    ids=str,
)  # fmt: skip
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidArgument, match=r"Retry\."):
        Retry(**wrong)  # type: ignore[arg-type]


def test_the_environment_speaks_where_the_program_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert retry_of(None) is ONCE
    monkeypatch.setenv(VARIABLE, "attempts=5, budget=60 jitter=1")
    assert retry_of(None) == Retry(attempts=5, budget=60, jitter=1)
    assert retry_of(Retry(attempts=2)).attempts == 2 and retry_of(3).budget == 3
    for wrong in ("often", "attempts", "attempts=x", "tries=3", "attempts=1 attempts=2", "attempts=2.5", "budget=-1"):
        monkeypatch.setenv(VARIABLE, wrong)
        with pytest.raises(InvalidArgument):
            retry_of(None)
