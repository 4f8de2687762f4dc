"""Plugins under load, for a moment; `tests/soak/test_plugins.py` has the same for longer."""

from __future__ import annotations

import os
import random
import signal
import sys

import anyio
import pytest

from tests.cost import HANGS
from tests.integration.plugin_load import busy_host, kill_plugins, load_and_unload, swap_plugins
from tests.integration.processes import all_gone, descriptors, exited
from tests.integration.test_plugin_host import ONE_LOOP


@ONE_LOOP
async def test_swaps_fail_no_call_and_no_stream() -> None:
    with anyio.fail_after(HANGS):
        work = await swap_plugins(3)
    assert work.failures == [] and work.streams > 0
    assert sorted(work.sums) == list(range(1, len(work.sums) + 1))


@ONE_LOOP
async def test_after_a_kill_every_call_ends_and_the_slot_recovers() -> None:
    with anyio.fail_after(HANGS):
        work = await kill_plugins(3, random.Random(7))
    assert {error.reason for error in work.failures} <= {"indeterminate", "vacant", "connection_lost"}
    assert len(work.sums) > 0


@ONE_LOOP
async def test_loads_leave_nothing_behind() -> None:
    with anyio.fail_after(HANGS):
        await load_and_unload(1)
        before = descriptors()
        await load_and_unload(3)
        assert descriptors() == before


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
@ONE_LOOP
async def test_plugins_do_not_outlive_a_host_that_is_killed() -> None:
    with anyio.fail_after(HANGS):
        async with busy_host("helpers") as (pid, mark):
            os.kill(pid, signal.SIGKILL)
            await exited(pid, HANGS)
        await all_gone(mark, HANGS)
