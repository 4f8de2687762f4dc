"""Who is calling: what handlers, events and the peer itself are told of a peer, and what a caller sends along."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from anyio import create_task_group

from capnet import (
    INJECT,
    Admission,
    CallContext,
    Cap,
    Connection,
    Denied,
    Host,
    Identity,
    Introduction,
    InvalidArgument,
    Stream,
    call,
    connect,
    notify,
    send_metadata,
    stream,
)
from capnet.observe import CallFinished, CallStarted, CapExported, Event, NameServed, StreamClosed, StreamOpened
from capnet.testing import connected
from tests.connection.shop import until


class Desk(Cap, name="test.Desk"):
    @call
    async def come(self) -> dict[str, str]: ...
    @call
    async def come_by(self, other: Desk) -> list[dict[str, str]]: ...
    @call
    async def another(self) -> Desk: ...
    @stream
    def told(self) -> Stream[dict[str, str]]: ...


class Clerk(Desk):
    def __init__(self) -> None:
        self.contexts: list[CallContext] = []

    async def come(self, ctx: CallContext = INJECT) -> dict[str, str]:
        self.contexts.append(ctx)
        return dict(ctx.metadata)

    async def come_by(self, other: Desk, ctx: CallContext = INJECT) -> list[dict[str, str]]:
        first = await other.come()
        with send_metadata({"inner": "yes"}):
            return [dict(ctx.metadata), first, await other.come()]

    async def another(self) -> Desk:
        return Clerk()

    async def told(self, ctx: CallContext = INJECT) -> Stream[dict[str, str]]:
        yield dict(ctx.metadata)


class Tokens:
    """Who shows a name is taken for that."""

    def identify(self, introduction: Introduction) -> Identity | Denied:
        return Identity(principal=introduction.token, allowed=frozenset({"read", "write"}), grants=frozenset({"base"}))

    def admit(self, request: Admission) -> bool:
        return True


async def test_a_handler_knows_the_connection_and_the_principal() -> None:
    clerk = Clerk()
    async with Host(policy=Tokens()) as host:
        host.serve(clerk)
        await host.listen("memory:desk-who")
        async with connect("memory:desk-who", auth={"token": "alice"}) as conn:
            await (await conn.bootstrap(Desk)).come()
            (ctx,) = clerk.contexts
            assert type(ctx.connection) is Connection
            assert host.connections == (ctx.connection,)
            assert ctx.principal == "alice" == ctx.connection.attestation.principal


@pytest.mark.parametrize(
    ("auth", "known"),
    [
        (None, {"principal": None, "grants": ["base"]}),
        (
            {"token": "bob", "grants": ["write", "all", "read"]},
            {"principal": "bob", "grants": ["base", "read", "write"]},
        ),
        ({"token": b"bytes"}, {"principal": None, "grants": ["base"]}),
        ("token", {"principal": None, "grants": ["base"]}),
    ],
    ids=["nothing", "asks", "no text", "no map"],
)
async def test_a_peer_is_told_what_it_was_granted(auth: Any, known: dict[str, Any]) -> None:
    async with Host(policy=Tokens()) as host:
        await host.listen("memory:identity")
        async with connect("memory:identity", auth=auth) as conn:
            assert await conn.runtime().identity() == known


async def test_without_a_policy_a_peer_is_nobody() -> None:
    async with connected() as (_, client):
        assert await client.runtime().identity() == {"principal": None, "grants": []}


async def test_metadata_goes_along_with_calls_streams_and_one_way_calls() -> None:
    clerk = Clerk()
    async with connected(clerk) as (_, client):
        desk = await client.bootstrap(Desk)
        with send_metadata({"request": "1"}):
            assert await desk.come() == {"request": "1"}
            assert [told async for told in desk.told()] == [{"request": "1"}]
            notify(desk.come)()
            with send_metadata({"request": "2", "more": "é"}):
                assert await desk.come() == {"request": "2", "more": "é"}
            with send_metadata({}):
                assert await desk.come() == {"request": "1"}
        assert await desk.come() == {}
        assert [dict(ctx.metadata) for ctx in clerk.contexts] == [
            {"request": "1"},
            {"request": "1"},
            {"request": "2", "more": "é"},
            {"request": "1"},
            {},
        ]


async def test_metadata_is_not_passed_on_by_itself() -> None:
    with send_metadata({"above": "all"}):  # also not by who opened the connection
        async with connected(Clerk()) as (_, client):
            desk = await client.bootstrap(Desk)
            assert await desk.come_by(Clerk()) == [{"above": "all"}, {}, {"inner": "yes"}]


async def test_metadata_is_of_the_task() -> None:
    found: dict[str, dict[str, str]] = {}
    async with connected(Clerk()) as (_, client):
        desk = await client.bootstrap(Desk)

        async def ask(name: str) -> None:
            with send_metadata({"task": name}):
                found[name] = await desk.come()

        async with create_task_group() as tasks:
            for name in "abc":
                tasks.start_soon(ask, name)
    assert found == {name: {"task": name} for name in "abc"}


WRONG: dict[str, Mapping[Any, Any]] = {
    "ours": {"capnet.chain": "x"},
    "hops": {"capnet.hops": "40"},
    "number": {"a": 1},
    "key": {1: "a"},
    "long key": {"k" * 257: "a"},
    "long": {"a": "v" * 8193},
    "many": {str(number): "" for number in range(17)},
}


@pytest.mark.parametrize("metadata", WRONG.values(), ids=WRONG)
async def test_what_cannot_go_along_is_refused_where_it_is_said(metadata: Mapping[str, str]) -> None:
    with pytest.raises(InvalidArgument), send_metadata(metadata):
        raise AssertionError


async def test_events_lead_to_the_connection_and_back() -> None:
    seen: list[Event] = []
    async with Host(policy=Tokens()) as host:
        host.on(Event, seen.append)
        host.serve(Clerk(), name="counter")
        await host.listen("memory:desk-events")
        async with connect("memory:desk-events", auth={"token": "carol"}) as conn:
            desk = await conn.bootstrap(Desk, name="counter")
            inner = await desk.another()
            await inner.come()
            assert [told async for told in desk.told()] == [{}]
            await until(lambda: any(isinstance(event, StreamClosed) for event in seen))
            (connection,) = host.connections
            of_peer = [event for event in seen if event.connection]
            assert {host.connection(event.connection) for event in of_peer} == {connection}
            assert {event.principal for event in of_peer if isinstance(event, CallStarted)} == {"carol"}
            number = connection.number
        await until(lambda: not host.connections)
        assert host.connection(number) is None
    calls = [event for event in seen if isinstance(event, CallStarted | CallFinished) and event.contract == "test.Desk"]
    caps = {event.cap for event in seen if isinstance(event, CapExported)}
    assert [(event.method, event.served) for event in calls if isinstance(event, CallFinished)] == [
        ("another", "counter"),
        ("come", ""),
        ("told", "counter"),
    ]
    assert {event.cap for event in calls} == caps
    assert len(caps) == 2
    assert {event.served for event in seen if isinstance(event, NameServed | StreamOpened | StreamClosed)} == {
        "counter"
    }


async def test_a_peer_does_not_read_the_names_of_what_it_holds() -> None:
    """It may have the object by one name and not be allowed to know of the other."""
    clerk = Clerk()
    async with connected(clerk) as (server, client):
        server.serve(clerk, name="secret")
        desk = await client.bootstrap(Desk)
        records = client.runtime().events(["CallFinished"])
        await client.runtime().ping()
        await desk.come()
        async for record in records:
            if record["fields"]["method"] == "come":
                assert record["served"] == ""
                assert "secret" not in str(record)
                break
        await records.aclose()
