"""`simulate.run`: real implementations in the weather of many seeds, and how it says that something is wrong."""

from __future__ import annotations

import os
from random import Random

import anyio
import pytest

from capnet import Cap, Connection, Stream, Unavailable, call, stream
from capnet.loop import open_loop
from capnet.testing import check_transport, simulate
from capnet.testing.simulate import Weather
from capnet.testing.simulate.weather import WeatherTransport, weather_pair

SEED = int(os.environ.get("CAPNET_SEED", "0"))
SEEDS = range(SEED, SEED + 40)


class Watcher(Cap, name="simulated.Watcher"):
    """A callback."""

    @call
    async def saw(self, total: int) -> None: ...


class Account(Cap, name="simulated.Account"):
    """Money, which must not be lost."""

    @call
    async def deposit(self, cents: int) -> int: ...
    @call
    async def watch(self, watcher: Watcher) -> None: ...
    @stream
    def history(self) -> Stream[int]: ...


class MemAccount(Account):
    """Takes its time."""

    def __init__(self) -> None:
        self.entries: list[int] = []
        self.watchers: list[Watcher] = []

    async def deposit(self, cents: int) -> int:
        await anyio.sleep(0.1)
        self.entries.append(cents)
        total = sum(self.entries)
        for watcher in self.watchers:
            await watcher.saw(total)
        return total

    async def watch(self, watcher: Watcher) -> None:
        self.watchers.append(watcher)

    async def history(self) -> Stream[int]:
        for cents in self.entries:
            yield cents


class ForgetfulAccount(MemAccount):
    """Loses what is deposited while another deposit is under way: it waits between reading and writing."""

    async def deposit(self, cents: int) -> int:
        total = sum(self.entries)
        await anyio.sleep(0.01)
        self.entries = [total + cents]
        return total + cents


class Seen(Watcher):
    """Keeps what it saw."""

    def __init__(self) -> None:
        self.totals: list[int] = []

    async def saw(self, total: int) -> None:
        self.totals.append(total)


async def deposits(client: Connection) -> None:
    """Calls, callbacks and a stream, most of it at the same time."""
    async with await client.bootstrap(Account) as account:
        seen = Seen()
        await account.watch(seen)
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(account.deposit, 5)
        assert sorted(seen.totals) == [5, 10, 15, 20, 25]
        assert [entry async for entry in account.history()] == [5] * 5


class Release(MemAccount):
    """Lets its watchers go with the last deposit."""

    async def deposit(self, cents: int) -> int:
        total = await super().deposit(cents)
        if total >= 25:
            self.watchers.clear()
        return total


async def one_after_another(client: Connection) -> None:
    """Two deposits, the second a while after the first."""
    async with await client.bootstrap(Account) as account:
        async with anyio.create_task_group() as group:
            group.start_soon(account.deposit, 5)
            await anyio.sleep(0.03)
            group.start_soon(account.deposit, 5)
        assert await account.deposit(5) == 15


def test_a_story_holds_in_any_weather() -> None:
    """Whatever is delayed, split and stalled, what was asked for happens, once, and nothing is left."""
    assert simulate.run(deposits, Release, seeds=SEEDS) == len(SEEDS)


def test_an_hour_takes_no_time() -> None:
    """The clock is the story's own: in real time it would be given up."""

    async def wait(client: Connection) -> None:
        await anyio.sleep(3000)
        await client.ping()

    assert simulate.run(wait, MemAccount, seeds=[SEED]) == 1


def test_a_race_is_found_and_its_seed_said() -> None:
    """An implementation that loses updates only when two calls arrive close to each other: one seed shows it again."""
    with pytest.raises(AssertionError) as caught:
        simulate.run(one_after_another, ForgetfulAccount, seeds=range(1000))
    said, line = caught.value.__notes__
    seed = int(said.split()[1].rstrip(":"))
    with pytest.raises(AssertionError) as again:
        simulate.run(one_after_another, ForgetfulAccount, seeds=[seed])
    assert again.value.__notes__ == [said, line], "the same seed has another story"
    assert "bytes" in line


def test_a_broken_line_is_part_of_the_story() -> None:
    """With cuts a story must expect them; nothing is left all the same."""
    cuts = 0

    async def careful(client: Connection) -> None:
        nonlocal cuts
        try:
            await deposits(client)
        except* Unavailable:
            cuts += 1

    assert simulate.run(careful, Release, seeds=SEEDS, weather=Weather(cut=0.02)) == len(SEEDS)
    assert 0 < cuts < len(SEEDS)


def test_what_is_left_is_found() -> None:
    """A story that keeps what it was given fails."""
    kept: list[Account] = []

    async def greedy(client: Connection) -> None:
        kept.append(await client.bootstrap(Account))

    with pytest.raises(AssertionError, match="left in the tables"):
        simulate.run(greedy, MemAccount, seeds=[SEED])


def test_a_story_that_never_ends_fails() -> None:
    """By its own clock."""

    async def for_ever(client: Connection) -> None:
        await anyio.Event().wait()

    with pytest.raises(TimeoutError):
        simulate.run(for_ever, MemAccount, seeds=[SEED], timeout=600)


@pytest.mark.parametrize("weather", [Weather(delay=0, split=0, stall=0), Weather(delay=0.001, split=0.5, stall=0)])
async def test_a_line_with_weather_is_a_transport(weather: Weather) -> None:
    """It keeps the rules that every transport keeps."""
    random = Random(SEED)
    async with open_loop() as loop:

        async def connect_pair() -> tuple[WeatherTransport, WeatherTransport]:
            return weather_pair(loop, random, weather, lambda _: None)

        await check_transport(connect_pair)
