"""Every transport, and every fault that a network or a peer may have: what both sides make of it, and who else notices.

| | |
|---|---|
| at every await | tests/faults; `test_connecting_is_cancelled_at_every_await`; test_asgi_faults.py |
| kill -9 | `test_a_host_is_killed`, `test_a_client_is_killed`; programs: test_exec.py, test_exec_hosts.py |
| half-open | `test_network_that_vanishes`, `test_network_that_vanishes_in_the_handshake` |
| a peer that stands still | `test_a_peer_that_reads_nothing` |
| a byte at a time | `test_byte_by_byte`, `test_slow_drip_in_the_handshake`, `test_slow_drip` |
| flood at connect | `test_flood_at_connect` |
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from capnet import Host, Limits, Unavailable, connect
from capnet.connection.connect import find_scheme
from capnet.observe import ViolationSeen
from capnet.testing.transports import Recorder
from capnet.transport import Transport
from capnet.wire.codec import Codec
from capnet.wire.frames import Op
from capnet.wire.framing import FrameReader, header
from capnet.wire.hello import Hello
from capnet_transports import asgi_transport, handshakes, layers, listeners, sockets, unix
from capnet_transports.memory import memory_pair
from tests.connection.leaks import nothing_left as nothing_left  # a fixture
from tests.connection.shop import MemShop, Shop, until
from tests.cost import HANGS
from tests.faults.injection import Chances, Kind, steps
from tests.loops import on_both_kinds as on_both_kinds
from tests.transports.carriers import CARRIERS, HOST, PEER, Carrier, Listening, Wire, everywhere, wire
from tests.transports.door import Door
from tests.transports.ends import started

MIB = 1024 * 1024
ROOT = str(Path(__file__).parents[2])
RELAY = Path(__file__).with_name("relay.py")
EVERY = pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS)
HANDSHAKES = ["tcp", "tls", "ws", "wss"]
"""Those whose listener is ours and has a handshake: the web server's is its own."""


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One with a short name, as sockets need it."""
    return tmp_path_factory.mktemp("f")


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is tested by waiting for peers that do not part."""
    for module in (sockets, layers, asgi_transport):
        monkeypatch.setattr(module, "LINGER", 0.1)


@asynccontextmanager
async def wired(carrier: Carrier, folder: Path) -> AsyncGenerator[Wire]:
    """A wire to a shop."""
    async with Host() as host:
        host.serve(MemShop())
        async with carrier.serving(host, folder) as url, wire(url, folder) as between:
            yield between


# --- a byte at a time ---


@EVERY
async def test_byte_by_byte(carrier: Carrier, folder: Path) -> None:
    """Wherever what is said is cut into pieces, in the handshake and after it."""
    async with wired(carrier, folder) as between:
        between.most = 1
        async with connect(between.url, **carrier.options) as conn:
            shop = await conn.bootstrap(Shop)
            assert await shop.echo(bytes(300)) == bytes(300)


@pytest.mark.parametrize("carrier", [CARRIERS[name] for name in HANDSHAKES], ids=HANDSHAKES)
async def test_slow_drip_in_the_handshake(carrier: Carrier, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its time as a whole: bytes that keep coming do not lengthen it, on either side."""
    monkeypatch.setattr(listeners, "HANDSHAKE_TIME", 0.2)
    async with wired(carrier, folder) as between:
        between.most, between.pauses = 1, [0.02, 0.0]
        with pytest.raises(Unavailable):
            await connect(between.url, **carrier.options)
        impatient(monkeypatch)
        monkeypatch.setattr(listeners, "HANDSHAKE_TIME", 3600.0)
        between.pauses = [0.0, 0.02]
        with pytest.raises(Unavailable) as caught:
            await connect(between.url, **carrier.options)
        assert caught.value.reason == "handshake_timeout"


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have who connects give up a handshake soon."""
    monkeypatch.setattr(handshakes, "PATIENCE", 0.2)


def framed(*frames: list[Any]) -> bytes:
    codec = Codec(Limits())
    payloads = [bytes(codec.encode(frame)) for frame in frames]
    return b"".join(header(len(payload)) + payload for payload in payloads)


GREETING = framed(
    Hello("stranger").to_frame(),
    [Op.CALL, 1, 0, "bootstrap", {"name": "test.Shop", "version": 1, "needs": {}}],
)


class Scene:
    """One host at every transport, and what it says of those that come."""

    def __init__(self, host: Host, shop: MemShop, urls: Mapping[str, str], folder: Path) -> None:
        self.host = host
        self.shop = shop
        self.urls = urls
        self.violations: list[str] = []
        self._folder = folder
        host.on(ViolationSeen, lambda violation: self.violations.append(violation.clause))

    @asynccontextmanager
    async def strangers(self, *, drip: bool = False) -> AsyncGenerator[list[tuple[Transport, Recorder]]]:
        """A peer by each transport, of which there is the bare end; it has said hello, and asked for the shop."""
        async with AsyncExitStack() as stack:
            ends = [await find_scheme(url)[0].connect(url.partition(":")[2], **CARRIERS[name].options)
                    for name, url in self.urls.items()]  # fmt: skip
            door = Door()
            path = await stack.enter_async_context(
                door.open(await unix.scheme.listen(str(self._folder / "x"), door.accept))
            )
            for scheme in ("exec:", "stdio:"):
                argv = [sys.executable, str(RELAY), path.partition(":")[2], scheme.strip(":")]
                await self.host.connect(scheme, argv=argv, env={"PYTHONPATH": ROOT})
                ends.append(await door.next())
            near, far = memory_pair()
            self.host.accept(far)
            there = [(end, await stack.enter_async_context(started(end))) for end in (*ends, near)]
            for transport, _ in there:
                for piece in zip(GREETING) if drip else [GREETING]:
                    transport.send([bytes(piece)])
            await until(lambda: len(self.host.connections) == len(there))
            for _, recorder in there:
                await recorder.until(partial(answer, recorder), "it is answered")
            yield there


def answer(recorder: Recorder) -> list[Any]:
    """The first frame that answers a call, if it is there."""
    codec = Codec(Limits())
    for payload in FrameReader(2**31).frames(bytes(recorder.data)):
        frame = codec.decode(bytes(payload))[0]
        if frame[0] in (Op.RESULT, Op.ERROR):
            return frame
    return []


@asynccontextmanager
async def scene(folder: Path, limits: Limits) -> AsyncGenerator[Scene]:
    async with Host(limits=limits) as host:
        host.serve(shop := MemShop())
        async with everywhere(host, folder) as urls:
            yield Scene(host, shop, urls, folder)


# --- peers that stand still ---


async def ask_for_much(transport: Transport, recorder: Recorder) -> None:
    """Call as long as calls are taken, and read no answers."""
    shop = answer(recorder)[2].id
    for id in range(2, 10_000):
        await checkpoint()
        while transport.backlog:
            await checkpoint()
        transport.send([framed([Op.CALL, id, shop, "echo", {"value": bytes(MIB // 4)}])])


async def test_a_peer_that_reads_nothing(folder: Path) -> None:
    """What waits for it is bounded, and it is given up at its deadline; whoever reads is served meanwhile."""
    async with scene(folder, Limits(max_backlog=MIB, write_timeout=0.4)) as here, here.strangers() as strangers:
        ends = dict.fromkeys(here.host.connections, 0)
        for transport, _ in strangers:
            transport.pause()
        async with anyio.create_task_group() as tasks:
            for transport, recorder in strangers:
                tasks.start_soon(ask_for_much, transport, recorder)
            async with connect(here.urls["unix"]) as conn:
                shop = await conn.bootstrap(Shop)
                with anyio.fail_after(HANGS):
                    while not all(end.closed for end in ends):
                        for end, most in ends.items():
                            ends[end] = max(most, end._session.driver.transport.backlog)
                        assert await shop.add(1) == 11
            tasks.cancel_scope.cancel()
        for end, most in ends.items():
            told = f"{end.attestation.transport}: {most} bytes, {end.close_cause}"
            assert MIB < most < 4 * MIB, told
            assert end.close_cause is not None and end.close_cause.kind == "lost", told
        assert not here.violations


# --- half-open ---


SHORT = Limits(keepalive=0.5, keepalive_timeout=1.0)


@pytest.mark.parametrize("ways", [(0, 1), (0,), (1,)], ids=["both ways", "to the host", "from the host"])
async def test_network_that_vanishes(ways: tuple[int, ...], folder: Path) -> None:
    """Silence is noticed at both ends by pings that have no answer, also where one way still works."""
    async with scene(folder, SHORT) as here, AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(wire(here.urls[name], folder)) for name in CARRIERS]
        clients = [
            await stack.enter_async_context(connect(between.url, limits=SHORT, **carrier.options))
            for between, carrier in zip(wires, CARRIERS.values(), strict=True)
        ]
        waiting = [(await client.bootstrap(Shop)).wait() for client in clients]
        await until(lambda: len(here.shop.gate.entered) == len(clients))
        hosts = here.host.connections
        for between in wires:
            between.stop(*ways)
        for call in waiting:
            with pytest.raises(Unavailable), anyio.fail_after(HANGS):
                await call
        await until(lambda: len(here.shop.gate.cancelled) == len(clients))
        by_name = {end.attestation.transport: end for end in hosts}
        for name, client in zip(CARRIERS, clients, strict=True):
            causes = [one.close_cause.kind for one in (client, by_name[name]) if one.close_cause is not None]
            # Where one way works, the first to know closes, and the other hears of it or is silent itself.
            assert "idle" in causes and set(causes) <= {"idle", "remote", "lost"} and len(causes) == 2, (name, causes)


@pytest.mark.parametrize("carrier", [CARRIERS[name] for name in HANDSHAKES], ids=HANDSHAKES)
async def test_network_that_vanishes_in_the_handshake(
    carrier: Carrier, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who connects gives up, and so does the listener, which has room for others meanwhile."""
    impatient(monkeypatch)
    async with wired(carrier, folder) as between:
        between.stop(1)
        with pytest.raises(Unavailable) as caught:
            await connect(between.url, **carrier.options)
        assert caught.value.reason == "handshake_timeout"


# --- a byte at a time, once it is connected ---


async def test_slow_drip(folder: Path) -> None:
    """Each byte in a piece of its own, or a message, or a record: frames are put together, and have their time."""
    async with scene(folder, Limits(partial_frame_timeout=0.5)) as here:
        async with here.strangers(drip=True) as strangers, anyio.create_task_group() as tasks:
            for transport, _ in strangers:
                tasks.start_soon(dripped, transport, header(MIB))
            await until(lambda: len(here.violations) == len(strangers))
            for _, recorder in strangers:
                await recorder.until(lambda recorder=recorder: recorder.ends, "it is closed")  # type: ignore[misc]
            tasks.cancel_scope.cancel()
        assert set(here.violations) == {"P-FRAME-2"}


async def dripped(transport: Transport, data: bytes, pause: float = 0.2) -> None:
    for byte in data:
        transport.send([bytes([byte])])
        await anyio.sleep(pause)


# --- flood at connect ---


@EVERY
async def test_flood_at_connect(carrier: Carrier, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strangers that say nothing, or half of a hello, take all places, again and again: others get in all the same."""
    monkeypatch.setattr(listeners, "HANDSHAKES", 4)
    monkeypatch.setattr(listeners, "HANDSHAKE_TIME", 3600.0)
    monkeypatch.setattr(listeners, "HURRY", 0.05)
    async with wired(carrier, folder) as between:
        await (await connect(between.url, **carrier.options)).aclose()
        with ExitStack() as stack:
            for number in range(20):
                sock = stack.enter_context(between.dialled())
                sock.send(between.said[: number * 3])
            for _ in range(3):
                async with connect(between.target, **carrier.options) as conn:
                    assert await (await conn.bootstrap(Shop)).add(1) == 11


@EVERY
async def test_who_comes_later_takes_nobodys_place(carrier: Carrier, folder: Path) -> None:
    """Neither a stranger before he has shown who he is, nor the same peer once more; nor does one that leaves late take
    the other's with it. (Fault 48 of those that were found elsewhere.)"""
    async with Host() as host:
        host.serve(shop := MemShop())
        async with carrier.serving(host, folder) as url, wire(url, folder) as between:
            first = await connect(between.url, **carrier.options)
            waiting = (await first.bootstrap(Shop)).wait("first")
            await until(lambda: shop.gate.entered == ["first"])
            with between.dialled() as silent, between.dialled() as half:
                half.send(between.said[:30])
                async with connect(url, **carrier.options) as second:
                    later = await second.bootstrap(Shop)
                    between.stop(0, 1)  # the first has no network, and is there still
                    assert await later.add(1) == 11
                    assert first.close_cause is None and not shop.gate.cancelled
                    host.connections[0]._session.driver.transport.abort()
                    await until(lambda: shop.gate.cancelled == ["first"])
                    assert await later.add(2) == 12
                    silent.send(b"late")
                    assert await later.add(3) == 13
            await first.aclose(grace=0)
            with pytest.raises(Unavailable):
                await waiting


# --- kill -9 ---


@asynccontextmanager
async def program(
    folder: Path, what: str, urls: Mapping[str, str], others: Mapping[str, Listening] | None = None
) -> AsyncGenerator[tuple[subprocess.Popen[str], list[str]]]:
    """`killed.py`, and the lines that it has written before it was ready."""
    for name, certificate in (("host", HOST), ("peer", PEER)):
        (folder / f"{name}.json").write_text(json.dumps([certificate.public, certificate.private]))
    told = {name: [one.url, one.told, one.options] for name, one in (others or {}).items()}
    (folder / "others.json").write_text(json.dumps(told))
    with begun([sys.executable, "-m", "tests.transports.killed", what, str(folder), json.dumps(urls)]) as process:
        assert process.stdout is not None
        try:
            lines: list[str] = []
            while "ready\n" not in lines:
                lines.append(await anyio.to_thread.run_sync(process.stdout.readline))
                assert lines[-1], "it has ended"
            yield process, lines
        finally:
            process.kill()


def begun(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, cwd=ROOT, env={"PYTHONPATH": ROOT}, stdout=subprocess.PIPE, text=True)


async def test_a_host_is_killed(folder: Path) -> None:
    """Whoever waits for an answer of it learns so at once: no ping is needed."""
    async with program(folder, "host", {}) as (process, lines), AsyncExitStack() as stack:
        calls: dict[str, Coroutine[Any, Any, str]] = {}
        for name, url in json.loads(lines[0]).items():
            conn = await stack.enter_async_context(connect(url, **CARRIERS[name].options))
            calls[name] = (await conn.bootstrap(Shop)).wait()
            await conn.ping()
        process.kill()
        for name, call in calls.items():
            with pytest.raises(Unavailable) as caught, anyio.fail_after(HANGS):
                await call
            assert caught.value.reason == "connection_lost", name


async def test_a_client_is_killed(folder: Path) -> None:
    """Nothing of it stays at the host, and its calls are cancelled."""
    async with scene(folder, Limits()) as here, program(folder, "client", here.urls) as (process, _):
        await until(lambda: len(here.shop.gate.entered) == len(CARRIERS))
        process.kill()
        await until(lambda: len(here.shop.gate.cancelled) == len(CARRIERS) and not here.host.connections)


# --- cancelled ---


@pytest.mark.parametrize("name", [*HANDSHAKES, "asgi"])
async def test_connecting_is_cancelled_at_every_await(name: str, folder: Path) -> None:
    """Nothing is left of it on either side, and the next one gets in. (`unix:` does not wait.)"""
    carrier = CARRIERS[name]
    async with Host() as host:
        host.serve(MemShop())
        async with carrier.serving(host, folder) as url:
            scheme, rest = find_scheme(url)
            await cancelled_at_every_await(lambda: scheme.connect(rest, **carrier.options))
            async with connect(url, **carrier.options) as conn:
                assert await (await conn.bootstrap(Shop)).add(1) == 11
            await until(lambda: not host.connections)


@pytest.mark.parametrize(
    ("scheme", "line"), [("exec", "exec cat"), ("stdio", "printf '\\0capnet-stdio/1\\0'; exec cat")]
)
async def test_starting_a_program_is_cancelled_at_every_await(scheme: str, line: str) -> None:
    """It is ended then, and nobody is told of it."""
    gone: list[int | None] = []
    started: list[int] = []

    async def start() -> Transport:
        started.append(1)
        return await find_scheme(f"{scheme}:")[0].connect("", argv=["sh", "-c", line], on_exit=gone.append)

    await cancelled_at_every_await(start)
    await until(lambda: len(gone) == len(started))


async def cancelled_at_every_await(connecting: Callable[[], Coroutine[Any, Any, Transport]]) -> None:
    """Connect again and again, cancelled at the first wait, the second, and so on until there is none left."""
    number = 0
    while True:
        chances = Chances(Kind.CANCEL, number)
        with anyio.CancelScope() as chances.whole:
            chances.active = True
            transport = await steps(connecting(), chances)
            chances.active = False
            transport.abort()
        if not chances.taken:
            break
        number += 1
    assert number, "it waits for the other side"
