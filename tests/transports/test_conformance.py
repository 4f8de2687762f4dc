"""The conformance routine over every transport, both ends real."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from capnet import Opening
from capnet.testing import assert_no_leaks, connected
from capnet.testing.transports import check_transport
from capnet.transport import Listener, Transport
from capnet.virtual.transport import VirtualTransport
from capnet_transports import exec as exec_transport
from capnet_transports import memory, stdio, tcp, tls, unix, websocket
from capnet_transports.certificates import make
from tests.loops import ONE_LOOP
from tests.transports.door import Door

ROOT = str(Path(__file__).parents[2])
TOKEN = "correct-horse-battery-staple"
RELAY = Path(__file__).with_name("relay.py")


async def check(listening: Awaitable[Listener], connect: Callable[[str], Awaitable[Transport]], door: Door) -> None:
    async with door.open(await listening) as url:

        async def connect_pair() -> tuple[Transport, Transport]:
            return await connect(url.partition(":")[2]), await door.next()

        await check_transport(connect_pair)


async def test_memory() -> None:
    door = Door()
    await check(memory.scheme.listen("conformance", door.accept), memory.scheme.connect, door)


async def test_memory_pair() -> None:
    async def connect_pair() -> tuple[Transport, Transport]:
        return memory.memory_pair()

    await check_transport(connect_pair)


async def test_virtual() -> None:
    """Inside of one connection, each pair beside all those before it."""
    accepted: list[VirtualTransport] = []

    async def accept(opening: Opening) -> None:
        accepted.append(opening.transport())
        accepted[-1].accept()

    async with connected() as (server, client):
        server.on_open(accept)

        async def connect_pair() -> tuple[Transport, Transport]:
            return await client.open_transport(), accepted.pop()

        await check_transport(connect_pair)
        await assert_no_leaks(server, client)


async def test_unix(tmp_path: Path) -> None:
    door = Door()
    await check(unix.scheme.listen(str(tmp_path / "s"), door.accept), unix.scheme.connect, door)


@pytest.mark.parametrize("token", [None, TOKEN], ids=["open", "token"])
@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0"])
async def test_tcp(address: str, token: str | None) -> None:
    door = Door()
    connect = partial(tcp.scheme.connect, token=token)
    await check(tcp.scheme.listen(address, door.accept, token=token), connect, door)


@pytest.mark.parametrize("token", [None, TOKEN], ids=["open", "token"])
async def test_tls(token: str | None) -> None:
    host, peer, door = make("host"), make("peer"), Door()
    connect = partial(tls.scheme.connect, certificate=peer, ca=host, token=token)
    await check(tls.scheme.listen("127.0.0.1:0", door.accept, certificate=host, ca=peer, token=token), connect, door)


async def test_websocket() -> None:
    door = Door()
    connect = partial(websocket.scheme.connect, token=TOKEN)
    await check(websocket.scheme.listen("//127.0.0.1:0/capnet", door.accept, token=TOKEN), connect, door)


async def test_websocket_over_tls() -> None:
    host, peer, door = make("host"), make("peer"), Door()
    connect = partial(websocket.secure_scheme.connect, certificate=peer, ca=host)
    listening = websocket.secure_scheme.listen("//localhost:0", door.accept, certificate=host, ca=peer)
    await check(listening, connect, door)


async def test_exec(tmp_path: Path) -> None:
    """A program relays between the transport it inherits and a unix transport, so that both ends can be watched."""

    async def start_relay(path: str) -> Transport:
        return await exec_transport.scheme.connect(
            "", argv=[sys.executable, str(RELAY), path], env={"PYTHONPATH": ROOT}
        )

    door = Door()
    await check(unix.scheme.listen(str(tmp_path / "s"), door.accept), start_relay, door)


@pytest.mark.parametrize("shell", [None, "echo motd; $0 $1 $2 stdio | cat"])
async def test_stdio(shell: str | None, tmp_path: Path) -> None:
    """The same, over its standard input and output: one socket, and a shell with a pipe."""
    await check_stdio(shell, tmp_path)


@ONE_LOOP
async def test_stdio_of_what_a_shell_becomes(tmp_path: Path) -> None:
    """The one socket again."""
    await check_stdio("exec $0 $1 $2 stdio", tmp_path)


async def check_stdio(shell: str | None, tmp_path: Path) -> None:

    async def start_relay(path: str) -> Transport:
        argv = [sys.executable, str(RELAY), path]
        whole = [*argv, "stdio"] if shell is None else ["sh", "-c", shell, *argv]
        return await stdio.scheme.connect("", argv=whole, env={"PYTHONPATH": ROOT})

    door = Door()
    await check(unix.scheme.listen(str(tmp_path / "s"), door.accept), start_relay, door)
