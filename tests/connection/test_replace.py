"""Replace: another implementation behind the same ids, while it is in use (P-CAP-5)."""

from __future__ import annotations

from typing import Any, cast

import anyio
import pytest

from capnet import Cap, ContractError, NotFound, Replaced, VersionMismatch, call, generation, options
from capnet.observe import CallFinished, CallStarted, CapReplaced, NameReplaced
from capnet.testing import assert_no_leaks, connected
from tests.connection.shop import Item, MemItem, MemShop, Shop, socket_pair, until


async def test_drain_lets_running_calls_finish_on_the_old_one() -> None:
    async with socket_pair() as (server, client):
        old, new = MemShop("old"), MemShop("new")
        server.serve(old)
        shop = await client.bootstrap(Shop)
        running = shop.wait("a")
        await until(lambda: old.gate.entered)
        reports: list[Any] = []

        async def replace() -> None:
            reports.append(await server.replace(new, grace=30))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(replace)
            await until(lambda: generation(shop) == 2)  # noqa: F821 - deleted after this
            await shop.echo("to the new one")
            assert new.started == ["to the new one"] and not reports and not old.closed
            old.gate.open()
            assert await running == "old:a"
        (report,) = reports
        assert (report.generation, report.drained, report.cut) == (2, 1, 0) and report.seconds >= 0
        await until(lambda: old.closed)
        assert old.closed == 1 and new.closed == 0
        new.gate.open()
        assert await shop.wait("b") == "new:b"
        del shop, running
        await assert_no_leaks(server, client)


async def test_cut_ends_running_calls_at_once() -> None:
    """They fail `unavailable/replaced`, to be made again as they are."""
    async with connected() as (server, client):
        old, new = MemShop("old"), MemShop("new")
        server.serve(old)
        shop = await client.bootstrap(Shop)
        running = [shop.wait(str(number)) for number in range(3)]
        await until(lambda: len(old.gate.entered) == 3)
        report = await server.replace(new, mode="cut")
        assert (report.drained, report.cut) == (0, 3)
        for one in running:
            with pytest.raises(Replaced) as caught:
                await one
            assert caught.value.code == "unavailable" and caught.value.retry == "transparent"
        await until(lambda: len(old.gate.cancelled) == 3 and old.closed == 1)


async def test_the_grace_of_a_drain_ends() -> None:
    async with connected() as (server, client):
        old = MemShop("old")
        server.serve(old)
        shop = await client.bootstrap(Shop)
        running = shop.wait("a")
        await until(lambda: old.gate.entered)
        report = await server.replace(MemShop("new"), grace=0.01)
        assert (report.drained, report.cut) == (0, 1)
        with pytest.raises(Replaced):
            await running
        await until(lambda: old.closed == 1)


async def test_ids_and_proxies_stay() -> None:
    async with connected() as (server, client):
        server.serve(MemShop("one"))
        shop = await client.bootstrap(Shop)
        before = server.snapshot()["exports"]
        for number in range(2, 5):
            newer = MemShop(str(number))
            await server.replace(newer)
            await shop.echo(number)
            assert newer.started == [number]
        assert server.snapshot()["exports"] == before
        again = await client.bootstrap(Shop)
        assert again == shop
        await until(lambda: generation(shop) == 4)


async def test_under_load_no_call_fails_and_each_goes_to_one_of_the_two() -> None:
    """P-CAP-5, and the old one is closed once, when its last call has ended: 16 callers, 20 replacements."""
    shops = [MemShop(str(number)) for number in range(21)]
    done = anyio.Event()
    made = 0

    async def use(shop: Shop) -> None:
        nonlocal made
        while not done.is_set():
            number = made = made + 1
            assert await shop.add(number) == number + 10

    async with socket_pair() as (server, client):
        server.serve(shops[0])
        shop = await client.bootstrap(Shop)
        async with anyio.create_task_group() as tasks:
            for _ in range(16):
                tasks.start_soon(use, shop)
            for newer in shops[1:]:
                seen = made
                await until(lambda seen=seen: made > seen + 20)  # type: ignore[misc]
                report = await server.replace(newer, grace=30)
                assert report.cut == 0
            done.set()
        await until(lambda: [one.closed for one in shops] == [1] * 20 + [0])
        del shop
        await assert_no_leaks(server, client)
    assert [one.closed for one in shops] == [1] * 21


class Wider(Cap, name="test.Shop"):
    """The name of the shop, and less of its methods."""

    @call
    async def echo(self, value: Any) -> Any: ...


class MemWider(Wider):
    async def echo(self, value: Any) -> Any:
        return value


async def test_one_that_does_not_fit_changes_nothing() -> None:
    async with connected() as (server, client):
        old = MemShop()
        server.serve(old)
        shop = await client.bootstrap(Shop)
        with pytest.raises((VersionMismatch, ContractError)):
            await server.replace(MemWider())
        with pytest.raises(ContractError):
            await server.replace(cast("Any", object()))
        with pytest.raises(ContractError):
            await server.replace(MemShop(), mode=cast("Any", "gently"))
        with pytest.raises(NotFound):
            await server.replace(MemItem("x"))
        await shop.echo("still the old one")
        assert old.started == ["still the old one"] and old.closed == 0 and generation(shop) == 0


async def test_replacing_by_itself_keeps_it_open() -> None:
    async with connected() as (server, client):
        only = MemShop()
        server.serve(only)
        shop = await client.bootstrap(Shop)
        await server.replace(only)
        assert await shop.add(1) == 11 and only.closed == 0
    assert only.closed == 1


async def test_what_the_old_one_handed_out_stays() -> None:
    """A replace is no revocation: items that the old shop made are still theirs who hold them."""
    async with connected() as (server, client):
        old = MemShop()
        server.serve(old)
        shop = await client.bootstrap(Shop)
        item: Item = await shop.make("tea")
        await server.replace(MemShop())
        assert await item.label() == "tea" and old.items[0].closed == 0


async def test_both_sides_have_events() -> None:
    """P-CAP-8, faults 21 and 23: the client is told."""
    told: list[CapReplaced] = []
    named: list[NameReplaced] = []
    async with connected() as (server, client):
        server.on(NameReplaced, named.append)
        client.on(CapReplaced, told.append)
        server.serve(MemShop())
        shop = await client.bootstrap(Shop)
        await server.replace(MemShop(), mode="cut")
        await until(lambda: told and named)
        assert told[0].contract == "test.Shop" and told[0].generation == named[0].generation == 2
        assert named[0].mode == "cut"
        assert isinstance(shop, Shop)


async def test_a_handle_ends_only_what_is_still_its_own() -> None:
    """P-CAP-4, faults 17 and 26: after somebody else took a name over, the old handle does nothing to it."""
    async with connected() as (server, client):
        old = server.serve(MemShop("old"))
        newer = server.serve(MemShop("new"), if_exists="replace")
        old.close()
        old.close()
        shop = await client.bootstrap(Shop)
        assert await shop.add(1) == 11
        newer.close()
        with pytest.raises(NotFound):
            await client.bootstrap(Shop)
        third = server.serve(MemShop("third"))
        newer.close()
        assert await (await client.bootstrap(Shop)).add(1) == 11
        third.close()


class Sum(Cap, name="test.Sum"):
    """One method that may run twice, one that may not."""

    @options(idempotent=True, timeout=30)
    @call
    async def total(self, item: Item) -> str: ...
    @call
    async def add(self) -> str: ...


class MemSum(Sum):
    """Waits for ever unless it has a name."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.entered = 0

    async def total(self, item: Item) -> str:
        return await self._answer() + await item.label()

    async def add(self) -> str:
        return await self._answer()

    async def _answer(self) -> str:
        self.entered += 1
        if not self.name:
            await anyio.sleep_forever()
        return self.name


async def test_fault_56_idempotent_calls_are_made_again_others_are_not() -> None:
    """The ancestor's flag and hints had no effect; here a cut takes nothing from a call that may run twice."""
    old, new = MemSum(), MemSum("new")
    async with connected(MemShop()) as (server, client):
        server.serve(old)
        proxy = await client.bootstrap(Sum)
        ends: list[CallFinished] = []
        starts: list[CallStarted] = []
        client.on(CallStarted, starts.append)
        client.on(CallFinished, ends.append)
        again, once = proxy.total(MemItem("!")), proxy.add()
        await until(lambda: old.entered == 2)
        report = await server.replace(new, mode="cut")
        assert report.cut == 2
        assert await again == "new!"
        with pytest.raises(Replaced):
            await once
        assert new.entered == 1
        await until(lambda: len([end for end in ends if end.direction == "out"]) == 3)
        assert len([start for start in starts if start.direction == "out"]) == 3


async def test_an_idempotent_call_that_cannot_be_made_again_fails_with_what_ended_it() -> None:
    """What it was given may be gone; then the caller hears of the replacement, once."""
    old, new = MemSum(), MemSum("new")
    async with connected(MemShop()) as (server, client):
        server.serve(old)
        proxy = await client.bootstrap(Sum)
        theirs = await (await client.bootstrap(Shop)).make("lent")
        pending = proxy.total(theirs)
        await until(lambda: old.entered == 1)
        await theirs.aclose()
        await server.replace(new, mode="cut")
        with pytest.raises(Replaced):
            await pending
        assert new.entered == 0
