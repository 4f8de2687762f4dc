"""NATS servers for tests: started on a free port of the loopback, killed, and started again there."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import SystemRandom
from typing import Final, Self

from capnet_transports.nats_access import User, server_config
from tests.interop.counterparts import program

__all__ = ["USERS", "NatsServer", "free_port", "nats_server"]

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
