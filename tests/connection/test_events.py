"""Events: every start has one end, observers disturb nobody (P-CAP-8, faults 52 and 53)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable
from contextlib import aclosing
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from capnet import Cap, Connection, Internal, Limits, NotFound, Sink, Stream, Unavailable, call, stream
from capnet.observe import (
    Bootstrapped,
    CallFinished,
    CallStarted,
    CapExported,
    ConnectionClosed,
    ConnectionOpened,
    CreditStalled,
    Event,
    NameServed,
    NameUnserved,
    PolicyDenied,
    StreamClosed,
    StreamOpened,
)
from capnet.observe.observer import QUEUE_EVENTS
from capnet.testing import assert_no_leaks, connected
from tests.balance import Books
from tests.connection.shop import MemShop, Shop, left_when, until


async def test_the_envelope() -> None:
    seen: list[Event] = []
    async with connected(MemShop()) as (server, client):
        server.on(Event, seen.append)
        await (await client.bootstrap(Shop)).add(1)
        await until(lambda: len(seen) >= 5)
        assert [event.sequence for event in seen] == sorted(event.sequence for event in seen)
        assert {event.connection for event in seen} == {server.number}
        assert {event.peer for event in seen} == {"client"}
        assert all(event.time > 1_600_000_000 for event in seen)
        started = [event for event in seen if isinstance(event, CallStarted)]
        assert [(event.contract, event.method, event.direction) for event in started] == [
            ("capnet.Bootstrap", "bootstrap", "in"),
            ("test.Shop", "add", "in"),
        ]
        assert started[1].generation == 1
        assert any(isinstance(event, Bootstrapped) and event.result == "ok" for event in seen)


async def test_every_start_has_one_end_in_both_directions() -> None:
    there: list[Any] = []
    here: list[Any] = []
    async with connected(implementation := MemShop()) as (server, client):
        for connection, seen in ((server, there), (client, here)):
            connection.on(CallStarted, seen.append)
            connection.on(CallFinished, seen.append)
        shop = await client.bootstrap(Shop)
        await shop.add(1)
        with pytest.raises(Internal):
            await shop.fail("x")
        async with left_when(lambda: implementation.gate.entered):
            await shop.wait("cancelled")
        await until(lambda: implementation.gate.cancelled)
        await until(lambda: len(there) == len(here) == 8)
    for seen, direction in ((there, "in"), (here, "out")):
        started = [event.call for event in seen if isinstance(event, CallStarted)]
        finished = {event.call: event for event in seen if isinstance(event, CallFinished)}
        assert sorted(started) == sorted(finished) and len(started) == 4
        assert {event.direction for event in seen} == {direction}
        results = [event.result for _, event in sorted(finished.items())]
        assert results[:3] == ["ok", "ok", "internal"] and results[3] in ("cancelled", "deadline_exceeded")


async def test_work_that_the_shutdown_ends_has_its_end_too() -> None:
    """Fault 53."""
    seen: dict[str, list[Any]] = {"server": [], "client": []}
    async with connected(implementation := MemShop()) as (server, client):
        for connection, name in ((server, "server"), (client, "client")):
            for kind in (CallStarted, CallFinished, ConnectionClosed):
                connection.on(kind, seen[name].append)
        shop = await client.bootstrap(Shop)
        calls = [shop.wait(str(number)) for number in range(3)]
        await until(lambda: len(implementation.gate.entered) == 3)
        await client.aclose(grace=0)
        await server.wait_closed()
        await until(lambda: all(len(events) == 9 for events in seen.values()))
        assert len(calls) == 3
    for events in seen.values():
        assert len([event for event in events if isinstance(event, CallFinished)]) == 4
        assert len([event for event in events if isinstance(event, ConnectionClosed)]) == 1


async def test_names_and_connections_have_events() -> None:
    seen: list[Event] = []
    async with connected() as (server, client):
        client.on(Event, seen.append)
        client.serve(MemShop())
        await server.bootstrap(Shop)
        with pytest.raises(NotFound):
            await server.bootstrap(Shop, name="test.none")
        client.unserve(Shop)
        await until(lambda: any(isinstance(event, NameUnserved) for event in seen))
        kinds = [type(event) for event in seen]
        assert kinds.count(NameServed) == kinds.count(NameUnserved) == 1
        assert [event.result for event in seen if isinstance(event, Bootstrapped)] == ["ok", "not_found"]
        assert ConnectionOpened not in kinds, "that was before we watched"


async def test_an_observer_that_raises_disturbs_nobody() -> None:
    seen: list[Event] = []

    def raises(event: Event) -> None:
        raise RuntimeError("no")

    async with connected(MemShop()) as (server, client):
        server.on(CallFinished, raises)
        server.on(CallFinished, seen.append)
        shop = await client.bootstrap(Shop)
        for _ in range(5):
            await shop.add(1)
        await until(lambda: len(seen) == 6)


async def test_an_observer_may_change_who_observes() -> None:
    """Fault 52: the set is not walked while it changes."""
    seen: list[Event] = []
    async with connected(MemShop()) as (server, client):

        def replace_myself(event: Event) -> None:
            end()
            server.on(CallFinished, seen.append)

        end = server.on(CallFinished, replace_myself)
        shop = await client.bootstrap(Shop)
        await client.ping()
        await until(lambda: len(server._session.bus._observers) == 1)
        for _ in range(3):
            await shop.add(1)
        await until(lambda: len(seen) >= 3)


async def test_unsubscribing_ends_it() -> None:
    seen: list[Event] = []
    async with connected(MemShop()) as (server, client):
        end = server.on(CallFinished, seen.append)
        shop = await client.bootstrap(Shop)
        await until(lambda: len(seen) == 1)
        end()
        end()
        await shop.add(1)
        await client.ping()
        assert len(seen) == 1 and not server._session.bus.observed


async def test_a_coroutine_function_is_no_observer() -> None:
    async def observe(event: Event) -> None: ...

    async with connected() as (server, _):
        with pytest.raises(TypeError):
            server.on(Event, observe)
        with pytest.raises(TypeError):
            server.on(int, print)  # type: ignore[type-var]


async def test_a_feed() -> None:
    async with connected(MemShop()) as (server, client):
        async with server.events(CallStarted) as feed:
            shop = await client.bootstrap(Shop)
            await shop.add(1)
            methods = [(await anext(feed)).method, (await anext(feed)).method]
            assert methods == ["bootstrap", "add"] and feed.dropped == 0
        assert not server._session.bus.observed
        with pytest.raises(StopAsyncIteration):
            await anext(feed)


async def test_a_feed_that_nobody_reads_is_bounded() -> None:
    """The oldest go, and are counted; the data path does not wait."""
    async with connected(MemShop()) as (server, client), server.events(CallFinished) as feed:
        shop = await client.bootstrap(Shop)
        for _ in range(QUEUE_EVENTS // 64 + 4):
            for one in [shop.add(1) for _ in range(64)]:
                await one
        await until(lambda: feed.dropped)
        first = await anext(feed)
        assert first.method == "add"


async def test_nothing_of_arguments_or_results_is_in_an_event() -> None:
    seen: list[Event] = []
    async with connected(MemShop()) as (server, client):
        server.on(Event, seen.append)
        client.on(Event, seen.append)
        await (await client.bootstrap(Shop)).echo({"secret": "canary"})
        await until(lambda: sum(isinstance(event, CallFinished) for event in seen) == 4)
        assert any(isinstance(event, CapExported) for event in seen)
        assert "canary" not in repr(seen)


class Tap(Cap, name="test.Tap"):
    """Streams in every direction."""

    @stream
    def count(self, to: int) -> Stream[int]: ...
    @stream
    def fail(self) -> Stream[int]: ...
    @call
    async def total(self, numbers: AsyncIterable[int]) -> int: ...
    @call
    async def fill(self, into: Sink[int], to: int) -> None: ...
    @call
    async def drop(self, into: Sink[int]) -> None: ...


class MemTap(Tap):
    async def count(self, to: int) -> Stream[int]:
        for number in range(to):
            yield number

    async def fail(self) -> Stream[int]:
        yield 1
        raise NotFound("no more")

    async def total(self, numbers: AsyncIterable[int]) -> int:
        return sum([number async for number in numbers])

    async def fill(self, into: Sink[int], to: int) -> None:
        for number in range(to):
            await into.send(number)
        await into.aclose()

    async def drop(self, into: Sink[int]) -> None:
        await into.send(1)


class Basin(Sink[int]):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.got: list[int] = []
        self.ended = False

    async def send(self, item: int) -> None:
        self.got.append(item)

    async def aclose(self) -> None:
        self.ended = True

    def fail(self, error: Exception) -> None:
        self.ended = True


def watch_streams(*connections: Connection) -> list[list[Any]]:
    """What each tells of its streams from now on."""
    books: list[list[Any]] = []
    for connection in connections:
        seen: list[Any] = []
        connection.on(StreamOpened, seen.append)
        connection.on(StreamClosed, seen.append)
        books.append(seen)
    return books


async def ends_of(seen: list[list[Any]], number: int = 1) -> list[StreamClosed]:
    """Wait until each side has told of as many streams, from their start to their end; gives the ends."""
    await until(lambda: all(len(events) == 2 * number for events in seen))
    for events in seen:
        opened = [event.stream for event in events if isinstance(event, StreamOpened)]
        closed = [event.stream for event in events if isinstance(event, StreamClosed)]
        assert sorted(opened) == sorted(closed) and len(set(opened)) == number
    return [event for events in seen for event in events if isinstance(event, StreamClosed)]


def told(event: StreamClosed) -> tuple[object, ...]:
    """The end of a stream in short."""
    return event.direction, event.items, event.result, event.reason


async def test_a_stream_is_told_of_at_both_ends() -> None:
    """Fault 52."""
    async with connected(MemTap()) as (server, client):
        tap = await client.bootstrap(Tap)
        seen = watch_streams(server, client)
        assert [number async for number in tap.count(1000)] == list(range(1000))
        there, here = await ends_of(seen)
        assert told(there) == ("out", 1000, "ok", None) and told(here) == ("in", 1000, "ok", None)
        assert there.stream == -here.stream and there.generation == 1 and there.seconds > 0
        del tap
        await assert_no_leaks(server, client)


async def test_a_stream_that_fails_and_one_that_nobody_reads_to_the_end() -> None:
    async with connected(MemTap()) as (server, client):
        tap = await client.bootstrap(Tap)
        seen = watch_streams(server, client)
        with pytest.raises(NotFound):
            async for _ in tap.fail():
                pass
        there, here = await ends_of(seen)
        assert told(there) == ("out", 1, "not_found", None) and told(here) == ("in", 1, "not_found", None)
        for events in seen:
            events.clear()
        async with aclosing(tap.count(10**9)) as numbers:
            async for _ in numbers:
                break
        there, here = await ends_of(seen)
        assert there.result == here.result == "cancelled" and there.reason == here.reason == "stopped"
        assert there.items == here.items > 0


async def test_streams_in_arguments_and_sinks_are_told_of() -> None:
    async with connected(MemTap()) as (server, client):
        tap = await client.bootstrap(Tap)
        seen = watch_streams(server, client)

        async def numbers() -> AsyncIterable[int]:
            for number in range(3):
                yield number

        assert await tap.total(numbers()) == 3
        there, here = await ends_of(seen)
        assert told(there) == ("in", 3, "ok", None) and told(here) == ("out", 3, "ok", None)
        for events in seen:
            events.clear()
        await tap.fill(basin := Basin(), 5)
        there, here = await ends_of(seen)
        assert told(there) == ("out", 5, "ok", None) and told(here) == ("in", 5, "ok", None)
        await until(lambda: basin.ended)
        assert basin.got == list(range(5))
        for events in seen:
            events.clear()
        await tap.drop(Basin())
        there, here = await ends_of(seen)
        assert told(there) == ("out", 1, "cancelled", "abandoned")
        assert told(here) == ("in", 1, "cancelled", "abandoned")


async def test_streams_that_the_connection_ends_have_their_end_too() -> None:
    """Fault 53: also those that are held and never read."""
    async with connected(MemTap()) as (server, client):
        tap = await client.bootstrap(Tap)
        seen = watch_streams(server, client)
        held = [tap.count(10**9) for _ in range(3)]
        for numbers in held:
            assert await anext(numbers) == 0
        await client.aclose(grace=0)
        await server.wait_closed()
        ends = await ends_of(seen, 3)
        assert {event.direction for event in ends} == {"in", "out"}
        assert all(event.result in ("unavailable", "cancelled") for event in ends), ends
        with pytest.raises(Unavailable):
            assert len([number async for number in held[0]]) < 10**6


async def test_the_last_events_come_before_the_connection_is_left() -> None:
    """Fault 53: at the end of the block there is nothing more to wait for."""
    seen: list[Event] = []
    async with connected(MemShop()) as (server, client):
        server.on(Event, seen.append)
        client.on(Event, seen.append)
        await client.bootstrap(Shop)
    closed = [event.connection for event in seen if isinstance(event, ConnectionClosed)]
    assert sorted(closed) == sorted((server.number, client.number))


async def test_a_producer_that_waits_for_credit_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """P-CAP-8: once in each wait that takes long, and never for one that does not."""
    monkeypatch.setattr("capnet.session.publisher.CREDIT_STALL", 1.0)
    stalls: list[CreditStalled] = []
    async with connected(MemTap(), client_limits=Limits(stream_items=4)) as (server, client):
        tap = await client.bootstrap(Tap)
        server.on(CreditStalled, stalls.append)
        async with aclosing(tap.count(100)) as numbers:
            first = await anext(numbers)
            await until(lambda: stalls)
            assert [first, *[number async for number in numbers]] == list(range(100))
        assert [event.seconds for event in stalls] == [1.0] and stalls[0].connection == server.number


async def test_a_bootstrap_is_told_of_at_both_ends() -> None:
    """Fault 52."""
    seen: list[Bootstrapped] = []
    async with connected(MemShop()) as (_, client):
        client.on(Bootstrapped, seen.append)
        await client.bootstrap(Shop)
        with pytest.raises(NotFound):
            await client.bootstrap(Shop, name="test.none")
        await until(lambda: len(seen) == 2)
    assert [(event.direction, event.name, event.result) for event in seen] == [
        ("out", "test.Shop", "ok"),
        ("out", "test.none", "not_found"),
    ]


async def test_a_denial_has_an_event() -> None:
    """Fault 52: what a policy refuses, names and calls."""
    seen: list[PolicyDenied] = []
    async with connected() as (server, _):
        server._session.publisher.denied("test.Shop", None, "nobody watches")
        server.on(PolicyDenied, seen.append)
        server._session.publisher.denied("test.Shop", "add", "too late")
        await until(lambda: seen)
        assert [(event.name, event.method, event.reason) for event in seen] == [("test.Shop", "add", "too late")]


async def test_what_observers_miss_and_fail_at_is_in_the_stats() -> None:
    """Fault 52: failures are counted, not swallowed."""

    def raises(event: Event) -> None:
        raise RuntimeError("no")

    async with connected(MemShop()) as (server, client):
        end = server.on(CallFinished, raises)
        await (await client.bootstrap(Shop)).add(1)
        await until(lambda: server.stats()["observer_failures"] == 2)
        end()
        assert server.stats()["observer_failures"] == 2 and server.stats()["observers"] == 0
        assert server.stats()["events_dropped"] == 0


async def test_observers_that_raise_or_block_do_not_slow_calls_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threat T23: one that holds up the loop for a second, and again, waits for a minute, and nobody waits with it."""
    clock = 0.0
    for module in ("bus", "observer"):
        monkeypatch.setattr(f"capnet.observe.{module}.perf_counter", lambda: clock)
    blocked: list[float] = []

    def raises(event: Event) -> None:
        raise RuntimeError("no")

    def blocks(event: Event) -> None:
        nonlocal clock
        blocked.append(event.time)
        clock += 1.0

    async with connected(MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        server.on(Event, raises)
        server.on(Event, blocks)
        for _ in range(20):
            for one in [shop.add(1) for _ in range(64)]:
                await one
        assert len(blocked) == 2
        assert server.stats()["events_dropped"] > 0


async def test_an_observer_that_is_slow_once_misses_nothing() -> None:
    """Threat T23: what waits for it comes when the loop has had its share."""
    seen: list[int] = []

    def slow_at_first(event: CallFinished) -> None:
        if not seen:
            time.sleep(0.012)
        seen.append(event.call)

    async with connected(MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        await client.ping()
        server.on(CallFinished, slow_at_first)
        for one in [shop.add(1) for _ in range(10)]:
            await one
        await until(lambda: len(seen) == 10)
        assert seen == sorted(seen) and server.stats()["events_dropped"] == 0


async def test_kinds_that_nobody_observes_are_not_built() -> None:
    async with connected(MemShop()) as (server, client):
        seen: list[Event] = []
        server.on(StreamOpened, seen.append)
        await (await client.bootstrap(Shop)).add(1)
        server.on(CallFinished, seen.append)
        await (await client.bootstrap(Shop)).add(1)
        await until(lambda: len(seen) == 2)
        assert [event.sequence for event in seen] == [1, 2]


async def test_many_may_wait_for_one_feed() -> None:
    async with connected(MemShop()) as (server, client):
        got: list[str] = []
        async with server.events(CallFinished) as feed, anyio.create_task_group() as tasks:

            async def read() -> None:
                got.append((await anext(feed)).method)

            tasks.start_soon(read)
            tasks.start_soon(read)
            for _ in range(5):
                await checkpoint()
            await (await client.bootstrap(Shop)).add(1)
        assert sorted(got) == ["add", "bootstrap"]


async def test_the_books_find_what_has_no_end_and_what_ends_twice() -> None:
    """The check of whole tests is no test that cannot fail."""
    start = {"time": 0.0, "sequence": 1, "direction": "in", "call": 1, "contract": "c", "method": "m"}
    end = {**start, "result": "ok", "reason": None, "seconds": 0.0}
    books = Books()
    books.enter(0, CallStarted(**start))  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        books.check()
    books.enter(0, CallFinished(**end))  # type: ignore[arg-type]
    books.check()
    books.enter(0, CallFinished(**end))  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        books.check()
