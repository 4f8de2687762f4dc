"""Plugins under load: swapped, killed, loaded and unloaded again and again; and hosts of theirs that are killed.

`python -m tests.integration.plugin_load MARK KIND` is such a host, with one plugin that is idle and one that is busy.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import anyio
from structlog.testing import capture_logs

from capnet import CapnetError, Plugin, PluginHost, PluginSpec, Unavailable
from tests.integration.plugged import Bench
from tests.integration.processes import MARK, running
from tests.integration.programs import ROOT

__all__ = ["BUSY", "Work", "busy_host", "kill_plugins", "load_and_unload", "swap_plugins"]

BUSY: Final = ("block", "spin", "hold", "helpers")
"""How a plugin can be busy: in a system call, in Python, in C with the interpreter's lock, or with what it started."""


def spec(name: str = "bench", main: str = "stateful", **options: Any) -> PluginSpec[Bench]:
    given: dict[str, Any] = {"probation": 0, "wait": 600, "start_timeout": 600, "heartbeat": None, **options}
    return PluginSpec(name, contract=Bench, run=f"tests.integration.plugged:{main}", cwd=ROOT, **given)


@dataclass
class Work:
    """What callers of a plugin have seen.

    Attributes:
        seconds: that each call took.
        sums: what the calls returned, each the number of calls until then.
        failures: of calls and streams.
        streams: that were read to their end.
    """

    seconds: list[float] = field(default_factory=list[float])
    sums: list[int] = field(default_factory=list[int])
    failures: list[CapnetError] = field(default_factory=list[CapnetError])
    streams: int = 0


@asynccontextmanager
async def working(plugin: Plugin[Bench], callers: int, streams: int) -> AsyncGenerator[Work]:
    """Calls and streams, one after the other, as long as the block takes."""
    work, done = Work(), False

    async def add() -> None:
        while not done:
            since = time.perf_counter()
            try:
                work.sums.append(await plugin.slot.add(1))
            except CapnetError as error:
                work.failures.append(error)
            work.seconds.append(time.perf_counter() - since)

    async def count() -> None:
        while not done:
            try:
                assert [number async for number in plugin.slot.count(20)] == list(range(20))
                work.streams += 1
            except CapnetError as error:
                work.failures.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(callers):
            tasks.start_soon(add)
        for _ in range(streams):
            tasks.start_soon(count)
        yield work
        done = True


async def swap_plugins(count: int, callers: int = 16, streams: int = 4) -> Work:
    """Swap one that is in use, so often."""
    with capture_logs():
        async with PluginHost() as host:
            plugin = await host.load(spec(grace=600))
            async with working(plugin, callers, streams) as work:
                for _ in range(count):
                    assert (await host.swap("bench")).drained
            assert plugin.generation == count + 1
            return work


async def kill_plugins(count: int, chance: random.Random, callers: int = 16, streams: int = 4) -> Work:
    """Kill one that is in use, so often, at random instants; each time it comes back."""
    with capture_logs():
        async with PluginHost() as host:
            plugin = await host.load(spec(max_restarts=count, backoff=0.01, max_backoff=0.05))
            async with working(plugin, callers, streams) as work:
                for generation in range(1, count + 1):
                    while not (plugin.state == "ready" and plugin.generation == generation):  # noqa: ASYNC110
                        await anyio.sleep(0.001)
                    await anyio.sleep(chance.random() * 0.1)
                    assert plugin.pid is not None
                    os.kill(plugin.pid, signal.SIGKILL)
            assert await plugin.slot.add(1) > 0 and plugin.restarts == count
            return work


async def load_and_unload(count: int) -> None:
    """Load one and unload it, so often."""
    with capture_logs():
        async with PluginHost() as host:
            for _ in range(count):
                plugin = await host.load(spec(main="alone"))
                await plugin.slot.add(1)
                await host.unload("bench")


@asynccontextmanager
async def busy_host(kind: str) -> AsyncGenerator[tuple[int, str]]:
    """The process of a host whose plugins run, and the mark that all of them have.

    Args:
        kind: how one of them is busy.
    """
    mark = f"{os.getpid()}-{uuid4().hex}"
    async with running([sys.executable, "-m", "tests.integration.plugin_load", mark, kind], mark) as program:
        assert await program.line() == "loaded"
        yield program.process.pid, mark


async def _main(mark: str, kind: str) -> None:
    async with PluginHost() as host:
        idle = await host.load(spec("idle", "alone", env={MARK: mark}))
        busy = await host.load(spec("busy", "alone", env={MARK: mark}))
        async with anyio.create_task_group() as tasks:
            await idle.slot.add(1)
            tasks.start_soon(_work, busy, kind)
            while not any(line.text == "blocked" for line in busy.output):  # noqa: ASYNC110 - other processes run
                await anyio.sleep(0.01)
            sys.stdout.write("loaded\n")
            sys.stdout.flush()


async def _work(plugin: Plugin[Bench], kind: str) -> None:
    try:
        await plugin.slot.do(kind)
    except Unavailable:
        return


if __name__ == "__main__":
    anyio.run(_main, sys.argv[1], sys.argv[2])
