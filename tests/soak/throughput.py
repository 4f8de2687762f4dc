"""What honest peers of a host get done while one misbehaves, as a share of what they get done without it.

The host and the honest peers, which are nine, run on one core and the one that misbehaves on another, so that it is the
host's time that they compete for and not the machine's. Rounds with it and without it take turns.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from statistics import median

import anyio

from capnet import connect
from tests.hostile.bait import Bait
from tests.hostile.jail import Jail, jailed, watching
from tests.integration.programs import ROOT
from tests.soak.mischief import KINDS

__all__ = ["KINDS", "Shares", "measure", "serve_beside"]

HONEST = 9
AT_ONCE = 8
"""Calls of each that wait for an answer."""


@dataclass
class Shares:
    """What is left to the honest.

    Attributes:
        wall: of their calls in a second.
        processor: of their calls in a second of processor time of theirs and the host's, which other programs of the
            machine disturb less; what they lose by waiting is not in it.
        alone: calls in a second without it.
        frames, connections: what the one that misbehaves has come to.
    """

    wall: float
    processor: float
    alone: float
    frames: int
    connections: int


@dataclass
class _Round:
    calls: int
    seconds: float
    processor: float


async def measure(kind: str, rounds: int, seconds: float) -> Shares:
    """Rounds of so many seconds, with one that misbehaves and without.

    Args:
        kind: a key of `KINDS`.
        rounds: of each sort.
    """
    with _cores() as other:
        async with jailed(kill_after=rounds * seconds * 4 + 60) as jail:
            with _bad_one(jail.path, kind, other) as bad:
                return await _compare(jail, bad, rounds, seconds)


async def serve_beside(kind: str, calls: int) -> tuple[int, int]:
    """Each honest peer makes so many calls, several at once, while the one misbehaves; every one is answered.

    Args:
        kind: a key of `KINDS`.
        calls: of each honest peer.

    Returns:
        The frames and connections that the one that misbehaves has come to by then.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(watching("steps"))
        jail = await stack.enter_async_context(jailed())
        bad = stack.enter_context(_bad_one(jail.path, kind, None))
        baits = [await stack.enter_async_context(_honest(jail, number)) for number in range(HONEST)]
        _tell(bad, "go")
        async with anyio.create_task_group() as tasks:
            for bait in baits:
                for _ in range(AT_ONCE):
                    tasks.start_soon(_call, bait, calls // AT_ONCE)
        frames, connections = map(int, _tell(bad, "stop").split())
    return frames, connections


@asynccontextmanager
async def _honest(jail: Jail, number: int) -> AsyncGenerator[Bait]:
    async with connect(f"unix:{jail.path}", name=f"honest {number}") as connection:
        yield await connection.bootstrap(Bait)


async def _call(bait: Bait, times: int) -> None:
    for number in range(times):
        assert await bait.add(number) == number + 10


async def _compare(jail: Jail, bad: subprocess.Popen[str], rounds: int, seconds: float) -> Shares:
    alone: list[_Round] = []
    beside: list[_Round] = []
    frames = connections = 0
    async with AsyncExitStack() as stack:
        baits = [await stack.enter_async_context(_honest(jail, number)) for number in range(HONEST)]
        await _round(jail, baits, seconds / 2)
        for _ in range(rounds):
            await jail.served()  # so that its own client is not taken for dead
            alone.append(await _round(jail, baits, seconds))
            _tell(bad, "go")
            await anyio.sleep(0.1)
            beside.append(await _round(jail, baits, seconds))
            told = _tell(bad, "stop").split()
            frames, connections = frames + int(told[0]), connections + int(told[1])
    jail.begin_anew()
    return Shares(
        wall=median(one.calls / one.seconds for one in beside) / median(one.calls / one.seconds for one in alone),
        processor=median(one.calls / one.processor for one in beside)
        / median(one.calls / one.processor for one in alone),
        alone=median(one.calls / one.seconds for one in alone),
        frames=frames,
        connections=connections,
    )


async def _round(jail: Jail, baits: list[Bait], seconds: float) -> _Round:
    """So many seconds of calls."""
    before = jail.figures(check=False).processor
    own, since = time.process_time(), time.monotonic()
    until, calls = since + seconds, 0

    async def keep_calling(bait: Bait) -> None:
        nonlocal calls
        while time.monotonic() < until:
            assert await bait.add(calls) >= 10
            calls += 1

    async with anyio.create_task_group() as tasks:
        for bait in baits:
            for _ in range(AT_ONCE):
                tasks.start_soon(keep_calling, bait)
    took, own = time.monotonic() - since, time.process_time() - own
    return _Round(calls, took, own + jail.figures(check=False).processor - before)


@contextmanager
def _cores() -> Generator[int | None]:
    """This process, and those that it starts, on one core; gives another one, if there is one."""
    if not hasattr(os, "sched_setaffinity"):
        yield None
        return
    allowed = os.sched_getaffinity(0)
    ours, *others = sorted(allowed)
    os.sched_setaffinity(0, {ours})
    try:
        yield others[0] if others else None
    finally:
        os.sched_setaffinity(0, allowed)


@contextmanager
def _bad_one(path: str, kind: str, core: int | None) -> Generator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.soak.misbehave", path, kind, *([] if core is None else [str(core)])]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None and child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.kill()


def _tell(child: subprocess.Popen[str], word: str) -> str:
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(word + "\n")
    child.stdin.flush()
    return child.stdout.readline()
