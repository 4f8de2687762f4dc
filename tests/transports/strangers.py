"""What tests of listeners in the network share: peers that know nothing of us, and the place they come to."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import contextmanager

import anyio


@contextmanager
def stranger(url: str) -> Generator[socket.socket]:
    """A plain socket, connected to the port of a URL on this machine."""
    port = int(url.rpartition(":")[2].partition("/")[0])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.setblocking(False)
        yield sock


@contextmanager
def impostor() -> Generator[tuple[socket.socket, int]]:
    """A plain listening socket, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        yield sock, sock.getsockname()[1]


async def said(sock: socket.socket) -> bytes:
    """All that the other side says until it closes."""
    data = b""
    with anyio.fail_after(60):
        while True:
            await anyio.wait_readable(sock)
            try:
                received = sock.recv(65536)
            except ConnectionResetError:
                return data
            if not received:
                return data
            data += received


async def heard(sock: socket.socket, size: int) -> bytes:
    """The next bytes that the other side says."""
    data = b""
    with anyio.fail_after(60):
        while len(data) < size:
            await anyio.wait_readable(sock)
            received = sock.recv(size - len(data))
            assert received, f"it has closed after {data!r}"
            data += received
    return data


async def accepted(sock: socket.socket) -> socket.socket:
    """The next connection to a plain listening socket."""
    with anyio.fail_after(60):
        await anyio.wait_readable(sock)
    peer, _ = sock.accept()
    peer.setblocking(False)
    return peer
