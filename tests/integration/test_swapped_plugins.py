"""Processes behind a name and a slot, swapped and killed under work: no swap is noticed, and no kill leaves a call."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from contextlib import aclosing

import anyio
import pytest

from capnet import Connection, Host, Slot, Unavailable, connect
from tests.connection.leaks import nothing_left as nothing_left  # a fixture
from tests.connection.part import Part
from tests.cost import HANGS
from tests.integration.processes import PATIENT, until
from tests.integration.programs import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
TWO_LOOPS = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], scope="module")
CALLERS = 16


class Work:
    """Callers without a pause, and streams, on one part; it counts who answered, and how calls failed."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.answered: Counter[str] = Counter()
        self.failed: Counter[str | None] = Counter()
        self.going_on = True

    async def call(self) -> None:
        while self.going_on:
            try:
                self.answered[await self.part.who()] += 1
            except Unavailable as error:
                self.failed[error.reason] += 1
                await anyio.sleep(0.01)

    async def read(self) -> None:
        while self.going_on:
            try:
                async with aclosing(self.part.count(1)) as numbers:
                    assert [number async for number in numbers] == [1, 2, 3]
            except Unavailable as error:
                self.failed[error.reason] += 1
                await anyio.sleep(0.01)

    async def answers(self, name: str) -> None:
        """Return when that one has answered as often as there are callers."""
        wanted = self.answered[name] + CALLERS
        await until(lambda: self.answered[name] >= wanted)


async def start(host: Host, name: str) -> tuple[Connection, Part]:
    argv = [sys.executable, "-m", "tests.integration.part", name]
    plugin = await host.connect("exec:", argv=argv, cwd=ROOT)
    return plugin, await plugin.bootstrap(Part, wait=HANGS)


@TWO_LOOPS
async def test_processes_are_swapped_and_killed_under_work() -> None:
    """One by its name, one by a slot; the same processes are behind both."""
    slot = Slot(Part, wait=HANGS)
    async with Host(limits=PATIENT) as host:
        old, part = await start(host, "p0")
        host.serve(part)
        host.serve(slot.proxy, name="slot")
        slot.set(part)
        await host.listen("memory:swapped")
        async with connect("memory:swapped", limits=PATIENT) as client, anyio.create_task_group() as tasks:
            works = [Work(await client.bootstrap(Part, name=name)) for name in ("test.SlotPart", "slot")]
            for work in works:
                for _ in range(CALLERS):
                    tasks.start_soon(work.call)
                for _ in range(2):
                    tasks.start_soon(work.read)
                await work.answers("p0")

            new, part = await start(host, "p1")
            async with host.swap(part) as swap:
                assert await swap.candidate.who() == "p1"
            before = slot.set(part)
            assert before is not None and await before.drained(HANGS)
            await old.aclose()
            for work in works:
                await work.answers("p1")
            assert swap.report is not None and (swap.report.cut, swap.report.streams_cut) == (0, 0)
            assert [work.failed for work in works] == [Counter(), Counter()]

            assert new.attestation.pid is not None
            os.kill(new.attestation.pid, signal.SIGKILL)
            await until(lambda: works[0].failed["vacant"] >= CALLERS)
            assert works[0].failed.keys() <= {"vacant", "indeterminate"}
            assert works[1].failed.keys() <= {"indeterminate"}  # the others wait
            _, part = await start(host, "p2")
            await host.replace(part)
            slot.set(part)
            for work in works:
                await work.answers("p2")
                work.going_on = False
        assert client.closed
