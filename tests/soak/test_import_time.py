"""`import capnet` in seconds; in calls it is in tests/architecture."""

from __future__ import annotations

import pytest

from benchmarks.reference import factor
from tests.architecture.test_import_time import fresh_import

BUDGET = 0.030
"""Seconds of the reference machine over a bare interpreter."""


def test_import_is_within_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    """The best of many runs counts."""
    seconds = min(fresh_import("capnet")[1] for _ in range(15)) / factor()
    with capsys.disabled():
        print(f"\nimport capnet: {seconds * 1000:.1f} ms")
    assert seconds <= BUDGET
