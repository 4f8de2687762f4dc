"""What a network and peers may do to `nats:`: the faults of tests/transports/test_faults.py, by way of a real server.

There, connecting is cancelled in test_nats.py, and so is a flood of those who dial; here the wire is one to the server.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from capnet import Host, Limits, Unavailable, connect
from capnet.testing.transports import Recorder
from capnet.transport import Transport
from capnet.wire.framing import header
from capnet_transports import nats, nats_link, nats_transport
from tests.connection.leaks import nothing_left as nothing_left  # a fixture
from tests.connection.shop import MemShop, Shop
from tests.cost import HANGS
from tests.interop.nats_servers import ANNA, FLEET, OTTO, NatsServer, until
from tests.interop.nats_servers import on_asyncio as on_asyncio
from tests.interop.nats_servers import server as server
from tests.transports.carriers import Listening, wire
from tests.transports.ends import started
from tests.transports.test_faults import GREETING, MIB, SHORT, answer, ask_for_much, dripped, program


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is said, the server is asked soon whether the other side is there."""
    monkeypatch.setattr(nats_transport, "_SILENCE", 0.1)


@asynccontextmanager
async def open_shop(server: NatsServer, limits: Limits | None = None) -> AsyncGenerator[tuple[Host, MemShop]]:
    async with Host(limits=limits) as host:
        host.serve(shop := MemShop())
        await host.listen(server.url(), **FLEET)
        yield host, shop


@asynccontextmanager
async def stranger(server: NatsServer, *pieces: bytes) -> AsyncGenerator[tuple[Transport, Recorder]]:
    """The bare end of a peer that has said hello and asked for the shop, and was answered."""
    transport = await nats.scheme.connect(server.url().partition(":")[2], **ANNA)
    async with started(transport) as recorder:
        for piece in pieces:
            transport.send([piece])
        await recorder.until(lambda: answer(recorder), "it is answered")
        yield transport, recorder


async def test_byte_by_byte(server: NatsServer, tmp_path: Path) -> None:
    async with open_shop(server), wire(server.url(), tmp_path) as between:
        between.most = 1
        async with connect(between.url, **ANNA) as conn:
            shop = await conn.bootstrap(Shop)
            assert await shop.echo(bytes(300)) == bytes(300)


@pytest.mark.parametrize("how", ["drip", "silence"])
async def test_a_server_that_is_slow(
    how: str, server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that keep coming do not lengthen the time that it has."""
    monkeypatch.setattr(nats_link, "PATIENCE", 0.3)
    async with wire(server.url(), tmp_path) as between:
        between.most, between.pauses = 1, [0.0, 0.02]
        if how == "silence":
            between.stop(1)
        with pytest.raises(Unavailable) as caught:
            await connect(between.url, **ANNA)
        assert caught.value.reason == "connect_timeout"


@pytest.mark.parametrize("ways", [(0, 1), (0,), (1,)], ids=["both ways", "to the server", "from the server"])
async def test_network_that_vanishes(ways: tuple[int, ...], server: NatsServer, tmp_path: Path) -> None:
    """Between a client and the server: both ends know by pings that have no answer, and another client is served."""
    async with (
        open_shop(server, SHORT) as (host, shop),
        wire(server.url(), tmp_path) as between,
        connect(between.url, limits=SHORT, **ANNA) as conn,
    ):
        waiting = (await conn.bootstrap(Shop)).wait()
        await until(lambda: shop.gate.entered)
        between.stop(*ways)
        with pytest.raises(Unavailable), anyio.fail_after(HANGS):
            await waiting
        await until(lambda: shop.gate.cancelled and not host.connections)
        async with connect(server.url(), **OTTO) as other:
            assert await (await other.bootstrap(Shop)).add(1) == 11


async def test_a_peer_that_reads_nothing(server: NatsServer) -> None:
    """What waits for it is bounded, and it is given up at its deadline; another client is served meanwhile."""
    async with (
        open_shop(server, Limits(max_backlog=MIB, write_timeout=0.4)) as (host, _),
        stranger(server, GREETING) as (transport, recorder),
        anyio.create_task_group() as tasks,
    ):
        (end,) = host.connections
        transport.pause()
        tasks.start_soon(ask_for_much, transport, recorder)
        async with connect(server.url(), **OTTO) as other:
            shop = await other.bootstrap(Shop)
            most = 0
            with anyio.fail_after(HANGS):
                while not end.closed:
                    most = max(most, end._session.driver.transport.backlog)
                    assert await shop.add(1) == 11
        assert MIB < most < 4 * MIB and end.close_cause is not None and end.close_cause.kind == "lost"
        tasks.cancel_scope.cancel()


async def test_slow_drip(server: NatsServer) -> None:
    """Each byte in a message of its own."""
    pieces = [bytes([byte]) for byte in GREETING]
    async with (
        open_shop(server, Limits(partial_frame_timeout=0.5)) as (host, _),
        stranger(server, *pieces) as (transport, recorder),
        anyio.create_task_group() as tasks,
    ):
        (end,) = host.connections
        tasks.start_soon(dripped, transport, header(MIB))
        await until(lambda: end.closed)
        await recorder.until(lambda: recorder.ends, "it is closed")
        assert end.close_cause is not None and end.close_cause.clause == "P-FRAME-2"
        tasks.cancel_scope.cancel()


async def test_a_host_is_killed(server: NatsServer, tmp_path: Path) -> None:
    """Who waits for an answer of it learns so from the server, without a ping."""
    others = {"nats": Listening(server.url(), FLEET)}
    async with program(tmp_path, "host", {}, others) as (process, _), connect(server.url(), **ANNA) as conn:
        waiting = (await conn.bootstrap(Shop)).wait()
        await conn.ping()
        process.kill()
        with pytest.raises(Unavailable) as caught, anyio.fail_after(HANGS):
            await waiting
        assert caught.value.reason == "connection_lost"


async def test_a_client_is_killed(server: NatsServer, tmp_path: Path) -> None:
    others = {"nats": Listening(server.url(), {}, ANNA)}
    async with (
        open_shop(server) as (host, shop),
        program(tmp_path, "client", {"nats": server.url()}, others) as (process, _),
    ):
        await until(lambda: shop.gate.entered)
        process.kill()
        await until(lambda: shop.gate.cancelled and not host.connections)
