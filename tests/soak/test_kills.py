"""R8: hundreds of plugins and hosts are killed under load, at random instants, by the routines of the short test.

The seed is printed; CAPNET_SEED repeats a run. CAPNET_KILLS is how many plugins are killed in all, 510 unless told.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from tests.integration.kills import Tally, kill_hosts, kill_plugins, p99
from tests.soak.figures import LOOPS

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc"),
    pytest.mark.timeout(1800),
    pytest.mark.parametrize("loop", LOOPS),
]
PLUGINS = int(os.environ.get("CAPNET_KILLS", "510")) // len(LOOPS)
HOSTS = max(1, PLUGINS * 2 // 5)
EVERY = 20
"""Kills between two lines that tell of progress."""
MOST_TAILS = 2.0
"""How much longer a bystander's slowest calls may take while others die."""


@pytest.fixture
def every_start_has_its_end() -> None:
    """No books are kept here, in place of those of tests/conftest.py: there would be an entry for every call."""


@pytest.fixture
def chance(capsys: pytest.CaptureFixture[str]) -> random.Random:
    """Decides the instants."""
    seed = int(os.environ.get("CAPNET_SEED") or random.SystemRandom().randrange(2**32))
    with capsys.disabled():
        print(f"\nCAPNET_SEED={seed}")
    return random.Random(seed)


def telling(capsys: pytest.CaptureFixture[str], loop: str, count: int) -> Callable[[Tally], None]:
    """Prints a line now and then."""
    told = 0

    def tell(tally: Tally) -> None:
        nonlocal told
        if tally.kills.total() >= min(told + EVERY, count):
            told = tally.kills.total()
            with capsys.disabled():
                print(f"{loop}: {told} of {count}: {tally}", flush=True)

    return tell


def test_plugins_are_killed(loop: str, chance: random.Random, capsys: pytest.CaptureFixture[str]) -> None:
    backend, _, variant = loop.partition("+")
    tell = telling(capsys, loop, PLUGINS)

    async def main() -> Tally:
        return await kill_plugins(PLUGINS, chance, loop, progress=tell)

    tally = anyio.run(main, backend=backend, backend_options={"use_uvloop": True} if variant else {})
    with capsys.disabled():
        print(f"{loop}: {tally}")
    assert tally.kills.total() == PLUGINS
    assert p99(tally.after) <= MOST_TAILS * p99(tally.before)


def test_hosts_are_killed(loop: str, chance: random.Random, capsys: pytest.CaptureFixture[str]) -> None:
    backend, _, variant = loop.partition("+")
    tell = telling(capsys, loop, HOSTS)

    async def main(folder: Path) -> Tally:
        return await kill_hosts(HOSTS, chance, loop, folder, progress=tell)

    with tempfile.TemporaryDirectory(prefix="cap", dir="/tmp") as name:
        options = {"use_uvloop": True} if variant else {}
        tally = anyio.run(main, Path(name), backend=backend, backend_options=options)
    with capsys.disabled():
        print(f"{loop}: {tally}")
    assert tally.kills.total() == HOSTS
