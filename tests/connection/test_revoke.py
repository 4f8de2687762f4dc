"""Revocation by unserve: running calls are answered, peers told, later calls never reach the object (P-CAP-6)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from capnet import Cap, CapnetError, NotFound, Revoked, call, on_broken, release
from capnet.observe import CapBroken, CapRevoked
from capnet.testing import assert_no_leaks, connected
from tests.connection.shop import Item, MemItem, MemShop, Shop, raw_call, socket_pair, until


async def test_running_calls_are_cancelled_and_answered() -> None:
    """Fault 19: the ancestor left handlers running and callers waiting."""
    async with socket_pair() as (server, client):
        implementation = MemShop()
        handle = server.serve(implementation)
        shop = await client.bootstrap(Shop)
        running = [shop.wait(str(number)) for number in range(5)]
        await until(lambda: len(implementation.gate.entered) == 5)
        handle.close()
        for one in running:
            with pytest.raises(Revoked):
                await one
        await until(lambda: len(implementation.gate.cancelled) == 5)
        await until(lambda: implementation.closed == 1)
        del shop, running
        await assert_no_leaks(server, client)
    assert implementation.closed == 1


async def test_later_calls_are_refused_without_reaching_the_object() -> None:
    """Here as soon as we are told, and there for a caller that does not know yet."""
    async with connected() as (server, client):
        implementation = MemShop()
        handle = server.serve(implementation)
        shop = await client.bootstrap(Shop)
        handle.close()
        crossing = shop.echo("left before the news came")
        with pytest.raises(Revoked):
            await crossing
        with pytest.raises(Revoked):
            await shop.echo("local")
        imported = shop._capnet_reference.imported  # type: ignore[attr-defined]
        imported.broken = None  # a peer that does not care
        with pytest.raises(Revoked):
            await raw_call(client, shop, Shop, "echo", {"value": "forced"})
        assert not implementation.started
        assert server.close_cause is None


async def test_the_peer_is_told() -> None:
    """Fault 23: events and callbacks, not only failing calls."""
    told: list[CapnetError] = []
    events: list[CapBroken] = []
    revoked: list[CapRevoked] = []
    async with connected() as (server, client):
        client.on(CapBroken, events.append)
        server.on(CapRevoked, revoked.append)
        handle = server.serve(MemShop())
        shop = await client.bootstrap(Shop)
        on_broken(shop, told.append)
        handle.close()
        await until(lambda: told and events and revoked)
        assert type(told[0]) is Revoked and events[0].reason == "revoked" and revoked[0].reason == "unserved"
        assert "broken" in repr(shop)


async def test_everybody_who_has_it_loses_it_and_nobody_else() -> None:
    async with connected() as (server, client):
        kept, gone = MemShop("kept"), MemShop("gone")
        server.serve(kept, name="test.kept")
        server.serve(gone, name="test.gone")
        keeper, loser = (
            await client.bootstrap(Shop, name="test.kept"),
            await client.bootstrap(Shop, name="test.gone"),
        )
        second = await client.bootstrap(Shop, name="test.gone")
        server.unserve("test.gone")
        for proxy in (loser, second):
            with pytest.raises(Revoked):
                await proxy.add(1)
        assert await keeper.add(1) == 11


async def test_served_again_it_is_another_capability() -> None:
    """Ids are never reused (P-ID-1): the old proxy stays dead, a new bootstrap works."""
    async with connected() as (server, client):
        implementation = MemShop()
        server.serve(implementation).close()
        with pytest.raises(NotFound):
            await client.bootstrap(Shop)
        handle = server.serve(implementation)
        shop = await client.bootstrap(Shop)
        handle.close()
        server.serve(implementation)
        again = await client.bootstrap(Shop)
        assert again != shop and await again.add(1) == 11
        with pytest.raises(Revoked):
            await shop.add(1)


async def test_a_queued_call_is_answered_too() -> None:
    async with connected() as (server, client):
        implementation = MemShop()
        server.serve(implementation)
        shop = await client.bootstrap(Shop)
        calls = [shop.wait(str(number)) for number in range(300)]  # 256 run, the rest waits
        await until(lambda: len(implementation.gate.entered) == 256)
        server.unserve(Shop)
        for one in calls:
            with pytest.raises(Revoked):
                await one
        assert len(implementation.gate.entered) == 256
        await until(lambda: not server.stats()["answers"] and not server.stats()["answers_queued"])


class Box(Cap, name="test.Box"):
    """Takes things, and takes back what it gave."""

    @call
    async def take_back(self) -> None: ...
    @call
    async def put(self, first: Item, second: Item) -> str: ...


class MemBox(Box):
    """Runs `revoke` when it is asked to take back."""

    def __init__(self, revoke: Callable[[], None]) -> None:
        self._revoke = revoke

    async def take_back(self) -> None:
        self._revoke()

    async def put(self, first: Item, second: Item) -> str:
        return await first.label() + await second.label()


async def test_what_comes_home_may_have_been_revoked_on_the_way() -> None:
    """P-REF-1: it was there when the call arrived and is not when the call starts; the other reference goes back."""
    async with connected(MemBox(lambda: server.unserve(Item))) as (server, client):
        server.serve(MemItem("home"))
        box, item = await client.bootstrap(Box), await client.bootstrap(Item)
        before = box.put(item, item)
        # These two leave together, so the second is waiting when the first takes the item back.
        first, second = box.take_back(), box.put(item, MemItem("mine"))
        assert await before == "homehome"
        await first
        with pytest.raises(Revoked):
            await second
        release(item)
        release(box)
        await assert_no_leaks(server, client)
