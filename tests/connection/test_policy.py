"""Admission: only a real True admits, and who may not have a name does not learn whether it is served (P-CAP-7)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from capnet import Admission, CapnetError, Denied, Limits, NotFound, PermissionDenied
from capnet.observe import Bootstrapped, HandlerFailed
from capnet.serving import runtime
from capnet.testing import assert_no_leaks, connected
from tests.connection.shop import Gate, Item, MemShop, Shop, until


class Rule:
    """A policy of one function."""

    def __init__(self, decide: Callable[[Admission], Any]) -> None:
        self._decide = decide
        self.asked: list[Admission] = []

    def admit(self, request: Admission, /) -> bool | Denied | Awaitable[bool | Denied]:
        self.asked.append(request)
        verdict: bool | Denied | Awaitable[bool | Denied] = self._decide(request)
        return verdict


async def later(verdict: Any) -> Any:
    await checkpoint()
    return verdict


async def raises(_: object = None) -> Any:
    await checkpoint()
    raise RuntimeError("broken policy")


def raises_at_once(_: object) -> Any:
    raise RuntimeError("broken policy")


@pytest.mark.parametrize("at_once", [True, False])
async def test_true_admits(at_once: bool) -> None:
    async with connected(MemShop(), policy=Rule(lambda _: True if at_once else later(True))) as (_, client):
        assert await (await client.bootstrap(Shop)).add(1) == 11


NO: list[tuple[str, Callable[[Admission], Any], str]] = [
    ("false", lambda _: False, "denied"),
    ("false later", lambda _: later(False), "denied"),
    ("none", lambda _: None, "denied"),
    ("one", lambda _: 1, "denied"),
    ("text", lambda _: "yes", "denied"),
    ("truthy later", lambda _: later(object()), "denied"),
    ("raises", raises_at_once, "policy_failed"),
    ("raises later", raises, "policy_failed"),
    ("denied", lambda _: Denied("too_early", frozenset({"staff"}), frozenset({"guest"})), "too_early"),
    ("denied later", lambda _: later(Denied("too_early")), "too_early"),
]


@pytest.mark.parametrize(("decide", "reason"), [no[1:] for no in NO], ids=[no[0] for no in NO])
async def test_anything_else_denies(decide: Any, reason: str) -> None:
    async with connected(MemShop(), policy=Rule(decide)) as (server, client):
        with pytest.raises(PermissionDenied) as caught:
            await client.bootstrap(Shop)
        assert caught.value.reason == reason
        assert "broken policy" not in str(caught.value)
        await assert_no_leaks(server, client)


async def test_a_policy_that_hangs_denies_in_time() -> None:
    policy = Rule(lambda _: anyio.sleep_forever())
    async with connected(MemShop(), policy=policy, limits=Limits(policy_timeout=0.02)) as (server, client):
        with anyio.fail_after(60), pytest.raises(PermissionDenied) as caught:
            await client.bootstrap(Shop)
        assert caught.value.reason == "policy_timeout"
        await assert_no_leaks(server, client)


async def test_a_denial_says_what_was_required_and_granted() -> None:
    policy = Rule(lambda _: Denied("role", frozenset({"b", "a"}), frozenset({"guest"})))
    async with connected(MemShop(), policy=policy) as (_, client):
        with pytest.raises(PermissionDenied) as caught:
            await client.bootstrap(Shop)
        assert caught.value.details == {"required": ["a", "b"], "granted": ["guest"]}


async def test_served_and_unserved_names_look_alike() -> None:
    """P-CAP-2, fault 43: the policy is asked before the registry is looked at; errors differ in the name only."""
    async with connected(MemShop(), policy=Rule(lambda _: False)) as (_, client):
        told: list[tuple[Any, ...]] = []
        for name in ("test.Shop", "test.Nope"):
            with pytest.raises(PermissionDenied) as caught:
                await client.bootstrap(Item, name=name, wait=60)
            error = caught.value
            told.append((error.code, error.reason, error.details, error.retry, error.message.replace(name, "N")))
        assert told[0] == told[1]


async def test_the_policy_sees_who_asks_and_for_what() -> None:
    policy = Rule(lambda _: True)
    async with connected(MemShop(), policy=policy, auth={"token": "t"}) as (_, client):
        await client.bootstrap(Shop)
        (asked,) = policy.asked
        assert asked.name == "test.Shop" and asked.version == 1 and asked.auth == {"token": "t"}
        assert asked.peer == "client" and asked.attestation.transport == "memory"


async def test_the_policy_is_asked_each_time() -> None:
    verdicts = [True, False]
    async with connected(MemShop(), policy=Rule(lambda _: verdicts.pop(0))) as (_, client):
        await client.bootstrap(Shop)
        with pytest.raises(PermissionDenied):
            await client.bootstrap(Shop)


async def test_what_was_unserved_while_the_policy_thought_is_not_given() -> None:
    """Fault 18, P-CAP-2: the registry is looked at after the last await."""
    thinking, think = anyio.Event(), anyio.Event()

    async def ponder(_: Admission) -> bool:
        thinking.set()
        await think.wait()
        return True

    async with connected(policy=Rule(ponder)) as (server, client):
        old, new = MemShop("old"), MemShop("new")
        handle = server.serve(old)
        outcome: list[Any] = []

        async def ask() -> None:
            try:
                outcome.append(await client.bootstrap(Shop))
            except NotFound as error:
                outcome.append(type(error))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await thinking.wait()
            handle.close()
            think.set()
        assert outcome == [NotFound]
        server.serve(new)
        shop = await client.bootstrap(Shop)
        await shop.echo("x")
        assert new.started and not old.started


async def test_what_was_served_anew_while_the_policy_thought_is_the_new_one() -> None:
    thinking, think = anyio.Event(), anyio.Event()

    async def ponder(_: Admission) -> bool:
        thinking.set()
        await think.wait()
        return True

    async with connected(policy=Rule(ponder)) as (server, client):
        old, new = MemShop("old"), MemShop("new")
        handle = server.serve(old)
        shops: list[Shop] = []

        async def ask() -> None:
            shops.append(await client.bootstrap(Shop))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await thinking.wait()
            handle.close()
            server.serve(new)
            think.set()
        await shops[0].echo("x")
        assert new.started == ["x"] and not old.started


async def test_other_calls_go_on_while_a_policy_thinks() -> None:
    """P-CALL-3: the read path awaits no policy."""
    async with connected(MemShop(), policy=Rule(lambda request: request.name == "test.Shop" or slow(request))) as (
        _,
        client,
    ):
        shop = await client.bootstrap(Shop)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.bootstrap, Item)
            assert await shop.add(1) == 11
            tasks.cancel_scope.cancel()


async def slow(_: Admission) -> bool:
    await anyio.sleep_forever()
    return True


async def test_the_runtime_capability_describes_only_what_the_peer_may_have() -> None:
    """P-CAP-9."""
    async with connected(MemShop(), policy=Rule(lambda request: request.name != "test.Shop")) as (server, client):
        server.serve(MemShop(), name="test.open")
        assert list(await client.runtime().describe()) == ["test.open"]


async def test_a_description_is_a_question_like_others() -> None:
    """T8, P-CAP-9: the policy is asked by as many of them at a time as by bootstraps; more are refused."""
    asked: list[str] = []
    at_once = 0
    gate = Gate()

    async def decide(request: Admission) -> bool:
        nonlocal at_once
        asked.append(request.name)
        at_once = max(at_once, server._names._pending)
        await gate.pass_through(request.name)
        return True

    async with connected(policy=Rule(decide), limits=Limits(max_pending_bootstraps=16)) as (server, client):
        for number in range(10):
            server.serve(MemShop(), name=f"test.{number}")
        refused: list[CapnetError] = []
        described: list[int] = []

        async def ask() -> None:
            try:
                described.append(len(await client.runtime().describe()))
            except CapnetError as error:
                refused.append(error)

        async with anyio.create_task_group() as tasks:
            for _ in range(40):
                tasks.start_soon(ask)
            await until(lambda: len(refused) == 24)
            assert len(asked) == 16 == server._session.engine.strikes.count - 8
            gate.open()
        assert at_once == 16 and described == [10] * 16 and len(asked) == 160
        assert {error.reason for error in refused} == {"max_pending_bootstraps"}
        assert not server._names._pending


async def test_descriptions_have_a_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """P-LIMIT-5: each name costs as much as a small frame; and others have their turn in between."""
    waited: list[float] = []
    turns = 0

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    async def turn() -> None:
        nonlocal turns
        turns += 1
        await checkpoint()

    monkeypatch.setattr(runtime, "sleep", sleep)
    monkeypatch.setattr(runtime, "checkpoint", turn)
    names = 2 * runtime.NAMES_PER_TURN
    rate = 65_536
    limits = Limits(work_burst=rate, work_rate=rate)
    async with connected(policy=Rule(lambda _: True), limits=limits) as (server, _):
        for number in range(names):
            server.serve(MemShop(), name=f"test.{number}")
        for _ in range(50):  # as from fifty calls that came together
            assert len(await runtime._description(server._names)) == names
        assert turns == 50 * 2
        # The first is free, and each other waits for those before it: what they cost, less what has passed.
        assert len(waited) >= 48 and waited == sorted(waited) and 30 < waited[-1] < 50
        server._session.engine.turn.work_pace.spend(server._session.loop.now(), -100 * rate)


async def test_observers_hear_of_denials_and_of_a_broken_policy() -> None:
    """Fault 52: refusals are events."""
    seen: list[Any] = []
    async with connected(MemShop(), policy=Rule(raises_at_once)) as (server, client):
        server.on(Bootstrapped, seen.append)
        server.on(HandlerFailed, seen.append)
        with pytest.raises(PermissionDenied):
            await client.bootstrap(Shop)
        await until(lambda: len(seen) == 2)
        failed, refused = sorted(seen, key=lambda event: event.sequence)
        assert failed.where == "admission policy" and failed.error.kind == "RuntimeError"
        assert (refused.name, refused.result, refused.reason) == ("test.Shop", "permission_denied", "policy_failed")
