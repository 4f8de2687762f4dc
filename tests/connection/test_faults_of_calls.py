"""The faults of the library that capnet descends from, each as a test of what holds here instead.

The numbers are those of the list that was made of them; faults that need no live connection are in `tests/scenarios`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import anyio
import pytest

from capnet import (
    Cap,
    DeadlineExceeded,
    FailedPrecondition,
    Limits,
    NotFound,
    Released,
    Stream,
    Unimplemented,
    VersionMismatch,
    call,
    options,
    stream,
)
from capnet.testing import assert_no_leaks, connected
from tests.connection.shop import Item, MemShop, Shop, left_when, until


async def test_fault_01_a_result_that_cannot_be_encoded_is_answered() -> None:
    """There: the call's entry was gone before the value was encoded: nothing was sent, the caller waited for ever.
    Here: it is encoded first; one error, and the slot is free (P-CALL-1)."""

    class Careless(MemShop):
        async def make(self, label: str) -> Item:
            return cast("Item", object())

    async with connected(Careless()) as (server, client):
        shop = await client.bootstrap(Shop)
        with anyio.fail_after(60), pytest.raises(FailedPrecondition) as caught:
            await shop.make("x")
        assert caught.value.reason == "unregistered_cap_return"
        del shop
        await assert_no_leaks(server, client)


async def test_fault_03_a_peer_that_never_answers_is_bounded() -> None:
    """There: no time anywhere, a silent peer blocked for ever. Here: the handshake and each call have their time."""

    class Timed(Cap, name="test.Timed"):
        @options(timeout=0.02)
        @call
        async def never(self) -> None: ...

    class MemTimed(Timed):
        async def never(self) -> None:
            await anyio.sleep_forever()

    async with connected(MemTimed()) as (_, client):
        timed = await client.bootstrap(Timed)
        with anyio.fail_after(60), pytest.raises(DeadlineExceeded):
            await timed.never()
    assert Limits().handshake_timeout > 0


async def test_fault_04_cancel_and_time_are_everybodys() -> None:
    """There: proxies had no way to cancel a call or give it a time. Here: cancel scopes do both."""
    async with connected(implementation := MemShop()) as (_, client):
        shop = await client.bootstrap(Shop)
        async with left_when(lambda: implementation.gate.entered) as scope:
            await shop.wait("a")
        assert scope.cancelled_caught
        await until(lambda: implementation.gate.cancelled == ["a"])


class Numbers(Cap, name="test.Numbers"):
    @stream
    def count(self, to: int) -> Stream[int]: ...


class NumbersAsCall(Cap, name="test.Numbers"):
    @call
    async def count(self, to: int) -> int: ...


class MemNumbers(Numbers):
    async def count(self, to: int) -> AsyncIterator[int]:  # type: ignore[override]
        for number in range(to):
            yield number


async def test_fault_05_one_calls_what_the_other_streams() -> None:
    """There: the caller ignored the items and waited for ever. Here: contracts are compared, and it fails at once."""
    async with connected(MemNumbers()) as (_, client):
        with anyio.fail_after(60), pytest.raises((VersionMismatch, Unimplemented)):
            await (await client.bootstrap(NumbersAsCall)).count(3)


async def test_fault_10_each_reference_is_counted_on_both_ends() -> None:
    """There: bootstraps and drops were counted by different rules. Here: what one end gave the other owes, always."""
    async with connected(MemShop()) as (server, client):
        proxies = [await client.bootstrap(Shop) for _ in range(5)]
        items = [await proxies[0].make(str(number)) for number in range(3)]
        assert server.stats()["export_references"] == client.stats()["import_references"] == 8
        proxies.pop()
        items.pop()
        await client.ping()
        await client.ping()
        assert server.stats()["export_references"] == client.stats()["import_references"] == 6 + 1
        proxies.clear()
        items.clear()
        await assert_no_leaks(server, client)


async def test_fault_11_the_close_hook_runs_once_and_not_as_a_method() -> None:
    """There: disposing was a method of the contract, could be called twice and ran again at shutdown. Here: `aclose` is
    local on a proxy, and the hook runs once, after the last reference is gone (P-REF-3)."""
    async with connected(implementation := MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        item = await shop.make("tea")
        second = await client.bootstrap(Shop)
        await shop.aclose()
        await shop.aclose()
        await client.ping()
        assert implementation.closed == 0 and implementation.items[0].closed == 0
        await item.aclose()
        await until(lambda: implementation.items[0].closed == 1)
        assert await second.add(1) == 11
        server._services.registry  # noqa: B018 - the name is still served
    assert implementation.closed == 1 and implementation.items[0].closed == 1


async def test_fault_13_a_released_proxy_is_dead_and_a_method_keeps_its_proxy() -> None:
    """There: a proxy that was given back still sent calls, and a method taken off it did not keep it alive."""
    async with connected(implementation := MemShop()) as (_, client):
        shop = await client.bootstrap(Shop)
        label = (await shop.make("tea")).label
        assert await label() == "tea" and implementation.items[0].closed == 0
        await shop.aclose()
        with pytest.raises(Released):
            _ = shop.add(1)


async def test_fault_17_a_handle_owns_its_registration_and_not_the_name() -> None:
    """There: disposing an old handle tore down what somebody else served under the name since."""
    async with connected() as (server, client):
        old = server.serve(MemShop("old"))
        old.close()
        server.serve(MemShop("new"))
        old.close()
        assert await (await client.bootstrap(Shop)).add(1) == 11


async def test_fault_18_a_policy_that_waits_opens_no_gap() -> None:
    """There: what was unserved while the policy thought was handed out, and kept for later. Here: the registry is
    looked at after the last await."""
    thinking, think = anyio.Event(), anyio.Event()

    class Slow:
        async def admit(self, _: Any, /) -> bool:
            thinking.set()
            await think.wait()
            return True

    async with connected(policy=Slow()) as (server, client):
        handle = server.serve(MemShop())
        outcome: list[str] = []

        async def ask() -> None:
            try:
                await client.bootstrap(Shop)
            except NotFound as error:
                outcome.append(error.code)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await thinking.wait()
            handle.close()
            think.set()
        assert outcome == ["not_found"] and not server.stats()["exports"]
