"""How long a capability lives: as long as somebody holds it; its close hook runs once (P-REF-2, P-REF-3)."""

from __future__ import annotations

import gc
from typing import Any, cast

import anyio
import pytest

from capnet import CapnetError, Released, Revoked, Unavailable, dup, generation, on_broken, release
from capnet.observe import CapDropped, CapExported, HandlerFailed
from capnet.testing import assert_no_leaks, connected, pair
from tests.connection.shop import MemItem, MemShop, Shop, socket_pair, until
from tests.loops import on_every_loop as on_every_loop


async def test_the_end_of_the_block_gives_it_back() -> None:
    async with connected(implementation := MemShop()) as (_, client):
        shop = await client.bootstrap(Shop)
        async with await shop.make("tea") as item:
            assert await item.label() == "tea"
        await until(lambda: implementation.items[0].closed)
        with pytest.raises(Released):
            await item.label()


async def test_aclose_and_release_are_idempotent() -> None:
    async with connected(implementation := MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        one, two = await shop.make("one"), await shop.make("two")
        await one.aclose()
        await one.aclose()
        release(two)
        release(two)
        await until(lambda: [item.closed for item in implementation.items] == [1, 1])
        for proxy in (one, two):
            with pytest.raises(Released):
                await proxy.label()
            with pytest.raises(Released):
                dup(proxy)
            with pytest.raises(Released):
                on_broken(proxy, print)
            with pytest.raises(Released):
                await shop.keep(proxy)
            assert "released" in repr(proxy)
        del shop, one, two, proxy
        await assert_no_leaks(server, client)


async def test_use_after_release_is_local() -> None:
    """No frame leaves: the callee hears nothing of a proxy that was given back."""
    async with connected(implementation := MemShop()) as (_, client):
        shop = await client.bootstrap(Shop)
        second = await client.bootstrap(Shop)
        await shop.aclose()
        with pytest.raises(Released):
            _ = shop.echo(1)
        assert await second.echo(2) == 2
        assert implementation.started == [2]


async def test_a_proxy_that_is_collected_gives_back() -> None:
    async with socket_pair(implementation := MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        item = await shop.make("tea")
        assert await item.label() == "tea"
        del item
        await until(lambda: implementation.items[0].closed == 1)
        assert server.stats()["exports"] == 1


async def test_a_proxy_in_a_cycle_gives_back_when_the_cycle_is_found() -> None:
    async with connected(implementation := MemShop()) as (_, client):
        shop = await client.bootstrap(Shop)
        ring: list[Any] = [await shop.make("tea")]
        ring.append(ring)
        del ring
        gc.collect()
        await until(lambda: implementation.items[0].closed == 1)


async def test_a_bound_method_keeps_its_proxy() -> None:
    """Fault 13 of the ancestor: a method taken off a proxy did not keep it alive."""
    async with connected(implementation := MemShop()) as (_, client):
        label = (await (await client.bootstrap(Shop)).make("tea")).label
        gc.collect()
        await client.ping()
        assert await label() == "tea" and implementation.items[0].closed == 0


async def test_dup_has_a_life_of_its_own() -> None:
    async with connected(implementation := MemShop()) as (_, client):
        shop = await client.bootstrap(Shop)
        one = await shop.make("tea")
        two = dup(one)
        assert one == two and type(one) is type(two)
        await one.aclose()
        await client.ping()
        assert await two.label() == "tea" and implementation.items[0].closed == 0
        await two.aclose()
        await until(lambda: implementation.items[0].closed == 1)


async def test_the_close_hook_waits_for_the_last_holder() -> None:
    """P-REF-3: a registration, exports on two connections and a running call each keep an implementation open."""
    implementation = MemShop()
    async with connected(implementation) as (server, client), connected(implementation) as (_, other):
        shop, elsewhere = await client.bootstrap(Shop), await other.bootstrap(Shop)
        running = elsewhere.wait("last")
        await until(lambda: implementation.gate.entered)
        del shop
        server._session.bus  # noqa: B018 - both connections are used
        await client.ping()
        assert implementation.closed == 0
        del elsewhere
        await other.ping()
        assert implementation.closed == 0
        implementation.gate.open()
        assert await running == "shop:last"
    assert implementation.closed == 1


async def test_the_close_hook_runs_once_although_the_object_is_exported_again() -> None:
    async with connected(implementation := MemShop()) as (_, client):
        implementation.kept = item = MemItem("again")
        shop = await client.bootstrap(Shop)
        for _ in range(3):
            async with await shop.give_back() as proxy:
                assert await proxy.label() == "again"
            await client.ping()
        await until(lambda: item.closed)
    assert item.closed == 1


async def test_a_close_hook_that_raises_disturbs_nobody() -> None:
    failures: list[HandlerFailed] = []

    class Sour(MemShop):
        async def aclose(self) -> None:
            raise RuntimeError("sour")

    async with connected() as (_, client):
        client.on(HandlerFailed, failures.append)
        client.serve(Sour()).close()
        await until(lambda: failures)
        assert failures[0].where == "close hook of Sour" and await client.ping() >= 0


async def test_on_broken_tells_of_revocation_once() -> None:
    broken: list[CapnetError] = []
    async with connected(MemShop()) as (server, client):
        handle = client.serve(MemShop())
        shop = await server.bootstrap(Shop)
        on_broken(shop, broken.append)
        forget = on_broken(shop, broken.append)
        forget()
        forget()
        handle.close()
        await until(lambda: broken)
        assert type(broken[0]) is Revoked
        with pytest.raises(Revoked):
            await shop.add(1)
        late: list[CapnetError] = []
        on_broken(shop, late.append)
        await until(lambda: late)
        assert type(late[0]) is Revoked
    assert len(broken) == 1


async def test_on_broken_tells_of_the_connections_end() -> None:
    broken: list[CapnetError] = []
    async with connected(MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        on_broken(shop, broken.append)
        await server.aclose()
        await client.wait_closed()
        await until(lambda: broken)
        assert type(broken[0]) is Unavailable


async def test_on_broken_is_silent_after_a_release() -> None:
    broken: list[CapnetError] = []
    async with connected(MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        on_broken(shop, broken.append)
        await shop.aclose()
        await server.aclose()
        await client.wait_closed()
    assert not broken


async def test_generation_counts_replacements() -> None:
    async with connected() as (server, client):
        client.serve(MemShop())
        shop = await server.bootstrap(Shop)
        assert generation(shop) == 0
        await client.replace(MemShop("new"))
        await server.ping()
        assert generation(shop) == 2


async def test_a_late_result_gives_its_references_back() -> None:
    """P-CALL-6: nobody waits for the result of a cancelled call any more, so what is in it does not stay."""

    class Slow(MemShop):
        async def make_many(self, labels: list[str]) -> dict[str, Any]:
            made = await super().make_many(labels)
            with anyio.CancelScope(shield=True):
                await self.gate.pass_through("made")
            return made

    async with connected(implementation := Slow()) as (server, client):
        shop = await client.bootstrap(Shop)
        call = cast("Any", shop.make_many(["a", "b"]))
        await until(lambda: implementation.gate.entered)
        call.cancel()
        implementation.gate.open()
        del shop, call
        await assert_no_leaks(server, client)


async def test_a_result_that_nobody_collects_goes_back() -> None:
    async with connected(implementation := MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        cast("Any", shop).make("tea")
        await until(lambda: implementation.items and implementation.items[0].closed)
        del shop
        await assert_no_leaks(server, client)


async def test_exports_are_announced_and_dropped() -> None:
    """P-CAP-8: every export has one end."""
    seen: list[CapExported | CapDropped] = []
    async with connected(MemShop()) as (server, client):
        server.on(CapExported, seen.append)
        server.on(CapDropped, seen.append)
        shop = await client.bootstrap(Shop)
        async with await shop.make("tea"):
            pass
        del shop
        await assert_no_leaks(server, client)
        await until(lambda: len(seen) == 4)
    started = {event.cap for event in seen if isinstance(event, CapExported)}
    assert started == {event.cap for event in seen if isinstance(event, CapDropped)} and len(started) == 2


async def test_pair_gives_a_typed_proxy_and_closes() -> None:
    implementation = MemShop()
    async with pair(implementation, Shop) as shop:
        assert await shop.add(1) == 11
    assert implementation.closed == 1
