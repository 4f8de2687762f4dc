"""Links in all weathers: a line that ends at each write in turn, and what chance makes of it."""

from __future__ import annotations

import os
from random import Random

import pytest

from capnet.contract import contract_spec
from capnet.testing.simulate.weather import Weather
from tests.links.story import KINDS, Figures, Kind, Tree, tell, tell_seed

SEED = int(os.environ.get("CAPNET_SEED", "0"))
CALM = Weather(delay=0.05, split=0.0, stall=0.0)
MOST = 400
"""Writes of a story; far more than there are."""


@pytest.fixture
def nothing_left() -> None:
    """Each story has a loop of its own."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_line_that_ends_at_any_write(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each write of the story in turn, until there are no more."""
    played = Figures()
    for number in range(1, MOST):
        plan: dict[int, Kind] = {number: kind}
        figures = tell(Random(SEED), plan.get, CALM, monkeypatch)
        if not figures.cuts:
            break
        played.add(figures)
    else:
        pytest.fail("there is no end of writes")
    assert played.cuts == played.stories > 20
    assert played.ends["str"] > played.ends["Indeterminate"]
    if kind != "goaway":  # which has less time than calls may take
        assert (played.ends["Indeterminate"] > 0) == (kind != "restart"), "whoever closes in time, tells"


@pytest.mark.parametrize("kind", ["before", "kill"])
def test_a_line_that_ends_at_any_write_of_calls_with_ids(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """P-CALL-10: while the host lives nobody is left in the dark."""
    played = Figures()
    for number in range(1, MOST):
        plan: dict[int, Kind] = {number: kind}
        figures = tell(Random(SEED), plan.get, CALM, monkeypatch, operations=True)
        if not figures.cuts:
            break
        played.add(figures)
    assert played.cuts == played.stories > 20
    assert (played.ends["Indeterminate"] > 0) == (kind == "kill")


def test_what_chance_makes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many ends in one story."""
    played = Figures()
    for seed in range(SEED, SEED + 60):
        played.add(tell_seed(seed, monkeypatch))
    assert played.cuts > played.stories and played.ends["Indeterminate"] > 0


def test_what_chance_makes_of_calls_with_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same stories: none runs twice, and fewer callers are told that it may have run."""
    without, played = Figures(), Figures()
    for seed in range(SEED, SEED + 30):
        without.add(tell_seed(seed, monkeypatch))
        played.add(tell_seed(seed, monkeypatch, operations=True))
    assert played.ends["str"] > without.ends["str"], "those that remain are of hosts that ended"


def test_a_call_that_runs_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a contract that says of a method what is not so."""
    monkeypatch.setattr(contract_spec(Tree).methods["add"], "idempotent", True)
    with pytest.raises(AssertionError, match="has run 2 times"):
        _tell_many(monkeypatch)


def _tell_many(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(SEED, SEED + 60):
        tell_seed(seed, monkeypatch)
