"""R12, fewer of them: connections to one host, idle, then used once each; the long one is in tests/soak."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.many import measure

COUNT = 300
EACH = 64 * 1024
"""Bytes of Python objects that one may cost the host: some more where Python's own are larger."""


@pytest.mark.parametrize("loop", ["asyncio", "trio"])  # the long one runs on uvloop as well
def test_three_hundred_connections(loop: str, tmp_path: Path) -> None:
    """R12: what each costs the host, and that nothing is left of them."""
    measure(loop, COUNT, tmp_path, traced=True).check(EACH)
