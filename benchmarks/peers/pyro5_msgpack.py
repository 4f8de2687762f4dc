"""Pyro5 with msgpack, which blocks: a thread for each connection of the server, over a unix socket."""
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import Pyro5.api
from Pyro5 import config

from benchmarks.address import host_and_port, path_of
from benchmarks.subject import Opening, Subject, Unit, blocking
from benchmarks.workload import CHAIN, TEXT, Row

__all__ = ["SUBJECT"]

config.SERIALIZER = "msgpack"

NAME = "echo"


@Pyro5.api.expose
class Echo:
    """What the server serves."""

    def echo(self, value: dict[str, Any]) -> dict[str, Any]:
        return value

    def callback(self, target: Any, value: dict[str, Any]) -> dict[str, Any]:
        with target:
            return target.back(value)

    def numbers(self, count: int) -> Iterator[tuple[int, str]]:
        for number in range(count):
            yield number, TEXT

    def blob(self, data: bytes) -> bytes:
        return data

    def next(self, before: int) -> int:
        return before + 1


@Pyro5.api.expose
class Back:
    """The client's own object."""

    def back(self, value: dict[str, Any]) -> dict[str, Any]:
        return value


@asynccontextmanager
async def serving(path: str, row: Row) -> AsyncGenerator[str]:
    if row.shape == "idle":
        # Its pool has 80 threads at most; this is its server for many connections.
        config.SERVERTYPE = "multiplex"
    with _daemon(path, Echo(), NAME):
        yield f"unix:{path}"


class _daemon:
    """A daemon with one object, in a thread of its own, inside the block."""

    def __init__(self, path: str, served: object, name: str) -> None:
        self._daemon = Pyro5.api.Daemon(unixsocket=path)
        self._daemon.register(served, name)

    def __enter__(self) -> None:
        self._thread = threading.Thread(target=self._daemon.requestLoop, daemon=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._daemon.shutdown()


def _dial(address: str) -> Any:
    if address.startswith("unix:"):
        return Pyro5.api.Proxy(f"PYRO:{NAME}@./u:{path_of(address)}")
    host, port = host_and_port(address)
    return Pyro5.api.Proxy(f"PYRO:{NAME}@{host}:{port}")


@asynccontextmanager
async def echo(address: str, row: Row) -> AsyncGenerator[Unit]:
    argument = row.argument
    with _dial(address) as proxy:
        yield blocking(lambda: proxy.echo(argument))


@asynccontextmanager
async def callback(address: str, row: Row) -> AsyncGenerator[Unit]:
    """The server calls back over a connection of its own, which it makes for each object that arrives."""
    argument, back = row.argument, Back()
    with (
        TemporaryDirectory() as folder,
        _daemon(str(Path(folder) / "back.sock"), back, "back"),
        _dial(address) as proxy,
    ):
        yield blocking(lambda: proxy.callback(back, argument))


@asynccontextmanager
async def connect(address: str, row: Row) -> AsyncGenerator[Unit]:
    argument = row.argument

    def unit() -> object:
        with _dial(address) as proxy:
            return proxy.echo(argument)

    yield blocking(unit)


@asynccontextmanager
async def numbers(address: str, row: Row) -> AsyncGenerator[Unit]:
    with _dial(address) as proxy:

        def unit() -> object:
            numbers = letters = 0
            for number, text in proxy.numbers(row.items):
                numbers += number
                letters += len(text)
            return numbers, letters

        yield blocking(unit)


@asynccontextmanager
async def blob(address: str, row: Row) -> AsyncGenerator[Unit]:
    argument = row.argument
    with _dial(address) as proxy:
        yield blocking(lambda: proxy.blob(argument))


@asynccontextmanager
async def chain(address: str, _: Row) -> AsyncGenerator[Unit]:
    """A call on a result waits for the result."""
    with _dial(address) as proxy:

        def unit() -> object:
            node = -1
            for _ in range(CHAIN):
                node = proxy.next(node)
            return node

        yield blocking(unit)


@asynccontextmanager
async def idle(address: str, row: Row) -> AsyncGenerator[Unit]:
    argument = row.argument
    opened: list[Any] = []

    def unit() -> object:
        opened.append(_dial(address))
        return opened[-1].echo(argument)

    yield blocking(unit)
    for proxy in opened:
        proxy._pyroRelease()  # noqa: SLF001 - its public name for this


OPENINGS: dict[Any, Opening] = {
    "echo": echo,
    "callback": callback,
    "connect": connect,
    "numbers": numbers,
    "blob": blob,
    "chain": chain,
    "idle": idle,
}
SUBJECT = Subject(serving=serving, openings=OPENINGS)
