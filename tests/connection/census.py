"""A census of objects: which of capnet's are alive that were not before, and what only the collector would free.

The collector knows every object that can refer to others. What existed before is put aside, so that only what came
since is counted, and looking costs nothing in a large process. So nothing has to be named, nor referred to
weakly, to be found: a call, an answer, an end of a stream, a proxy, the subject of an export, a task, a frame.
"""

from __future__ import annotations

import asyncio
import gc
import types
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from anyio import move_on_after, sleep
from anyio.lowlevel import checkpoint

from capnet.observe import Bus
from tests.connection.leaks import forget_timers
from tests.connection.scenes import Rules, Scene, Stage, on_stage
from tests.cost import HANGS

__all__ = ["Left", "NeedsCollector", "check", "collecting_nothing", "play"]

ROOMS = ("capnet", "capnet_transports", "tests")
RUNNING = (types.CoroutineType, types.AsyncGeneratorType, types.GeneratorType, types.FrameType, Context, asyncio.Task)
"""What runs, or waits, on behalf of them."""
SLACK = 4
"""Objects of a kind that may be there or not: runners that wait for work, and what they wait with."""
SLACK_RUNNING = 16
"""The same of `RUNNING`: several of them make one runner."""
LOOKS = 20
"""After which what is left stays."""
TURNS = 20
"""Of the loop, between two looks; and some time, for timers."""
WARMING = 3
"""Times that a scene is played before it counts: what is made once stays."""
COLLECTIONS = 3
"""A generator that is collected is closed by its loop, and gone with the next collection."""


@dataclass(frozen=True)
class Left:
    """What was left of a scene, by kind.

    Attributes:
        alive: whatever the collector does.
        cyclic: freed by the collector only.
    """

    alive: dict[str, int]
    cyclic: dict[str, int]


class NeedsCollector(AssertionError):
    """What is left is in cycles."""


def check(left: Left, *, cycles: bool = True) -> None:
    """Nothing is left.

    Args:
        cycles: whether the collector may be needed for that.

    Raises:
        AssertionError: something is alive. NeedsCollector: something is in a cycle.
    """
    assert not left.alive, left.alive
    if left.cyclic and not cycles:
        raise NeedsCollector(left.cyclic)


async def play(scene: Scene, times: int, *, guarded: bool = False) -> Left:
    """Play a scene on a stage of its own, so often, and see what is left.

    Args:
        guarded: with a policy that looks at every call.
    """
    with _off_the_books(), collecting_nothing():
        async with on_stage(Rules() if guarded else None) as stage:
            await _play(scene, stage, WARMING)
            gc.collect()
            before = await _settled(stage)
            await _play(scene, stage, times)
            after = await _settled(stage, before)
            last = after
            for _ in range(COLLECTIONS):
                gc.collect()
                last = await _settled(stage, before)
    return Left(_more(last, before), _more(after, last))


async def _play(scene: Scene, stage: Stage, times: int) -> None:
    for _ in range(times):
        await scene(stage)


async def _settled(stage: Stage, before: Counter[str] | None = None) -> Counter[str]:
    """A census when nothing is under way, and when no more was left than before, if that comes."""
    ends = (stage.server, stage.client)
    with move_on_after(HANGS):
        while any(end.stats()["calls"] or end.stats()["answers"] or end.stats()["streams"] for end in ends):
            await checkpoint()
    await _turns()
    lowest = census()
    for _ in range(LOOKS):
        if before is None or not _more(lowest, before):
            break
        forget_timers()
        await sleep(0.01)
        await _turns()
        lowest &= census()
    return lowest


async def _turns() -> None:
    for _ in range(TURNS):
        await checkpoint()


def census() -> Counter[str]:
    """Objects of each kind that are alive, collected or not; without those put aside."""
    found: Counter[str] = Counter()
    for kind, size in Counter(map(type, gc.get_objects())).items():
        if _counts(kind):
            found[kind.__qualname__] += size
    return found


@contextmanager
def collecting_nothing() -> Generator[None]:
    """Inside the block only reference counts free anything."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def _off_the_books() -> Generator[None]:
    """Buses that are made in the block are not observed by the books of the whole suite, which keep them."""
    created, Bus.created = Bus.created, None
    try:
        yield
    finally:
        Bus.created = created


def _counts(kind: type[Any]) -> bool:
    return str(kind.__module__).partition(".")[0] in ROOMS or kind in RUNNING


def _more(now: Counter[str], then: Counter[str]) -> dict[str, int]:
    running = {kind.__qualname__ for kind in RUNNING}
    return {kind: size for kind, size in (now - then).items() if size > (SLACK_RUNNING if kind in running else SLACK)}
