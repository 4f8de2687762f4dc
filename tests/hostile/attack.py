"""An attacker that speaks in bytes, a real host, and an honest client beside that must notice nothing."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio

from capnet import Host, Limits, connect
from capnet.observe import ViolationSeen
from capnet.wire.codec import Codec
from capnet.wire.frames import Op
from capnet.wire.framing import FrameReader, header
from capnet.wire.hello import Hello
from capnet.wire.references import Reference
from tests.connection.shop import MemShop, Shop, until


class Raw:
    """The attacker: sends what it likes, reads frames."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._codec = Codec(Limits.trusted())
        self._reader = FrameReader(2**31)
        self._frames: list[tuple[list[Any], Sequence[Reference]]] = []
        self.bytes = bytearray()

    def pack(self, frame: list[Any]) -> bytes:
        payload = bytes(self._codec.encode(frame))
        return header(len(payload)) + payload

    async def send(self, *parts: bytes | list[Any]) -> None:
        """Write bytes, or frames; a host that hung up already is no surprise."""
        data = b"".join(part if isinstance(part, bytes) else self.pack(part) for part in parts)
        view = memoryview(data)
        while view:
            try:
                view = view[self._sock.send(view) :]
            except BlockingIOError:
                await anyio.wait_writable(self._sock)
            except (BrokenPipeError, ConnectionResetError):
                return

    async def greet(self, *features: str) -> None:
        """An honest hello, and the host's."""
        await self.send(Hello("raw", features=features).to_frame())
        assert (await self.frame())[0] == Op.HELLO

    async def more(self) -> bool:
        """Read; False at the end."""
        await anyio.wait_readable(self._sock)
        try:
            data = self._sock.recv(65536)
        except ConnectionResetError:
            return False
        self.bytes += data
        return bool(data)

    async def frame(self) -> list[Any]:
        """The next frame."""
        start = len(self.bytes)
        while not self._frames:
            assert await self.more(), "closed instead of answering"
            for payload in self._reader.frames(bytes(self.bytes[start:])):
                self._frames.append(self._codec.decode(bytes(payload)))
            start = len(self.bytes)
        return self._frames.pop(0)[0]

    async def reply(self) -> list[Any]:
        """The next frame that answers a call."""
        while (found := await self.frame())[0] not in (Op.RESULT, Op.ERROR, Op.ABORT):
            continue
        return found

    async def closed(self) -> bytes:
        """Everything until the host closes, which it must; then we hang up as well."""
        while await self.more():
            continue
        self._sock.close()
        return bytes(self.bytes)


class Scene:
    """One host, its honest client with a call in flight, and a door for attackers."""

    def __init__(self, host: Host, path: str, implementation: MemShop, shop: Shop) -> None:
        self.host = host
        self.path = path
        self.implementation = implementation
        self.shop = shop
        self.violations: list[ViolationSeen] = []
        host.on(ViolationSeen, self.violations.append)

    @asynccontextmanager
    async def attacker(self) -> AsyncGenerator[Raw]:
        """Connected, and nothing said yet."""
        before = set(self.host.connections)
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.setblocking(False)
            sock.connect(self.path)
            await until(lambda: set(self.host.connections) - before)
            with anyio.fail_after(60):
                yield Raw(sock)
        finally:
            sock.close()

    async def clause(self) -> str:
        """The clause that the host says was broken; it has closed that connection and no other."""
        await until(lambda: self.violations)
        await until(lambda: len(self.host.connections) == 1)
        (violation,) = self.violations
        return violation.clause


@asynccontextmanager
async def scene(limits: Limits | None = None, implementation: MemShop | None = None) -> AsyncGenerator[Scene]:
    """Ends with the honest client's call, made before the attack, answered, and its tables clean."""
    implementation = implementation or MemShop()
    with tempfile.TemporaryDirectory(prefix="cap", dir="/tmp") as folder:
        path = os.path.join(folder, "s")
        async with Host(name="host", limits=limits) as host:
            host.serve(implementation)
            await host.listen(f"unix:{path}")
            async with connect(f"unix:{path}", name="honest") as honest:
                shop = await honest.bootstrap(Shop)
                waiting = shop.wait("before")
                await until(lambda: implementation.gate.entered)
                yield Scene(host, path, implementation, shop)
                with anyio.fail_after(60):
                    assert await shop.add(1) == 11
                    implementation.gate.open()
                    assert await waiting == "shop:before"
                assert honest.close_cause is None
                await until(lambda: not honest.stats()["calls"])
