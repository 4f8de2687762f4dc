"""What all peers of a host may take together (reliability §2, P-LIMIT-3)."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest

from capnet import Cap, Host, HostLimits, Limits, Unavailable, call, connect
from capnet.errors import CapnetError
from capnet.observe import ConnectionClosed, Event, LimitHit
from capnet.wire.frames import Op
from capnet.wire.framing import header
from tests.connection.shop import until
from tests.hostile.attack import Raw

MIB = 1024 * 1024
SHORT = 60 * 1024
"""Bytes of a frame that is not counted while it is on its way."""


class Store(Cap):
    """Keeps what it is given for as long as the test likes."""

    @call
    async def keep(self, data: bytes) -> int: ...


class MemStore(Store):
    def __init__(self) -> None:
        self.gate = anyio.Event()
        self.held = 0

    async def keep(self, data: bytes) -> int:
        self.held += 1
        await self.gate.wait()
        return len(data)


@asynccontextmanager
async def open_host(host_limits: HostLimits, limits: Limits | None = None) -> AsyncGenerator[tuple[Host, str]]:
    with tempfile.TemporaryDirectory(prefix="cap", dir="/tmp") as folder:
        path = os.path.join(folder, "s")
        async with Host(name="host", host_limits=host_limits, limits=limits) as host:
            await host.listen(f"unix:{path}")
            yield host, path


async def test_the_largest_holder_goes_when_the_host_is_full() -> None:
    """P-LIMIT-3: one peer that fills the host does not keep the others out for longer than a turn of the loop."""
    async with open_host(HostLimits(max_charge=8 * SHORT), Limits(max_call_charge=32 * MIB)) as (host, path):
        events: list[Event] = []
        host.on(Event, events.append)
        store = MemStore()
        host.serve(store)
        async with connect(f"unix:{path}", name="greedy") as greedy, connect(f"unix:{path}", name="modest") as modest:
            calls = [(await greedy.bootstrap(Store)).keep(bytes(SHORT)) for _ in range(7)]
            await until(lambda: store.held == 7)
            assert 7 * SHORT < host.stats()["charge"] < 8 * SHORT
            kept = await modest.bootstrap(Store)
            with pytest.raises(CapnetError) as refused:
                await kept.keep(bytes(SHORT))
            assert refused.value.reason == "max_host_charge"
            await until(lambda: greedy.closed)
            for one in calls:
                with pytest.raises(Unavailable):
                    await one
            store.gate.set()
            assert await kept.keep(b"abc") == 3
            await until(lambda: host.stats()["connections"] == 1)
        limits = [(event.peer, event.limit) for event in events if isinstance(event, LimitHit)]
        assert limits == [("modest", "max_host_charge"), ("greedy", "max_host_charge")]
        await until(lambda: host.stats()["charge"] == 0)


async def test_half_frames_of_many_peers_do_not_fill_the_host() -> None:
    """P-LIMIT-3: of those that wait for the rest of a long frame as many go as are too much, whoever sends on."""
    async with open_host(HostLimits(max_charge=8 * MIB)) as (host, path), AsyncExitStack() as peers:
        for _ in range(10):
            sock = peers.enter_context(socket.socket(socket.AF_UNIX))
            sock.connect(path)
            sock.setblocking(False)
            raw = Raw(sock)
            await raw.greet()
            await raw.send(header(3 * MIB) + bytes(2 * MIB))
        await until(lambda: 0 < host.stats()["charge"] <= 8 * MIB and host.stats()["connections"] <= 4)
        async with connect(f"unix:{path}") as honest:
            assert await honest.ping() >= 0
    await until(lambda: host.stats()["charge"] == 0)


class Echo(Cap, name="test.Echo"):
    @call
    async def echo(self, data: bytes) -> bytes: ...


class MemEcho(Echo):
    async def echo(self, data: bytes) -> bytes:
        return data


async def test_answers_that_many_peers_do_not_read_do_not_fill_the_host() -> None:
    """P-LIMIT-3: what has left and nobody reads is memory, too; who reads late is no burden any more."""
    async with open_host(HostLimits(max_charge=8 * MIB)) as (host, path), AsyncExitStack() as peers:
        host.serve(MemEcho())
        socks = [peers.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(10)]
        raws: list[Raw] = []
        for number, sock in enumerate(socks):
            sock.connect(path)
            sock.setblocking(False)
            raws.append(raw := Raw(sock))
            await raw.greet()
            await raw.send([Op.CALL, 1, 0, "bootstrap", {"name": "test.Echo"}])
            echo = (await raw.reply())[2].id
            await raw.send([Op.CALL, 2, echo, "echo", {"data": bytes(2 * MIB)}])
            if number == 0:
                await until(lambda: host.stats()["charge"] > MIB)  # it does not all fit into the socket
                await raw.reply()  # in time
                await until(lambda: host.stats()["charge"] == 0)
        await until(lambda: 0 < host.stats()["charge"] <= 8 * MIB and 1 < host.stats()["connections"] <= 6)
        await raws[0].send([Op.PING, 1])
        assert (await raws[0].frame())[0] == Op.PONG, "who has read stays"
        async with connect(f"unix:{path}") as honest:
            assert await (await honest.bootstrap(Echo)).echo(b"abc") == b"abc"
    await until(lambda: host.stats()["charge"] == 0)


async def test_one_connection_above_the_bound_is_turned_away() -> None:
    """T13: at the door, before anything is kept for it; when one has gone the next is welcome."""
    async with open_host(HostLimits(max_connections=2)) as (host, path):
        hits: list[LimitHit] = []
        host.on(LimitHit, hits.append)
        async with connect(f"unix:{path}") as first:
            await first.ping()
            async with connect(f"unix:{path}") as second:
                await second.ping()
                with pytest.raises(Unavailable):
                    async with connect(f"unix:{path}") as third:
                        await third.ping()
                assert [hit.limit for hit in hits] == ["max_connections"]
                await first.ping()
            await until(lambda: host.stats()["connections"] == 1)
            async with connect(f"unix:{path}") as fourth:
                await fourth.ping()


async def test_a_flood_of_silent_peers_keeps_nobody_out() -> None:
    """T13: of those that have said nothing the one that has waited longest makes room; who has said hello stays."""
    async with open_host(HostLimits(max_strangers=5)) as (host, path):
        closed: list[ConnectionClosed] = []
        host.on(ConnectionClosed, closed.append)
        silent: list[socket.socket] = []

        def knock() -> None:
            sock = socket.socket(socket.AF_UNIX)
            sock.setblocking(False)
            sock.connect(path)
            silent.append(sock)

        try:
            async with connect(f"unix:{path}") as honest:
                await honest.ping()
                for _ in range(20):
                    knock()
                await until(lambda: len(host.connections) == 6)
                async with connect(f"unix:{path}") as late:
                    await late.ping()
                await honest.ping()
                line = await Raw(silent[0]).closed()
                assert b"this is a capnet/1 endpoint" in line
                hello = Raw(silent[-1])
                await hello.greet()
                await until(lambda: len(host.connections) <= 6)
                await honest.ping()
        finally:
            for sock in silent:
                sock.close()
        await until(lambda: not host.connections)


async def test_a_peer_has_its_turn_and_then_the_others() -> None:
    """T8: who sends thousands of frames at once is served in turns, and what it sent before its end counts."""
    limits = Limits(frames_per_turn=8, control_burst=10_000)
    async with open_host(HostLimits(), limits) as (host, path), connect(f"unix:{path}") as honest:
        await honest.ping()
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        sock.connect(path)
        raw = Raw(sock)
        await raw.greet()
        data = b"".join(raw.pack([14, number]) for number in range(2000))
        await raw.send(data)
        for _ in range(5):
            await honest.ping()
        for number in range(2000):
            assert await raw.frame() == [15, number]
        await raw.send(raw.pack([14, 1]) * 100, raw.pack([1, 0, "unavailable", "bye", 0]))
        sock.shutdown(socket.SHUT_WR)
        assert (await raw.closed()).count(header(len(raw.pack([15, 1])) - 4) + raw.pack([15, 1])[4:]) >= 100
        await until(lambda: len(host.connections) == 1)


async def test_a_rate_of_calls_is_kept_by_reading_slowly() -> None:
    """`call_rate`: nobody gets an error; it only takes as long as it takes."""
    async with open_host(HostLimits(), Limits(call_burst=20, call_rate=200, frames_per_turn=8)) as (host, path):
        host.serve(store := MemStore())
        store.gate.set()
        async with connect(f"unix:{path}") as client:
            proxy = await client.bootstrap(Store)
            started = anyio.current_time()
            calls = [proxy.keep(b"x") for _ in range(60)]
            assert [await one for one in calls] == [1] * 60
            assert anyio.current_time() - started > 0.15
