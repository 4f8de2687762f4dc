"""A program that misbehaves towards a host in one way, as fast as it can, between `go` and `stop` on standard input.

It answers each with a line: how many frames and connections it has come to. When its connection ends, it comes back.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio

from capnet.limits import Limits
from capnet.wire.codec import Codec
from capnet.wire.frames import Op
from capnet.wire.framing import FrameReader, header
from capnet.wire.hello import Hello

__all__ = ["KINDS"]

_HELLO = Hello("bad", Limits(max_caps=100_000)).to_frame()
_MOST_DRIPS = 20
_NOTHING: dict[str, Any] = {}


class Peer:
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


async def flood_of_calls(peer: Peer) -> None:
    """As many calls at once as may run, and the next ones with the answers."""
    frames, id, free = FrameReader(1_000_000), 2, 200
    while True:
        if free >= 50:
            await peer.send(peer.pack(*([Op.CALL, id + n, 2, "add", {"a": 1}] for n in range(free))), free)
            id, free = id + free, 0
        data = await peer.receive()
        if not data:
            return
        free += sum(1 for frame in frames.frames(data) if frame[1] == Op.RESULT)


async def flood_of_pings(peer: Peer) -> None:
    """Until it is cut off."""
    data = peer.pack([Op.PING, 1]) * 1000
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(peer.drain)
        with suppress(OSError):
            while True:
                await peer.send(data, 1000)


async def slow_reader(peer: Peer) -> None:
    """Asks for much and reads nothing, until it is given up."""
    id = 2
    while True:
        await peer.send(peer.pack([Op.CALL, id, 2, "echo", {"value": bytes(500_000)}]), 1)
        id += 1


async def slow_drip(peer: Peer) -> None:
    """A long frame a byte at a time."""
    for byte in header(4_000_000) + bytes(100_000):
        await peer.send(bytes([byte]), 0)
        await anyio.sleep(0.005)


async def item_bombs(peer: Peer) -> None:
    """Frames with more values than there may be: refused by the scan, and the connection with them."""
    payload = b"\x83\x03\x01" + b"\x9b" + (1_000_000).to_bytes(8) + b"\x80" * 1_000_000
    with suppress(OSError):
        await peer.send(header(len(payload)) + payload, 1)
    await peer.drain()


async def legal_bombs(peer: Peer) -> None:
    """Calls with as many values as there may be, which fail for their arguments."""
    id = 2
    value: list[Any] = [[]] * 65_000
    frame = peer.pack([Op.CALL, id, 2, "add", {"a": value}])
    at = frame.index(b"\x85\x02\x02") + 2
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(peer.drain)
        with suppress(OSError):
            while True:
                id += 1
                await peer.send(_with_id(frame, at, id), 1)


async def cancel_storm(peer: Peer) -> None:
    """Calls that are cancelled as they are made, until it is cut off."""
    id = 2
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(peer.drain)
        with suppress(OSError):
            while True:
                pairs: list[list[Any]] = []
                for n in range(id, id + 100):
                    pairs += [Op.CALL, n, 2, "hold", _NOTHING], [Op.CANCEL, n]
                await peer.send(peer.pack(*pairs), 200)
                id += 100


KINDS: dict[str, Callable[[Peer], Awaitable[None]]] = {
    "calls": flood_of_calls,
    "pings": flood_of_pings,
    "slow reader": slow_reader,
    "slow drip": slow_drip,
    "item bombs": item_bombs,
    "legal bombs": legal_bombs,
    "cancels": cancel_storm,
}


def _with_id(frame: bytes, at: int, id: int) -> bytes:
    """A call frame whose id of one byte is another one, of five."""
    changed = frame[:at] + b"\x1a" + id.to_bytes(4) + frame[at + 1 :]
    return header(len(changed) - 4) + changed[4:]


async def _misbehave(peer: Peer, kind: str) -> None:
    try:
        while True:
            if await peer.begin():
                with suppress(OSError):
                    await KINDS[kind](peer)
    finally:
        peer.end()


async def _main(path: str, kind: str) -> None:
    print("ready", flush=True)
    while True:
        await _line("go")
        peers = [Peer(path) for _ in range(_MOST_DRIPS if kind == "slow drip" else 1)]
        async with anyio.create_task_group() as tasks:
            for peer in peers:
                tasks.start_soon(_misbehave, peer, kind)
            print("gone", flush=True)
            await _line("stop")
            tasks.cancel_scope.cancel()
        print(sum(peer.frames for peer in peers), sum(peer.connections for peer in peers), flush=True)


async def _line(expected: str) -> None:
    await anyio.wait_readable(sys.stdin.fileno())
    if sys.stdin.readline().strip() != expected:
        os._exit(0)  # nobody asks any more


if __name__ == "__main__":
    if len(sys.argv) > 3:
        os.sched_setaffinity(0, {int(sys.argv[3])})
    anyio.run(_main, sys.argv[1], sys.argv[2])
