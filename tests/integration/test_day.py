"""R13, a two hundredth of it: a day's work of two processes over a unix socket; the long one is in tests/soak."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.day import SHORT, spend

TRACED = 128 * 1024
"""Bytes of Python objects that may be more at its end, most of them what is kept for later."""


@pytest.mark.parametrize("loop", ["asyncio", "trio"])  # the long one runs on uvloop as well
def test_a_day_in_small(loop: str, tmp_path: Path) -> None:
    """R13: nothing grows with the work, and nothing is left of it."""
    evening = spend(SHORT, loop, tmp_path, traced=True)
    evening.check(traced=TRACED)
    assert evening.done["calls"] == 5000 and evening.done["exports"] == 1000, evening
    assert evening.done["streams"] >= 100 and evening.done["cancels"] >= 100, evening
