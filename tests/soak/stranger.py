"""A peer that speaks the wire by hand, to a host that serves the bait of the jail."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

import anyio

from capnet.limits import Limits
from capnet.wire.codec import Codec
from capnet.wire.frames import Op
from capnet.wire.framing import header
from capnet.wire.hello import Hello

__all__ = ["Stranger"]

_HELLO = Hello("bad", Limits(max_caps=100_000)).to_frame()


class Stranger:
    """One connection after the other."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._codec = Codec(Limits.trusted())
        self._sock: socket.socket | None = None
        self.frames = self.connections = 0

    def pack(self, *frames: list[Any]) -> bytes:
        """Frames as they travel."""
        payloads = [bytes(self._codec.encode(frame)) for frame in frames]
        return b"".join(header(len(payload)) + payload for payload in payloads)

    async def begin(self) -> bool:
        """Connect, say hello and ask for the bait, whose id is then 2; whether the host let us."""
        self.end()
        self._sock = sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        with suppress(OSError):
            sock.connect(self._path)
            self.connections += 1
            await self.send(self.pack(_HELLO, [Op.CALL, 1, 0, "bootstrap", {"name": "test.Bait"}]), 2)
            return bool(await self.receive())
        await anyio.sleep(0.01)
        return False

    async def send(self, data: bytes, frames: int) -> None:
        """Write it all, as the host takes it. Raises OSError at the end."""
        assert self._sock is not None
        view = memoryview(data)
        while view:
            try:
                view = view[self._sock.send(view) :]
            except BlockingIOError:
                await anyio.wait_writable(self._sock)
        self.frames += frames
        await anyio.lowlevel.checkpoint()

    async def receive(self) -> bytes:
        """What has come; empty at the end."""
        assert self._sock is not None
        await anyio.wait_readable(self._sock)
        try:
            return self._sock.recv(65_536)
        except BlockingIOError:
            return await self.receive()

    async def drain(self) -> None:
        """Read until the host closes."""
        with suppress(OSError):
            while await self.receive():
                continue

    def end(self) -> None:
        """Hang up."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
