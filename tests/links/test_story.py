"""Links in all weathers: a line that ends at each frame in turn, and what chance makes of it."""

from __future__ import annotations

import os

import pytest

from capnet.contract import contract_spec
from tests.links.story import KINDS, Figures, Kind, Tree, end_at_each_frame, tell_seed

SEED = int(os.environ.get("CAPNET_SEED", "0"))
EVERY = 4
"""Of so many frames one ends a story here."""


@pytest.fixture
def nothing_left() -> None:
    """Each story has a loop of its own."""


CASES: list[tuple[Kind, bool, bool]] = [
    *((kind, False, False) for kind in KINDS),
    *((kind, True, False) for kind in ("before", "kill")),
    *((kind, False, True) for kind in ("after", "goaway", "inner")),
    *((kind, True, True) for kind in ("before", "inner")),
]
NAMES = [f"{kind}{', ids' * operations}{', inside' * inside}" for kind, operations, inside in CASES]


@pytest.mark.parametrize(("number", "case"), [*enumerate(CASES)], ids=NAMES)
def test_a_line_that_ends_at_any_frame(
    number: int, case: tuple[Kind, bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One frame after the other, until there are no more; here a part of them, in `make soak` all."""
    kind, operations, inside = case
    played = end_at_each_frame(kind, operations, inside, monkeypatch, every=EVERY, first=1 + number % EVERY)
    assert played.stories > 9
    assert played.ends["str"] > played.ends["Indeterminate"]
    if operations and kind != "kill":
        assert not played.ends["Indeterminate"], "while the host lives nobody is left in the dark"
    if kind == "restart":
        assert not played.ends["Indeterminate"], "whoever closes in time, tells"
    if kind in ("kill", "before", "after") and not operations:
        assert played.ends["Indeterminate"]


def test_what_chance_makes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many ends in one story; with ids fewer callers are told that it may have run: those of hosts that ended."""
    without, played = Figures(), Figures()
    for seed in range(SEED, SEED + 24):
        without.add(tell_seed(seed, monkeypatch, inside=seed % 2 == 1))
        played.add(tell_seed(seed, monkeypatch, operations=True, inside=seed % 2 == 1))
    assert without.cuts > without.stories and without.ends["Indeterminate"] > 0
    assert played.ends["str"] > without.ends["str"]
    assert played.steps + without.steps > 3000


def test_a_call_that_runs_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a contract that says of a method what is not so."""
    monkeypatch.setattr(contract_spec(Tree).methods["add"], "idempotent", True)
    with pytest.raises(AssertionError, match="has run 2 times"):
        _tell_many(monkeypatch)


def _tell_many(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(SEED, SEED + 60):
        tell_seed(seed, monkeypatch)
