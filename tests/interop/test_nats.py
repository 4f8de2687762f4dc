"""`nats:` at a real server: the transport, who is let in, who shares the load, and what is said when it fails."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
from nats.aio.client import Client

from capnet import Admission, CapnetError, Connection, Host, Limits, connect
from capnet.errors import FailedPrecondition, PermissionDenied, Unauthenticated, Unavailable
from capnet.testing.transports import check_transport
from capnet.transport import Attestation, Transport
from capnet_transports import nats, nats_transport
from capnet_transports.certificates import make
from capnet_transports.nats_access import Subjects
from capnet_transports.nats_listener import ALL_WINDOWS, WINDOW
from tests.interop.nats_servers import NatsServer, nats_server
from tests.interop.restarts import check, restart_under_load
from tests.loops import ASYNCIO, UVLOOP
from tests.transports.door import Door
from tests.transports.ends import started
from tests.transports.test_tcp import Adder, PlainAdder

LIMIT = 60.0
FLEET: dict[str, Any] = {"user": "fleet", "password": "fleet-password"}
ANNA: dict[str, Any] = {"user": "anna", "password": "anna-password"}
OTTO: dict[str, Any] = {"user": "otto", "password": "otto-password"}
EVE: dict[str, Any] = {"user": "eve", "password": "eve-password"}
OPEN: dict[str, Any] = {"user": None}
SUBJECTS = Subjects("adder")
SESSION = "0123456789abcdef" * 2


@pytest.fixture(name="anyio_backend", scope="module", params=[ASYNCIO, UVLOOP])
def on_asyncio(request: pytest.FixtureRequest) -> Any:
    """All that its client runs on."""
    return request.param


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[NatsServer]:
    with nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@asynccontextmanager
async def serving(server: NatsServer, *, host: Host | None = None, **options: Any) -> AsyncGenerator[Host]:
    async with host or Host() as host:
        host.serve(PlainAdder())
        await host.listen(server.url(), **({**FLEET} | options))
        yield host


@asynccontextmanager
async def raw(server: NatsServer, who: dict[str, Any]) -> AsyncGenerator[tuple[Any, list[str]]]:
    """The client of NATS alone, and the errors that its server has told it."""
    client, told = Client(), list[str]()

    async def tell(error: Exception) -> None:
        told.append(str(error))

    await client.connect(f"nats://127.0.0.1:{server.port}", error_cb=tell, allow_reconnect=False, **who)
    try:
        yield client, told
    finally:
        await client.close()


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(LIMIT):
        while not condition():  # noqa: ASYNC110 (what is waited for tells nobody)
            await anyio.sleep(0.01)


# --- the transport ---


@pytest.mark.parametrize("sessions", [4, 512])
@pytest.mark.parametrize("first", ["client", "host"])
async def test_conformance(first: str, sessions: int, server: NatsServer) -> None:
    """With the largest window that a peer of a listener has, and with one of 64 KiB."""
    door = Door()
    rest = server.url().partition(":")[2]
    async with door.open(await nats.scheme.listen(rest, door.accept, sessions=sessions, **FLEET)):

        async def connect_pair() -> tuple[Transport, Transport]:
            theirs = await nats.scheme.connect(rest, **ANNA)
            ours = await door.next()
            return (theirs, ours) if first == "client" else (ours, theirs)

        await check_transport(connect_pair)


async def test_calls_and_who_makes_them(server: NatsServer) -> None:
    async with serving(server) as host, connect(server.url(), **ANNA) as conn:
        adder = await conn.bootstrap(Adder)
        assert [await adder.add(number, 1) for number in range(20)] == [*range(1, 21)]
        assert host.connections[0].attestation == Attestation(transport="nats", user="anna")
        assert conn.attestation == Attestation(transport="nats")
        async with connect(server.url(), **OTTO) as other:
            assert await (await other.bootstrap(Adder)).add(1, 1) == 2
            assert host.connections[1].attestation.user == "otto"


async def test_a_policy_decides_by_the_user(server: NatsServer) -> None:
    class OnlyAnna:
        async def admit(self, request: Admission) -> bool:
            return request.attestation.user == "anna"

    async with serving(server, host=Host(policy=OnlyAnna())):
        async with connect(server.url(), **ANNA) as conn:
            await conn.bootstrap(Adder)
        async with connect(server.url(), **OTTO) as conn:
            with pytest.raises(PermissionDenied):
                await conn.bootstrap(Adder)


async def test_a_peer_that_is_killed_is_missed(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a word of farewell: the server says that nobody hears, also where there was nothing to be said."""
    monkeypatch.setattr(nats_transport, "_SILENCE", 0.1)
    async with serving(server, host=Host(limits=Limits(keepalive=600))) as host:
        lost: list[str] = []
        transport: Any = await nats.scheme.connect(server.url().partition(":")[2], **ANNA)
        async with Host() as other:
            await other.accept(transport).bootstrap(Adder)
            host.connections[0].on_close(lambda cause: lost.append(str(cause)))
            transport._link._client._transport._io_writer.transport.abort()  # as when its process is gone
            await until(lambda: lost)
        assert "connection_lost" in lost[0]


async def test_a_server_that_stands_still_and_goes_on(server: NatsServer) -> None:
    """Nothing is lost; a connection that is aborted meanwhile does not wait for it."""
    async with serving(server, sessions=4), connect(server.url(), **ANNA) as conn:
        adder = await conn.bootstrap(Adder)
        transport = await nats.scheme.connect(server.url().partition(":")[2], **OTTO)
        server.signal(signal.SIGSTOP)
        try:
            async with started(transport) as recorder:
                transport.send([bytes(8_000_000)])
                await anyio.sleep(0.1)
                transport.abort()
                await recorder.until(lambda: recorder.ends, "it ends")
        finally:
            server.signal(signal.SIGCONT)
        assert await adder.add(1, 1) == 2


# --- who may what ---


async def test_who_may_not_dial(server: NatsServer) -> None:
    async with serving(server) as host:
        turned_away: list[tuple[dict[str, Any], type[CapnetError], str]] = [
            (EVE, PermissionDenied, "nats_permissions"),
            ({**ANNA, "user": "otto"}, Unauthenticated, "nats_user"),
            ({**ANNA, "password": "wrong"}, Unauthenticated, "nats_user"),
            (OPEN, Unauthenticated, "nats_user"),
        ]
        for who, kind, reason in turned_away:
            with pytest.raises(kind) as caught:
                await connect(server.url(), **who)
            assert (caught.value.reason, caught.value.retry) == (reason, "never")
            assert "hint" in caught.value.__notes__[0]
        assert not host.connections


async def test_who_may_not_serve(server: NatsServer) -> None:
    async with Host() as host:
        for who in (ANNA, EVE):
            with pytest.raises(PermissionDenied) as caught:
                await host.listen(server.url(), **who)
            assert caught.value.reason == "nats_permissions"
        with pytest.raises(PermissionDenied):
            await host.listen(server.url("other"), **FLEET)
        assert host.stats()["listeners"] == 0


async def test_nobody_serves(server: NatsServer) -> None:
    with pytest.raises(Unavailable) as caught:
        await connect(server.url(), **ANNA)
    assert caught.value.reason == "no_listener"
    async with anyio.create_task_group() as tasks:

        async def later() -> None:
            await anyio.sleep(0.1)
            async with serving(server):
                await anyio.sleep_forever()

        tasks.start_soon(later)
        async with connect(server.url(), wait=LIMIT, **ANNA) as conn:
            await conn.bootstrap(Adder)
        tasks.cancel_scope.cancel()


async def test_a_server_without_users(tmp_path: Path) -> None:
    """Is refused, by both sides, unless they say that anybody may be anybody; then nobody is known."""
    with nats_server(tmp_path, "") as server:
        async with Host() as host:
            host.serve(PlainAdder())
            for attempt in (host.listen(server.url(), **FLEET), connect(server.url(), **ANNA)):
                with pytest.raises(FailedPrecondition) as caught:
                    await attempt
                assert caught.value.reason == "no_users"
            await host.listen(server.url(), **OPEN)
            async with connect(server.url(), **OPEN) as conn:
                assert await (await conn.bootstrap(Adder)).add(1, 1) == 2
                assert host.connections[0].attestation.user is None


async def test_what_the_server_does_not_let_others_say(server: NatsServer) -> None:
    """Nobody speaks, hears or serves in the name of another, with whatever client."""
    forged = [
        (EVE, SUBJECTS.dial("eve"), "publish"),
        (OTTO, SUBJECTS.dial("anna"), "publish"),
        (OTTO, SUBJECTS.up("anna", SESSION), "publish"),
        (OTTO, SUBJECTS.down("otto", SESSION), "publish"),
        (OTTO, SUBJECTS.down("anna", "*"), "subscribe"),
        (OTTO, SUBJECTS.up("otto", "*"), "subscribe"),
        (OTTO, SUBJECTS.dial("*"), "subscribe"),
        (OTTO, "_INBOX.anna.>", "subscribe"),
        (OTTO, ">", "subscribe"),
        (FLEET, SUBJECTS.dial("anna"), "publish"),
        (FLEET, SUBJECTS.up("anna", SESSION), "publish"),
        (FLEET, SUBJECTS.down("anna", "*"), "subscribe"),
    ]
    for who, subject, what in forged:
        async with raw(server, who) as (client, told):
            if what == "publish":
                await client.publish(subject, b"x")
            else:
                await client.subscribe(subject)
            await client.flush()
            await until(partial(bool, told))
            assert "permissions violation" in told[0].lower(), (who, subject)


async def test_tls_to_the_server(tmp_path: Path) -> None:
    """Both sides know the server, and it knows them; one that does not speak TLS is told no password."""
    certificates = {name: make(name) for name in ("server", "friend", "stranger")}
    for name, one in certificates.items():
        (tmp_path / f"{name}.pem").write_text(one.private + one.public)
        (tmp_path / f"{name}.crt").write_text(one.public)
    config = (
        "authorization: { users: [\n"
        "  { user: fleet, password: fleet-password }, { user: anna, password: anna-password }\n"
        "] }\n"
        f'tls: {{ cert_file: "{tmp_path}/server.pem", key_file: "{tmp_path}/server.pem" }}\n'
    )
    trusting: dict[str, Any] = {"ca": certificates["server"]}
    with nats_server(tmp_path, config) as server:
        async with serving(server, **trusting), connect(server.url(), **ANNA, **trusting) as conn:
            assert await (await conn.bootstrap(Adder)).add(1, 1) == 2
        strangers: list[dict[str, Any]] = [{}, {"ca": certificates["stranger"]}]
        for options in strangers:
            with pytest.raises(Unauthenticated) as caught:
                await connect(server.url(), **ANNA, **options)
            assert (caught.value.reason, caught.value.retry) == ("tls", "never")
    with nats_server(tmp_path) as server:
        with pytest.raises(Unauthenticated) as caught:
            await connect(server.url(), **ANNA, **trusting)
        assert caught.value.reason == "tls" and "does not speak TLS" in caught.value.message


# --- many hosts ---


async def test_hosts_share_what_comes(server: NatsServer) -> None:
    """Each has a part of 60 connections, and together they know of all."""
    async with AsyncExitStack() as stack:
        fleet = [await stack.enter_async_context(serving(server)) for _ in range(3)]
        for _ in range(60):
            conn = await stack.enter_async_context(connect(server.url(), **ANNA))
            await conn.bootstrap(Adder)
        parts = [len(host.connections) for host in fleet]
        assert sum(parts) == 60 and min(parts) > 0, parts
        told = await nats.hosts(server.url(), **ANNA)
        assert [one.sessions for one in told] == sorted(parts) and {one.room for one in told} == {128}


async def test_who_has_no_room_is_not_asked(server: NatsServer) -> None:
    """And when nobody has any, the peer is told; as soon as one has left there is room again."""
    async with AsyncExitStack() as stack:
        fleet = [await stack.enter_async_context(serving(server, sessions=3)) for _ in range(2)]
        open_ones: list[Connection] = []
        for _ in range(6):
            open_ones.append(await stack.enter_async_context(connect(server.url(), **ANNA)))
            await open_ones[-1].bootstrap(Adder)
        assert [len(host.connections) for host in fleet] == [3, 3]
        with pytest.raises(Unavailable) as caught:
            await connect(server.url(), **ANNA)
        assert caught.value.reason == "no_listener"
        await open_ones[0].aclose()
        async with connect(server.url(), wait=LIMIT, **ANNA) as conn:
            await conn.bootstrap(Adder)


async def test_a_listener_that_closes_keeps_its_sessions(server: NatsServer) -> None:
    async with Host() as host, Host() as other:
        for one in (host, other):
            one.serve(PlainAdder())
        listener = await host.listen(server.url(), **FLEET)
        async with connect(server.url(), **ANNA) as conn:
            adder = await conn.bootstrap(Adder)
            await listener.aclose()
            assert await nats.hosts(server.url(), wait=0.2, **ANNA) == []
            with pytest.raises(Unavailable):
                await connect(server.url(), **ANNA)
            await other.listen(server.url(), **FLEET)
            async with connect(server.url(), **ANNA) as new:
                await new.bootstrap(Adder)
                assert len(other.connections) == 1
            assert await adder.add(1, 1) == 2
        await until(lambda: not host.connections)


async def test_tools_of_nats_see_the_hosts(server: NatsServer) -> None:
    async with serving(server), raw(server, ANNA) as (client, _):
        client._inbox_prefix = bytearray(b"_INBOX.anna")
        answer = await client.request("$SRV.INFO.adder", timeout=LIMIT)
        assert b"io.nats.micro.v1.info_response" in answer.data and b'"name": "adder"' in answer.data


# --- peers that mean harm, and messages that are lost ---


@asynccontextmanager
async def dialled(server: NatsServer, door: Door, **options: Any) -> AsyncGenerator[tuple[Any, Transport, list[bytes]]]:
    """A session of a client that is not ours; what it hears."""
    rest = server.url().partition(":")[2]
    async with (
        door.open(await nats.scheme.listen(rest, door.accept, **FLEET, **options)),
        raw(server, ANNA) as (client, _),
    ):
        heard: list[bytes] = []

        async def hear(message: Any) -> None:
            heard.append(message.data)

        await client.subscribe(SUBJECTS.down("anna", SESSION), cb=hear)
        await client.publish(SUBJECTS.dial("anna"), f"capnet-nats/1 {SESSION} 65536".encode())
        await until(lambda: heard)
        assert heard[0] == b"capnet-nats/1 ok %d" % min(WINDOW, ALL_WINDOWS // 128)
        yield client, await door.next(), heard


def message(letter: str, number: int, carried: bytes = b"") -> bytes:
    return letter.encode() + number.to_bytes(4, "big") + carried


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([message("d", 0, b"a"), message("d", 2, b"c")], "lost_message"),
        ([message("d", 0, b"a"), message("d", 0, b"a")], "lost_message"),
        ([message("d", 0, bytes(100_000))] * 1 + [message("d", n, bytes(100_000)) for n in range(1, 12)], "session"),
        ([message("d", n) for n in range(20_000)], "session"),
        ([message("z", 0)], "session"),
        ([b""], "lost_message"),
        ([message("a", 0)], "truncated"),
    ],
    ids=["gap", "twice", "window", "flood", "letter", "empty", "abort"],
)
async def test_what_ends_a_session(messages: list[bytes], reason: str, server: NatsServer) -> None:
    """And only that one: the host goes on."""
    door = Door()
    async with dialled(server, door) as (client, transport, heard):
        transport.pause()
        async with started(transport) as recorder:
            for one in messages:
                await client.publish(SUBJECTS.up("anna", SESSION), one)
            await client.flush()
            await client.flush()
            transport.resume()
            await recorder.until(lambda: recorder.ends, "it ends")
            error = recorder.ends[0]
            assert isinstance(error, Unavailable) and error.reason == reason
            assert len(recorder.data) <= WINDOW
        await until(lambda: reason == "truncated" or any(one[:1] == b"a" for one in heard))
        other = await nats.scheme.connect(server.url().partition(":")[2], **OTTO)
        async with started(other), started(await door.next()) as recorder:
            other.send([b"hello"])
            await recorder.until(lambda: bytes(recorder.data) == b"hello", "another session is not concerned")


# --- a server that is killed and started again ---


async def test_each_call_is_made_once_or_fails(tmp_path: Path) -> None:
    """`make soak` does so a hundred times."""
    with nats_server(tmp_path) as server:
        tally = await restart_under_load(server, 10, Random(2024), FLEET, ANNA)
    check(tally, 10)


# --- what is cancelled, and what is left ---


@pytest.mark.parametrize("what", ["connect", "listen"])
async def test_cancelled_after_any_number_of_turns(what: str, server: NatsServer) -> None:
    """Nothing is left of it: no task, and no connection to the server."""

    async def connect_or_listen() -> None:
        if what == "connect":
            await (await connect(server.url(), **ANNA)).aclose()
        else:
            await (await nats.scheme.listen(server.url().partition(":")[2], Door().accept, **FLEET)).aclose()

    async with serving(server):
        await anyio.wait_all_tasks_blocked()
        before = asyncio.all_tasks()
        turns = 0
        done = False
        while not done:
            turns += 1
            task = asyncio.ensure_future(connect_or_listen())
            for _ in range(turns):
                await asyncio.sleep(0)
            done = task.done()
            task.cancel()
            await asyncio.wait([task])
        await until(lambda: asyncio.all_tasks() <= before)
    assert turns > 10


async def test_nothing_is_left_of_connections(server: NatsServer) -> None:
    """Whichever side has closed them."""
    before = asyncio.all_tasks()
    async with serving(server) as host:
        for one in range(10):
            async with connect(server.url(), **ANNA) as conn:
                await conn.bootstrap(Adder)
                if one % 2:
                    await host.connections[0].aclose()
    await until(lambda: asyncio.all_tasks() <= before)


async def test_a_flood_of_dials_takes_no_more_than_there_is_room_for(server: NatsServer) -> None:
    """Other hosts go on."""
    async with serving(server, sessions=8) as host, raw(server, ANNA) as (client, _):
        await client.subscribe(SUBJECTS.down("anna", "*"))
        for number in range(1000):
            await client.publish(SUBJECTS.dial("anna"), b"capnet-nats/1 %032x 65536" % number)
        await until(lambda: len(host.connections) == 8)
        async with serving(server), connect(server.url(), wait=LIMIT, **OTTO) as conn:
            assert await (await conn.bootstrap(Adder)).add(1, 1) == 2
        assert len(host.connections) <= 8
