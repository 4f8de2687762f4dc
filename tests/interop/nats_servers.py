"""NATS servers for tests: started on a free port of the loopback, killed, and started again there."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from random import SystemRandom
from typing import Any, Final, Self

import anyio
import pytest

from capnet import Host
from capnet_transports.nats_access import Subjects, User, server_config
from tests.interop.counterparts import program
from tests.loops import ASYNCIO, UVLOOP
from tests.transports.test_tcp import PlainAdder

__all__ = [
    "ANNA",
    "EVE",
    "FLEET",
    "LIMIT",
    "OPEN",
    "OTTO",
    "SUBJECTS",
    "USERS",
    "NatsServer",
    "free_port",
    "nats_server",
    "on_asyncio",
    "raw",
    "server",
    "serving",
    "until",
]

USERS: Final = (
    User("fleet", "fleet-password", serves=["adder"]),
    User("anna", "anna-password", dials=["adder"]),
    User("otto", "otto-password", dials=["adder"]),
    User("eve", "eve-password", dials=["other"]),
)
"""Hosts that serve, two who may dial them, and one who may not."""


class NatsServer:
    """One that runs, until it is killed.

    Args:
        folder: where its configuration is, `nats.conf`.
        port: where it listens; a free one when 0.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self._command = [program("nats-server"), "--config", str(folder / "nats.conf"), "--addr", "127.0.0.1"]
        self._log = folder / "nats.log"
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, service: str = "adder") -> str:
        return f"nats://127.0.0.1:{self.port}/{service}"

    def start(self) -> Self:
        """On the port that it had before."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*self._command, "--port", str(self.port)], stdout=log, stderr=log)
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=60).close()
            except ConnectionRefusedError:
                assert self._process.poll() is None, self._log.read_text()
                self._wait(0.05)
            else:
                return self
        raise AssertionError(self._log.read_text())

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _wait(self, seconds: float) -> None:
        assert self._process is not None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)


def free_port() -> int:
    """One that the system gives to nobody by itself: while the server is down, who looks for it there must not be given
    that very port, and connect to himself."""
    while True:
        try:
            with socket.create_server(("127.0.0.1", SystemRandom().randrange(20_000, 30_000))) as free:
                return int(free.getsockname()[1])
        except OSError:
            continue


@contextmanager
def nats_server(folder: Path, config: str | None = None) -> Generator[NatsServer]:
    """One that runs for the length of a block, and knows `USERS` unless another configuration is given."""
    (folder / "nats.conf").write_text(server_config(USERS) if config is None else config)
    server = NatsServer(folder)
    try:
        yield server.start()
    finally:
        server.kill()


LIMIT = 60.0
FLEET: dict[str, Any] = {"user": "fleet", "password": "fleet-password"}
ANNA: dict[str, Any] = {"user": "anna", "password": "anna-password"}
OTTO: dict[str, Any] = {"user": "otto", "password": "otto-password"}
EVE: dict[str, Any] = {"user": "eve", "password": "eve-password"}
OPEN: dict[str, Any] = {"user": None}
SUBJECTS = Subjects("adder")


@pytest.fixture(name="anyio_backend", scope="module", params=[ASYNCIO, UVLOOP])
def on_asyncio(request: pytest.FixtureRequest) -> Any:
    """All that its client runs on."""
    return request.param


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[NatsServer]:
    with nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@asynccontextmanager
async def serving(server: NatsServer, *, host: Host | None = None, **options: Any) -> AsyncGenerator[Host]:
    async with host or Host() as host:
        host.serve(PlainAdder())
        await host.listen(server.url(), **({**FLEET} | options))
        yield host


@asynccontextmanager
async def raw(server: NatsServer, who: dict[str, Any]) -> AsyncGenerator[tuple[Any, list[str]]]:
    """The client of NATS alone, and the errors that its server has told it."""
    from nats.aio.client import Client

    client, told = Client(), list[str]()

    async def tell(error: Exception) -> None:
        told.append(str(error))

    await client.connect(f"nats://127.0.0.1:{server.port}", error_cb=tell, allow_reconnect=False, **who)
    try:
        yield client, told
    finally:
        await client.close()


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(LIMIT):
        while not condition():  # noqa: ASYNC110 (what is waited for tells nobody)
            await anyio.sleep(0.01)
