"""Cancelling and deadlines: both travel, and a slot is free when its handler has really ended (P-CALL-5, P-CALL-6)."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import Any, cast

import anyio
import pytest
from anyio.lowlevel import checkpoint

from capnet import (
    CallCancelled,
    Cap,
    CapnetError,
    Connection,
    DeadlineExceeded,
    Limits,
    Revoked,
    Sink,
    call,
    options,
    revoke,
)
from capnet.dispatch.runner import IDLE_RUNNERS
from capnet.testing import assert_no_leaks, connected
from tests.connection.shop import Gate, MemShop, Shop, ever_later, socket_pair, until
from tests.loops import on_every_loop as on_every_loop


async def test_leaving_the_scope_cancels_the_handler() -> None:
    """P-CALL-6, first half."""
    async with socket_pair(implementation := MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shop.wait, "a")
            await until(lambda: implementation.gate.entered)
            tasks.cancel_scope.cancel()
        await until(lambda: implementation.gate.cancelled == ["a"])
        assert await shop.add(1) == 11
        del shop
        await assert_no_leaks(server, client)


async def test_a_scope_around_the_call_is_its_deadline_there() -> None:
    """P-CALL-5: `fail_after` travels by itself; a scope that ends sends a cancel at the latest."""
    async with connected(implementation := MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        with anyio.fail_after(3600):
            left = (await shop.who())["left"]
        assert 3500 < left < 3601
        assert (await shop.who())["left"] is None
        for seconds in ever_later():
            with pytest.raises(TimeoutError), anyio.fail_after(seconds):
                await shop.wait("late")
            if implementation.gate.entered:
                break
        await until(lambda: implementation.gate.cancelled == ["late"])
        del shop
        await assert_no_leaks(server, client)


class Timed(Cap, name="test.Timed"):
    """Methods with a time of their own."""

    @options(timeout=0.1)
    @call
    async def short(self) -> None: ...
    @options(timeout=3600)
    @call
    async def long(self) -> float | None: ...


class MemTimed(Timed):
    def __init__(self) -> None:
        self.gate = Gate()

    async def short(self) -> None:
        await self.gate.pass_through("short")

    async def long(self) -> float | None:
        return anyio.current_effective_deadline() - anyio.current_time()


async def test_the_timeout_of_a_method_ends_the_call_on_both_sides() -> None:
    """Fault 4: a time and a way to cancel for every call."""
    async with connected(implementation := MemTimed()) as (server, client):
        timed = await client.bootstrap(Timed)
        while not implementation.gate.entered:  # on a machine that is busy its time may be up before it has arrived
            with anyio.fail_after(60), pytest.raises(DeadlineExceeded):
                await timed.short()
        await until(lambda: implementation.gate.cancelled == ["short"])
        del timed
        await assert_no_leaks(server, client)


async def test_the_callee_answers_a_deadline_although_the_caller_does_not_watch() -> None:
    """P-CALL-5: enforced where the handler runs; the caller has left the scope that set it without a cancel."""
    async with connected(implementation := MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        for seconds in ever_later():
            calls: list[Any] = []
            with anyio.move_on_after(seconds):
                calls.append(shop.wait("watched"))
                await checkpoint()
            with anyio.fail_after(60), pytest.raises(DeadlineExceeded):
                await calls[0]
            if implementation.gate.entered:
                break
        await until(lambda: implementation.gate.cancelled == ["watched"])
        await until(lambda: not server.stats()["answers"])


class Relay(Cap, name="test.Relay"):
    """Calls a shop that it was given, or one on another connection."""

    @call
    async def wait_at(self, shop: Shop, key: str) -> str: ...
    @call
    async def wait_elsewhere(self, key: str) -> str: ...
    @call
    async def left_elsewhere(self) -> float | None: ...


class MemRelay(Relay):
    def __init__(self, elsewhere: Shop | None = None) -> None:
        self._elsewhere = elsewhere

    async def wait_at(self, shop: Shop, key: str) -> str:
        return await shop.wait(key)

    async def wait_elsewhere(self, key: str) -> str:
        assert self._elsewhere is not None
        return await self._elsewhere.wait(key)

    async def left_elsewhere(self) -> float | None:
        assert self._elsewhere is not None
        return cast("float | None", (await self._elsewhere.who())["left"])


async def test_a_nested_call_back_is_cancelled_with_its_parent() -> None:
    """P-CALL-6: by structure, not by ids: the handler's task is cancelled, and with it what it waits for."""
    mine = MemShop("mine")
    async with connected(MemRelay()) as (server, client):
        relay = await client.bootstrap(Relay)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(relay.wait_at, mine, "nested")
            await until(lambda: mine.gate.entered)
            tasks.cancel_scope.cancel()
        await until(lambda: mine.gate.cancelled == ["nested"])
        del relay
        await assert_no_leaks(server, client)
    assert mine.closed == 1


async def test_a_nested_call_on_another_connection_is_cancelled_with_its_parent() -> None:
    """Fault 38: the ancestor kept the parent's number without its connection, and cancelled the wrong call or none."""
    far = MemShop("far")
    async with connected(far) as (far_end, near_end):
        shop = await near_end.bootstrap(Shop)
        bystander = shop.wait("bystander")
        async with socket_pair(MemRelay(shop)) as (_, client):
            relay = await client.bootstrap(Relay)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(relay.wait_elsewhere, "nested")
                await until(lambda: len(far.gate.entered) == 2)
                tasks.cancel_scope.cancel()
            await until(lambda: far.gate.cancelled == ["nested"])
            far.gate.open()
            assert await bystander == "far:bystander", "only the child of the cancelled call was cancelled"
        del shop, relay, bystander
        await assert_no_leaks(far_end, near_end)


async def test_a_nested_call_inherits_what_is_left() -> None:
    """P-CALL-5, fault 41: the deadline goes along, hop by hop."""
    async with connected(MemShop()) as (_, near_end):
        shop = await near_end.bootstrap(Shop)
        async with connected(MemRelay(shop)) as (_, client):
            relay = await client.bootstrap(Relay)
            with anyio.fail_after(3600):
                left = await relay.left_elsewhere()
            assert left is not None and 3500 < left < 3601
            assert await relay.left_elsewhere() is None


async def test_a_cancelled_call_keeps_its_slot_until_its_handler_has_ended() -> None:
    """P-CALL-6: call+cancel at full speed does not run more handlers than the limit (rapid reset)."""
    running = peak = 0
    release = anyio.Event()

    class Stubborn(MemShop):
        async def wait(self, key: str = "") -> str:
            nonlocal running, peak
            running += 1
            peak = max(peak, running)
            with anyio.CancelScope(shield=True):
                await release.wait()
            running -= 1
            return key

    async with connected(Stubborn(), limits=Limits(max_calls=16)) as (server, client):
        shop = await client.bootstrap(Shop)
        first = [cast("Any", shop.wait()) for _ in range(16)]
        try:
            await until(lambda: running == 16)
            for call in first:
                call.cancel()
            for _ in range(10):
                more = [cast("Any", shop.wait()) for _ in range(16)]
                await client.ping()
                for call in more:
                    call.cancel()
            await client.ping()
            assert running == peak == 16 and server.stats()["answers"] == 16
        finally:
            release.set()
        await until(lambda: not server.stats()["answers"] and not server.stats()["answers_queued"])
        assert peak == 16 and server.close_cause is None
        assert await shop.add(1) == 11


async def test_a_result_after_the_cancel_is_discarded() -> None:
    """P-CALL-6: the caller has its `CallCancelled`; the result that was on its way changes nothing."""

    class Stubborn(MemShop):
        async def wait(self, key: str = "") -> str:
            try:
                await self.gate.pass_through(key)
            except BaseException:
                return "too late"
            return key

    async with connected(implementation := Stubborn()) as (server, client):
        shop = await client.bootstrap(Shop)
        call = cast("Any", shop.wait("a"))
        await until(lambda: implementation.gate.entered)
        call.cancel("enough")
        with pytest.raises(CallCancelled, match="enough"):
            await call
        await until(lambda: not server.stats()["answers"] and not client.stats()["calls"])
        assert await shop.add(1) == 11


async def test_one_that_has_not_started_never_starts() -> None:
    async with connected(implementation := MemShop(), limits=Limits(max_calls=16)) as (_, client):
        shop = await client.bootstrap(Shop)
        running = [shop.wait(str(number)) for number in range(16)]
        queued = cast("Any", shop.wait("queued"))
        queued.cancel()
        implementation.gate.open()
        for one in running:
            await one
        assert "queued" not in implementation.gate.entered
        await client.ping()
        assert client.stats()["calls_held"] == 0


async def test_a_deadline_that_has_passed_already() -> None:
    """The caller is cancelled at its first wait; the handler, if it starts at all, has no time."""
    async with connected(MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        with anyio.move_on_after(0) as scope:
            await shop.wait("never")
        assert scope.cancelled_caught
        del shop
        await assert_no_leaks(server, client)


async def test_the_shorter_of_scope_and_method_is_the_deadline_there() -> None:
    """P-CALL-5: what is left is seen in the handler by `current_effective_deadline`, as by any nested call."""
    async with connected(MemTimed()) as (_, client):
        timed = await client.bootstrap(Timed)
        assert 3500 < (await timed.long() or 0) < 3601
        with anyio.fail_after(600):
            assert 500 < (await timed.long() or 0) <= 600


class Item(Cap, name="test.Item"):
    """What may end its own call."""

    @call
    async def end(self) -> None: ...
    @call
    async def rest(self) -> str: ...


class Maker(Cap, name="test.Maker"):
    """One item after the other."""

    @call
    async def item(self) -> Item: ...
    @call
    async def other(self) -> Maker: ...
    @call
    async def block(self, seconds: float) -> None: ...
    @call
    async def take(self, sink: Sink[int]) -> None: ...


class MemItem(Item):
    async def end(self) -> None:
        revoke(self)  # its caller is answered while it runs, and it never waits

    async def rest(self) -> str:
        await anyio.sleep(0.001)
        return "rested"


class MemMaker(Maker):
    def __init__(self, other: Maker | None = None) -> None:
        self._other = other
        self.taken = 0

    async def other(self) -> Maker:
        return self._other or self

    async def item(self) -> Item:
        return MemItem()

    async def block(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - a handler that holds up the loop is what it is about

    async def take(self, sink: Sink[int]) -> None:
        self.taken += 1


@pytest.mark.parametrize("behind", [0, 1, 3])
async def test_calls_that_end_while_their_handler_never_waits_take_no_runner_along(behind: int) -> None:
    """P-CALL-1: the scope of such a handler is used up, and neither the next call nor the next wait begins in it."""
    async with connected(MemMaker()) as (server, client):
        items = await client.bootstrap(Maker)
        for _ in range(3 * IDLE_RUNNERS):
            await _end_one(items, behind)
        with anyio.fail_after(60):
            await items.block(0)
        del items
        await assert_no_leaks(server, client)


async def _end_one(items: Maker, behind: int) -> None:
    item, other = await items.item(), await items.item()
    ended, others = item.end(), [other.rest() for _ in range(behind)]  # one runner begins them all
    with pytest.raises(Revoked), anyio.fail_after(60):
        await ended
    assert [await rested for rested in others] == ["rested"] * behind


async def test_a_call_whose_time_is_up_when_its_turn_comes_does_not_start() -> None:
    """P-CALL-5: also when no timer could ring before; its streams end, and those behind it are served."""
    async with socket_pair(maker := MemMaker()) as (server, client):
        items = await client.bootstrap(Maker)
        item = await items.item()
        calls: list[Any] = []
        for _ in range(3 * IDLE_RUNNERS):
            calls = [item.rest()]  # leaves alone; the others come in one chunk, and wait for each other
            with anyio.move_on_after(0.02):
                calls.append(items.block(0.05))
                calls += [items.take(Collected()) for _ in range(3)]
                await checkpoint()
            for made in calls:
                with suppress(DeadlineExceeded):
                    await made
        with anyio.fail_after(60):
            await items.block(0)
        await until(lambda: not server.stats()["streams"] and not client.stats()["streams"])
        assert not maker.taken
        del items, item
        calls.clear()
        await assert_no_leaks(server, client)


async def test_streams_of_forwarded_calls_come_back_whenever_their_deadline_passes() -> None:
    """P-STREAM-3: before, while and after the call starts at the hop, and at the owner."""
    async with connected(owner := MemMaker()) as (far, near):
        async with connected(MemMaker(await near.bootstrap(Maker))) as (middle, guest):
            items = await (await guest.bootstrap(Maker)).other()
            calls: list[Any] = []
            for number in range(120):
                with suppress(DeadlineExceeded), anyio.move_on_after(number % 6 / 1000):
                    calls = [items.take(Collected()) for _ in range(8)]
                    await items.block(0.001 * (number % 3))
            with anyio.fail_after(60):
                await items.take(Collected())
            for connection in (guest, middle, near, far):
                await until(partial(_has_no_streams, connection))
            del items
            calls.clear()
            await assert_no_leaks(middle, guest)
        await assert_no_leaks(far, near)
    assert owner.taken


def _has_no_streams(connection: Connection) -> bool:
    return not connection.stats()["streams"]


class Collected(Sink[int]):
    """A sink for which nothing comes."""

    async def send(self, item: int) -> None:
        raise AssertionError(item)

    async def aclose(self) -> None: ...

    def fail(self, error: CapnetError) -> None: ...
