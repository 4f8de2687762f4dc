"""The programs that routes go through, with their links; they stay open for many routes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import lru_cache
from typing import Any, Final

from capnet import Limits, Membrane
from capnet.testing import assert_no_leaks, connected

from .contracts import Family
from .doors import Doors
from .model import End, Program

__all__ = ["World", "opened"]

LINKS: Final = ((0, 0), (0, 1), (0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
"""Between which programs. One has a link to itself, and two have two."""
LIMITS: Final = Limits(control_burst=2**40, control_rate=2**40)
"""Everything is tried, and much of it refused, by peers that mean no harm."""
LIMIT: Final = 60.0
"""Seconds until what is left counts as left for ever."""


class World:
    """Four programs.

    Args:
        family: whose contracts their hubs know.
    """

    def __init__(self, family: Family, doors: Doors) -> None:
        self.family = family
        self.doors = doors
        self.programs = [Program(number) for number in range(4)]
        for program in self.programs:
            program.hub, program.inside = doors.hub(), doors.hub()
            program.door = Membrane().wrap(program.inside)
        self._roads: dict[tuple[End, ...], Any] = {}

    async def link(self, number: int, left: int, right: int, ends: tuple[Any, Any]) -> None:
        """Two programs know each other's hubs."""
        one, other = (End(number, self.programs[at], end) for at, end in zip((left, right), ends, strict=True))
        one.peer, other.peer = other, one
        for end in (one, other):
            end.program.ends.append(end)
            end.hub = await end.connection.bootstrap(self.doors.contract)

    async def road(self, path: tuple[End, ...]) -> Any:
        """The hub at the end of a path, at its beginning: each program on it passes calls on."""
        if len(path) == 1:
            return path[0].hub
        if path not in self._roads:
            beyond = await self.road(path[1:])
            middle = path[0].peer.program.hub
            key = len(middle.roads)
            middle.roads[key] = beyond
            self._roads[path] = await self.doors.lead_on(path[0].hub, key)
        return self._roads[path]

    async def close(self) -> None:
        """Give everything back, and see that nothing is left."""
        self._roads.clear()
        connections = [end.connection for program in self.programs for end in program.ends]
        for program in self.programs:
            program.hub.roads.clear()
            for end in program.ends:
                end.hub = None
        await assert_no_leaks(*connections, timeout=LIMIT)


@lru_cache(maxsize=8)
def made(seed: int) -> tuple[Family, Doors]:
    """A family and its doors; every loop can use them."""
    family = Family(seed)
    return family, Doors(family)


@asynccontextmanager
async def opened(seed: int) -> AsyncGenerator[World]:
    """The programs of a family."""
    world = World(*made(seed))
    async with AsyncExitStack() as stack:
        for number, (left, right) in enumerate(LINKS):
            server, client = await stack.enter_async_context(
                connected(world.programs[left].hub, limits=LIMITS, client_limits=LIMITS)
            )
            client.serve(world.programs[right].hub)
            await world.link(number, left, right, (server, client))
        yield world
