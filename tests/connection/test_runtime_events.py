"""Events that a peer reads over the connection itself, by way of the runtime capability (P-CAP-9)."""

from __future__ import annotations

from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import Any

import pytest

from capnet import Connection, Host, Internal, InvalidArgument, Limits, PermissionDenied, ResourceExhausted, connect
from capnet.observe import LimitHit
from capnet.observe.bus import MAX_OBSERVERS
from capnet.observe.observer import QUEUE_EVENTS
from capnet.policy.policy import Admission
from capnet.serving.event_stream import EVENTS_GRANT, MAX_EVENT_STREAMS, EventStream
from capnet.serving.runtime import CONNECTIONS_PER_ANSWER
from capnet.testing import assert_no_leaks, connected
from tests.connection.shop import MemShop, Shop, socket_pair, until
from tests.loops import on_every_loop as on_every_loop

ENVELOPE = {"kind", "time", "connection", "peer", "principal", "sequence", "generation", "served", "fields"}


def grant(connection: Connection, *grants: str) -> None:
    """What a host does with an attestation."""
    connection._session.attestation = replace(connection.attestation, grants=frozenset(grants))


async def open_events(client: Connection, server: Connection, kinds: list[str] | None = None) -> Any:
    """A stream of events that the other side has opened already."""
    before = server._session.publisher.event_streams
    records = client.runtime().events(kinds)
    await until(lambda: server._session.publisher.event_streams == before + 1)
    return records


async def test_a_peer_reads_what_happens_on_its_connection() -> None:
    async with socket_pair(MemShop()) as (server, client):
        async with aclosing(await open_events(client, server)) as records:
            shop = await client.bootstrap(Shop)
            await shop.add(1)
            got = [await anext(records)]
            while got[-1]["fields"].get("method") != "add" or got[-1]["kind"] != "CallFinished":
                got.append(await anext(records))
            kinds = [record["kind"] for record in got]
            assert kinds == [
                "CallStarted",
                "Bootstrapped",
                "CapExported",
                "CallFinished",
                "CallStarted",
                "CallFinished",
            ]
            assert all(set(record) == ENVELOPE for record in got)
            assert {record["connection"] for record in got} == {server.number}
            assert {(record["peer"], record["principal"]) for record in got} == {("client", None)}
            assert got[-1]["fields"] == {
                "direction": "in",
                "call": got[-1]["fields"]["call"],
                "cap": 2,
                "contract": "test.Shop",
                "method": "add",
                "result": "ok",
                "reason": None,
                "seconds": got[-1]["fields"]["seconds"],
            }
        await until(lambda: not server._session.bus.observed and not server._session.publisher.event_streams)
        del shop, records
        await assert_no_leaks(server, client)


async def test_kinds_choose_and_unknown_ones_are_refused() -> None:
    async with connected(MemShop()) as (server, client):
        async with aclosing(await open_events(client, server, ["CallFinished", "LimitHit"])) as records:
            shop = await client.bootstrap(Shop)
            for number in range(3):
                await shop.add(number)
            got = [await anext(records) for _ in range(4)]
            assert [(record["kind"], record["fields"]["method"]) for record in got] == [
                ("CallFinished", "bootstrap"),
                *[("CallFinished", "add")] * 3,
            ]
        for wrong in (["Nonsense"], ["CallFinished", "Event"], ["__doc__"]):
            with pytest.raises(InvalidArgument) as caught:
                await anext(client.runtime().events(wrong))
            assert caught.value.reason == "unknown_event"
        await until(lambda: not server._session.publisher.event_streams)


async def test_a_kind_that_is_named_often_is_one() -> None:
    """T8: a list of 65 000 kinds is a set of few; else each event later would be held against all of them."""
    kinds = ["LimitHit", "CallFinished"] * 30_000
    async with connected(MemShop()) as (server, client):
        async with aclosing(await open_events(client, server, kinds)) as records:
            shop = await client.bootstrap(Shop)
            await shop.add(1)
            assert [(await anext(records))["kind"] for _ in range(2)] == ["CallFinished"] * 2
            (observer,) = server._session.bus._observers
            assert len(observer.kinds) == 2
        await until(lambda: not server._session.publisher.event_streams)


async def test_the_stream_does_not_tell_of_itself() -> None:
    """Otherwise each record would have the next one follow."""
    async with (
        connected(MemShop()) as (server, client),
        aclosing(await open_events(client, server)) as records,
    ):
        shop = await client.bootstrap(Shop)
        for _ in range(20):
            await shop.add(1)
        got: list[dict[str, Any]] = []
        while len([record for record in got if record["kind"] == "CallFinished"]) < 21:
            got.append(await anext(records))
        assert all(record["fields"].get("method") != "events" for record in got)
        assert not [record for record in got if record["kind"].startswith("Stream")]
        await client.runtime().ping()
        assert (await anext(records))["fields"]["method"] == "ping", "nothing else was waiting"


async def test_failures_are_told_without_the_exception() -> None:
    async with connected(MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        for wide in (False, True):
            if wide:
                grant(server, EVENTS_GRANT)
            async with aclosing(await open_events(client, server, ["HandlerFailed", "CallFinished"])) as records:
                with pytest.raises(Internal) as caught:
                    await shop.fail("a secret of the handler")
                failed, finished = await anext(records), await anext(records)
                assert failed["kind"] == "HandlerFailed" and finished["fields"]["result"] == "internal"
                assert failed["fields"]["correlation"] == caught.value.details["correlation"]
                assert set(failed["fields"]) == ({"where", "correlation"} if wide else {"correlation"})
                assert "secret" not in repr((failed, finished)) and "RuntimeError" not in repr((failed, finished))
            await until(lambda: not server._session.publisher.event_streams)


async def test_a_peer_sees_others_only_with_the_grant() -> None:
    """P-CAP-9: what happens on other connections is nobody's business without it, nor who the host takes a peer for."""
    async with Host(name="server") as host:
        host.serve(MemShop())
        await host.listen("memory:test-runtime-events")
        async with (
            connect("memory:test-runtime-events", name="one") as one,
            connect("memory:test-runtime-events", name="two") as two,
        ):
            await one.ping()
            await two.ping()
            (first,) = (connection for connection in host.connections if connection.peer_name == "one")
            for number, connection in enumerate(host.connections):
                connection._session.attestation = replace(connection.attestation, principal=f"guest {number}")
            principals = {connection.peer_name: connection.attestation.principal for connection in host.connections}
            async with aclosing(await open_events(one, first, ["CallFinished", "NameUnserved"])) as own:
                await (await two.bootstrap(Shop)).add(1)
                shop = await one.bootstrap(Shop)
                record = await anext(own)
                assert (record["peer"], record["fields"]["method"]) == ("one", "bootstrap")
                assert record["principal"] is None
                grant(first, EVENTS_GRANT)
                async with aclosing(await open_events(one, first, ["CallFinished", "NameUnserved"])) as every:
                    await (await two.bootstrap(Shop)).add(1)
                    got = [await anext(every) for _ in range(2)]
                    assert {(record["peer"], record["principal"]) for record in got} == {("two", principals["two"])}
                    host.unserve(Shop)
                    record = await anext(every)
                    assert record["kind"] == "NameUnserved" and record["fields"]["name"] == "test.Shop"
                    grant(first)
                    await one.runtime().ping()
                    with pytest.raises(PermissionDenied):
                        await anext(every)
                del shop


async def test_names_that_the_policy_denies_are_not_told_of() -> None:
    """P-CAP-2: served and unserved names look the same to those who may not have them."""

    class OnlyShops:
        def admit(self, request: Admission) -> bool:
            return request.name == "test.Shop"

    async with (
        connected(policy=OnlyShops()) as (server, client),
        aclosing(await open_events(client, server, ["NameServed"])) as records,
    ):
        server.serve(MemShop(), name="test.Secret")
        server.serve(MemShop())
        record = await anext(records)
        assert record["fields"]["name"] == "test.Shop"


async def test_a_reader_that_is_too_slow_is_told_how_many_it_lost() -> None:
    async with (
        connected(MemShop(), client_limits=Limits(stream_items=4)) as (server, client),
        aclosing(await open_events(client, server, ["CallFinished"])) as records,
    ):
        shop = await client.bootstrap(Shop)
        calls = 1
        while server.stats()["events_dropped"] < 100:
            for one in [shop.add(1) for _ in range(64)]:
                await one
            calls += 64
        assert calls > QUEUE_EVENTS
        told, lost = 0, 0
        while told + lost < calls:
            record = await anext(records)
            told += record["kind"] == "CallFinished"
            lost += record["fields"].get("dropped", 0)
        assert told + lost == calls and lost >= 100


async def test_a_peer_has_few_of_these_streams() -> None:
    async with connected(MemShop()) as (server, client):
        opened = [await open_events(client, server) for _ in range(MAX_EVENT_STREAMS)]
        with pytest.raises(ResourceExhausted) as caught:
            await anext(client.runtime().events())
        assert caught.value.reason == "max_event_streams"
        await opened[0].aclose()
        await until(lambda: server._session.publisher.event_streams == MAX_EVENT_STREAMS - 1)
        opened[0] = await open_events(client, server)
        for records in opened:
            await records.aclose()
        await until(lambda: not server._session.publisher.event_streams and not server._session.bus.observed)


async def test_where_too_many_observe_a_peer_is_told_so() -> None:
    async with connected() as (server, client):
        ends = [server.on(LimitHit, print) for _ in range(MAX_OBSERVERS)]
        with pytest.raises(ResourceExhausted) as caught:
            await anext(client.runtime().events())
        assert caught.value.reason == "max_observers" and not server._session.publisher.event_streams
        ends[0]()
        await (await open_events(client, server)).aclose()
        await until(lambda: not server._session.publisher.event_streams)


async def test_records_are_a_generator_like_others() -> None:
    async with connected(MemShop()) as (server, _):
        records = EventStream(server._names, 0, ["NameServed"])
        server.serve(MemShop(), name="test.Other")
        assert (await records.asend(None))["fields"] == {"name": "test.Other", "contract": "test.Shop"}
        with pytest.raises(KeyError):
            await records.athrow(KeyError("why"))
        with pytest.raises(StopAsyncIteration):
            await anext(records)
        assert not server._session.publisher.event_streams and not server._session.bus.observed


async def test_a_stream_that_is_dropped_or_lost_with_its_connection_observes_no_more() -> None:
    async with connected(MemShop()) as (server, client):
        records = await open_events(client, server)
        del records
        await until(lambda: not server._session.publisher.event_streams)
        records = client.runtime().events()
        await records.aclose()  # the call is cancelled before it is answered
        await client.ping()
        await until(lambda: not server._session.publisher.event_streams)
        records = await open_events(client, server)
        await client.aclose(grace=0)
        await server.wait_closed()
        await until(lambda: not server._session.publisher.event_streams and not server._session.bus.observed)
        del records


async def test_all_connections_are_told_of_with_the_grant() -> None:
    """Who each is and what it holds, a few at a time."""
    async with Host(name="server") as host:
        host.serve(MemShop())
        await host.listen("memory:test-runtime-connections")
        async with AsyncExitStack() as stack:
            everyone = [
                await stack.enter_async_context(connect("memory:test-runtime-connections", name=f"peer {number}"))
                for number in range(CONNECTIONS_PER_ANSWER + 2)
            ]
            for connection in everyone:
                await connection.ping()
            shop = await everyone[0].bootstrap(Shop)
            runtime = everyone[0].runtime()
            with pytest.raises(PermissionDenied):
                await runtime.connections()
            grant(host.connections[0], EVENTS_GRANT)
            some = await runtime.connections()
            rest = await runtime.connections(some[-1]["connection"])
            told = some + rest
            assert len(some) == CONNECTIONS_PER_ANSWER and len(rest) == 2
            assert await runtime.connections(rest[-1]["connection"]) == []
            assert [one["connection"] for one in told] == [connection.number for connection in host.connections]
            assert {one["peer"] for one in told} == {f"peer {number}" for number in range(len(everyone))}
            assert (told[0]["exports"], told[0]["calls"], told[0]["transport"]) == (1, 1, "memory")
            assert {(one["exports"], one["calls"]) for one in told[1:]} == {(0, 0)}
            del shop
