"""A host: one registry, many connections, many doors; what one peer does is no other's business."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from capnet import (
    AlreadyExists,
    CapnetError,
    Connection,
    Host,
    NotFound,
    Revoked,
    Unavailable,
    connect,
    generation,
    on_broken,
)
from capnet.observe import CallFinished, ConnectionClosed, ConnectionOpened, Event, HandlerFailed
from capnet.session.fair_share import FairShare
from capnet.testing import assert_no_leaks
from tests.connection.shop import Item, MemItem, MemShop, Shop, until
from tests.loops import on_every_loop as on_every_loop


@asynccontextmanager
async def host_and_clients(host: Host, count: int) -> AsyncGenerator[list[Connection]]:
    """`count` clients on real unix sockets, each in its own connection."""
    with tempfile.TemporaryDirectory(prefix="cap", dir="/tmp") as folder:
        url = f"unix:{os.path.join(folder, 's')}"
        async with host, AsyncExitStack() as stack:
            await host.listen(url)
            clients = [await stack.enter_async_context(connect(url, name=str(n))) for n in range(count)]
            for client in clients:
                await client.ping()
            yield clients


async def test_fault_25_what_is_served_reaches_present_and_future_connections() -> None:
    """Fault 25: one registry for all; the ancestor had one for each connection."""
    host = Host()
    async with host_and_clients(host, 3) as clients:
        implementation = MemShop()
        host.serve(implementation)
        shops = [await client.bootstrap(Shop) for client in clients]
        for shop in shops:
            await shop.echo("x")
        assert len(implementation.started) == 3 and len(host.connections) == 3
        handle = host.serve(MemItem("late"))
        assert [await (await client.bootstrap(Item)).label() for client in clients] == ["late"] * 3
        handle.close()
        with pytest.raises(NotFound):
            await clients[0].bootstrap(Item)
        shops.clear()
    assert implementation.closed == 1


async def test_unserve_revokes_on_all_connections() -> None:
    host = Host()
    async with host_and_clients(host, 3) as clients:
        implementation = MemShop()
        host.serve(implementation)
        shops = [await client.bootstrap(Shop) for client in clients]
        calls = [shop.wait("x") for shop in shops]
        await until(lambda: len(implementation.gate.entered) == 3)
        host.unserve(Shop)
        for call in calls:
            with pytest.raises(Revoked):
                await call
        await until(lambda: implementation.closed == 1)


async def test_replace_reaches_all_connections_and_counts_all_calls() -> None:
    host = Host()
    async with host_and_clients(host, 3) as clients:
        old, new = MemShop("old"), MemShop("new")
        host.serve(old)
        shops = [await client.bootstrap(Shop) for client in clients]
        calls = [shop.wait("x") for shop in shops]
        await until(lambda: len(old.gate.entered) == 3)
        report = await host.replace(new, mode="cut")
        assert (report.generation, report.cut) == (2, 3)
        for call in calls:
            with pytest.raises(Unavailable):
                await call
        for shop in shops:
            await shop.echo("x")
            assert generation(shop) == 2
        assert len(new.started) == 3 and old.closed == 1


async def test_a_connection_may_serve_more_than_the_host_and_comes_first() -> None:
    host = Host()
    async with host_and_clients(host, 2) as clients:
        everybody, only = MemShop("everybody"), MemShop("only")
        host.serve(everybody)
        first = next(one for one in host.connections if one.peer_name == "0")
        first.serve(only)
        await (await clients[0].bootstrap(Shop)).echo("x")
        await (await clients[1].bootstrap(Shop)).echo("y")
        assert only.started == ["x"] and everybody.started == ["y"]


async def test_two_doors_and_one_that_is_taken() -> None:
    with tempfile.TemporaryDirectory(prefix="cap", dir="/tmp") as folder:
        urls = [f"unix:{os.path.join(folder, name)}" for name in "ab"]
        async with Host() as host:
            host.serve(MemShop())
            for url in urls:
                await host.listen(url)
            with pytest.raises(AlreadyExists):
                await host.listen(urls[0])
            for url in urls:
                async with connect(url) as client:
                    assert await (await client.bootstrap(Shop)).add(1) == 11
            await until(lambda: not host.connections)
        assert not os.listdir(folder), "the socket files are gone"


async def test_a_listener_is_closed_and_connections_stay() -> None:
    async with Host() as host:
        host.serve(MemShop())
        listener = await host.listen("memory:host.listener")
        async with connect("memory:host.listener") as client:
            shop = await client.bootstrap(Shop)
            await listener.aclose()
            assert await shop.add(1) == 11
            with pytest.raises(Unavailable):
                async with connect("memory:host.listener"):
                    raise AssertionError


async def test_a_host_connects_too_and_the_peer_sees_what_it_serves() -> None:
    async with Host(name="front") as front, Host(name="back") as back:
        back.serve(MemItem("behind"))
        front.serve(MemShop())
        await back.listen("memory:host.back")
        connection = await front.connect("memory:host.back")
        item = await connection.bootstrap(Item)
        assert await item.label() == "behind" and connection.peer_name == "back"
        (other,) = back.connections
        assert await (await other.bootstrap(Shop)).add(1) == 11


async def test_close_all() -> None:
    host = Host()
    async with host_and_clients(host, 3) as clients:
        assert await host.close_all(principal="nobody") == 0
        assert await host.close_all(reason="maintenance") == 3
        for client in clients:
            cause = await client.wait_closed()
            assert (cause.kind, cause.message) == ("remote", "maintenance")
        assert not host.connections


async def test_the_end_of_the_block_says_goaway_and_closes_what_was_served() -> None:
    implementation = MemShop()
    host = Host()
    async with host_and_clients(host, 2) as clients:
        host.serve(implementation)
        shop = await clients[0].bootstrap(Shop)
        broken: list[CapnetError] = []
        on_broken(shop, broken.append)
        await host.aclose(grace=0)
        await host.aclose()
        assert (await clients[0].wait_closed()).kind == "remote"
        await until(lambda: broken)
        assert implementation.closed == 1
        with pytest.raises(Unavailable):
            await host.listen("memory:host.closed")
        with pytest.raises(Unavailable):
            await host.connect("memory:host.closed")


async def test_a_host_that_is_not_open_says_so() -> None:
    with pytest.raises(Unavailable):
        await Host().listen("memory:host.never")


async def test_the_bodys_exception_comes_out_as_it_is() -> None:
    raised = KeyError("mine")
    with pytest.raises(KeyError) as caught:  # noqa: PT012 - the block is what is tested
        async with Host() as host:
            host.serve(MemShop())
            await host.listen("memory:host.raises")
            raise raised
    assert caught.value is raised


async def test_the_violation_of_one_is_unnoticed_by_the_others() -> None:
    """P-ERR-3: that connection ends, with its clause; the others do not even wait."""
    seen: list[ConnectionClosed] = []
    host = Host()
    async with host_and_clients(host, 3) as clients:
        host.serve(MemShop())
        host.on(ConnectionClosed, seen.append)
        bad, *good = clients
        shops = [await client.bootstrap(Shop) for client in good]
        bad._session.driver.transport.send([b"\xff\xff\xff\xff"])
        cause = await bad.wait_closed()
        assert (cause.kind, cause.clause, cause.by_peer) == ("violation", "P-FRAME-2", False)
        assert [await shop.add(1) for shop in shops] == [11, 11]
        await until(lambda: seen)
        assert [(event.cause, event.clause) for event in seen] == [("violation", "P-FRAME-2")]
        assert len(host.connections) == 2
        shops.clear()
        await assert_no_leaks(*good)


async def test_a_peer_that_dies_is_unnoticed_by_the_others() -> None:
    implementation = MemShop()
    host = Host()
    async with host_and_clients(host, 3) as clients:
        host.serve(implementation)
        shops = [await client.bootstrap(Shop) for client in clients]
        calls = [shop.wait(str(number)) for number, shop in enumerate(shops)]
        await until(lambda: len(implementation.gate.entered) == 3)
        clients[0]._session.driver.transport.abort()
        await until(lambda: implementation.gate.cancelled == ["0"])
        implementation.gate.open()
        assert [await calls[1], await calls[2]] == ["shop:1", "shop:2"]
        await until(lambda: len(host.connections) == 2)


async def test_the_hosts_observers_see_all_connections() -> None:
    seen: list[Event] = []
    host = Host()
    host.on(Event, seen.append)
    async with host_and_clients(host, 2) as clients:
        host.serve(MemShop())
        for client in clients:
            await (await client.bootstrap(Shop)).add(1)
    opened = [event.connection for event in seen if isinstance(event, ConnectionOpened)]
    closed = [event.connection for event in seen if isinstance(event, ConnectionClosed)]
    assert sorted(opened) == sorted(closed) and len(set(opened)) == 2
    added = [event for event in seen if isinstance(event, CallFinished) and event.method == "add"]
    assert {event.peer for event in added} == {"0", "1"}


async def test_a_listener_that_fails_is_told_to_observers() -> None:
    failed: list[HandlerFailed] = []
    async with Host() as host:
        host.on(HandlerFailed, failed.append)
        listener = await host.listen("memory:host.fails")

        async def fails() -> None:
            raise OSError("no more")

        listener.serve = fails  # type: ignore[method-assign]
        await until(lambda: failed)
        assert "memory:host.fails" in failed[0].where


async def test_many_clients_at_once() -> None:
    implementation = MemShop()
    host = Host()
    host.serve(implementation)
    async with host_and_clients(host, 40) as clients, anyio.create_task_group() as tasks:

        async def use(client: Connection) -> None:
            shop = await client.bootstrap(Shop)
            for number in range(5):
                assert await shop.add(number) == number + 10

        for client in clients:
            tasks.start_soon(use, client)
    assert implementation.closed == 1


async def test_a_connection_pays_for_handlers_that_go_on_after_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threat T8: their time is that of whoever has called them."""
    paid = list[FairShare]()

    def worked(share: FairShare, seconds: float, now: float) -> bool:
        paid.append(share)
        return as_it_is(share, seconds, now)

    as_it_is = FairShare.worked
    monkeypatch.setattr(FairShare, "worked", worked)

    class Pausing(MemShop):
        async def echo(self, value: Any) -> Any:
            await checkpoint()
            return value

    host = Host()
    host.serve(Pausing())
    async with host_and_clients(host, 2) as clients:
        shop = await clients[0].bootstrap(Shop)
        await clients[1].ping()
        paid.clear()
        assert await shop.echo("one") == "one"
        await until(lambda: paid)
        assert len(set(paid)) == 1
