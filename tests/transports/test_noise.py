"""Peers that flood, drip, fall silent, hang up halfway or read nothing, over real sockets (reliability R9–R11).

What one of them does to its own connection, and that the others notice nothing. That nothing is read before a
transport is started is in test_unix.py for unix sockets; half-closed and reset transports are in test_sockets.py. What
each transport makes of such peers is in test_faults.py.
"""

from __future__ import annotations

import os
import socket
import struct
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from statistics import median
from typing import Any, Literal

import anyio
import pytest
from anyio.abc import TaskStatus

from capnet import Connection, Host, Limits, Unavailable
from capnet.observe import ViolationSeen
from capnet.transport import Attestation
from capnet.wire.codec import Codec
from capnet.wire.frames import Op
from capnet.wire.framing import header
from capnet.wire.hello import Hello
from capnet_transports.attach import attach
from capnet_transports.listeners import SocketListener
from tests.connection.leaks import nothing_left as nothing_left  # a fixture
from tests.connection.shop import MemShop, Shop, until
from tests.cost import BARS, HANGS
from tests.counting import counting_calls, tracing
from tests.hostile.attack import Raw
from tests.transports.door import Door
from tests.transports.ends import started

Family = Literal["unix", "tcp"]
FAMILIES = pytest.mark.parametrize("family", ["unix", "tcp"])
TWO_LOOPS = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], scope="module")
"""For what takes long, and where uvloop does the same as asyncio."""
MIB = 1024 * 1024
MOST_MEMORY = 16 * MIB
"""Bytes of Python objects that a flood may make."""
MOST_WAIT = 1.0
"""Seconds that a call may take while others flood, where the bars are held."""


# --- what is on the other side ---


@contextmanager
def listening(family: Family) -> Generator[socket.socket]:
    """A socket that listens, and nobody accepts at it."""
    with (
        tempfile.TemporaryDirectory(prefix="cap", dir="/tmp") as folder,
        socket.socket(socket.AF_UNIX if family == "unix" else socket.AF_INET) as door,
    ):
        door.bind(os.path.join(folder, "s") if family == "unix" else ("127.0.0.1", 0))
        door.listen(128)
        yield door


def dialled(door: socket.socket) -> socket.socket:
    """A socket that is connected to it."""
    sock = socket.socket(door.family)
    sock.connect(door.getsockname())
    sock.setblocking(False)
    return sock


def attest(sock: socket.socket) -> Attestation:
    """Nothing is known of it."""
    return Attestation(transport="noise")


class Scene:
    """A host with a door for anybody, and connections of its own choice beside."""

    def __init__(self, host: Host, door: socket.socket) -> None:
        self.host = host
        self.door = door
        self.shop = MemShop()
        self.violations: list[str] = []
        host.serve(self.shop)
        host.on(ViolationSeen, lambda violation: self.violations.append(violation.clause))

    @asynccontextmanager
    async def stranger(self) -> AsyncGenerator[tuple[Raw, Connection]]:
        """One that is connected and has said nothing yet, and what the host has of it."""
        known = set(self.host.connections)
        sock = dialled(self.door)
        try:
            await until(lambda: set(self.host.connections) - known)
            (connection,) = set(self.host.connections) - known
            with anyio.fail_after(HANGS):
                yield Raw(sock), connection
        finally:
            sock.close()

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[Shop]:
        """An honest one."""
        async with Host() as other:
            connection = other.accept(attach(dialled(self.door), attest(self.door)))
            yield await connection.bootstrap(Shop)


@asynccontextmanager
async def scene(family: Family, limits: Limits | None = None) -> AsyncGenerator[Scene]:
    """Ends with a check that an honest client, there from the beginning, has noticed nothing."""
    with listening(family) as door:
        async with Host(limits=limits) as host:
            listener = SocketListener(door.dup(), family, host.accept, attest)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listener.serve)
                try:
                    here = Scene(host, door)
                    async with here.client() as shop:
                        assert await shop.add(1) == 11
                        yield here
                        with anyio.fail_after(HANGS):
                            assert await shop.add(2) == 12
                        await until(lambda: len(host.connections) == 1)
                finally:
                    await listener.aclose()


async def shop_of(raw: Raw) -> int:
    """The id of the shop at a stranger's connection, after the handshake."""
    await raw.greet()
    await raw.send([Op.CALL, 1, 0, "bootstrap", {"name": "test.Shop", "version": 1, "needs": {}}])
    reply = await raw.reply()
    assert reply[0] == Op.RESULT, reply
    return int(reply[2].id)


# --- floods (R10) ---


@contextmanager
def flood(sock: socket.socket, data: bytes) -> Generator[Callable[[], int]]:
    """Send the same bytes again and again, as fast as the system takes them; gives how many it took."""
    sent, over = 0, threading.Event()
    sock.setblocking(True)
    sock.settimeout(0.1)

    def send() -> None:
        nonlocal sent
        position = 0
        with suppress(OSError):  # hung up
            while not over.is_set():
                with suppress(TimeoutError):
                    size = sock.send(memoryview(data)[position:])
                    sent += size
                    position = (position + size) % len(data)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield lambda: sent
    finally:
        over.set()
        thread.join()


async def held_back(sent: Callable[[], int]) -> None:
    """Return when a flood has come to a stand."""
    seen = 0
    while not seen or sent() != seen:
        seen = sent()
        await anyio.sleep(0.1)


@FAMILIES
@pytest.mark.parametrize("begun", [False, True], ids=["not started", "paused"])
async def test_flood_that_nobody_reads(family: Family, begun: bool) -> None:
    """What is not read stays with the system, which holds the peer back."""
    arrived = Door()
    with listening(family) as door:
        async with arrived.open(SocketListener(door.dup(), family, arrived.accept, attest)):
            with dialled(door) as peer:
                transport = await arrived.next()
                with tracing() as traced, flood(peer, bytes(65_536)) as sent:
                    if not begun:
                        await held_back(sent)
                        assert traced.most <= MOST_MEMORY
                        transport.abort()
                        return
                    async with started(transport) as recorder:
                        transport.pause()
                        taken = len(recorder.data)
                        await held_back(sent)
                        assert len(recorder.data) == taken
                        assert traced.most <= MOST_MEMORY


def framed(frame: list[Any]) -> bytes:
    """A frame as bytes."""
    payload = bytes(Codec(Limits()).encode(frame))
    return header(len(payload)) + payload


CALLS = 50
"""Of an honest client, while another one floods."""
FLOODS: dict[str, bytes] = {
    "pings": framed([Op.PING, 1]) * 5000,
    "unknown operations": framed([100, bytes(MIB)]),
    "calls": framed([Op.CALL, 0, 0, "bootstrap", {"name": "test.Shop", "version": 1, "needs": {}}]) * 1000,
    "noise": b"\xff" * 65_536,
}
"""All but the last are legal; operations that nobody knows yet are ignored, and one-way calls are not answered."""


@pytest.mark.parametrize("data", FLOODS.values(), ids=FLOODS)
async def test_flood_at_connect(data: bytes) -> None:
    """A peer that sends from its first moment on, and reads nothing. Memory stays, and the others are served."""
    async with scene("tcp") as here, here.client() as shop:
        slowest, calls = 0.0, 0
        async with here.stranger() as (raw, connection):
            await raw.send(Hello("flood").to_frame())
            with tracing() as traced, flood(raw._sock, data) as sent:
                while calls < CALLS or not sent():
                    at = time.monotonic()
                    assert await shop.add(1) == 11
                    slowest = max(slowest, time.monotonic() - at)
                    calls += 1
                assert traced.most <= MOST_MEMORY, f"{traced.most / MIB:.1f} MiB"
            connection._session.driver.transport.abort()  # unless it has been sent away already
        assert not BARS or slowest < MOST_WAIT, f"{slowest:.3f} s"


# --- half-open (R11) ---


@TWO_LOOPS
@pytest.mark.parametrize("accepts", [False, True], ids=["never accepts", "never reads"])
async def test_server_that_says_nothing(accepts: bool) -> None:
    """The system has connected us, so connecting succeeds; what fails, and soon, is the handshake."""
    with listening("tcp") as door:
        async with Host(limits=Limits(handshake_timeout=0.3)) as host:
            connection = host.accept(attach(dialled(door), attest(door)))
            accepted = door.accept()[0] if accepts else None
            try:
                with pytest.raises(Unavailable), anyio.fail_after(HANGS):
                    await connection.bootstrap(Shop)
                cause = connection.close_cause
                assert cause is not None and (cause.kind, cause.clause) == ("violation", "P-CONN-3")
                connection._session.driver.transport.abort()  # its last frames would have a second
            finally:
                if accepted is not None:
                    accepted.close()


@FAMILIES
@pytest.mark.parametrize("frame", ["between frames", "in a frame"])
async def test_half_closed(family: Family, frame: str) -> None:
    """A peer that ends its side and goes on listening has ended: its calls are cancelled at once."""
    async with scene(family) as here, here.stranger() as (raw, connection):
        target = await shop_of(raw)
        await raw.send([Op.CALL, 2, target, "wait", {"key": "half"}])
        await until(lambda: here.shop.gate.entered == ["half"])
        if frame == "in a frame":
            await raw.send(header(1000) + b"\x83")
        raw._sock.shutdown(socket.SHUT_WR)
        await until(lambda: connection.closed)
        assert here.shop.gate.cancelled == ["half"] and not here.violations
        assert connection.close_cause is not None and connection.close_cause.kind == "lost"


@FAMILIES
async def test_reset_in_a_frame(family: Family) -> None:
    """RST: on TCP by SO_LINGER, on a unix socket by closing with bytes unread. The calls are cancelled at once."""
    async with scene(family) as here, here.stranger() as (raw, connection):
        target = await shop_of(raw)
        await raw.send([Op.CALL, 2, target, "wait", {"key": "reset"}], [Op.PING, 1])
        await until(lambda: here.shop.gate.entered == ["reset"])
        await anyio.wait_readable(raw._sock)  # the pong, which nobody reads
        for _ in range(20):  # more than is read at once, so that the end is not there with the first of it
            with suppress(BlockingIOError):
                raw._sock.send(header(4 * MIB) + bytes(65_536))
        raw._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw._sock.close()
        await until(lambda: connection.closed)
        assert here.shop.gate.cancelled == ["reset"] and not here.violations


async def test_end_with_bytes_unread() -> None:
    """What the peer had sent is delivered, and its end is told, though it never read what we sent."""
    ours, theirs = socket.socketpair()
    async with started(attach(ours, attest(ours))) as recorder:
        theirs.send(b"last words")
        ours.send(b"unread")
        theirs.close()
        with anyio.fail_after(HANGS):
            await recorder.until(lambda: recorder.ends, "its end is told")
        assert recorder.data == b"last words"


# --- slow (R9) ---


async def drip(raw: Raw, data: bytes, pause: float) -> None:
    """Send a byte at a time; returns when the other side has hung up, or all is sent."""
    for byte in data:
        await raw.send(bytes([byte]))
        await anyio.sleep(pause)


@TWO_LOOPS
@pytest.mark.parametrize("part", ["hello", "header", "body"])
async def test_slow_drip(part: str) -> None:
    """Bytes that keep coming do not help: a frame has its time as a whole (P-FRAME-2), and so has the hello."""
    limits = Limits(handshake_timeout=1.5) if part == "hello" else Limits(partial_frame_timeout=0.5)
    async with scene("tcp", limits) as here, here.stranger() as (raw, _):
        if part != "hello":
            await raw.greet()
            await raw.send([Op.PING, 1] if part == "header" else header(1000) + b"\x82\x18\x64\x59\x03\xe0")
        data = {"hello": raw.pack(Hello("slow").to_frame()), "header": header(MIB), "body": bytes(1000)}[part]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drip, raw, data, 0.2 if part == "header" else 0.05)
            await until(lambda: here.violations)
            tasks.cancel_scope.cancel()
        assert here.violations == ["P-CONN-3" if part == "hello" else "P-FRAME-2"]
        await raw.closed()


@TWO_LOOPS
async def test_slow_peer_that_keeps_its_time() -> None:
    """Each frame within its time, for longer than that in all: it is served."""
    limits = Limits(partial_frame_timeout=1.5)
    async with scene("tcp", limits) as here, here.stranger() as (raw, _):
        await raw.greet()
        frame = raw.pack([Op.PING, 1])
        since, number = time.monotonic(), 0
        while time.monotonic() - since < 1.8:
            await drip(raw, frame, 0.005)
            assert await raw.frame() == [Op.PONG, 1]
            number += 1
        assert number > 1 and not here.violations


@TWO_LOOPS
async def test_slow_reader() -> None:
    """One byte now and then is no progress: what waits for it is bounded, and it is given up at its deadline."""
    limits = Limits(max_backlog=MIB, write_timeout=0.4)
    async with scene("tcp", limits) as here, here.stranger() as (raw, connection):
        raw._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        target = await shop_of(raw)
        most = 0

        async def ask() -> None:
            for id in range(2, 60):
                await raw.send([Op.CALL, id, target, "echo", {"value": bytes(MIB // 4)}])

        async def sip() -> None:
            while True:
                with suppress(BlockingIOError, ConnectionError):
                    raw._sock.recv(1)
                await anyio.sleep(0.01)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            tasks.start_soon(sip)
            with anyio.fail_after(HANGS):
                while not connection.closed:
                    most = max(most, connection._session.driver.transport.backlog)
                    await anyio.sleep(0.002)
            tasks.cancel_scope.cancel()
        assert MIB < most < 4 * MIB
        assert connection.close_cause is not None and connection.close_cause.kind == "lost" and not here.violations


# --- one of ten (R9, T12) ---

LIVE = 9
CALLS_EACH = 40
ROUNDS = 9 if BARS else 3


@TWO_LOOPS
async def test_one_stalled_among_nine_live() -> None:
    """Rounds with it and without it take turns; what the calls of nine others cost stays the same."""
    with_it: list[float] = []
    without: list[float] = []
    async with scene("tcp", Limits(write_timeout=60)) as here, anyio.create_task_group() as tasks:
        shops: list[Shop] = [await tasks.start(hold, here) for _ in range(LIVE)]
        await one_round(shops)
        for _ in range(ROUNDS):
            without.append(await one_round(shops))
            async with here.stranger() as (raw, connection):
                await stall(raw, connection)
                with_it.append(await one_round(shops))
                assert not connection.closed and connection._session.driver.transport.backlog > 8 * MIB
                connection._session.driver.transport.abort()
        tasks.cancel_scope.cancel()
    ratio = median(with_it) / median(without)
    assert ratio <= (1.1 if BARS else 1.5), f"{ratio:.2f} times what they cost without it: {without}, {with_it}"


async def hold(here: Scene, *, task_status: TaskStatus[Shop]) -> None:
    """One of the nine."""
    async with here.client() as shop:
        task_status.started(shop)
        await anyio.sleep_forever()


async def stall(raw: Raw, connection: Connection) -> None:
    """Ask for more than fits, and read nothing of it; the host reads nothing more from it then."""
    target = await shop_of(raw)

    async def ask() -> None:
        for id in range(2, 100):
            await raw.send([Op.CALL, id, target, "echo", {"value": bytes(MIB)}])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await until(lambda: connection._session.driver.transport.backlog > 8 * MIB)
        tasks.cancel_scope.cancel()


async def one_round(shops: list[Shop]) -> float:
    """What so many calls of each cost, all at once: how many functions are called; seconds where bars are held."""

    async def calls(shop: Shop) -> None:
        for number in range(CALLS_EACH):
            assert await shop.add(number, 1) == number + 1

    since = time.thread_time()
    with nullcontext(Counter[str]()) if BARS else counting_calls() as counted:
        async with anyio.create_task_group() as tasks:
            for shop in shops:
                tasks.start_soon(calls, shop)
    return time.thread_time() - since if BARS else counted.total()
