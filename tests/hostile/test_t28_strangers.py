"""T28 to T30: other users of the machine, and what no transport offers yet."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from capnet.connection.connect import OWN
from capnet.wire.frames import Op
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


TRANSPORTS = {"exec", "fd", "memory", "unix"}
"""Every one that is offered: none of them leaves this machine."""


def offered() -> set[str]:
    """The schemes of this package's transports."""
    return set(OWN)


async def test_t29_there_is_no_tls_to_downgrade() -> None:
    """T29: no transport offers TLS, or leaves the machine, so there is no handshake of one to attack yet.

    Whoever adds one has to change this test, and to show the eight bad handshakes of the threat table. What speaks TLS
    to a host of today gets a line of text and is closed.
    """
    assert offered() == TRANSPORTS
    async with jailed() as jail:
        raw = jail.stranger()
        await raw.send(bytes.fromhex("16030100c8010000c40303") + bytes(200))
        assert b"capnet/1" in await raw.closed()
        figures = await jail.when(lambda figures: figures.connections == 1)
        assert [clause for _, clause in figures.violations] == ["P-FRAME-2"]


async def test_t30_nothing_is_compressed() -> None:
    """T30: no transport compresses, no option asks for it, and no hello says so: there is nothing to unfold.

    Whoever adds a compression has to change this test, and to show that what comes out of it is bounded.
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
        assert hello[0] == Op.HELLO and not hello[3].get("features")
        await raw.send([Op.PING, 1])
        assert await raw.frame() == [Op.PONG, 1]  # it is ignored
