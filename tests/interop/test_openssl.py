"""`tls:` against `openssl`, which has the other end: as a client, and as a server."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from capnet import Connection, Host, Unauthenticated, connect
from capnet.transport import Attestation
from capnet_transports.attach import attach
from capnet_transports.certificates import Certificate, make
from tests.interop.counterparts import program
from tests.loops import EACH_LOOP
from tests.transports.test_tcp import Adder, PlainAdder

LIMIT = 60.0


@pytest.fixture
def certificates(tmp_path: Path) -> dict[str, Certificate]:
    """Of both sides and of a stranger; each is in a file of its name, and what others are given in `NAME.crt`."""
    made = {name: make(name) for name in ("host", "peer", "stranger")}
    for name, certificate in made.items():
        (tmp_path / f"{name}.pem").write_text(certificate.private + certificate.public)
        (tmp_path / f"{name}.crt").write_text(certificate.public)
    return made


@contextmanager
def piped(folder: Path, *words: str) -> Generator[tuple[socket.socket, subprocess.Popen[bytes]]]:
    """`openssl`, and a socket whose other end is all that it reads and writes."""
    ours, theirs = socket.socketpair()
    command = [program("openssl"), *words]
    with ours, (folder / "openssl.log").open("wb") as log:
        with theirs:
            process = subprocess.Popen(command, cwd=folder, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=log)
        try:
            yield ours, process
        finally:
            process.kill()
            process.wait()


def client(port: int, name: str) -> list[str]:
    """The words for one that trusts the host, and has the certificate of that name."""
    who = ["-cert", f"{name}.pem", "-key", f"{name}.pem", "-CAfile", "host.crt", "-partial_chain"]
    return ["s_client", "-quiet", "-verify_return_error", "-alpn", "capnet/1", "-connect", f"127.0.0.1:{port}", *who]


@EACH_LOOP
async def test_openssl_connects(certificates: dict[str, Certificate], tmp_path: Path) -> None:
    """Capnet speaks through it with a listener of ours, which knows who has come."""
    async with Host() as host, Host() as other:
        host.serve(PlainAdder())
        url = "tls:127.0.0.1:0"
        listener = await host.listen(url, certificate=certificates["host"], ca=certificates["peer"])
        with piped(tmp_path, *client(_port(listener.url), "peer")) as (ours, process):
            conn = other.accept(attach(ours.dup(), Attestation()))
            await use(conn)
            attestation = host.connections[0].attestation
            assert attestation.tls_subject == "CN=peer" and attestation.tls_key == certificates["peer"].pin
            await conn.aclose()
            with anyio.fail_after(LIMIT):
                assert await anyio.to_thread.run_sync(process.wait) == 0


@EACH_LOOP
async def test_openssl_is_turned_away(certificates: dict[str, Certificate], tmp_path: Path) -> None:
    """With an alert that says why."""
    async with Host() as host:
        url = "tls:127.0.0.1:0"
        listener = await host.listen(url, certificate=certificates["host"], ca=certificates["peer"])
        with piped(tmp_path, *client(_port(listener.url), "stranger")) as (_, process):
            with anyio.fail_after(LIMIT):
                assert await anyio.to_thread.run_sync(process.wait) != 0
        assert "alert unknown ca" in (tmp_path / "openssl.log").read_text()
        assert not host.connections


@EACH_LOOP
async def test_openssl_listens(certificates: dict[str, Certificate], tmp_path: Path) -> None:
    """Once for a client of ours that it knows, and once for one that it does not."""
    peer, stranger, server = certificates["peer"], certificates["stranger"], certificates["host"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    who = ["-cert", "host.pem", "-key", "host.pem", "-CAfile", "peer.crt", "-partial_chain", "-Verify", "1"]
    words = ["s_server", "-quiet", "-verify_return_error", "-alpn", "capnet/1", "-accept", f"127.0.0.1:{port}", *who]
    with piped(tmp_path, *words) as (ours, _):
        async with Host() as host:
            url = f"tls:127.0.0.1:{port}"
            with pytest.raises(Unauthenticated) as caught:
                await connect(url, certificate=stranger, ca=server, wait=LIMIT)
            assert caught.value.reason == "tls"
            host.serve(PlainAdder())
            host.accept(attach(ours.dup(), Attestation()))
            async with connect(url, certificate=peer, ca=server, wait=LIMIT) as conn:
                assert conn.attestation.tls_key == server.pin and conn.attestation.tls_subject == "CN=host"
                await use(conn)


async def use(conn: Connection) -> None:
    with anyio.fail_after(LIMIT):
        adder = await conn.bootstrap(Adder)
        assert [await adder.add(number, 1) for number in range(20)] == [*range(1, 21)]


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])
