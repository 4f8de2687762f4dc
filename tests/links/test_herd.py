"""Many links whose host is started again: they do not come in step, and nobody stays away. On a clock of its own."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import anyio
import pytest

from capnet import Cap, Host, HostLimits, Retry, Unavailable, call, link, options
from capnet.connection import connect as connecting
from capnet.links import course
from capnet.observe import Reconnected
from capnet.testing.simulate.clock import VirtualLoop
from capnet.testing.simulate.weather import Weather, weather_pair
from capnet.transport import Transport

SEED = int(os.environ.get("CAPNET_SEED", "0"))
MANY = 80
LONG = 20.0
"""Seconds for which nobody is there; or none, and then all come at once."""
STRANGERS = 16
LINE = Weather(delay=0.02, split=0.0, stall=0.0)


@pytest.fixture
def nothing_left() -> None:
    """Each test has a loop of its own."""


@pytest.fixture
def every_start_has_its_end() -> None:
    """No books are kept of so many connections, in place of those of tests/conftest.py."""


class Who(Cap, name="herd.Who"):
    @options(idempotent=True)
    @call
    async def who(self) -> str: ...


class MemWho(Who):
    def __init__(self, name: str) -> None:
        self._name = name

    async def who(self) -> str:
        return self._name


class Town:
    """An address where one host follows another, and who has come there when.

    Attributes:
        failed: attempts while nobody was there.
        came: connections that a host has begun, by the tenth of a second.
    """

    def __init__(self) -> None:
        self.random = Random(SEED)
        self.host: Host | None = None
        self.failed = 0
        self.came: Counter[int] = Counter()

    async def connect(self, rest: str, /, **_: Any) -> Transport:
        host = self.host
        if host is None:
            self.failed += 1
            raise Unavailable("nobody is there")
        here, there = weather_pair(host._services.loop, self.random, LINE, lambda _: None)
        self.came[int(anyio.current_time() * 10)] += 1
        host._accept(there)
        return here

    async def listen(self, rest: str, accept: Callable[[Transport], object], /, **_: Any) -> Any:
        raise NotImplementedError

    async def serve(self, name: str, ends: anyio.Event, strangers: int) -> None:
        async with Host(host_limits=HostLimits(max_strangers=strangers)) as host:
            host.serve(MemWho(name))
            self.host = host
            await ends.wait()
            self.host = None
            for connection in host.connections:
                connection._session.driver.transport.abort()


async def come_again(town: Town, jitter: float, away: float, found: list[Reconnected]) -> None:
    """All links, before and after."""
    first, second, back = anyio.Event(), anyio.Event(), anyio.Event()
    retry = Retry(budget=600.0, jitter=jitter)

    async def one(begun: list[int]) -> None:
        async with link("herd:", wait=retry) as mine:
            mine.on(Reconnected, found.append)
            who = await mine.bootstrap(Who)
            assert await who.who() == "first"
            begun.append(1)
            await back.wait()
            await who.who()
            begun.append(1)

    with anyio.fail_after(3600):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(town.serve, "first", first, 10 * MANY)
            begun: list[int] = []
            for _ in range(MANY):
                tasks.start_soon(one, begun)
            while len(begun) < MANY:  # noqa: ASYNC110 (on a clock of its own)
                await anyio.sleep(0.1)
            await anyio.sleep(2 * course.STEADY)
            town.came.clear()
            first.set()
            await anyio.sleep(away)
            tasks.start_soon(town.serve, "second", second, STRANGERS)
            back.set()
            while len(begun) < 2 * MANY:  # noqa: ASYNC110
                await anyio.sleep(0.1)
            second.set()


def play(jitter: float, away: float, patch: pytest.MonkeyPatch) -> tuple[Town, list[Reconnected]]:
    town, found = Town(), list[Reconnected]()
    patch.setitem(connecting.OWN, "herd", lambda: town)
    chance = Random(SEED)
    patch.setattr(course.Course.__init__, "__defaults__", (chance.random,))
    anyio.run(come_again, town, jitter, away, found, backend="asyncio", backend_options={"loop_factory": VirtualLoop})
    return town, found


@pytest.mark.parametrize(("jitter", "away"), [(0.2, LONG), (1.0, LONG), (0.2, 0.0)])
def test_they_do_not_come_in_step(jitter: float, away: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is usual, and spread most: each tries ever less often, and comes a few times, whoever else does."""
    town, found = play(jitter, away, monkeypatch)
    assert len(found) == MANY and {event.healed for event in found} == {("herd.Who",)}
    assert sum(town.came.values()) <= 3 * MANY, "who is turned away because others come does not come all the time"
    if away:
        each = away / 5.0 + 8
        """The pauses grow to five seconds within six attempts, and after that there is one for each."""
        assert MANY < town.failed <= each * MANY
        assert max(town.came.values()) <= MANY * 0.25, "in a tenth of a second"


def test_without_chance_they_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same is seen where it is not so."""
    town, _ = play(0.0, LONG, monkeypatch)
    assert max(town.came.values()) > MANY * 0.9
