"""Virtual connections: opened, decided about, used, lent and closed (P-VIRT)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from capnet import (
    Admission,
    CapnetError,
    Connection,
    FailedPrecondition,
    Host,
    HostLimits,
    Identity,
    Internal,
    Introduction,
    InvalidArgument,
    Limits,
    NotFound,
    Opening,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
    connect,
)
from capnet.engine.channels import CHANNEL_WINDOW
from capnet.observe import HandlerFailed, LimitHit
from capnet.testing import assert_no_leaks, connected
from capnet.transport import Receiver, Transport
from capnet.wire.frames import Op
from tests.connection.shop import MemShop, Shop, socket_pair, until

Handler = Callable[[Opening], Awaitable[None]]


def taking(children: list[Connection], **settings: Any) -> Handler:
    """A handler that takes whatever comes, and serves a shop there."""

    async def accept(opening: Opening) -> None:
        child = opening.accept(opening.metadata, **settings)
        child.serve(MemShop(child.peer_name or "inner"))
        children.append(child)

    return accept


async def opening(connection: Connection) -> None:
    """Open one, and leave it."""
    await connection.open()


class Deaf(Receiver):
    """Takes what comes, and says nothing."""

    def data_received(self, data: Any) -> None: ...

    def writable(self) -> None: ...

    def closed(self, error: Exception | None) -> None: ...


@asynccontextmanager
async def inside(**settings: Any) -> AsyncGenerator[tuple[Connection, Connection, Connection, Connection]]:
    """A connection with one inside: server and client, and those of the virtual one."""
    children: list[Connection] = []
    async with connected(MemShop()) as (server, client):
        server.on_open(taking(children, **settings))
        async with client.open({"n": 1}) as ours:
            (theirs,) = children
            yield server, client, theirs, ours
        await assert_no_leaks(server, client)


async def test_a_connection_like_any_other() -> None:
    """P-VIRT-1, P-VIRT-2: names, limits and who is there are its own; what is proven is what is proven around it."""

    class Some:
        def admit(self, request: Admission) -> bool:
            return request.name == "test.Shop" and request.attestation.metadata == {"n": 1}

    limits = Limits(max_calls=17)
    async with inside(name="inner", limits=limits, policy=Some()) as (server, client, theirs, ours):
        shop = await ours.bootstrap(Shop)
        assert await shop.add(1) == 11
        assert await shop.echo("x" * 3_000_000) == "x" * 3_000_000
        with pytest.raises(PermissionDenied):
            await ours.bootstrap(Shop, name="other")
        with pytest.raises(NotFound):
            await client.bootstrap(Shop, name="other")
        assert ours.peer_name == "inner" and theirs.limits.max_calls == 17
        assert theirs.attestation.metadata == ours.attestation.metadata == {"n": 1}
        assert theirs.attestation.pid == server.attestation.pid and theirs.attestation.transport == "memory"
        ours.serve(MemShop())
        assert await (await theirs.bootstrap(Shop)).add(2) == 12
        assert await (await client.bootstrap(Shop)).add(3) == 13
        assert len({server.number, client.number, theirs.number, ours.number}) == 4


async def test_a_capability_goes_from_one_to_the_other() -> None:
    """P-REF-4: a virtual connection is another connection, so what is passed on goes through who holds it."""

    async def pack(client: Connection, ours: Connection) -> None:
        outer, inner = await client.bootstrap(Shop), await ours.bootstrap(Shop)
        parcel = await outer.pack(await inner.make("lamp"))
        assert parcel.weight == 4 and await parcel.item.label() == "lamp"

    async with inside() as (_, client, _, ours):
        await pack(client, ours)


async def test_it_is_opened_by_whoever_wants() -> None:
    """P-VIRT-1: both sides open, and inside of one there may be another."""
    async with socket_pair(MemShop()) as (server, client):
        children: list[Connection] = []
        client.on_open(taking(children))
        async with server.open() as ours:
            children[0].on_open(taking(children))
            async with ours.open() as deeper:
                assert await (await deeper.bootstrap(Shop)).add(1) == 11
            assert await (await ours.bootstrap(Shop)).add(1) == 11
        await assert_no_leaks(server, client)


# --- who decides ---


async def refused(opening: Opening) -> None:
    """Takes nothing."""


async def not_for_you(opening: Opening) -> None:
    """Says why."""
    raise PermissionDenied("members only", reason="members", details={"ask": "ada"})


async def careless(opening: Opening) -> None:
    """Has a fault."""
    raise ValueError("a secret")


def plain(opening: Opening) -> None:
    """No coroutine function."""
    raise NotFound("nothing here", reason="plain")


async def slow(opening: Opening) -> None:
    """Never says anything."""
    await anyio.sleep_forever()


async def too_much(opening: Opening) -> None:
    """Says more than fits."""
    opening.accept({"m": "x" * 5000})


async def no_data(opening: Opening) -> None:
    """Says what cannot travel."""
    opening.accept({"m": opening})


async def bad_name(opening: Opening) -> None:
    """What it would say of itself is no hello."""
    opening.accept(name="x" * 5000)


async def without_starting(opening: Opening) -> None:
    """Takes the transport, and does nothing with it."""
    opening.transport()


REFUSALS: dict[str, tuple[Callable[[Opening], object] | None, type[CapnetError], str | None]] = {
    "nobody": (None, Unimplemented, "no_virtual_connections"),
    "nothing": (refused, PermissionDenied, "refused"),
    "reason": (not_for_you, PermissionDenied, "members"),
    "fault": (careless, Internal, None),
    "plain": (plain, NotFound, "plain"),
    "silence": (slow, Unavailable, "policy_timeout"),
    "too much": (too_much, InvalidArgument, None),
    "no data": (no_data, CapnetError, None),
    "bad name": (bad_name, InvalidArgument, None),
    "not started": (without_starting, PermissionDenied, "refused"),
}


@pytest.mark.parametrize("how", REFUSALS)
async def test_it_is_refused(how: str) -> None:
    """P-VIRT-2, P-CAP-7: with the reason that the handler gives; nothing of a fault is told, and nothing stays."""
    handler, kind, reason = REFUSALS[how]
    async with connected(MemShop(), limits=Limits(policy_timeout=0.05)) as (server, client):
        faults: list[HandlerFailed] = []
        server.on(HandlerFailed, faults.append)
        server.on_open(handler)
        with pytest.raises(kind) as caught:
            await client.open({"n": 1})
        assert reason is None or caught.value.reason == reason
        if how == "reason":
            assert caught.value.details["ask"] == "ada" and str(caught.value).endswith("members only")
        if how == "fault":
            assert "secret" not in str(caught.value)
            await until(lambda: faults)
        assert await (await client.bootstrap(Shop)).add(1) == 11
        await assert_no_leaks(server, client)


async def test_a_host_has_one_place_for_each() -> None:
    """P-VIRT-5: of all its connections, virtual ones among them; who finds none is told so."""
    async with Host(host_limits=HostLimits(max_connections=2)) as host:
        host.serve(MemShop())

        async def accept(opening: Opening) -> None:
            host.accept(opening.transport())

        host.on_open(accept)
        await host.listen("memory:places")
        async with connect("memory:places") as client:
            async with client.open() as first:
                assert await (await first.bootstrap(Shop)).add(1) == 11
                assert len(host.connections) == 2
                with pytest.raises(ResourceExhausted) as caught:
                    await client.open()
                assert caught.value.reason == "max_connections"
            await until(lambda: len(host.connections) == 1)
            async with client.open() as second:
                assert await (await second.bootstrap(Shop)).add(1) == 11


async def test_a_connection_is_asked_before_its_host() -> None:
    """And a later handler takes the place of the one before."""
    async with connected(MemShop()) as (server, client):
        children: list[Connection] = []
        for handler in (not_for_you, taking(children)):
            server.on_open(handler)
        async with client.open():
            assert len(children) == 1
        server.on_open(None)
        with pytest.raises(Unimplemented):
            await client.open()


async def test_it_is_decided_when_it_is_known_who_asks() -> None:
    """P-CAP-7: what a policy says of the peer is what its handler sees, and a virtual one begins with that."""
    asked = anyio.Event()

    class Slow:
        async def identify(self, introduction: Introduction) -> Identity:
            await asked.wait()
            return Identity(principal="ada")

        def admit(self, request: Admission) -> bool:
            return True

    seen: list[tuple[str | None, str]] = []
    children: list[Connection] = []
    async with connect_to_host(Slow()) as (host, client):

        async def accept(opening: Opening) -> None:
            seen.append((opening.attestation.principal, opening.peer_name))
            children.append(opening.accept())

        host.on_open(accept)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(opening, client)
            await until(lambda: host.connections and host.connections[0].stats()["virtual_connections"])
            for _ in range(20):
                await checkpoint()
            assert not seen
            asked.set()
        assert seen == [("ada", "client")] and children[0].attestation.principal == "ada"


@asynccontextmanager
async def connect_to_host(policy: Any) -> AsyncGenerator[tuple[Host, Connection]]:
    """A host with a policy, and a client that does not wait for it."""
    async with Host(policy=policy) as host:
        await host.listen("memory:slow")
        async with connect("memory:slow", name="client") as client:
            yield host, client


async def test_the_opener_gives_up() -> None:
    """P-VIRT-4: then nobody goes on deciding."""
    async with connected(MemShop()) as (server, client):
        begun, ended = anyio.Event(), anyio.Event()

        async def waits(opening: Opening) -> None:
            begun.set()
            try:
                await anyio.sleep_forever()
            finally:
                ended.set()

        server.on_open(waits)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(opening, client)
            await begun.wait()
            tasks.cancel_scope.cancel()
        await ended.wait()
        await assert_no_leaks(server, client)


async def test_the_connection_is_lost_meanwhile() -> None:
    """P-CONN-6: the opener is told, and the handler stopped."""
    async with socket_pair(MemShop()) as (server, client):
        begun, ended = anyio.Event(), anyio.Event()

        async def waits(opening: Opening) -> None:
            begun.set()
            try:
                await anyio.sleep_forever()
            finally:
                ended.set()

        server.on_open(waits)

        async def opens() -> None:
            with pytest.raises(Unavailable):
                await client.open()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(opens)
            await begun.wait()
            server._session.driver.transport.abort()
        await ended.wait()
        with pytest.raises(Unavailable):
            await client.open()


async def test_it_is_taken_once() -> None:
    """A second time is a fault of the handler's, and changes nothing."""
    again: list[CapnetError] = []
    async with connected(MemShop()) as (server, client):

        async def twice(opening: Opening) -> None:
            opening.accept().serve(MemShop())
            try:
                opening.accept()
            except FailedPrecondition as error:
                again.append(error)

        server.on_open(twice)
        async with client.open() as ours:
            assert await (await ours.bootstrap(Shop)).add(1) == 11
        assert [error.reason for error in again] == ["taken"]


async def test_what_is_wrong_here_is_said_here() -> None:
    """Nothing has been sent, or it was taken back."""
    async with connected(MemShop()) as (server, client):
        children: list[Connection] = []
        server.on_open(taking(children))
        for metadata in ({"m": "x" * 5000}, {"m": object()}, {1: "a key that is no text"}):
            with pytest.raises(InvalidArgument):
                await client.open(metadata)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument):
            await client.open(name="x" * 5000)
        await until(lambda: children and children[0].closed)
        await assert_no_leaks(server, client)


async def test_a_peer_of_before_is_not_asked() -> None:
    """P-VIRT-1: it would not know what it is told."""
    async with connected(MemShop()) as (_, client):
        client._session.engine.channels.agreed = False
        with pytest.raises(FailedPrecondition) as caught:
            await client.open()
        assert caught.value.reason == "no_virtual_connections"


# --- lent ---


@asynccontextmanager
async def hub() -> AsyncGenerator[tuple[Connection, Connection, Connection]]:
    """A hub with two connections of its own: the client's end of one, the hub's of the other, the far end of that."""
    async with connected(MemShop()) as (to_client, client), connected(MemShop()) as (far, to_far):

        async def lend(opening: Opening) -> None:
            await opening.lend(to_far)

        to_client.on_open(lend)
        yield client, to_far, far
        await assert_no_leaks(to_client, client, to_far, far)


async def test_a_hub_lends_it_to_a_third() -> None:
    """P-VIRT: words and bytes go through, and the hub has no connection in between."""
    children: list[Connection] = []
    async with hub() as (client, to_far, far):
        far.on_open(taking(children))
        async with client.open({"for": "you"}) as ours:
            assert ours.attestation.metadata == children[0].attestation.metadata == {"for": "you"}
            shop = await ours.bootstrap(Shop)
            assert await shop.echo("x" * 3_000_000) == "x" * 3_000_000
            assert children[0].peer_name == ""
            assert not to_far._parts.inside
        cause = await children[0].wait_closed()
        assert (cause.kind, cause.message) == ("remote", "closed")


async def test_the_third_refuses() -> None:
    """P-VIRT-2: its words are what the first is told."""
    async with hub() as (client, _, far):
        far.on_open(not_for_you)
        with pytest.raises(PermissionDenied) as caught:
            await client.open()
        assert (caught.value.reason, caught.value.details["ask"]) == ("members", "ada")


@pytest.mark.parametrize("end", ["first", "third"])
async def test_one_of_the_two_is_lost(end: str) -> None:
    """P-VIRT-4: so is the other, and nothing stays in between."""
    children: list[Connection] = []
    async with hub() as (client, _, far):
        far.on_open(taking(children))
        ours = await client.open()
        await (await ours.bootstrap(Shop)).add(1)
        (client if end == "first" else far)._session.driver.transport.abort()
        assert (await ours.wait_closed()).kind == "lost"
        assert (await children[0].wait_closed()).kind == "lost"


async def test_who_lends_holds_no_more_than_there_is_room_for() -> None:
    """P-VIRT-3: when the third does not read, the first has to wait."""
    async with hub() as (client, to_far, far):
        stuck: list[Any] = []

        async def accept(opening: Opening) -> None:
            transport = opening.transport()
            transport.start(Deaf())
            transport.pause()
            stuck.append(transport)

        far.on_open(accept)
        transport = await client.open_transport()
        transport.start(Deaf())
        transport.send([bytes(20 * CHANNEL_WINDOW)])
        (channel,) = to_far._session.engine.channels
        await until(lambda: channel.room == 0)
        for _ in range(100):
            await checkpoint()
        lent = channel.token
        assert lent.backlog <= 2 * CHANNEL_WINDOW
        assert transport.backlog >= 15 * CHANNEL_WINDOW
        assert await client.ping() >= 0 and await far.ping() >= 0
        stuck[0].resume()
        await until(lambda: not transport.backlog)
        transport.close()
        await until(lambda: not far.stats()["virtual_connections"])


async def test_a_third_that_was_taken_before() -> None:
    """What was opened there is given back."""
    async with hub() as (client, to_far, far):
        children: list[Connection] = []
        far.on_open(taking(children))

        async def twice(opening: Opening) -> None:
            await opening.lend(to_far, {"n": 1})
            with pytest.raises(FailedPrecondition):
                await opening.lend(to_far, {"n": 2})

        async with connected(MemShop()) as (server, other):
            server.on_open(twice)
            async with other.open() as ours:
                assert await (await ours.bootstrap(Shop)).add(1) == 11
            await until(lambda: len(children) == 2 and all(child.closed for child in children))
        assert client.stats()["virtual_connections"] == 0


# --- none stops what is around it ---


async def test_one_that_is_not_read_stops_nobody() -> None:
    """P-VIRT-5: it has its window and no more; calls around it and beside it go on."""
    stuck: list[Transport] = []
    async with inside() as (server, client, _, ours):

        async def accept(opening: Opening) -> None:
            stuck.append(opening.transport())
            stuck[-1].start(Deaf())
            stuck[-1].pause()

        server.on_open(accept)
        full = [await client.open_transport() for _ in range(10)]
        for transport in full:
            transport.start(Deaf())
            transport.send([bytes(4 * CHANNEL_WINDOW)])
        await until(lambda: server.stats()["held_charge"] == 10 * CHANNEL_WINDOW)
        assert await (await client.bootstrap(Shop)).echo("x" * 100_000) == "x" * 100_000
        assert await (await ours.bootstrap(Shop)).echo("x" * 100_000) == "x" * 100_000
        assert server.stats()["held_charge"] == 10 * CHANNEL_WINDOW
        for one in (*stuck, *full):
            one.abort()


async def test_all_of_them_have_one_budget() -> None:
    """P-VIRT-5: what they hold together is bounded, and what is around them has its own."""
    limits = Limits(max_virtual_charge=2 * 1024 * 1024)
    children: list[Connection] = []
    async with connected(MemShop(), limits=limits) as (server, client):
        server.on_open(taking(children))
        outer = await client.bootstrap(Shop)
        inner = [await (await client.open()).bootstrap(Shop) for _ in range(3)]
        big = "x" * 900_000
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(inner[0].wait, big)
            tasks.start_soon(inner[1].wait, big)
            await until(lambda: sum(child.stats()["call_charge"] for child in children) > 1_800_000)
            with pytest.raises(ResourceExhausted) as caught:
                await inner[2].echo(big)
            assert caught.value.reason == "max_host_charge" and "max_virtual_charge" in str(caught.value)
            assert await outer.echo(big) == big
            tasks.cancel_scope.cancel()
        await until(lambda: not sum(child.stats()["call_charge"] for child in children))
        assert await inner[2].echo(big) == big


async def test_a_hosts_bound_holds_for_them_as_well() -> None:
    """P-VIRT-5, P-LIMIT-3: who takes most has to go, whether that is a virtual connection or not."""
    async with Host(host_limits=HostLimits(max_charge=2 * 1024 * 1024)) as host:
        host.serve(MemShop())

        async def accept(opening: Opening) -> None:
            host.accept(opening.transport())

        host.on_open(accept)
        hits: list[str] = []
        host.on(LimitHit, lambda event: hits.append(event.limit))
        await host.listen("memory:crowded")
        async with connect("memory:crowded") as client, connect("memory:crowded") as other:
            inner = await (await client.open()).bootstrap(Shop)
            shop = await other.bootstrap(Shop)

            async def stays() -> None:
                with pytest.raises(CapnetError):
                    await inner.wait("x" * 1_500_000)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stays)
                await until(lambda: host.stats()["charge"] > 1_400_000)
                with pytest.raises(ResourceExhausted):
                    await shop.echo("x" * 1_000_000)
            assert "max_host_charge" in hits
            assert await shop.echo("x" * 1_000_000) == "x" * 1_000_000
            await until(lambda: host.stats()["charge"] < 10_000)


async def test_who_breaks_the_protocol_there_has_a_strike_here() -> None:
    """P-VIRT-5, P-ERR-3: the virtual connection ends, the one around it goes on; not for ever."""
    children: list[Connection] = []
    async with connected(MemShop(), limits=Limits(max_strikes=3)) as (server, client):
        server.on_open(taking(children))
        hits: list[str] = []
        server.on(LimitHit, lambda event: hits.append(event.limit))
        for number in range(3):
            ours = await client.open()
            ours._session.engine.outbox.send([Op.PONG, 7])
            ours._session.driver.flush_soon()
            cause = await children[number].wait_closed()
            assert (cause.kind, cause.clause) == ("violation", "P-ID-4")
            assert (await ours.wait_closed()).kind == "violation"
            assert await (await client.bootstrap(Shop)).add(1) == 11
        assert server.stats()["strikes"] == 3
        ours = await client.open()
        ours._session.engine.outbox.send([Op.PONG, 7])
        ours._session.driver.flush_soon()
        assert (await server.wait_closed()).clause == "P-LIMIT-1"
        await until(lambda: len(hits) >= 4)
        assert set(hits) == {"virtual_violation"}


# --- the end ---


@pytest.mark.parametrize("who", ["server", "client"])
async def test_they_have_the_grace_of_what_is_around_them(who: str) -> None:
    """P-VIRT-5, P-CONN-4: a call that runs there ends, new ones do not start, and then everything is over."""
    async with inside() as (server, client, theirs, ours):
        inner = MemShop("later")
        theirs.serve(inner, name="later")
        shop = await ours.bootstrap(Shop, name="later")
        answers: list[str] = []

        async def waits() -> None:
            answers.append(await shop.wait("key"))

        async def closes() -> None:
            await (server if who == "server" else client).aclose("restart", grace=3600)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waits)
            await until(lambda: inner.gate.entered)
            tasks.start_soon(closes)
            causes = await ours.wait_going(), await theirs.wait_going()
            assert {cause.kind for cause in causes} <= {"local", "remote"}
            with pytest.raises(Unavailable):
                await shop.add(1)
            for _ in range(50):
                await checkpoint()
            assert not (server.closed or client.closed or ours.closed)
            inner.gate.open()
        assert answers == ["later:key"]
        await client.wait_closed()
        assert ours.closed and theirs.closed


@pytest.mark.parametrize("how", ["no grace", "lost"])
async def test_they_end_with_what_is_around_them(how: str) -> None:
    """P-CONN-6: whatever waits is woken, and who waits for the end of the one has seen that of the others."""
    async with inside() as (server, client, theirs, ours):
        shop = await ours.bootstrap(Shop)
        ended: list[CapnetError] = []

        async def waits() -> None:
            with pytest.raises(Unavailable) as caught:
                await shop.wait()
            ended.append(caught.value)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waits)
            await until(lambda: theirs.stats()["answers"])
            if how == "lost":
                server._session.driver.transport.abort()
            else:
                await server.aclose(grace=0)
                assert theirs.closed
        assert len(ended) == 1
        await client.wait_closed()
        assert ours.closed and theirs.closed


async def leave_by_an_error(
    connection: Connection, tasks: anyio.abc.TaskGroup, waits: Callable[[Shop], Coroutine[Any, Any, None]]
) -> None:
    """While a call is in flight."""
    async with connection.open() as ours:
        tasks.start_soon(waits, await ours.bootstrap(Shop))
        await until(lambda: ours.stats()["calls"])
        raise ZeroDivisionError


async def test_a_block_that_is_left_by_an_error() -> None:
    """Ends what is in flight at once, as that of `connect` does."""
    async with connected(MemShop()) as (server, client):
        children: list[Connection] = []
        server.on_open(taking(children))
        ended: list[CapnetError] = []

        async def waits(shop: Shop) -> None:
            with pytest.raises(Unavailable) as caught:
                await shop.wait()
            ended.append(caught.value)

        async with anyio.create_task_group() as tasks:
            with pytest.raises(ZeroDivisionError):
                await leave_by_an_error(client, tasks, waits)
        assert len(ended) == 1
        await until(lambda: children[0].closed)
        await assert_no_leaks(server, client)


async def test_many_one_after_the_other_leave_nothing() -> None:
    """P-VIRT-4: neither in the tables nor in the memory of either side."""
    children: list[Connection] = []
    async with connected(MemShop()) as (server, client):
        server.on_open(taking(children))
        for _ in range(50):
            async with client.open({"n": 1}) as ours:
                assert await (await ours.bootstrap(Shop)).add(1) == 11
            await until(lambda: children[-1].closed)
            children.clear()
        assert not server._parts.inside and not client._parts.inside
        await assert_no_leaks(server, client)
