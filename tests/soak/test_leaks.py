"""R14: every scene a thousand times, and nothing of it is alive."""

from __future__ import annotations

import pytest

from tests.connection.census import check, play
from tests.connection.leaks import nothing_left as nothing_left  # a fixture
from tests.connection.scenes import SCENES

TIMES = 1000


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SCENES)
async def test_nothing_is_left_of(name: str) -> None:
    """R14: no connection, call, answer, end of a stream, proxy, subject of an export, task or frame."""
    check(await play(SCENES[name], TIMES))
