"""T28 to T30: other users of the machine, TLS that is talked down, and compression."""

from __future__ import annotations

import os
import socket
import ssl
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from capnet import Cap, Host, Unauthenticated, call, connect
from capnet.connection.connect import OWN
from capnet.wire.frames import Op
from capnet_transports.certificates import Certificate, make
from tests.cost import HANGS
from tests.hostile.jail import Jail, jailed
from tests.hostile.jail import anyio_backend as anyio_backend  # a fixture
from tests.integration.programs import ROOT

NOBODY = 65534


@contextmanager
def another_user() -> Generator[None]:
    """Be somebody else for files and sockets, as far as the system tells."""
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def knocked(jail: Jail) -> bytes:
    """What somebody else gets who connects; nothing is sent."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        with another_user():
            sock.connect(jail.path)
        with suppress(ConnectionResetError):
            return sock.recv(4096)
    return b""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
async def test_t28_another_user_of_this_machine() -> None:
    """T28: three walls: the directory, the file's mode, and the user id; each holds where those before it are open."""
    async with jailed() as jail:
        folder = Path(jail.path).parent
        with pytest.raises(PermissionError):
            knocked(jail)
        folder.chmod(0o711)
        with pytest.raises(PermissionError):
            knocked(jail)
        os.chmod(jail.path, 0o666)
        assert knocked(jail) == b""  # not even our hello
        figures = await jail.when(lambda figures: figures.connections == 1)
        assert not figures.violations and not figures.ends
        ours = await jail.attacker("ours")
        await ours.send([Op.PING, 1])
        assert await ours.frame() == [Op.PONG, 1]


TRANSPORTS = {"asgi", "exec", "fd", "memory", "nats", "stdio", "tcp", "tls", "unix", "ws", "wss"}
"""Every one that is offered. Whoever adds one has to say here what it does against T29 and T30."""


def offered() -> set[str]:
    """The schemes of this package's transports."""
    return set(OWN)


class Echo(Cap, name="test.Echo"):
    @call
    async def echo(self, text: str) -> str: ...


class PlainEcho(Echo):
    async def echo(self, text: str) -> str:
        return text


HOST, PEER, OTHER = make("host"), make("peer"), make("other")


def spoken(port: int, identity: Certificate | None, highest: ssl.TLSVersion) -> None:
    """Speak TLS with a host, as somebody who takes every certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode, context.maximum_version = False, ssl.CERT_NONE, highest
    if identity is not None:
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(identity.private + identity.public)
            file.flush()
            context.load_cert_chain(file.name)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as sock,
        context.wrap_socket(sock) as secure,
        pytest.raises(ssl.SSLError),
    ):
        secure.recv(1)


def plainly(port: int, words: bytes) -> None:
    """Say something to a host that is no TLS, or not all of it."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.sendall(words)
        sock.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            while sock.recv(4096):
                pass


async def test_t29_tls_is_not_talked_down() -> None:
    """T29: of eight bad handshakes none becomes a connection; more are in tests/transports/test_tls.py."""
    assert offered() == TRANSPORTS
    new, old = ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2
    async with Host() as host:
        host.serve(PlainEcho())
        listener = await host.listen("tls:127.0.0.1:0", certificate=HOST, ca=PEER)
        port = int(listener.url.rpartition(":")[2])
        async with connect(listener.url, certificate=PEER, ca=HOST) as conn:
            echo = await conn.bootstrap(Echo)
            with anyio.fail_after(HANGS):
                async with anyio.create_task_group() as tasks:
                    for words in (
                        b"\x00\x00\x00\x1c\x84\x00fcapnet",  # capnet without TLS
                        b"GET / HTTP/1.1\r\n\r\n",
                        bytes.fromhex("802e0100020015000000100100800200800300800700c0"),  # SSL 2
                        bytes.fromhex("16030100050100000100"),  # a hello cut short
                    ):
                        tasks.start_soon(anyio.to_thread.run_sync, plainly, port, words)
                    tasks.start_soon(anyio.to_thread.run_sync, spoken, port, None, new)
                    tasks.start_soon(anyio.to_thread.run_sync, spoken, port, OTHER, new)
                    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
                        await anyio.to_thread.run_sync(spoken, port, PEER, old)
                    with pytest.raises(Unauthenticated):
                        async with connect(listener.url, certificate=PEER, pins=[OTHER.pin]) as deceived:
                            await deceived.bootstrap(Echo)
            while len(host.connections) > 1:  # the one that has looked at our key, and left
                await checkpoint()
            assert await echo.echo("still here") == "still here"
            assert [connection.attestation.tls_key for connection in host.connections] == [PEER.pin]


async def test_t30_nothing_is_compressed() -> None:
    """T30: no transport compresses, no option asks for it, and no hello says so: there is nothing to unfold.

    What WebSocket offers of it is not agreed on, and what comes all the same is refused: tests/transports/
    test_websocket.py. Whoever adds a compression has to change this test, and to show that what comes out of it is
    bounded.
    """
    assert offered() == TRANSPORTS
    sources = [path for room in ("capnet", "capnet_transports") for path in (ROOT / room).rglob("*.py")]
    libraries = ("zlib", "gzip", "bz2", "lzma", "zstd", "brotli", "deflate", "decompress")
    assert sources and not [path for path in sources for name in libraries if name in path.read_text()]
    async with jailed() as jail:
        raw = jail.stranger()
        await raw.send(
            [0, "capnet", [1, 1], {"name": "raw", "features": ["deflate", "zstd"], "compression": "deflate"}]
        )
        hello = await raw.frame()
        assert hello[0] == Op.HELLO and hello[3].get("features") == ["virtual"]
        await raw.send([Op.PING, 1])
        assert await raw.frame() == [Op.PONG, 1]  # it is ignored
