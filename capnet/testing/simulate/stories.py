"""Stories: real implementations behind a whole connection, in the weather of many seeds, on a clock of its own."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from random import Random
from typing import Final, TypeAlias

import anyio

from capnet.connection.connection import Connection
from capnet.contract import Cap
from capnet.host import Host
from capnet.limits import Limits
from capnet.testing.pair import assert_no_leaks

from .clock import VirtualLoop
from .weather import Weather, weather_pair

__all__ = ["Story", "run"]

Story: TypeAlias = Callable[[Connection], Awaitable[None]]
"""What a client does; it asserts what must be so."""

_SHOWN: Final = 30
"""How much of what the line did is shown with a story that failed."""
_SETTLES: Final = 600
"""Seconds of the story's clock until nothing may be left in the tables."""


def run(
    story: Story,
    *implementations: Callable[[], Cap],
    seeds: Iterable[int] = range(100),
    weather: Weather | None = None,
    limits: Limits | None = None,
    timeout: float = 3600.0,
) -> int:
    """Tell a story once for each seed; returns how often that was.

    Each time, a host serves new implementations, and the story gets a client that is connected to it by a line with
    that seed's weather. Nothing waits: the clock, which is the loop's, jumps to what comes next. Afterwards all tables
    on both sides must be empty. It runs on asyncio, from a test that is an ordinary function.

    Args:
        implementations: classes, or what else makes an implementation; served under the names of their contracts.
        weather: of the line; the default delays, splits and stalls, and never cuts.
        limits: bounds that both ends keep.
        timeout: seconds of the story's clock until a story that has not ended has failed.

    Raises:
        BaseException: what the first story that fails fails with; its notes say the seed, and what the line did.
    """
    told = 0
    for seed in seeds:
        log: deque[str] = deque(maxlen=_SHOWN)
        try:
            anyio.run(
                _tell,
                story,
                implementations,
                Random(seed),  # noqa: S311 - a seed is no secret
                weather or Weather(),
                limits,
                timeout,
                log.append,
                backend="asyncio",
                backend_options={"loop_factory": VirtualLoop},
            )
        except BaseException as error:
            error.add_note(f"seed {seed}: it happens again with seeds=[{seed}]")
            error.add_note("\n  ".join(["what the line did last, by the story's clock:", *log]))
            raise
        told += 1
    return told


async def _tell(
    story: Story,
    implementations: tuple[Callable[[], Cap], ...],
    random: Random,
    weather: Weather,
    limits: Limits | None,
    timeout: float,
    log: Callable[[str], object],
) -> None:
    async with Host(name="server", limits=limits) as server, Host(name="client", limits=limits) as client:
        server.serve_all(*(make() for make in implementations))
        here, there = weather_pair(client._services.loop, random, weather, log)  # noqa: SLF001 - the clock of both
        ends = server.accept(there), client.accept(here)
        with anyio.fail_after(timeout):
            await story(ends[1])
        await _nothing_is_left(*ends)


async def _nothing_is_left(*ends: Connection) -> None:
    for _ in range(_SETTLES):
        if not any(end.stats()[key] for end in ends for key in ("calls", "exports", "imports", "streams")):
            return
        await anyio.sleep(1.0)
    gc.collect()  # a proxy in a cycle is given back when the cycle is found
    await anyio.sleep(_SETTLES)
    await assert_no_leaks(*ends, timeout=0)
