"""The simulation for as long as is asked: other seeds each time, with the first one printed (R2)."""

from __future__ import annotations

import os
import time
from random import SystemRandom

import pytest

from capnet.testing import simulate
from tests.simulation.test_stories import Release, deposits

SECONDS = float(os.environ.get("CAPNET_SOAK_SECONDS", "60"))
SEED = int(os.environ.get("CAPNET_SEED", SystemRandom().randrange(2**31)))
AT_ONCE = 500
"""Scripts between two lines of progress."""


@pytest.mark.timeout(SECONDS * 3 + 300)
def test_engines_hold_for_long(capsys: pytest.CaptureFixture[str]) -> None:
    """10^6 steps take less than a minute of one core."""
    total = simulate.Figures()
    began, seed = time.monotonic(), SEED
    with capsys.disabled():
        print(f"\nCAPNET_SEED={SEED}")
        while time.monotonic() - began < SECONDS:
            figures = simulate.play_seeds(range(seed, seed + AT_ONCE))
            seed += AT_ONCE
            total.scripts += figures.scripts
            total.rules += figures.rules
            total.steps += figures.steps
            print(f"\rsimulate: {total}", end="", flush=True)
        print()
    assert total.steps > 100_000


@pytest.mark.timeout(SECONDS * 3 + 300)
def test_stories_hold_for_long(capsys: pytest.CaptureFixture[str]) -> None:
    """The same for whole connections."""
    told, began = 0, time.monotonic()
    with capsys.disabled():
        print(f"\nCAPNET_SEED={SEED}")
        while time.monotonic() - began < SECONDS / 4:
            told += simulate.run(deposits, Release, seeds=range(SEED + told, SEED + told + 50))
            print(f"\rsimulate: {told} stories", end="", flush=True)
        print()
    assert told >= 50
