"""Honest peers are served while another one misbehaves; what that costs them is measured by `make soak`."""

from __future__ import annotations

import pytest

from tests.hostile.jail import anyio_backend as anyio_backend  # a fixture
from tests.soak.throughput import KINDS, serve_beside

CALLS = 32
"""Of each honest peer."""


@pytest.mark.parametrize("kind", KINDS)
async def test_honest_peers_beside_one_that_misbehaves(kind: str) -> None:
    """Nine peers have every call answered, and the other one was busy all the while."""
    frames, connections = await serve_beside(kind, CALLS)
    assert frames or connections
