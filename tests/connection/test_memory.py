"""What a peer makes this side hold beside its frames: events that nobody reads, and what arguments become (P-LIMIT-3).

It is counted in bytes of objects and in the ledgers; what the process takes is the soak's to see.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from types import FrameType, TracebackType
from typing import Any

import anyio
import pytest

from capnet import Cap, Host, Internal, Limits, ResourceExhausted, call, connect
from capnet.observe import Event, HandlerFailed
from capnet.observe.observer import QUEUE_BYTES
from capnet.testing import connected
from tests.connection.shop import MemShop, Shop, until
from tests.loops import on_every_loop as on_every_loop
from tests.unit.observe.test_failure import reached_from

MIB = 1024 * 1024


class Desk(Cap, name="test.MemoryDesk"):
    """Takes what it is given."""

    @call
    async def fail(self, text: str) -> None: ...
    @call
    async def sets(self, values: list[set[int]]) -> int: ...
    @call
    async def read(self, items: AsyncIterable[set[int]]) -> int: ...
    @call
    async def let_go(self) -> None: ...


class MemDesk(Desk):
    """Keeps sets until it is told to let go of them."""

    def __init__(self) -> None:
        self.running = 0
        self.gate = anyio.Event()

    async def fail(self, text: str) -> None:
        raise ValueError(text)

    async def sets(self, values: list[set[int]]) -> int:
        self.running += 1
        await self.gate.wait()
        return len(values)

    async def read(self, items: AsyncIterable[set[int]]) -> int:
        count = 0
        async for _ in items:
            count += 1
        return count

    async def let_go(self) -> None:
        self.gate.set()


async def test_an_event_that_waits_leads_to_nothing_of_its_call() -> None:
    """P-CAP-9: not to the exception, its frames or the argument; its text is cut."""
    async with connected(MemDesk()) as (server, client):
        desk = await client.bootstrap(Desk)
        async with server.events(Event) as feed:
            argument = "\U0001f600" * 50_000
            with pytest.raises(Internal):
                await desk.fail(argument)
            reached = [one for event, _ in feed._reader.queue for one in reached_from(event)]
            assert any(isinstance(event, HandlerFailed) for event, _ in feed._reader.queue)
            assert not any(isinstance(one, FrameType | TracebackType | BaseException) for one in reached)
            assert max(one.__sizeof__() for one in reached) < 5000
            kept = sum(one.__sizeof__() for one in {id(one): one for one in reached}.values())
            assert kept <= 2 * server._session.unheard.used


async def test_events_that_a_peer_does_not_read_are_counted_and_bounded() -> None:
    """P-CAP-9, P-LIMIT-3: the host's ledger sees them; they go with the connection."""
    async with Host(name="host") as host:
        host.serve(MemDesk())
        await host.listen("memory:unread-events")
        async with connect("memory:unread-events", limits=Limits(stream_items=1)) as client:
            await client.ping()
            (server,) = host.connections
            records = client.runtime().events(["HandlerFailed"])
            await client.runtime().ping()
            desk = await client.bootstrap(Desk)
            for _ in range(300):
                with pytest.raises(Internal):
                    await desk.fail("\U0001f600" * 2000)
            assert QUEUE_BYTES // 2 < server._session.unheard.used <= QUEUE_BYTES
            assert (
                host.stats()["charge"]
                >= server._session.unheard.used
                == server._session.charge - server._session.engine.charge
            )
            await records.aclose()
            await until(lambda: server._session.unheard.used == 0)
        await until(lambda: host.stats()["charge"] == 0)


async def test_a_feed_that_is_never_read_counts_no_more_when_the_connection_has_closed() -> None:
    async with Host(name="host") as host:
        host.serve(MemShop())
        await host.listen("memory:left-events")
        feeds: list[Any] = []
        async with connect("memory:left-events") as client:
            await client.ping()
            (server,) = host.connections
            feeds.append(server.events())
            feeds[0].open()
            await (await client.bootstrap(Shop)).add(1)
            assert host.stats()["charge"] > 0
        await until(lambda: host.stats()["charge"] == 0)
        feeds[0].close()


async def test_arguments_that_become_sets_are_counted_as_such() -> None:
    """P-LIMIT-3: an empty set takes three times what an empty list does. What has no room fails, and nothing else."""
    limits = Limits(max_call_charge=8 * MIB, max_strikes=1)
    async with connected(implementation := MemDesk(), limits=limits) as (server, client):
        desk = await client.bootstrap(Desk)
        values: list[set[int]] = [set() for _ in range(16_000)]
        failures: list[str | None] = []

        async def one() -> None:
            try:
                assert await desk.sets(values) == 16_000
            except ResourceExhausted as error:
                failures.append(error.reason)

        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(one)
            await until(lambda: implementation.running + len(failures) == 4)
            held = implementation.running * 16_000 * 224
            assert held <= server._session.engine.call_charge.used <= 8 * MIB and implementation.running == 2
            await desk.let_go()
        assert failures == ["max_call_charge"] * 2 and server._session.engine.strikes.count == 0
        await until(lambda: server._session.engine.call_charge.used == 0)


async def test_items_that_become_sets_are_counted_as_such() -> None:
    """P-LIMIT-3: while they are in use; a stream whose items have no room as what they become is stopped."""

    async def items(size: int) -> AsyncGenerator[list[set[int]]]:
        for _ in range(3):
            yield [set() for _ in range(size)]

    class Reading(Cap, name="test.Reading"):
        @call
        async def read(self, items: AsyncIterable[list[set[int]]]) -> int: ...

    class MemReading(Reading):
        async def read(self, items: AsyncIterable[list[set[int]]]) -> int:
            return sum([len(item) async for item in items])

    limits = Limits(max_held_charge=8 * MIB)
    async with connected(MemReading(), limits=limits) as (server, client):
        reading = await client.bootstrap(Reading)
        assert await reading.read(items(2000)) == 6000
        await until(lambda: server._session.engine.held_charge.used == 0)
        with pytest.raises(ResourceExhausted) as caught:
            await reading.read(items(60_000))
        assert caught.value.reason == "max_held_charge" and not client.closed
        await until(lambda: server._session.engine.held_charge.used == 0)
