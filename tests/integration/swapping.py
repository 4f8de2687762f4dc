"""Processes behind a name and a slot, swapped and killed under work: no swap is noticed, and no kill leaves a call."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from contextlib import aclosing
from itertools import count
from typing import Final

import anyio

from capnet import Connection, Host, Slot, Unavailable, connect
from tests.connection.part import Part
from tests.cost import HANGS
from tests.integration.processes import PATIENT, until
from tests.integration.programs import ROOT

__all__ = ["swap_and_kill"]

CALLERS: Final = 16
READERS: Final = 4
_number: Final = count(1)


class Work:
    """Callers without a pause, and readers, on one part; it counts who answered, and how calls failed."""

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
                await self.failure(error)

    async def read(self) -> None:
        while self.going_on:
            try:
                async with aclosing(self.part.count(1)) as numbers:
                    assert [number async for number in numbers] == [1, 2, 3]
            except Unavailable as error:
                await self.failure(error)

    async def failure(self, error: Unavailable) -> None:
        self.failed[error.reason] += 1
        await anyio.sleep(0.01)

    async def answers(self, name: str) -> None:
        """Return when that one has answered as often as there are callers."""
        wanted = self.answered[name] + CALLERS
        await until(lambda: self.answered[name] >= wanted)

    async def fails(self, reason: str, times: int) -> None:
        """Return when so many more calls have failed like that."""
        wanted = self.failed[reason] + times
        await until(lambda: self.failed[reason] >= wanted)


async def swap_and_kill(swaps: int, kills: int) -> int:
    """Put processes behind a name and a slot, the same behind both, one after the other.

    Args:
        swaps: how many are swapped for the next one, which is to be noticed by nobody.
        kills: how many are killed after that; all calls end, and both recover.

    Returns how many calls were answered.
    """
    slot, url = Slot(Part, wait=HANGS), f"memory:swapping-{next(_number)}"
    works: list[Work] = []
    async with Host(limits=PATIENT) as host:
        line, part = await _start(host, "first")
        host.serve(part)
        host.serve(slot.proxy, name="slot")
        slot.set(part)
        await host.listen(url)
        async with connect(url, limits=PATIENT) as client, anyio.create_task_group() as tasks:
            named, slotted = works = [
                Work(await client.bootstrap(Part, name=name)) for name in ("test.SlotPart", "slot")
            ]
            for work in works:
                for one in [work.call] * CALLERS + [work.read] * READERS:
                    tasks.start_soon(one)
                await work.answers("first")
            for number in range(swaps):
                line = await _swap(host, slot, line, f"swapped {number}")
                for work in works:
                    await work.answers(f"swapped {number}")
                    assert not work.failed
            for number in range(kills):
                assert line.attestation.pid is not None
                os.kill(line.attestation.pid, signal.SIGKILL)
                await named.fails("vacant", CALLERS)
                line, part = await _start(host, f"risen {number}")
                await host.replace(part)
                slot.set(part)
                for work in works:
                    await work.answers(f"risen {number}")
            assert named.failed.keys() <= {"vacant", "indeterminate"}
            assert slotted.failed.keys() <= {"indeterminate"}  # the others wait
            for work in works:
                work.going_on = False
    return sum(work.answered.total() for work in works)


async def _swap(host: Host, slot: Slot[Part], old: Connection, name: str) -> Connection:
    new, part = await _start(host, name)
    async with host.swap(part, grace=HANGS) as swap:
        assert await swap.candidate.who() == name
    before = slot.set(part)
    assert before is not None and await before.drained(HANGS)
    assert swap.report is not None and (swap.report.cut, swap.report.streams_cut) == (0, 0)
    await old.aclose()
    return new


async def _start(host: Host, name: str) -> tuple[Connection, Part]:
    argv = [sys.executable, "-m", "tests.integration.part", name]
    plugin = await host.connect("exec:", argv=argv, cwd=ROOT)
    return plugin, await plugin.bootstrap(Part, wait=HANGS)
