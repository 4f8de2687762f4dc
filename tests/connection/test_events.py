"""Events: every start has one end, observers disturb nobody (P-CAP-8, faults 52 and 53)."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from capnet import Internal, NotFound
from capnet.observe import (
    Bootstrapped,
    CallFinished,
    CallStarted,
    CapExported,
    ConnectionClosed,
    ConnectionOpened,
    Event,
    NameServed,
    NameUnserved,
)
from capnet.observe.bus import QUEUE_EVENTS
from capnet.testing import connected
from tests.connection.shop import MemShop, Shop, until


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
        with anyio.move_on_after(0.01):
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
        await until(lambda: len(server.bus._observers) == 1)
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
        assert len(seen) == 1 and not server.bus.observed


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
        assert not server.bus.observed
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
