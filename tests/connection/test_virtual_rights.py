"""What is given across virtual connections: less than one has, and taken back; what one of them leaves to others."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest

from capnet import (
    CapnetError,
    Connection,
    Opening,
    Revoked,
    on_broken,
    restrict,
    revoke,
)
from capnet.testing import assert_no_leaks, connected
from tests.connection.shop import Item, MemItem, MemShop, Shop, until


@asynccontextmanager
async def two_inside() -> AsyncGenerator[tuple[Shop, Shop, MemShop, Connection]]:
    """A shop by the outer connection, the same by one inside, the shop itself, and the end of that at the server."""
    children: list[Connection] = []
    shop = MemShop()

    def take(opening: Opening) -> None:
        children.append(opening.accept())
        children[0].serve(shop)

    async with connected(shop) as (server, client):
        server.on_open(take)
        async with client.open() as inner, await client.bootstrap(Shop) as outside:
            yield outside, await inner.bootstrap(Shop), shop, children[0]
        shop.kept = None
        await assert_no_leaks(server, client)


async def test_less_is_given_and_taken_back_across_them() -> None:
    """P-REF-4: what is restricted and given by one of them is so by the other, and falls with what it came from."""
    async with two_inside() as (outer, inner, _, _child):
        await inner.keep(restrict(await outer.make("lamp"), uses=1))
        back = await outer.give_back()
        told: list[CapnetError] = []
        on_broken(back, told.append)
        assert await back.label() == "lamp"
        with pytest.raises(CapnetError) as caught:
            await back.label()
        assert caught.value.reason == "used_up" and not told
        del back


async def test_what_one_has_given_ends_with_it_alone() -> None:
    """Whoever got it from there; what came by the one around it stays."""
    async with two_inside() as (outer, inner, _, child):
        await inner.keep(MemItem("by the inner one"))
        through, own = await outer.give_back(), await outer.make("by the outer one")
        told: list[CapnetError] = []
        on_broken(through, told.append)
        assert await through.label() == "by the inner one"
        await child.aclose(grace=0)
        await until(lambda: told)
        with pytest.raises(Revoked):
            await through.label()
        assert await own.label() == "by the outer one"
        del through, own


async def test_what_is_taken_back_is_so_by_either_way() -> None:
    """P-REF-3: an object of ours, given by both, is a reference of each."""
    async with two_inside() as (outer, inner, shop, _):
        mine, held = MemItem("mine"), list[Item]()
        for by in (outer, inner):
            await by.keep(mine)
            assert shop.kept is not None
            held.append(shop.kept)
            shop.kept = None
        assert [await item.label() for item in held] == ["mine", "mine"]
        revoke(mine)
        for item in held:
            with pytest.raises(Revoked):
                await item.label()
        item = held.pop()
        del item
        held.clear()


async def test_much_that_is_said_inside_leaves_room_for_what_is_around() -> None:
    """P-VIRT-5: calls around it are answered while megabytes go inside."""
    async with two_inside() as (outer, inner, _, _child):
        answered, big, over = 0, "x" * (2 * 1024 * 1024), False

        async def copies() -> None:
            nonlocal over
            for _ in range(3):
                assert await inner.echo(big) == big
            over = True

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(copies)
            while not over:
                await outer.add(1)
                answered += 1
        assert answered >= 12, "there and back it is 12 MiB: one for each at least"
