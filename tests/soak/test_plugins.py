"""Plugins under load for longer: fifty swaps, twenty kills, hundreds of loads, two hundred hosts that are killed.

CAPNET_KILLS is how many hosts are killed, 200 unless told.
"""

from __future__ import annotations

import os
import random
import signal
import sys

import anyio
import pytest

from benchmarks.reference import factor
from tests.integration.plugin_load import BUSY, busy_host, kill_plugins, load_and_unload, swap_plugins
from tests.integration.processes import all_gone, descriptors, exited
from tests.soak.figures import LOOPS, on_loop

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc"),
    pytest.mark.timeout(3600),
]
WORST = 0.1
"""Seconds that a call may take while what answers it is swapped, on the reference machine."""
GONE = 3.0
"""Seconds in which nothing is left of a host that was killed."""
HOSTS = int(os.environ.get("CAPNET_KILLS", "200"))


@pytest.fixture
def every_start_has_its_end() -> None:
    """No books are kept here, in place of those of tests/conftest.py: there would be an entry for every call."""


@pytest.mark.parametrize("loop", LOOPS)
def test_fifty_swaps_under_load(loop: str, capsys: pytest.CaptureFixture[str]) -> None:
    work = on_loop(loop, lambda: swap_plugins(50))
    worst = max(work.seconds)
    with capsys.disabled():
        print(f"\n{loop}: {len(work.seconds)} calls, {work.streams} streams, the slowest call {worst * 1000:.0f} ms")
    assert work.failures == []
    assert sorted(work.sums) == list(range(1, len(work.sums) + 1))
    assert worst <= WORST * max(1.0, factor())


@pytest.mark.parametrize("loop", LOOPS)
def test_twenty_kills_under_load(loop: str, capsys: pytest.CaptureFixture[str]) -> None:
    seed = int(os.environ.get("CAPNET_SEED") or random.SystemRandom().randrange(2**32))
    work = on_loop(loop, lambda: kill_plugins(20, random.Random(seed)))
    with capsys.disabled():
        print(f"\nCAPNET_SEED={seed} {loop}: {len(work.sums)} calls, {len(work.failures)} of them failed")
    assert {error.reason for error in work.failures} <= {"indeterminate", "vacant", "connection_lost"}


@pytest.mark.parametrize("loop", LOOPS)
def test_a_hundred_loads_leave_nothing_behind(loop: str) -> None:
    on_loop(loop, lambda: load_and_unload(2))
    before = descriptors()
    on_loop(loop, lambda: load_and_unload(100))
    assert descriptors() == before


def test_plugins_do_not_outlive_hosts_that_are_killed(capsys: pytest.CaptureFixture[str]) -> None:
    """By SIGKILL and by SIGTERM, with a plugin that is idle and one that is busy, in each way in its turn."""
    longest = dict.fromkeys(BUSY, 0.0)

    async def one(number: int, kind: str) -> float:
        async with busy_host(kind) as (pid, mark):
            os.kill(pid, (signal.SIGKILL, signal.SIGTERM)[number % 2])
            await exited(pid, GONE)
            return await all_gone(mark, GONE)

    for number in range(HOSTS):
        kind = BUSY[number // 2 % len(BUSY)]
        longest[kind] = max(longest[kind], anyio.run(one, number, kind))
    told = ", ".join(f"{kind} {seconds:.2f} s" for kind, seconds in longest.items())
    with capsys.disabled():
        print(f"\n{HOSTS} hosts: the last of their plugins was gone after {told}")
