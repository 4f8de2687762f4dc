"""Who a peer is: said by the policy from what the hello carried, before anything the peer asks for is looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from capnet import (
    Admission,
    Attestation,
    CallInfo,
    CapnetError,
    Denied,
    Host,
    Identity,
    Introduction,
    Limits,
    PermissionDenied,
    Revoked,
    Unauthenticated,
    connect,
)
from capnet.observe import Bootstrapped, CallFinished, ConnectionOpened, Event, PolicyDenied
from capnet.testing import assert_no_leaks, connected
from tests.connection.shop import MemShop, Shop, until


class Tokens:
    """Knows principals by token; names are for those who were granted them, and guards know the grants as well."""

    def __init__(self, identify: Callable[[Introduction], Any] | None = None) -> None:
        self._identify = identify
        self.introduced: list[Introduction] = []
        self.closed_names: set[str] = set()

    def identify(self, introduction: Introduction) -> Any:
        self.introduced.append(introduction)
        if self._identify is not None:
            return self._identify(introduction)
        if introduction.token != "t":
            return Denied("no_token")
        return Identity(principal="tea", allowed=frozenset({"shop", "spare"}), grants=frozenset({"add"}))

    def admit(self, request: Admission, /) -> bool | Denied:
        if request.name in self.closed_names:
            return Denied("closed")
        return "shop" in request.attestation.grants or Denied("grant", frozenset({"shop"}), request.attestation.grants)

    def guard(self, call: CallInfo) -> bool:
        return call.method in call.attestation.grants


async def test_granted_is_what_was_asked_for_and_allowed_and_what_a_token_brings() -> None:
    """And it is there before the first bootstrap is looked at, though that came with the hello."""
    policy = Tokens(lambda intro: later(Tokens().identify(intro)))
    auth = {"token": "t", "grants": ["shop", "root"]}
    async with connected(MemShop(), policy=policy, auth=auth) as (server, client):
        shop = await client.bootstrap(Shop)
        assert server.attestation.principal == "tea"
        assert server.attestation.grants == {"shop", "add"}
        assert await shop.add(1) == 11
        with pytest.raises(PermissionDenied):
            await shop.echo(1)
        (introduction,) = policy.introduced
        assert introduction.asked == {"shop", "root"} and introduction.peer == "client"
        assert introduction.attestation.principal is None
        del shop
        await assert_no_leaks(server, client)


@pytest.mark.parametrize(
    "auth", [{"token": "t"}, {"token": "t", "grants": "shop"}, {"token": "t", "grants": [1, None]}]
)
async def test_who_asks_for_nothing_is_granted_only_what_follows_from_the_token(auth: Any) -> None:
    async with connected(MemShop(), policy=Tokens(), auth=auth) as (server, client):
        with pytest.raises(PermissionDenied) as caught:
            await client.bootstrap(Shop)
        assert caught.value.details == {"required": ["shop"], "granted": ["add"]}
        assert server.attestation.grants == {"add"}


async def later(verdict: Any) -> Any:
    for _ in range(3):
        await checkpoint()
    return verdict


async def raises(_: object) -> Any:
    await checkpoint()
    raise RuntimeError("broken")


NO: list[tuple[str, Callable[[Introduction], Any], str]] = [
    ("denied", lambda _: Denied("no_token"), "no_token"),
    ("true", lambda _: True, "denied"),
    ("none later", lambda _: later(None), "denied"),
    ("raises", raises, "policy_failed"),
    ("hangs", lambda _: anyio.sleep_forever(), "policy_timeout"),
]


@pytest.mark.parametrize(("identify", "reason"), [no[1:] for no in NO], ids=[no[0] for no in NO])
async def test_who_is_not_known_is_sent_away(identify: Any, reason: str) -> None:
    """Fault 49: with what it asked for answered, by a typed error; anything but an `Identity` is a no."""
    implementation = MemShop()
    policy, limits = Tokens(identify), Limits(policy_timeout=0.05 if reason == "policy_timeout" else 60.0)
    async with Host(policy=policy, limits=limits) as host:
        host.serve(implementation)
        await host.listen("memory:strangers")
        async with connect("memory:strangers") as client:
            for call in (client.bootstrap(Shop), client.bootstrap(Shop)):
                with anyio.fail_after(60), pytest.raises(Unauthenticated) as caught:
                    await call
                assert caught.value.reason == "not_admitted" and reason in caught.value.message
            with anyio.fail_after(60):
                cause = await client.wait_closed()
            assert cause.kind == "remote" and reason in cause.message
            with pytest.raises(Unauthenticated):
                await client.bootstrap(Shop)
        await until(lambda: not host.connections)
    assert implementation.started == []


async def test_a_connection_that_ends_meanwhile_leaves_no_task() -> None:
    asked = anyio.Event()

    async def forever(_: Introduction) -> Any:
        asked.set()
        await anyio.sleep_forever()

    async with connected(MemShop(), policy=Tokens(forever), limits=Limits(policy_timeout=60)) as (server, client):
        call = client.bootstrap(Shop)
        await asked.wait()
        with anyio.fail_after(60):
            await client.aclose(grace=0)
            await server.wait_closed()
            with pytest.raises(CapnetError):
                await call


async def test_events_say_who_the_peer_is() -> None:
    """P-CAP-8: what it asked for before that was known has an event after it; what it calls itself proves nothing."""
    policy = Tokens(lambda intro: later(Tokens().identify(intro)))
    auth = {"token": "t", "grants": ["shop"]}
    seen: list[Event] = []
    async with connected(MemShop(), policy=policy, auth=auth) as (server, client):
        server.on(Event, seen.append)
        shop = await client.bootstrap(Shop)
        with pytest.raises(PermissionDenied):
            await shop.echo(1)
        await until(lambda: len({type(event) for event in seen} & {Bootstrapped, CallFinished, PolicyDenied}) == 3)
        assert {event.principal for event in seen if not isinstance(event, ConnectionOpened)} == {"tea"}
        assert {event.peer for event in seen} == {"client"}
        del shop
        await assert_no_leaks(server, client)


async def test_all_connections_of_a_principal_are_closed_at_once() -> None:
    def by_name(introduction: Introduction) -> Identity:
        return Identity(principal=introduction.peer, grants=frozenset({"shop"}))

    async with Host(policy=Tokens(by_name)) as host:
        host.serve(MemShop())
        await host.listen("memory:principals")
        async with (
            connect("memory:principals", name="tea") as one,
            connect("memory:principals", name="tea") as two,
            connect("memory:principals", name="milk") as three,
        ):
            for connection in (one, two, three):
                await connection.bootstrap(Shop)
            assert await host.close_all(principal="tea") == 2
            await one.wait_closed()
            await two.wait_closed()
            assert not three.closed and await three.ping() >= 0


async def test_who_claims_to_be_somebody_does_nothing_to_that_one() -> None:
    """Fault 48: a second connection under the same name is told apart, and its end is not the first one's."""
    async with Host(policy=Tokens()) as host:
        host.serve(MemShop())
        await host.listen("memory:claims")
        async with connect("memory:claims", name="tea", auth={"token": "t", "grants": ["shop"]}) as one:
            shop = await one.bootstrap(Shop)
            async with connect("memory:claims", name="tea", auth={"token": "guessed"}) as two:
                with pytest.raises(Unauthenticated):
                    await two.bootstrap(Shop)
                await two.wait_closed()
            await until(lambda: len(host.connections) == 1)
            assert await shop.add(1) == 11 and not one.closed


async def test_explain_asks_without_doing() -> None:
    policy = Tokens()
    auth = {"token": "t", "grants": ["shop"]}
    async with connected(MemShop(), policy=policy, auth=auth) as (server, client):
        await client.ping()
        await until(lambda: server.attestation.principal == "tea")
        assert (await server.explain("test.Shop")).allowed
        assert (await server.explain("test.Shop", "add", {"a": 1})).allowed
        no = await server.explain("test.Shop", "echo")
        assert (no.allowed, no.served, no.by) == (False, True, "guard")
        unserved = await server.explain("test.Nope")
        assert unserved.allowed and not unserved.served
        policy.closed_names.add("test.Shop")
        no = await server.explain("test.Shop", "add")
        assert no.denied == Denied("closed") and no.by == "admit"
        assert server.stats()["exports"] == 0


async def test_a_host_explains_what_a_peer_that_is_not_there_could_do() -> None:
    seen: list[Any] = []

    class Rule:
        def admit(self, request: Admission, /) -> bool:
            seen.append(request)
            return request.attestation.principal == "tea"

        async def guard(self, call: CallInfo) -> bool:
            seen.append(call)
            return bool(call.arguments["a"] < 10)

    tea = replace(Attestation(), principal="tea")
    async with Host(policy=Rule()) as host:
        assert not (await host.explain(Attestation(), "test.Shop")).allowed
        assert (await host.explain(tea, "test.Shop", "add", {"a": 1})).allowed
        assert (await host.explain(tea, "test.Shop", "add", {"a": 11})).by == "guard"
        assert all(asked.dry_run for asked in seen)
    async with Host() as host:
        host.serve(MemShop())
        told = await host.explain(Attestation(), "test.Shop", "add")
        assert told.allowed and told.served and told.denied is None


async def test_a_change_of_policy_revokes() -> None:
    """Fault 42: rights are looked at again, and what is denied now is taken back, with what came of it."""
    policy = Tokens(lambda _: Identity(grants=frozenset({"shop", "make", "label", "add"})))
    async with Host(policy=policy) as host:
        host.serve(MemShop())
        host.serve(MemShop("other"), name="other")
        await host.listen("memory:reconsider")
        async with connect("memory:reconsider") as connection:
            shop, other = await connection.bootstrap(Shop), await connection.bootstrap(Shop, name="other")
            item = await shop.make("tea")
            assert await host.reconsider() == {}
            policy.closed_names.add("test.Shop")
            (taken,) = (await host.reconsider()).values()
            assert taken == ["test.Shop"]
            for use in (partial(shop.add, 1), item.label):
                with pytest.raises(Revoked):
                    await use()
            assert await other.add(1) == 11


async def test_who_is_no_longer_known_is_sent_away() -> None:
    known = True
    policy = Tokens(lambda _: Identity(grants=frozenset({"shop"})) if known else Denied("expired"))
    async with connected(MemShop(), policy=policy) as (server, client):
        await client.bootstrap(Shop)
        known = False
        assert await server.reconsider() == []
        with anyio.fail_after(60):
            assert "expired" in (await client.wait_closed()).message
