"""Links for as long as is asked: a million steps in all weathers, other seeds each time, the first one printed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from random import Random, SystemRandom

import anyio
import pytest

from tests.integration.link_kills import kill_under_link
from tests.links.story import KINDS, Figures, Kind, end_at_each_frame, tell_seed

SEED = int(os.environ.get("CAPNET_SEED", SystemRandom().randrange(2**31)))
STEPS = int(os.environ.get("CAPNET_LINK_STEPS", "1000000"))
KILLS = int(os.environ.get("CAPNET_LINK_KILLS", "200"))
EVERY = 200
"""Stories between two lines of progress."""


@pytest.fixture
def every_start_has_its_end() -> None:
    """No books are kept here, in place of those of tests/conftest.py: there would be an entry for every call."""


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("operations", [False, True])
@pytest.mark.parametrize("kind", [*KINDS, "inner"])
def test_a_line_that_ends_at_every_frame(
    kind: Kind, operations: bool, inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each frame of a story in turn."""
    assert end_at_each_frame(kind, operations, inside, monkeypatch, seed=SEED).stories > 36


@pytest.mark.timeout(3600)
def test_links_hold_for_long(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """No call runs twice that must not, and everybody is told the truth."""
    played, seed = Figures(), SEED
    with capsys.disabled():
        print(f"\nCAPNET_SEED={SEED}")
        while played.steps < STEPS:
            played.add(tell_seed(seed, monkeypatch, operations=seed % 2 == 1, inside=seed % 4 >= 2))
            seed += 1
            if not played.stories % EVERY:
                print(f"\rlinks: {played}", end="", flush=True)
        print(f"\rlinks: {played}")
    assert played.cuts > 0 and played.ends["Indeterminate"] > 0


@pytest.mark.timeout(3600)
def test_a_host_is_killed_for_long(capsys: pytest.CaptureFixture[str]) -> None:
    """kill -9, under 16 callers."""
    with tempfile.TemporaryDirectory(prefix="cap", dir="/tmp") as folder:
        ends = anyio.run(kill_under_link, KILLS, Random(SEED), Path(folder))
    with capsys.disabled():
        print(f"\nCAPNET_SEED={SEED} {KILLS} kills: {dict(ends)}")
    assert ends["str"] > ends["Indeterminate"] > 0
