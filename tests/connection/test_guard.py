"""Guards: a policy's say on every call, before its handler starts (P-CAP-7, fault 42)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from capnet import (
    Admission,
    CallCancelled,
    CallInfo,
    CapnetError,
    Denied,
    InvalidArgument,
    Limits,
    PermissionDenied,
    Revoked,
    call,
    notify,
    pipe,
)
from capnet.observe import HandlerFailed, PolicyDenied
from capnet.testing import assert_no_leaks, connected
from tests.connection.shop import MemItem, MemShop, Shop, until
from tests.connection.tree import Hub, MemNode, Node, Tree, chain


class Guard:
    """Admits every name, and decides about calls with one function."""

    def __init__(self, decide: Callable[[CallInfo], Any]) -> None:
        self._decide = decide
        self.asked: list[CallInfo] = []

    def admit(self, _: Admission, /) -> bool:
        return True

    def guard(self, call: CallInfo) -> Any:
        self.asked.append(call)
        return self._decide(call)


async def later(verdict: Any) -> Any:
    await checkpoint()
    return verdict


async def raises(_: object = None) -> Any:
    await checkpoint()
    raise RuntimeError("broken guard")


def raises_at_once(_: object) -> Any:
    raise RuntimeError("broken guard")


class Slow:
    """A guard that decides about `echo` when the test says so, and about all else at once."""

    def __init__(self) -> None:
        self.thinking: list[str] = []
        self.verdicts: dict[str, Any] = {}
        self._news = anyio.Event()

    def decide(self, key: str, verdict: Any) -> None:
        self.verdicts[key] = verdict
        self._news.set()
        self._news = anyio.Event()

    def __call__(self, call: CallInfo) -> Any:
        return self._think(call.arguments["value"]) if call.method == "echo" else True

    async def _think(self, key: str) -> Any:
        self.thinking.append(key)
        while key not in self.verdicts:
            await self._news.wait()
        return self.verdicts[key]


@pytest.mark.parametrize("at_once", [True, False])
async def test_true_lets_the_call_through(at_once: bool) -> None:
    policy = Guard(lambda _: True if at_once else later(True))
    async with connected(MemShop(), policy=policy) as (server, client):
        shop = await client.bootstrap(Shop)
        assert await shop.add(1) == 11
        del shop
        await assert_no_leaks(server, client)


NO: list[tuple[str, Callable[[CallInfo], Any], str]] = [
    ("false", lambda _: False, "denied"),
    ("false later", lambda _: later(False), "denied"),
    ("none", lambda _: None, "denied"),
    ("one", lambda _: 1, "denied"),
    ("truthy later", lambda _: later(object()), "denied"),
    ("raises", raises_at_once, "policy_failed"),
    ("raises later", raises, "policy_failed"),
    ("denied", lambda _: Denied("too_early", frozenset({"staff"}), frozenset({"guest"})), "too_early"),
    ("denied later", lambda _: later(Denied("too_early")), "too_early"),
    ("hangs", lambda _: anyio.sleep_forever(), "policy_timeout"),
]


@pytest.mark.parametrize(("decide", "reason"), [no[1:] for no in NO], ids=[no[0] for no in NO])
async def test_anything_else_denies_and_the_handler_never_starts(decide: Any, reason: str) -> None:
    implementation = MemShop()
    limits = Limits(policy_timeout=0.05 if reason == "policy_timeout" else 60.0)
    policy = Guard(decide)
    async with connected(implementation, policy=policy, limits=limits) as (server, client):
        failed: list[HandlerFailed] = []
        refused: list[PolicyDenied] = []
        server.on(HandlerFailed, failed.append)
        server.on(PolicyDenied, refused.append)
        shop = await client.bootstrap(Shop)
        with anyio.fail_after(60), pytest.raises(PermissionDenied) as caught:
            await shop.echo(MemItem("given"))
        assert caught.value.reason == reason and "broken" not in str(caught.value)
        assert implementation.started == []
        await until(lambda: [event.where for event in failed] == ["guard"] * (reason == "policy_failed"))
        await until(lambda: len(refused) == 1)
        assert (refused[0].name, refused[0].method, refused[0].reason) == ("test.Shop", "echo", reason)
        policy.asked.clear()  # what a test keeps is not given back
        failed.clear()
        del shop, caught
        await assert_no_leaks(server, client)


async def test_it_sees_who_calls_what_with_which_arguments() -> None:
    """Checked, rebuilt, with capabilities as objects; what is left to its default is absent."""
    policy = Guard(lambda _: True)
    async with connected(MemShop(), policy=policy) as (_, client):
        shop = await client.bootstrap(Shop)
        item = MemItem("tea")
        assert (await shop.pack(item)).weight == 3
        await shop.add(1, scale=2)
        (packed, added) = policy.asked
        assert (packed.contract, packed.method, packed.peer) == ("test.Shop", "pack", "client")
        assert packed.attestation.transport == "memory" and not packed.dry_run
        assert list(packed.arguments) == ["item"] and await packed.arguments["item"].label() == "tea"
        assert added.arguments == {"a": 1, "scale": 2}
        with pytest.raises(InvalidArgument):
            await shop.add("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        assert len(policy.asked) == 2


class Fine(Node, name="test.Fine"):
    """What inherits everything from another contract."""

    @call
    async def fine(self) -> None: ...


class MemFine(MemNode, Fine):
    async def fine(self) -> None: ...


async def test_it_sees_what_a_contract_inherits() -> None:
    """Whatever a peer holds something as, a guard finds the contract that its methods come from."""
    policy = Guard(lambda call: call.method != "say" or "test.Node" not in call.contracts)
    tree = Tree()
    async with connected(MemFine(tree, "/fine"), policy=policy) as (server, client):
        fine = await client.bootstrap(Fine)
        await fine.fine()
        for node in (fine, pipe(fine.hand(fine))):
            with pytest.raises(PermissionDenied):
                await node.say("x")
        assert tree.log == []
        assert {(call.contract, call.contracts) for call in policy.asked} >= {
            ("test.Fine", frozenset({"test.Fine", "test.Node"}))
        }
        await client.runtime().ping()
        assert policy.asked[-1].contracts == {"capnet.Runtime"}
        told = await server.explain("test.Fine", "say")
        assert told.by == "guard" and policy.asked[-1].dry_run
        unserved = await server.explain("test.Nope", "say")
        assert unserved.allowed and policy.asked[-1].contracts == {"test.Nope"}
        policy.asked.clear()
        del fine, node
        await assert_no_leaks(server, client)


async def test_what_a_denial_says_reaches_the_caller() -> None:
    policy = Guard(lambda _: Denied("role", frozenset({"b", "a"}), frozenset({"guest"})))
    async with connected(MemShop(), policy=policy) as (_, client):
        shop = await client.bootstrap(Shop)
        with pytest.raises(PermissionDenied) as caught:
            await shop.add(1)
        assert caught.value.details == {"required": ["a", "b"], "granted": ["guest"]}


async def test_later_calls_on_the_same_reference_wait_and_no_others() -> None:
    """They start in their order, each once it is allowed."""
    slow = Slow()
    implementation = MemShop()
    async with connected(implementation, policy=Guard(slow)) as (server, client):
        server.serve(MemShop("other"), name="other")
        shop, other = await client.bootstrap(Shop), await client.bootstrap(Shop, name="other")
        calls = [shop.echo(name) for name in ("a", "b", "c")]
        added = shop.add(1)
        await until(lambda: slow.thinking == ["a"])
        assert await other.add(1) == 11
        for _ in range(20):
            await checkpoint()
        assert implementation.started == [] and slow.thinking == ["a"]
        slow.decide("a", True)
        assert await calls[0] == "a"
        slow.decide("b", False)
        with pytest.raises(PermissionDenied):
            await calls[1]
        await until(lambda: slow.thinking == ["a", "b", "c"])
        slow.decide("c", True)
        assert await calls[2] == "c" and await added == 11
        assert implementation.started == ["a", "c"]
        del shop, other, calls, added
        await assert_no_leaks(server, client)


@pytest.mark.parametrize("which", [0, 1])
async def test_one_that_is_cancelled_while_it_waits_holds_up_nobody(which: int) -> None:
    slow, implementation = Slow(), MemShop()
    async with connected(implementation, policy=Guard(slow)) as (server, client):
        shop = await client.bootstrap(Shop)
        calls: list[Any] = [shop.echo(name) for name in ("a", "b", "c")]
        await until(lambda: slow.thinking == ["a"])
        calls[which].cancel()
        await client.ping()  # it has arrived
        slow.decide("a", True)
        slow.decide("b", True)
        slow.decide("c", True)
        for number, name in enumerate("abc"):
            if number == which:
                with pytest.raises(CallCancelled):
                    await calls[number]
            else:
                assert await calls[number] == name
        assert implementation.started == [name for name in "abc" if name != "abc"[which]]
        del shop, calls
        await assert_no_leaks(server, client)


async def test_what_was_revoked_while_the_guard_thought_never_starts() -> None:
    slow, implementation = Slow(), MemShop()
    async with connected(policy=Guard(slow)) as (server, client):
        handle = server.serve(implementation)
        shop = await client.bootstrap(Shop)
        calls = [shop.echo("a"), shop.echo("b")]
        await until(lambda: slow.thinking == ["a"])
        handle.close()
        slow.decide("a", True)
        slow.decide("b", True)
        for call in calls:
            with pytest.raises(Revoked):
                await call
        assert implementation.started == []
        del shop, calls
        await assert_no_leaks(server, client)


async def test_a_close_ends_what_waits_for_the_guard() -> None:
    slow, implementation = Slow(), MemShop()
    async with connected(implementation, policy=Guard(slow)) as (server, client):
        shop = await client.bootstrap(Shop)
        calls = [shop.echo("a"), shop.echo("b")]
        await until(lambda: slow.thinking == ["a"])
        with anyio.fail_after(60):
            await server.aclose(grace=0)
        for call in calls:
            with pytest.raises(CapnetError) as caught:
                await call
            assert caught.value.code in {"unavailable", "cancelled"}
        assert implementation.started == []


async def test_streams_one_way_calls_and_the_runtime_are_guarded_too() -> None:
    allowed = {"say"}
    policy = Guard(lambda call: call.method in allowed)
    tree = Tree()
    async with connected(tree.root, policy=policy) as (server, client):
        node = await client.bootstrap(Node)
        with pytest.raises(PermissionDenied):
            async for _ in node.count(3):
                pass
        notify(node.late_word)("x")
        with pytest.raises(PermissionDenied):
            await client.runtime().stats()
        assert await node.say("x") == ":x"
        assert tree.produced == 0 and tree.gate.entered == []
        assert {call.contract for call in policy.asked} == {"test.Node", "capnet.Runtime"}
        allowed.add("count")
        assert [number async for number in node.count(3)] == [0, 1, 2]
        del node
        await assert_no_leaks(server, client)


async def test_a_guarded_stream_begins_when_the_guard_has_decided() -> None:
    tree = Tree()
    async with connected(tree.root, policy=Guard(lambda _: later(True)), client_limits=Limits(stream_items=64)) as (
        server,
        client,
    ):
        node = await client.bootstrap(Node)
        assert [number async for number in node.count(300)] == list(range(300))
        del node
        await assert_no_leaks(server, client)


@pytest.mark.parametrize("at_once", [True, False])
async def test_calls_that_are_only_passed_on_are_guarded(at_once: bool) -> None:
    """By the one in the middle, who sees the arguments as they came."""
    async with chain(3) as peers:
        policy = Guard(lambda call: (call.method != "spell") if at_once else later(call.method != "spell"))
        async with connected(peers.hubs[-1], policy=policy) as (_, guest):
            node = await (await guest.bootstrap(Hub)).get()
            assert await node.say("x") == ":x"
            with pytest.raises(PermissionDenied):
                await node.spell(["a"])
            assert (policy.asked[-1].contract, policy.asked[-1].arguments) == ("test.Node", {"words": ["a"]})
            assert policy.asked[-1].contracts == {"test.Node"}
            del node
        peers.forget()


async def test_a_policy_without_a_guard_costs_nothing() -> None:
    class Names:
        def admit(self, _: Admission, /) -> bool:
            return True

    async with connected(MemShop(), policy=Names()) as (server, _):
        assert server._parts.dispatcher._guard is None  # pyright: ignore[reportPrivateUsage]
