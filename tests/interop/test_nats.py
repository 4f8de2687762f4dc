"""`nats:` at a real server: the transport, who shares the load, what is lost, and what is left.

Who is let in is in test_nats_access.py.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from capnet import Admission, Connection, Host, Limits, connect
from capnet.errors import PermissionDenied, Unavailable
from capnet.testing.transports import check_transport
from capnet.transport import Attestation, Transport
from capnet_transports import nats, nats_transport
from capnet_transports.nats_listener import ALL_WINDOWS, WINDOW
from tests.interop.nats_servers import (
    ANNA,
    FLEET,
    LIMIT,
    OTTO,
    SUBJECTS,
    NatsServer,
    nats_server,
    raw,
    serving,
    until,
)
from tests.interop.nats_servers import on_asyncio as on_asyncio
from tests.interop.nats_servers import server as server
from tests.interop.restarts import check, restart_under_load
from tests.transports.door import Door
from tests.transports.ends import started
from tests.transports.test_tcp import Adder, PlainAdder

SESSION = "0123456789abcdef" * 2


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
