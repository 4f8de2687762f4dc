"""Processes are swapped and killed under work, by names and by slots; `tests/soak/test_swaps.py` goes on for longer."""

from __future__ import annotations

import sys

import pytest

from tests.connection.leaks import nothing_left as nothing_left  # a fixture
from tests.integration.swapping import swap_and_kill

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills processes")


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], scope="module")
async def test_processes_are_swapped_and_killed_under_work() -> None:
    assert await swap_and_kill(1, 1) > 0
