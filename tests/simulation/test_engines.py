"""Two engines do what seeds say, at full speed, and everything holds; and with a planted fault it does not."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from capnet.errors import CapnetError
from capnet.testing import simulate
from capnet.testing.simulate import scripts
from capnet.testing.simulate.model import PairModel
from tests.property.pair.mutants import MUTANTS, Patch

SEED = int(os.environ.get("CAPNET_SEED", "0"))
"""Where seeds begin."""
SCRIPTS = 320
"""How many are played; about 270 steps each."""
MOST_STEPS = 20_000
"""In how many steps a planted fault must be found."""
BROKEN = (AssertionError, KeyError, ValueError, CapnetError)
"""What an engine with a planted fault may fail with; anything else is a fault of the plant."""
"""The fault itself is in `test_found.py`."""
SEEN_BY_THREE = [
    mutant
    for mutant in MUTANTS
    if mutant.__name__
    in (
        "release_drops_all_but_one",
        "release_at_the_first_owner",
        "two_terminals",
        "rollback_lost",
        "revocation_not_told",
        "late_results_keep_their_references",
        "the_end_forgets_waiters",
        "credit_not_enforced",
        "end_overtakes_items",
        "unread_streams_stay_open",
    )
]
PAST = [836, 1165, 4934, 10882, 13580, 20749]
"""Seeds that have shown a fault, of the engine or of the shadow."""


@pytest.mark.parametrize(("peers", "count", "steps"), [(2, SCRIPTS, 80_000), (3, SCRIPTS // 4, 20_000)])
def test_everything_holds(peers: int, count: int, steps: int, capsys: pytest.CaptureFixture[str]) -> None:
    """R2: every invariant after every rule, and all tables empty at the end of each script; 10^5 steps together."""
    began = time.process_time()
    figures = simulate.play_seeds(range(SEED, SEED + count), peers=peers)
    speed = figures.steps / (time.process_time() - began)
    with capsys.disabled():
        print(f" CAPNET_SEED={SEED}, {peers} peers: {figures}, {speed:,.0f} steps/s ", end="")
    assert figures.scripts == count
    assert SEED or figures.steps >= steps


@pytest.mark.parametrize("seed", PAST)
def test_past_seeds(seed: int) -> None:
    """They hold, with every table looked at after every rule."""
    assert simulate.replay(simulate.script(seed)) > 0


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_planted_fault_is_found(mutant: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulation that lets one pass would prove nothing."""
    mutant(monkeypatch)
    with pytest.raises(BROKEN):
        _play(MOST_STEPS)


@pytest.mark.parametrize("mutant", SEEN_BY_THREE, ids=lambda mutant: mutant.__name__)
def test_a_planted_fault_is_found_by_three(mutant: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where what comes is passed on; faults of what three do not do cannot be found there."""
    mutant(monkeypatch)
    with pytest.raises(BROKEN):
        _play(MOST_STEPS, peers=3)


def _play(most: int, peers: int = 2) -> None:
    seed = steps = 0
    while steps < most:
        steps += simulate.replay(simulate.script(seed, peers=peers), every=scripts.EVERY)
        seed += 1


def test_a_failing_seed_says_how_to_see_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The notes have the seed, and a short script that is a test: it fails with the fault and passes without."""
    plant = next(mutant for mutant in MUTANTS if mutant.__name__ == "two_terminals")
    with monkeypatch.context() as patch:
        plant(patch)
        with pytest.raises(BROKEN) as caught:
            simulate.play_seeds(range(100))
        seed, source = caught.value.__notes__
        test = _function_in(source)
        with pytest.raises(BROKEN):
            test()
    test()
    assert "play_seeds([" in seed
    assert source.count("\n            (") < 20, "it could have been shorter"


def _function_in(note: str) -> Any:
    names: dict[str, Any] = {}
    exec(note[note.index("from ") :], names)
    return next(value for name, value in names.items() if name.startswith("test_"))


def test_a_seed_is_the_same_script_each_time() -> None:
    """And different seeds are different scripts."""
    assert simulate.script(7) == simulate.script(7) != simulate.script(8)
    assert simulate.replay(simulate.script(7)) == simulate.replay(simulate.script(7))


def test_only_what_matters_is_left() -> None:
    """The shortest part of a script of which nothing can be left out, with its beginning."""
    steps = simulate.script(1, 100)
    tried: list[int] = []

    def fails(part: simulate.Script) -> bool:
        tried.append(len(part))
        return part[0] is steps[0] and all(steps[index] in part for index in (17, 18, 80))

    assert scripts.shrink(steps, fails) == [steps[index] for index in (0, 17, 18, 80)]
    assert len(tried) < 100


def test_nothing_is_lost_on_a_stalled_line() -> None:
    """A stall holds back what comes behind it, for that direction only, until it is over."""
    model = PairModel()
    model.begin(greeted=True, left=(7, 10_000), right=(7, 10_000), kept=10_000)
    model.stall("right", stalled=True)
    model.call("left", 0, [], None, one_way=False, arrives=True)
    model.call("right", 0, [], None, one_way=False, arrives=True)
    assert not model.shadows["right"].running and len(model.shadows["left"].running) == 1
    model.stall("right", stalled=False)
    model.flush()
    assert len(model.shadows["right"].running) == 1
    model.quiesce()
