"""The event loops a child can run on, and the loop of calls that is timed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from itertools import cycle
from time import perf_counter
from typing import Any

from benchmarks.subject import Unit
from benchmarks.workload import LoopName, Timing

__all__ = ["drive", "end_of_input", "installed", "repeat", "run"]


def installed() -> Sequence[LoopName]:
    """The loops that can be used here."""
    from importlib.util import find_spec

    return ("asyncio", *(name for name in ("uvloop", "trio") if find_spec(name)))


def run(main: Callable[[], Coroutine[Any, Any, None]], loop: LoopName) -> None:
    """Run a program on that loop."""
    match loop:
        case "asyncio":
            asyncio.run(main())
        case "uvloop":
            import uvloop

            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(main())
        case "trio":
            import trio

            trio.run(main)


async def end_of_input(loop: LoopName) -> None:
    """Wait until the parent closes our standard input, or has gone."""
    if loop == "trio":
        import trio

        await trio.lowlevel.wait_readable(sys.stdin)
        return
    running = asyncio.get_running_loop()
    ended = asyncio.Event()
    running.add_reader(sys.stdin.fileno(), ended.set)
    try:
        await ended.wait()
    finally:
        running.remove_reader(sys.stdin.fileno())


async def drive(units: Sequence[Unit], *, in_flight: int, seconds: float, loop: LoopName) -> Timing:
    """Repeat `units` in turns for `seconds` in `in_flight` tasks; at least once in each.

    The time ends when the last answer is in, so that nothing in flight is counted without being waited for.
    """
    begin = perf_counter()
    end = begin + seconds
    tasks = [lambda at=at: _until(_from(units, at), end) for at in range(in_flight)]
    return Timing(await _side_by_side(tasks, loop), perf_counter() - begin)


async def repeat(unit: Unit, *, units: int, in_flight: int, loop: LoopName) -> int:
    """Do `units` units in `in_flight` tasks, as many in each. Returns how many those were."""
    return await _side_by_side([lambda: _so_many(unit, units // in_flight)] * in_flight, loop)


async def _side_by_side(tasks: Sequence[Callable[[], Coroutine[Any, Any, int]]], loop: LoopName) -> int:
    """Run them all, a single one without a task of its own. Returns what their results add up to."""
    if len(tasks) == 1:
        return await tasks[0]()
    if loop != "trio":
        return sum(await asyncio.gather(*(task() for task in tasks)))
    import trio

    results: list[int] = []

    async def run(task: Callable[[], Coroutine[Any, Any, int]]) -> None:
        results.append(await task())

    async with trio.open_nursery() as nursery:
        for task in tasks:
            nursery.start_soon(run, task)
    return sum(results)


def _from(units: Sequence[Unit], at: int) -> Sequence[Unit]:
    """The same units, beginning elsewhere: what runs at once shall not all be on one connection."""
    start = at % len(units)
    return (*units[start:], *units[:start])


async def _until(units: Sequence[Unit], end: float) -> int:
    done = 0
    for unit in cycle(units):
        await unit()
        done += 1
        if perf_counter() >= end:
            break
    return done


async def _so_many(unit: Unit, units: int) -> int:
    for _ in range(units):
        await unit()
    return units
