"""`Call` objects: the request has left already; awaiting collects (api: calls are eager)."""

from __future__ import annotations

import gc
from typing import Any, cast

import anyio
import pytest

from capnet import Call, CallCancelled, Internal, Unavailable
from capnet.testing import assert_no_leaks, connected
from tests.connection.shop import MemShop, Shop, socket_pair, until
from tests.loops import on_every_loop as on_every_loop


async def test_it_leaves_without_being_awaited() -> None:
    async with socket_pair(implementation := MemShop()) as (_, client):
        shop = await client.bootstrap(Shop)
        call = shop.echo("gone ahead")
        await until(lambda: implementation.started == ["gone ahead"])
        assert isinstance(cast("Any", call), Call)
        assert await call == "gone ahead"


async def test_it_is_awaited_twice() -> None:
    async with connected(MemShop()) as (_, client):
        shop = await client.bootstrap(Shop)
        call = cast("Any", shop.add(1))
        assert "pending" in repr(call) and not call.done
        assert await call == 11 and call.done
        assert await call == 11 and "done" in repr(call)


async def test_an_error_is_raised_anew_each_time() -> None:
    """One instance raised twice would collect the frames of both."""
    async with connected(MemShop()) as (_, client):
        shop = await client.bootstrap(Shop)
        call = cast("Any", shop.fail("x"))
        caught: list[Internal] = []
        for _ in range(2):
            with pytest.raises(Internal) as raised:
                await call
            caught.append(raised.value)
        assert caught[0] is not caught[1]
        assert caught[0].details == caught[1].details


async def test_task_groups_take_the_method_itself() -> None:
    async with connected(implementation := MemShop()) as (_, client):
        shop = await client.bootstrap(Shop)
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(shop.echo, number)
        assert implementation.started == sorted(implementation.started) or len(implementation.started) == 20
        assert sorted(implementation.started) == list(range(20))


async def test_one_that_is_dropped_is_a_one_way_use() -> None:
    async with connected(implementation := MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        cast("Any", shop).echo("told")
        gc.collect()
        await until(lambda: implementation.started == ["told"])
        cast("Any", shop.fail("unheard"))
        del shop
        await assert_no_leaks(server, client)


async def test_cancel_ends_it_here_at_once_and_there_soon() -> None:
    async with connected(implementation := MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        call = cast("Any", shop.wait("a"))
        await until(lambda: implementation.gate.entered)
        call.cancel("no need")
        call.cancel("again")
        assert call.done
        with pytest.raises(CallCancelled, match="no need"):
            await call
        await until(lambda: implementation.gate.cancelled == ["a"])
        await until(lambda: not server.stats()["answers"])


async def test_cancel_wakes_the_task_that_awaits() -> None:
    async with connected(implementation := MemShop()) as (_, client):
        shop = await client.bootstrap(Shop)
        call = cast("Any", shop.wait("a"))
        ended: list[type[BaseException]] = []

        async def collect() -> None:
            try:
                await call
            except CallCancelled as error:
                ended.append(type(error))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collect)
            await until(lambda: implementation.gate.entered)
            call.cancel()
        assert ended == [CallCancelled]


async def test_cancel_after_the_end_changes_nothing() -> None:
    async with connected(MemShop()) as (_, client):
        shop = await client.bootstrap(Shop)
        call = cast("Any", shop.add(1))
        assert await call == 11
        call.cancel()
        assert await call == 11


async def test_many_at_once_share_a_write_and_all_come_back() -> None:
    async with socket_pair(MemShop()) as (_, client):
        shop = await client.bootstrap(Shop)
        calls = [shop.add(number) for number in range(200)]
        assert [await call for call in calls] == [number + 10 for number in range(200)]


async def test_awaited_after_the_connection_has_closed() -> None:
    """P-CONN-6: also one that starts to wait afterwards is woken; a result that had come is still there."""
    async with connected(MemShop()) as (_, client):
        shop = await client.bootstrap(Shop)
        done = shop.add(1)
        await client.ping()
        pending = shop.wait("for ever")
        await client.aclose(grace=0)
        assert await done == 11
        with pytest.raises(Unavailable):
            await pending
        with pytest.raises(Unavailable):
            await shop.add(1)
