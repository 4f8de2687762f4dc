"""Fifty processes are swapped behind a name and a slot, and twenty are killed, by the routine of the short test."""

from __future__ import annotations

import sys

import anyio
import pytest

from tests.integration.swapping import swap_and_kill
from tests.soak.figures import LOOPS

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="kills processes"),
    pytest.mark.timeout(1800),
]


@pytest.mark.parametrize("loop", LOOPS)
def test_processes_are_swapped_and_killed_under_work(loop: str, capsys: pytest.CaptureFixture[str]) -> None:
    backend, _, variant = loop.partition("+")
    answered = anyio.run(
        swap_and_kill, 50, 20, backend=backend, backend_options={"use_uvloop": True} if variant else {}
    )
    with capsys.disabled():
        print(f"{loop}: {answered} calls were answered")
