"""Honest peers keep nine tenths of their throughput while another one misbehaves, one way after the other."""

from __future__ import annotations

import os

import pytest

from tests.hostile.jail import anyio_backend as anyio_backend  # a fixture
from tests.soak.throughput import KINDS, measure

SECONDS = float(os.environ.get("CAPNET_SOAK_SECONDS", "60"))
ROUNDS = 11
LEAST = 0.9
STARVED = 0.5
"""The same by the clock, which other programs of the machine disturb, and which alone tells when they have to wait."""


@pytest.mark.timeout(int(SECONDS * 2 + 120))
@pytest.mark.parametrize("kind", KINDS)
async def test_honest_peers_keep_their_throughput(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The bar of the issue, for each second of the processor; and nobody is kept waiting."""
    shares = await measure(kind, ROUNDS, SECONDS / ROUNDS / 2)
    with capsys.disabled():
        print(f"\n{kind}: {shares}")
    assert shares.processor >= LEAST
    assert shares.wall >= STARVED
