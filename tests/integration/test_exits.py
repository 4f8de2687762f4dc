"""A program ends in the middle of a handler: whoever waits for anything of it is told that, and of nothing else."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncGenerator, Awaitable
from pathlib import Path

import anyio
import pytest
from anyio.abc import TaskGroup

from capnet import CallCancelled, CapnetError, Internal, Stream, Unavailable, connect, on_broken
from capnet.testing import connected
from tests.cost import HANGS
from tests.integration.exits import Desk, MemDesk
from tests.integration.processes import PATIENT, running
from tests.loops import on_every_loop as on_every_loop


class Waiting:
    """All that a program may wait for on one connection, and how each of it has ended."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.fed = anyio.Event()
        self.closed = anyio.Event()
        self.broken = anyio.Event()
        self.ends: dict[str, type[CapnetError]] = {}
        on_broken(desk, lambda _: self.broken.set())

    async def items(self) -> AsyncGenerator[int]:
        try:
            yield 1
            self.fed.set()
            await anyio.sleep_forever()
        finally:
            self.closed.set()

    async def begin(self, tasks: TaskGroup) -> None:
        """Returns when all of it is under way."""
        feeding, following = self.desk.count(self.items()), self.desk.follow()
        assert await anext(following) == 1
        await self.fed.wait()
        tasks.start_soon(self.end_of, "call", self.desk.wait())
        tasks.start_soon(self.end_of, "feeding call", feeding)
        tasks.start_soon(self.end_of, "stream", anext(following))
        assert await self.desk.fine() == 1

    async def end_of(self, what: str, awaitable: Awaitable[object]) -> None:
        with pytest.raises(CapnetError) as caught:
            await awaitable
        self.ends[what] = type(caught.value)


async def _read(items: Stream[int]) -> None:
    async for _ in items:
        pass


@pytest.mark.parametrize(
    ("how", "place", "anyio_backend"),
    [
        *(("exit", place, loop) for place in ("call", "stream") for loop in ("asyncio", "trio")),
        ("elsewhere", "call", "asyncio"),
        ("kill", "stream", "asyncio"),
    ],
)
async def test_all_that_waits_ends_as_unavailable(tmp_path: Path, how: str, place: str, anyio_backend: str) -> None:
    """On the line by which the end came, and on every other."""
    url = f"unix:{tmp_path}/s"
    with anyio.fail_after(HANGS):
        async with running([sys.executable, "-m", "tests.integration.exits", url, anyio_backend], "exits") as program:
            assert await program.line() == "listens"
            async with connect(url, limits=PATIENT) as one, connect(url, limits=PATIENT) as other:
                lines = [Waiting(await one.bootstrap(Desk)), Waiting(await other.bootstrap(Desk))]
                async with anyio.create_task_group() as tasks:
                    for line in lines:
                        await line.begin(tasks)
                    desk = lines[0].desk
                    ends = desk.end(how) if place == "call" else _read(desk.end_later(how))
                    with pytest.raises(Unavailable):
                        await ends
                for line in lines:
                    await line.broken.wait()
                    await line.closed.wait()
                    assert line.ends == dict.fromkeys(("call", "feeding call", "stream"), Unavailable)
            assert await program.code() == (-signal.SIGKILL if how == "kill" else 3)


async def _goes_on(how: str, error: type[CapnetError]) -> None:
    async with connected(MemDesk()) as (server, client):
        waiting = Waiting(await client.bootstrap(Desk))
        with anyio.fail_after(HANGS):
            with pytest.raises(error):
                await waiting.desk.end(how)  # also when nothing else runs
            async with anyio.create_task_group() as tasks:
                await waiting.begin(tasks)
                for _ in range(2):
                    with pytest.raises(error):
                        await waiting.desk.end(how)
                    items = waiting.desk.end_later(how)
                    assert await anext(items) == 1
                    with pytest.raises(error):
                        await anext(items)
                assert await waiting.desk.fine() == 1
                assert not waiting.ends and not waiting.broken.is_set()
                await server.aclose(grace=0)
        assert set(waiting.ends.values()) == {Unavailable}


async def test_a_handler_without_end_ends_its_own_call_only() -> None:
    """The stack overflows; that is a fault like any other."""
    await _goes_on("recurse", Internal)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio has no tasks to be cancelled by whoever has them
async def test_a_handler_whose_task_is_cancelled_ends_its_own_call_only() -> None:
    await _goes_on("task", CallCancelled)
