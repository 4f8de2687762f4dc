"""Capabilities inside values: in both directions, at any depth, home-coming and counted (P-CAP-1, P-REF)."""

from __future__ import annotations

from typing import Any, cast

import pytest

from capnet import (
    Cap,
    Connection,
    FailedPrecondition,
    InvalidArgument,
    Limits,
    ResourceExhausted,
    Unimplemented,
    call,
    cast_cap,
)
from capnet.references.proxy import reference_of
from capnet.references.untyped import UntypedMethod
from capnet.testing import assert_no_leaks, connected
from tests.connection.shop import Item, Jewel, MemItem, MemJewel, MemShop, Parcel, Shop, raw_call, socket_pair, until


async def test_a_capability_as_a_result() -> None:
    async with socket_pair(MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        item = await shop.make("tea")
        assert not isinstance(item, MemItem)
        assert await item.label() == "tea"
        del item, shop
        await assert_no_leaks(server, client)


async def test_capabilities_in_a_map() -> None:
    async with connected(MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        items = await shop.make_many(["a", "b"])
        assert {key: await item.label() for key, item in items.items()} == {"a": "a", "b": "b"}
        del items, shop
        await assert_no_leaks(server, client)


async def test_capabilities_in_dataclasses_and_optional_ones_both_ways() -> None:
    """Arguments of the client come back in the result: they are its own objects, not proxies of them (P-ID-2)."""
    mine, other = MemItem("mine"), MemItem("other")
    async with connected(MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        parcel = await shop.pack(mine)
        assert type(parcel) is Parcel and parcel == Parcel(4, mine, None)
        assert (await shop.pack(mine, other)).spare is other
        assert await shop.unpack([Parcel(1, mine), Parcel(1, other, mine)]) == ["mine", "other"]
        del shop, parcel
        await assert_no_leaks(server, client)
    assert mine.closed == other.closed == 1


async def test_a_function_is_a_capability() -> None:
    """The callee calls back while its own call runs; the same function is the same capability."""
    asked: list[str] = []

    async def answer(about: str) -> str:
        asked.append(about)
        return about.upper()

    async with socket_pair(MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        assert await shop.ask(answer, "tea") == "they said TEA"
        assert await shop.ask(answer, "milk") == "they said MILK"
        assert asked == ["tea", "milk"]
        del shop
        await assert_no_leaks(server, client)


async def test_an_own_object_that_comes_home_is_that_object() -> None:
    """P-ID-2, P-REF: what the server keeps and gives back later is the client's original."""
    mine = MemItem("mine")
    async with connected(implementation := MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        await shop.keep(mine)
        assert await shop.give_back() is mine
        assert implementation.kept is not mine
        implementation.kept = None
        del shop
        await assert_no_leaks(server, client)
    assert mine.closed == 1


async def test_a_proxy_that_goes_home_is_the_servers_object() -> None:
    implementation = MemShop()
    async with connected(implementation) as (server, client):
        shop = await client.bootstrap(Shop)
        item = await shop.make("tea")
        await shop.keep(item)
        assert implementation.kept is implementation.items[0]
        again = await shop.give_back()
        assert again == item and hash(again) == hash(item)
        implementation.kept = None
        del item, again, shop
        await assert_no_leaks(server, client)


async def test_the_same_object_twice_is_one_id_with_two_references() -> None:
    """P-REF-1, P-CAP-2: also for a name that is bootstrapped twice."""
    implementation = MemShop()
    implementation.kept = MemItem("one")
    async with connected(implementation) as (server, client):
        first, second = await client.bootstrap(Shop), await client.bootstrap(Shop)
        assert first == second
        assert server.stats()["exports"] == 1 and server.stats()["export_references"] == 2
        items = [await first.give_back(), await second.give_back()]
        assert items[0] == items[1]
        assert server.stats()["exports"] == 2 and server.stats()["export_references"] == 4
        async with items[0]:
            pass
        assert await items[1].label() == "one"
        del first, second, items
        await assert_no_leaks(server, client)


class Vault(Cap, name="test.Vault"):
    """Says exactly what it gives: an item, whatever it has."""

    @call
    async def item(self) -> Item: ...
    @call
    async def jewel(self) -> Jewel: ...
    @call
    async def anything(self) -> Any: ...


class MemVault(Vault):
    def __init__(self) -> None:
        self.content = MemJewel()

    async def item(self) -> Item:
        return self.content

    async def jewel(self) -> Jewel:
        return self.content

    async def anything(self) -> Any:
        return {"deep": [self.content]}


async def test_an_export_grants_the_declared_contract_and_no_more() -> None:
    """Least authority: a jewel that is given as an item cannot be polished, whatever frames the peer makes up."""
    vault = MemVault()
    async with connected(vault) as (server, client):
        proxy = await client.bootstrap(Vault)
        item = await proxy.item()
        assert await item.label() == "jewel"
        with pytest.raises(InvalidArgument):
            cast_cap(item, Jewel)
        jewel = await proxy.jewel()
        assert await jewel.polish() == 1
        assert jewel != item
        with pytest.raises(Unimplemented):
            await raw_call(client, item, Jewel, "polish", {})
        assert vault.content.polished == 1
        del item, jewel, proxy
        await assert_no_leaks(server, client)
    assert vault.content.closed == 1


async def test_a_capability_in_plain_data_gets_its_methods_by_cast() -> None:
    vault = MemVault()
    async with connected(vault) as (server, client):
        proxy = await client.bootstrap(Vault)
        found = (await proxy.anything())["deep"][0]
        assert not isinstance(found, Jewel)
        with pytest.raises(InvalidArgument):
            cast_cap(found, Vault)
        assert await cast_cap(found, Item).label() == "jewel"
        jewel = cast_cap(found, Jewel)
        del found
        assert await jewel.polish() == 1
        mine = MemJewel()
        assert cast_cap(mine, Jewel) is mine
        with pytest.raises(InvalidArgument):
            cast_cap("text", Jewel)
        del jewel, proxy
        await assert_no_leaks(server, client)


async def test_another_interface_than_declared_is_refused_and_given_back() -> None:
    """Before it leaves, and again before the handler runs; its reference does not stay with anybody."""
    mine = MemShop()
    async with connected(MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        with pytest.raises(InvalidArgument):
            await shop.keep(cast("Item", mine))
        assert client.stats()["exports"] == mine.closed == 0
        with pytest.raises(InvalidArgument):
            await cast("Any", shop).keep("text")
        unchecked = UntypedMethod("test.Shop", "keep", False)
        with pytest.raises(InvalidArgument):
            await client._parts.calls.start(reference_of(shop).usable(), unchecked, {"item": mine})
        del shop
        await assert_no_leaks(server, client)
    assert mine.closed == 1


async def test_a_call_that_fails_to_encode_counts_no_reference() -> None:
    """P-REF-1: counts are rolled back; the object that stood beside the fault is not exported."""
    mine = MemItem("mine")
    async with connected(MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        with pytest.raises(InvalidArgument):
            await shop.echo([mine, object()])
        assert not client.stats()["exports"]
        del shop
        await assert_no_leaks(server, client)
    assert mine.closed == 0


async def test_a_result_that_fails_to_encode_counts_no_reference() -> None:
    class Careless(MemShop):
        async def make_many(self, labels: list[str]) -> dict[str, Item]:
            return {**await super().make_many(labels), "bad": cast("Item", object())}

    async with connected(implementation := Careless()) as (server, client):
        shop = await client.bootstrap(Shop)
        with pytest.raises(FailedPrecondition) as caught:
            await shop.make_many(["a"])
        assert caught.value.reason == "unregistered_cap_return"
        await until(lambda: implementation.items[0].closed == 1)  # nobody will ever give it back
        del shop
        await assert_no_leaks(server, client)


async def test_a_proxy_travels_on_another_connection() -> None:
    """As a forwarder (P-REF-4); given back there it is the same proxy again."""
    async with connected(MemShop()) as one, connected(implementation := MemShop()) as two:
        here, there = await one[1].bootstrap(Shop), await two[1].bootstrap(Shop)
        item = await here.make("tea")
        await there.keep(item)
        assert implementation.kept is not None and await implementation.kept.label() == "tea"
        assert await there.give_back() == item
        implementation.kept = None
        del here, there, item
        await assert_no_leaks(*one, *two)


async def test_more_capabilities_than_the_peer_takes_fail_the_call_only() -> None:
    """`max_caps` of the client: the server's result is refused at the server, and the connection stays."""
    async with connected(MemShop(), client_limits=Limits(max_caps=16)) as (server, client):
        shop = await client.bootstrap(Shop)
        items = [await shop.make(str(number)) for number in range(15)]
        with pytest.raises(ResourceExhausted) as caught:
            await shop.make("one too many")
        assert caught.value.reason == "max_caps_per_connection"
        items.pop()
        await client.ping()
        items.append(await shop.make("there is room again"))
        assert isinstance(server, Connection)
        del items, shop
        await assert_no_leaks(server, client)


async def test_both_ends_serve_and_bootstrap() -> None:
    """A connection is symmetric: the server of names may be the one that connected."""
    async with connected() as (server, client):
        handle = client.serve(MemShop("at the client"))
        shop = await server.bootstrap(Shop)
        assert await shop.add(1) == 11
        assert handle.names == ("test.Shop",)
        del shop
        await assert_no_leaks(server, client)
