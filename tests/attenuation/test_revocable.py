"""`revocable`: one call takes a capability back, from peers and from ourselves."""

from __future__ import annotations

import gc
from contextlib import aclosing
from typing import Any
from weakref import ref

import anyio
import pytest

from capnet import Cap, CapnetError, Revoked, call, on_broken, restrict, restrictions, revocable
from capnet.testing import connected
from tests.attenuation.store import MemStore, Store
from tests.connection.shop import socket_pair, until
from tests.connection.tree import assert_nothing_left


class Shelf(Cap, name="test.LentShelf"):
    @call
    async def put(self, store: Store) -> None: ...
    @call
    async def get(self) -> Store: ...


class MemShelf(Shelf):
    def __init__(self, store: Store | None = None) -> None:
        self.store = store

    async def put(self, store: Store) -> None:
        self.store = store

    async def get(self) -> Store:
        assert self.store is not None
        return self.store


async def test_it_works_like_the_object_until_it_is_taken_back() -> None:
    """Running calls, streams, later calls and what was handed out: all end, everywhere, once."""
    store = MemStore({"a": "1"})
    lent, take_back = revocable(store)
    assert isinstance(lent, Store)
    told: list[CapnetError] = []
    async with socket_pair(MemShelf(lent)) as (server, client):
        proxy = await (await client.bootstrap(Shelf)).get()
        on_broken(proxy, told.append)
        assert await proxy.read("a") == await lent.read("a") == "1"
        assert await proxy.who() == ("client", "who")
        sub = await proxy.sub("x")
        running, keys = proxy.wait(), proxy.keys()
        assert await anext(keys) == "a"
        await until(lambda: len(store.gate.entered) == 2)
        take_back("the visit is over")
        take_back("twice")
        for attempt in (running, lent.read("a"), sub_read(sub), anext_of(keys)):
            with pytest.raises(Revoked):
                await attempt
        await until(lambda: told and store.ended == 1 and len(store.gate.cancelled) == 2)
        assert [type(one) for one in told] == [Revoked] and "the visit is over" in str(told[0])
        with pytest.raises(Revoked):
            await proxy.read("a")
        assert await store.read("a") == "1"
        del proxy, sub, running, keys, attempt
        told.clear()
        gc.collect()
        await assert_nothing_left(server, client)


async def sub_read(sub: Store) -> str:
    return await sub.read("name")


async def anext_of(keys: Any) -> Any:
    return await anext(keys)


async def test_local_users_lose_it_too() -> None:
    store = MemStore({"a": "1"})
    lent, take_back = revocable(store)
    failed: list[str] = []

    async def use(what: Any) -> None:
        try:
            await what()
        except Revoked as error:
            failed.append(error.message)

    async with aclosing(lent.keys()) as keys:
        assert await anext(keys) == "a"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(use, lent.wait)
            tasks.start_soon(use, keys.__anext__)
            await until(lambda: len(store.gate.entered) == 2)
            take_back("gone")
    assert failed == ["gone", "gone"] and sorted(store.gate.cancelled) == ["keys", "wait"]
    assert store.ended == 1
    with pytest.raises(Revoked):
        lent.keys()


async def test_cancelling_a_user_is_no_revocation() -> None:
    """The gate ends what goes through it only when it is cut."""
    store = MemStore()
    lent, _ = revocable(store)
    with anyio.move_on_after(0.01) as scope:
        await lent.wait()
    assert scope.cancelled_caught and await lent.read("a") == ""
    with pytest.raises(TimeoutError), anyio.fail_after(0.01):
        await lent.wait()


async def test_a_proxy_is_lent_on_and_taken_back() -> None:
    """The peer behind it sees the calls cancelled and the reference given back; the lender's own proxy stays."""
    store = MemStore({"a": "1"})
    async with connected(store) as (far, near):
        own = await near.bootstrap(Store)
        lent, take_back = revocable(own)
        async with connected(MemShelf(lent)) as (server, client):
            proxy = await (await client.bootstrap(Shelf)).get()
            running = proxy.wait()
            await until(lambda: store.gate.entered)
            take_back()
            with pytest.raises(Revoked):
                await running
            await until(lambda: store.gate.cancelled)
            assert await own.read("a") == "1"
            del proxy, running
            await assert_nothing_left(server, client)
        await own.aclose()  # the last one, though `lent` lives: it has let go
        await assert_nothing_left(far, near)
        with pytest.raises(Revoked):
            await lent.read("a")


async def test_what_was_made_of_it_falls_with_it() -> None:
    lent, take_back = revocable(MemStore({"a": "1"}))
    narrow = restrict(lent, methods={"read"}, uses=5)
    again, _ = revocable(narrow)
    async with connected(MemShelf(again)) as (server, client):
        proxy = await (await client.bootstrap(Shelf)).get()
        assert await proxy.read("a") == "1"
        assert [one.uses_left for one in await restrictions(proxy)] == [4]
        take_back()
        with pytest.raises(Revoked):
            await proxy.read("a")
        del proxy
        await assert_nothing_left(server, client)


async def test_taken_back_before_it_is_passed_on() -> None:
    lent, take_back = revocable(MemStore())
    take_back()
    async with connected(MemShelf(lent)) as (server, client):
        proxy = await (await client.bootstrap(Shelf)).get()
        with pytest.raises(Revoked):
            await proxy.read("a")
        del proxy
        await assert_nothing_left(server, client)


async def test_the_right_to_take_it_back_keeps_nothing() -> None:
    store = MemStore()
    lent, take_back = revocable(store)
    known, behind = ref(lent), ref(store)
    del lent, store
    gc.collect()
    assert known() is None and behind() is None
    take_back()


async def test_what_was_handed_out_falls_though_the_one_that_led_to_it_is_gone() -> None:
    """A peer gives back what it was lent and keeps what it got by it."""
    lent, take_back = revocable(MemStore())
    shelf = MemShelf(lent)
    async with connected(shelf) as (server, client):
        proxy = await (await client.bootstrap(Shelf)).get()
        sub = await proxy.sub("x")
        del lent
        shelf.store = None
        await proxy.aclose()
        del proxy
        gc.collect()
        assert await sub.read("name") == "x"
        take_back()
        with pytest.raises(Revoked):
            await sub.read("name")
        del sub
        await assert_nothing_left(server, client)
