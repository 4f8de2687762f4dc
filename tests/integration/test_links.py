"""A link whose host is killed, again and again."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

import pytest

from tests.connection.leaks import nothing_left as nothing_left  # a fixture
from tests.integration.link_kills import kill_under_link


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], scope="module")
async def test_a_host_is_killed_under_callers() -> None:
    """Nobody's call runs twice that must not, everybody is told the truth, and all go on with the next host."""
    with tempfile.TemporaryDirectory(prefix="cap", dir="/tmp") as folder:
        ends = await kill_under_link(2, Random(1), Path(folder))
    assert ends["str"] > ends["Indeterminate"] > 0
