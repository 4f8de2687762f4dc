"""R12: ten thousand connections to one host, idle, then used once each."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.reference import factor
from tests.soak.figures import LOOPS
from tests.soak.many import OPENING, allow_descriptors, measure

WANTED = 10_000
SPARE = 100
"""Descriptors that a process needs beside those of the connections."""


@pytest.mark.timeout(400)
@pytest.mark.parametrize("loop", LOOPS)
def test_ten_thousand_connections(loop: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """R12: memory for each, time to open them, and nothing left of them."""
    allowed = allow_descriptors()
    outcome = measure(loop, min(WANTED, allowed - SPARE), tmp_path)
    with capsys.disabled():
        fewer = "" if allowed >= WANTED + SPARE else f"; only {allowed} descriptors are allowed here"
        sys.stdout.write(f"\n{loop}: {outcome}{fewer}")
    outcome.check()
    assert outcome.opening <= OPENING * max(1.0, factor())
