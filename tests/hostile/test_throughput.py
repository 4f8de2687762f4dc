"""What honest peers get done while another one misbehaves; the long version is `tests/soak/test_throughput.py`."""

from __future__ import annotations

import pytest

from tests.hostile.jail import anyio_backend as anyio_backend  # a fixture
from tests.soak.throughput import KINDS, measure

ROUNDS, SECONDS = 3, 0.2
LEAST = 0.5
"""Share of what they get done without it, for each second of the processor: that is little, since the rounds are short
and the machine may be busy."""


@pytest.mark.parametrize("kind", KINDS)
async def test_honest_peers_beside_one_that_misbehaves(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Issue bar, in short: nine peers, one core for them and the host."""
    shares = await measure(kind, ROUNDS, SECONDS)
    with capsys.disabled():
        print(f"\n{kind}: {shares}")  # noqa: T201
    assert shares.frames or shares.connections >= ROUNDS
    assert shares.processor >= LEAST
