"""What tests of faults share: every transport that has a listener, and a wire to it that can be held up and cut.

A carrier is one of them with all that both sides are told; `tests/interop` adds those that need programs of others.
"""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import anyio
from anyio.abc import TaskGroup
from sniffio import current_async_library

from capnet import Admission, Host
from capnet_transports.certificates import Certificate, make

__all__ = [
    "CARRIERS",
    "HOST",
    "PAGE",
    "PEER",
    "TOKEN",
    "PagesOfOurs",
    "Carrier",
    "Listening",
    "Wire",
    "carriers",
    "everywhere",
    "wire",
]

PAGE: Final = "https://page.example"
TOKEN: Final = "correct-horse-battery-staple"


class PagesOfOurs:
    """A policy that admits the pages of one origin."""

    async def admit(self, request: Admission) -> bool:
        return request.attestation.origin == PAGE


class Carrier(Protocol):
    """A transport with its options."""

    @property
    def options(self) -> Mapping[str, Any]:
        """What a client is told."""
        ...

    def serving(self, host: Host, folder: Path) -> AbstractAsyncContextManager[str]:
        """A host that listens for the length of a block, and its URL."""
        ...


@dataclass(frozen=True)
class Listening:
    """One whose host listens itself."""

    url: str
    told: Mapping[str, Any] = field(default_factory=dict[str, Any])
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @asynccontextmanager
    async def serving(self, host: Host, folder: Path) -> AsyncGenerator[str]:
        listener = await host.listen(self.url.format(folder=folder), **self.told)
        try:
            yield listener.url
        finally:
            await listener.aclose()


@dataclass(frozen=True)
class Mounted:
    """One whose host is served by a web server."""

    options: Mapping[str, Any]

    @asynccontextmanager
    async def serving(self, host: Host, folder: Path) -> AsyncGenerator[str]:
        from capnet_transports.asgi import mount
        from tests.transports.servers import SERVERS  # which takes long to import

        server = "hypercorn+trio" if current_async_library() == "trio" else "uvicorn"
        async with SERVERS[server][1](mount(host, token=TOKEN)) as port:
            yield f"ws://127.0.0.1:{port}/capnet"


def carriers(host: Certificate, peer: Certificate) -> dict[str, Carrier]:
    """Those that need nothing but Python, for two who know each other by these certificates."""
    token = {"token": TOKEN}
    listens, connects = {"certificate": host, "ca": peer}, {"certificate": peer, "ca": host}
    return {
        "unix": Listening("unix:{folder}/s"),
        "tcp": Listening("tcp:127.0.0.1:0", token, token),
        "tls": Listening("tls:127.0.0.1:0", listens, connects),
        "ws": Listening("ws://127.0.0.1:0/capnet", token, token),
        "wss": Listening("wss://127.0.0.1:0/capnet", listens, connects),
        "asgi": Mounted(token),
    }


HOST: Final = make("host")
PEER: Final = make("peer")
CARRIERS: Final = carriers(HOST, PEER)


@asynccontextmanager
async def everywhere(
    host: Host, folder: Path, reached: Mapping[str, Carrier] = CARRIERS
) -> AsyncGenerator[dict[str, str]]:
    """A host that listens at every one of them for the length of a block; the URLs by their names."""
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(one.serving(host, folder)) for name, one in reached.items()}


_FIRST: Final = 60
"""Bytes of a client's first words that are kept, at least; no client's handshake is shorter."""


class Wire:
    """Passes on what clients and a host say to each other.

    Attributes:
        url: where clients connect to.
        target: the same without the wire.
        most: bytes that are passed on at once.
        pauses: seconds before each, from clients (0) and from the host (1).
        said: the first words of the client that came last.
    """

    def __init__(
        self, url: str, target: str, door: socket.socket, far: str | tuple[str, int], tasks: TaskGroup
    ) -> None:
        self.url = url
        self.target = target
        self.most = 65_536
        self.pauses = [0.0, 0.0]
        self.said = b""
        self._door = door
        self._far = far
        self._tasks = tasks
        self._stopped = (anyio.Event(), anyio.Event())

    def stop(self, *ways: int) -> None:
        """Pass nothing on any more from clients (0), or from the host (1). Nobody is told, as when a cable is cut."""
        for way in ways:
            self._stopped[way].set()

    def dialled(self) -> socket.socket:
        """A socket that is connected to the host, beside the wire."""
        sock = socket.socket(self._door.family)
        sock.connect(self._far)
        return sock

    async def run(self) -> None:
        while True:
            await anyio.wait_readable(self._door)
            self._tasks.start_soon(self._connect, self._door.accept()[0])

    async def _connect(self, near: socket.socket) -> None:
        with near, self.dialled() as far:
            for sock in (near, far):
                sock.setblocking(False)
                if sock.family == socket.AF_INET:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.said = b""
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._until_stopped, near, far, 0)
                tasks.start_soon(self._until_stopped, far, near, 1)
                await anyio.sleep_forever()  # both stay open: no end is told that was not said

    async def _until_stopped(self, source: socket.socket, sink: socket.socket, way: int) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._pass_on, source, sink, way)
            await self._stopped[way].wait()
            tasks.cancel_scope.cancel()

    async def _pass_on(self, source: socket.socket, sink: socket.socket, way: int) -> None:
        with suppress(OSError):  # one of the two was cut
            while True:
                await anyio.wait_readable(source)
                await anyio.sleep(self.pauses[way])
                data = source.recv(self.most)
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                if way == 0 and len(self.said) < _FIRST:
                    self.said += data
                rest = memoryview(data)
                while rest:
                    try:
                        rest = rest[sink.send(rest) :]
                    except BlockingIOError:
                        await anyio.wait_writable(sink)


@asynccontextmanager
async def wire(url: str, folder: Path) -> AsyncGenerator[Wire]:
    """A wire to a host, for the length of a block."""
    far: str | tuple[str, int]
    if url.startswith("unix:"):
        door, path = socket.socket(socket.AF_UNIX), str(folder / "w")
        door.bind(path)
        door.listen()
        far, near = url.removeprefix("unix:"), f"unix:{path}"
    else:
        door = socket.create_server(("127.0.0.1", 0))
        place = re.search(r"127\.0\.0\.1:(\d+)", url)
        assert place is not None
        far = ("127.0.0.1", int(place[1]))
        near = url.replace(place[0], f"127.0.0.1:{door.getsockname()[1]}")
    with door:
        door.setblocking(False)
        async with anyio.create_task_group() as tasks:
            made = Wire(near, url, door, far, tasks)
            tasks.start_soon(made.run)
            yield made
            tasks.cancel_scope.cancel()
