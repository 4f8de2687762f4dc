"""R13: a day's work of two processes over a unix socket, at full speed."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.soak.day import LONG, Day, Evening, spend
from tests.soak.figures import LOOPS

RESIDENT = 2 * 1024 * 1024
"""Bytes that either process may grow by from the middle of the day to its end."""
TRACED = 256 * 1024
"""Bytes of Python objects that may be more at its end."""
A_FIFTH = replace(LONG, rounds=LONG.rounds // 5)
"""Tracing takes three to four times as long."""


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("loop", LOOPS)
def test_a_day(loop: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """R13: neither process grows with the work, and nothing is left of it."""
    evening = _spent(LONG, loop, tmp_path, capsys, traced=False)
    done = evening.done
    assert done["calls"] >= 1_000_000 and done["exports"] >= 200_000, evening
    assert done["streams"] >= 20_000 and done["cancels"] >= 20_000 and done["reconnects"] >= 1500, evening


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("loop", LOOPS)
def test_a_day_traced(loop: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """R13: there are no more Python objects at its end than in its middle."""
    _spent(A_FIFTH, loop, tmp_path, capsys, traced=True)


def _spent(day: Day, loop: str, folder: Path, capsys: pytest.CaptureFixture[str], *, traced: bool) -> Evening:
    with capsys.disabled():
        evening = spend(day, loop, folder, traced=traced, progress=_tell)
        _tell(f"{loop}: {evening}")
    evening.check(resident=RESIDENT, traced=TRACED)
    return evening


def _tell(text: str) -> None:
    sys.stdout.write(f"\n{text}")
    sys.stdout.flush()
