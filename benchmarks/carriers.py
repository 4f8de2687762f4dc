"""Floors over what is not a unix socket: a TCP port, TLS, WebSocket, a NATS server; each as its own library does it.

A carrier that has messages carries pieces of the floor's bytes in them, as many at once as are there. On `nats` the
server's process starts the NATS server as well, and there is one connection at a time.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["CERTIFICATE", "certificate", "dial", "listening", "nats_server", "there"]

P = TypeVar("P", bound=asyncio.Protocol)
CERTIFICATE = "bench.pem"
"""The file of the server's certificate and key, beside its socket."""
_MESSAGE = 64 * 1024
_FULL = 256 * 1024
_SUBJECTS = ("bench.up", "bench.down")
_MAKE = """
import sys
from capnet_transports.certificates import make
made = make("bench")
open(sys.argv[1], "w").write(made.private + made.public)
print(made.pin, end="")
"""


def there(carrier: str) -> bool:
    """Whether it can be measured here."""
    return carrier != "nats" or shutil.which("nats-server") is not None


def certificate(path: str) -> str:
    """Make one at `path`, in another process: a floor's own knows nothing of capnet. Gives its pin."""
    made = subprocess.run([sys.executable, "-c", _MAKE, path], check=True, stdout=subprocess.PIPE, text=True)
    return made.stdout


@contextmanager
def nats_server() -> Generator[int]:
    """The port of a NATS server that runs inside the block and lets anybody in."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    command = ["nats-server", "--addr", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            while True:
                with suppress(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", port), timeout=30).close()
                    break
                if server.poll() is not None:
                    raise RuntimeError("nats-server has ended")
            yield port
        finally:
            server.kill()


@asynccontextmanager
async def listening(protocol: Callable[[], asyncio.Protocol], carrier: str, folder: Path) -> AsyncGenerator[str]:
    """Listen by that carrier inside the block; gives the address."""
    loop = asyncio.get_running_loop()
    if carrier in ("tcp", "tls"):
        context = None
        if carrier == "tls":
            certificate(str(folder / CERTIFICATE))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_cert_chain(folder / CERTIFICATE)
        server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=context)
        async with server:
            yield f"{carrier}:127.0.0.1:{server.sockets[0].getsockname()[1]}"
    elif carrier == "ws":
        from websockets.asyncio.server import ServerConnection, serve

        async def handle(connection: ServerConnection) -> None:
            await _converse(protocol(), connection)

        async with serve(handle, "127.0.0.1", 0, compression=None) as listener:
            yield f"ws://127.0.0.1:{next(iter(listener.sockets)).getsockname()[1]}"
    else:
        with nats_server() as port:
            address = f"nats://127.0.0.1:{port}"
            client, _ = await _over_nats(protocol(), address, *_SUBJECTS)
            yield address
            await client.close()


async def dial(protocol: Callable[[], P], address: str) -> P:
    """Connect to a floor that listens there."""
    loop = asyncio.get_running_loop()
    scheme, _, rest = address.partition(":")
    if scheme in ("tcp", "tls"):
        context = None
        if scheme == "tls":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        host, _, port = rest.rpartition(":")
        _, connected = await loop.create_connection(protocol, host, int(port), ssl=context)
        return connected
    connected = protocol()
    if scheme == "ws":
        from websockets.asyncio.client import connect

        connection = await connect(address, compression=None)
        Messages.tasks.add(task := loop.create_task(_converse(connected, connection)))
        task.add_done_callback(Messages.tasks.discard)
        await asyncio.sleep(0)
    else:
        client, transport = await _over_nats(connected, address, *reversed(_SUBJECTS))
        transport.on_close = client.close
    return connected


class Messages(asyncio.Transport):
    """What a protocol writes, in messages of something else."""

    tasks: set[asyncio.Task[Any]] = set()  # noqa: RUF012 (of all of them)

    def __init__(self, protocol: asyncio.Protocol, send: Callable[[bytes], Awaitable[None]]) -> None:
        super().__init__()
        self.on_close: Callable[[], Awaitable[None]] | None = None
        self._protocol = protocol
        self._send = send
        self._queue = bytearray()
        self._news = asyncio.Event()
        self._full = False
        self._closing = False
        self.task = asyncio.get_running_loop().create_task(self._run())
        self.tasks.add(self.task)
        self.task.add_done_callback(self.tasks.discard)
        protocol.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._queue += data
        self._news.set()
        if len(self._queue) > _FULL and not self._full:
            self._full = True
            self._protocol.pause_writing()

    def close(self) -> None:
        self._closing = True
        self._news.set()

    async def _run(self) -> None:
        try:
            while self._queue or not self._closing:
                await self._news.wait()
                self._news.clear()
                while self._queue:
                    piece = bytes(self._queue[:_MESSAGE])
                    del self._queue[: len(piece)]
                    await self._send(piece)
                if self._full:
                    self._full = False
                    self._protocol.resume_writing()
            if self.on_close is not None:
                await self.on_close()
        finally:
            self._protocol.connection_lost(None)


async def _converse(protocol: asyncio.Protocol, connection: Any) -> None:
    """Have a protocol speak through a WebSocket connection until that ends."""
    transport = Messages(protocol, connection.send)
    transport.on_close = connection.close
    async for message in connection:
        protocol.data_received(message)
    transport.close()
    await asyncio.wait([transport.task])


async def _over_nats(protocol: asyncio.Protocol, address: str, hears: str, says: str) -> tuple[Any, Messages]:
    from nats.aio.client import Client

    client: Any = Client()
    await client.connect(address, allow_reconnect=False)

    async def heard(message: Any) -> None:
        protocol.data_received(message.data)

    await client.subscribe(hears, cb=heard)
    await client.flush()
    await client.flush()
    return client, Messages(protocol, partial(client.publish, says))
