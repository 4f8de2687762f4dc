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

__all__ = ["drive", "end_of_input", "installed", "run"]


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
    if in_flight == 1:
        done = await _repeat(units, end)
    elif loop == "trio":
        done = await _in_nursery(units, in_flight, end)
    else:
        done = sum(await asyncio.gather(*(_repeat(_from(units, at), end) for at in range(in_flight))))
    return Timing(done, perf_counter() - begin)


def _from(units: Sequence[Unit], at: int) -> Sequence[Unit]:
    """The same units, beginning elsewhere: what runs at once shall not all be on one connection."""
    start = at % len(units)
    return (*units[start:], *units[:start])


async def _in_nursery(units: Sequence[Unit], in_flight: int, end: float) -> int:
    import trio

    done = 0

    async def one(at: int) -> None:
        nonlocal done
        here = await _repeat(_from(units, at), end)  # `done` is read after the wait, not before
        done += here

    async with trio.open_nursery() as nursery:
        for at in range(in_flight):
            nursery.start_soon(one, at)
    return done


async def _repeat(units: Sequence[Unit], end: float) -> int:
    done = 0
    for unit in cycle(units):
        await unit()
        done += 1
        if perf_counter() >= end:
            break
    return done
