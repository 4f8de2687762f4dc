"""Windows of single streams, said where they are made and where they are read (P-STREAM-2)."""

from __future__ import annotations

from collections.abc import AsyncIterable
from contextlib import aclosing
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from capnet import (
    Broadcast,
    Cap,
    InvalidArgument,
    Limits,
    Sink,
    State,
    Stream,
    call,
    channel,
    send_metadata,
    stream,
    windowed,
)
from capnet.testing import assert_no_leaks, connected
from tests.connection.shop import until

QUIET = 100
"""Turns of the loop in which whatever was going to be sent has been."""


class Source(Cap, name="test.Source"):
    """Every way in which a stream can be opened."""

    @stream
    def count(self, width: int = 1) -> Stream[str]: ...
    @stream
    def level(self) -> Stream[int]: ...
    @stream
    def news(self) -> Stream[int]: ...
    @call
    async def fill(self, sink: Sink[str]) -> None: ...
    @call
    async def take(self, items: AsyncIterable[str], many: int) -> list[str]: ...
    @call
    async def onward(self, source: Source) -> None: ...


class Spring(Source):
    """Counts what was asked of it; `windows` are for what it makes."""

    def __init__(self, *windows: int) -> None:
        self.windows = windows
        self.made = 0
        self.state = State(0)
        self.posts = Broadcast[int](buffer=2, policy="drop-oldest")
        self.behind: Source | None = None

    async def _rows(self, width: int) -> Stream[str]:
        while True:
            self.made += 1
            yield str(self.made).rjust(width)

    def count(self, width: int = 1) -> Stream[str]:
        if self.behind is not None:
            return self.behind.count(width)
        made = self._rows(width)
        for items in self.windows:
            made = windowed(made, items=items)
        return made

    def level(self) -> Stream[int]:
        return self.state.changes() if self.behind is None else self.behind.level()

    def news(self) -> Stream[int]:
        return self.posts.subscribe()

    async def fill(self, sink: Sink[str]) -> None:
        async with sink:
            while True:
                await sink.send(str(self.made))
                self.made += 1

    async def take(self, items: AsyncIterable[str], many: int) -> list[str]:
        taken: list[str] = []
        async for item in items:
            taken.append(item)
            if len(taken) == many:
                break
        return taken

    async def onward(self, source: Source) -> None:
        self.behind = source


async def quiet() -> None:
    """Until nothing is sent any more that nobody makes room for."""
    for _ in range(QUIET):
        await checkpoint()


async def test_a_slow_reader_of_a_state_is_never_far_behind() -> None:
    """100 values between two of its reads, as at 1000/s and 10/s: it sees one that is younger than 0.2 s."""
    spring = Spring()
    async with connected(spring) as (server, client), aclosing((await client.bootstrap(Source)).level()) as level:
        value, seen = 0, [await anext(level)]
        for _ in range(12):
            for _ in range(100):
                value += 1
                spring.state.set(value)
                if not value % 10:
                    await checkpoint()
            await quiet()
            seen.append(await anext(level))
            assert value - seen[-1] <= 200
        assert seen == sorted(set(seen))
        spring.state.close()
        assert [left async for left in level][-1] == value
        await assert_no_leaks(server, client)


@pytest.mark.parametrize(("buffer", "window", "most"), [(2, None, 4), (2, 1, 3), (1, None, 2), (3, 5, 8)])
async def test_a_broadcast_keeps_no_more_than_it_says(buffer: int, window: int | None, most: int) -> None:
    spring = Spring()
    spring.posts = Broadcast[int](buffer=buffer, policy="drop-oldest", window=window)
    async with connected(spring) as (_, client):
        news = (await client.bootstrap(Source)).news()
        await until(lambda: spring.posts.subscribers == 1)
        for number in range(100):
            await spring.posts.send(number)
            await quiet()
        spring.posts.close()
        seen = [number async for number in news]
        assert len(seen) == most
        assert seen == [*range(most - buffer), *range(100 - buffer, 100)]


async def test_a_broadcast_that_waits_is_as_far_ahead_as_its_buffer_and_its_window() -> None:
    spring = Spring()
    spring.posts = Broadcast[int](buffer=3)
    async with connected(spring) as (_, client), anyio.create_task_group() as tasks:
        news = (await client.bootstrap(Source)).news()
        await until(lambda: spring.posts.subscribers == 1)
        sent: list[int] = []

        async def send() -> None:
            for number in range(50):
                await spring.posts.send(number)
                sent.append(number)

        tasks.start_soon(send)
        await until(lambda: len(sent) >= 6)
        await quiet()
        assert len(sent) == 6
        assert [await anext(news) for _ in range(50)] == list(range(50))
        await news.aclose()


@pytest.mark.parametrize("items", [1, 2, 7])
async def test_a_window_of_items_where_it_is_read(items: int) -> None:
    spring = Spring()
    async with connected(spring) as (server, client):
        source = await client.bootstrap(Source)
        async with aclosing(windowed(source.count, items=items)(5)) as count:
            await until(lambda: spring.made >= items)
            await quiet()
            assert spring.made == items
            for number in range(1, 40):
                assert int(await anext(count)) == number
                await quiet()
                assert number <= spring.made <= number + items
        del source
        await assert_no_leaks(server, client)


async def test_a_window_of_bytes_where_it_is_read() -> None:
    spring = Spring()
    async with connected(spring) as (_, client):
        source = await client.bootstrap(Source)
        async with aclosing(windowed(source.count, size=2500)(1000)) as count:
            await until(lambda: spring.made >= 3)
            await quiet()
            assert spring.made == 3  # the third exceeds it
            assert [int(await anext(count)) for _ in range(30)] == list(range(1, 31))


async def test_a_window_where_it_is_made() -> None:
    spring = Spring(4)
    async with connected(spring) as (_, client):
        source = await client.bootstrap(Source)
        async with aclosing(source.count()) as count:
            await until(lambda: spring.made >= 4)
            await quiet()
            assert spring.made == 4
            assert [int(await anext(count)) for _ in range(30)] == list(range(1, 31))


@pytest.mark.parametrize(("made", "read", "limit"), [(4, 2, 512), (2, 4, 512), (9, 9, 2), (10**12, 10**12, 2)])
async def test_the_smallest_window_counts(made: int, read: int, limit: int) -> None:
    spring = Spring(made, 1000)
    async with connected(spring, client_limits=Limits(stream_items=limit)) as (_, client):
        source = await client.bootstrap(Source)
        async with aclosing(windowed(source.count, items=read)()) as count:
            await until(lambda: spring.made >= 2)
            await quiet()
            assert spring.made == 2
            assert [int(await anext(count)) for _ in range(30)] == list(range(1, 31))


async def test_a_window_of_what_is_passed_as_an_argument() -> None:
    spring = Spring()
    here = Spring()
    async with connected(spring) as (server, client):
        source = await client.bootstrap(Source)
        rows = here._rows(1)
        assert len(await source.take(windowed(rows, items=3), 10)) == 10
        await quiet()
        assert here.made <= 13
        del source
        await assert_no_leaks(server, client)


@pytest.mark.parametrize(("buffer", "items", "most"), [(64, 2, 66), (3, None, 6)])
async def test_a_window_of_a_sink(buffer: int, items: int | None, most: int) -> None:
    """What is under way to it, and what waits in it: the two bounds that there are."""
    spring = Spring()
    async with connected(spring) as (_, client), anyio.create_task_group() as tasks:
        source = await client.bootstrap(Source)
        sink, lines = channel(str, buffer=buffer)
        tasks.start_soon(source.fill, sink if items is None else windowed(sink, items=items))
        del sink
        await until(lambda: spring.made >= buffer)
        await quiet()
        assert spring.made <= most + 2  # one in the hand of each task that moves them
        assert [int(await anext(lines)) for _ in range(200)] == list(range(200))
        await lines.aclose()
        tasks.cancel_scope.cancel()


async def test_windows_hold_across_programs_that_pass_on() -> None:
    """Each hop has one window under way, and one item in its hand."""
    spring, middle = Spring(), Spring()
    async with connected(spring) as (_, here), connected(middle) as (_, client):
        await middle.onward(await here.bootstrap(Source))
        source = await client.bootstrap(Source)
        async with aclosing(windowed(source.count, items=2)()) as count:
            await until(lambda: spring.made >= 2)
            assert [int(await anext(count)) for _ in range(30)] == list(range(1, 31))
        level = source.level()
        value, seen = 0, -1
        for _ in range(8):
            for _ in range(100):
                value += 1
                spring.state.set(value)
            await quiet()
            seen = await anext(level)
        assert value - seen <= 300
        await level.aclose()


async def test_a_relayed_call_takes_the_readers_window_along() -> None:
    """The capability itself goes through the program in the middle, which runs no handler for the call."""

    class Door(Cap, name="test.Door"):
        @call
        async def open(self) -> Source: ...

    class Porter(Door):
        def __init__(self, source: Source) -> None:
            self.source = source

        async def open(self) -> Source:
            return self.source

    spring = Spring()
    async with connected(spring) as (_, here), connected(Porter(await here.bootstrap(Source))) as (_, client):
        source = await (await client.bootstrap(Door)).open()
        async with aclosing(windowed(source.count, items=2)()) as count:
            assert int(await anext(count)) == 1
            await quiet()
            assert spring.made <= 1 + 2 * 2 + 1


@pytest.mark.parametrize("wrong", [{"items": 0}, {"items": -1}, {"size": 0}], ids=repr)
async def test_a_window_holds_something(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidArgument, match="from 1"):
        windowed(Spring()._rows(1), **wrong)
    with pytest.raises(InvalidArgument, match="window"):
        Broadcast[int](window=0)
    with pytest.raises(InvalidArgument, match="window"):
        State(1).changes(window=-1)


async def test_what_has_no_window_is_refused() -> None:
    async with connected(Spring()) as (_, client):
        source = await client.bootstrap(Source)
        wrong: list[Any] = [source, source.fill, 5, print]
        for one in wrong:
            with pytest.raises(TypeError, match="windowed"):
                windowed(one, items=1)


async def test_a_window_is_of_one_call() -> None:
    spring = Spring()
    async with connected(spring) as (_, client):
        source = await client.bootstrap(Source)
        with send_metadata({"request": "1"}):
            await windowed(source.count, items=1)().aclose()
        spring.made = 0
        async with aclosing(source.count()):
            await until(lambda: spring.made >= 100)
