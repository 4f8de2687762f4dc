"""RPyC, which blocks: a thread for each connection of the server, and methods that are looked up once (bound).

A dict would stay where it is and be read by further calls, so values travel as tuples, which it copies.
"""
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import rpyc
from rpyc.utils.helpers import buffiter
from rpyc.utils.server import ThreadedServer

from benchmarks.address import host_and_port, path_of
from benchmarks.subject import Opening, Subject, Unit, blocking
from benchmarks.workload import CHAIN, TEXT, Row

__all__ = ["SUBJECT"]

CHUNK = 1000
"""Items of a stream that `buffiter` fetches at once, which is also the most it takes by default."""


class Service(rpyc.Service):
    """What the server serves."""

    def exposed_echo(self, value: tuple[Any, ...]) -> tuple[Any, ...]:
        return value

    def exposed_callback(self, target: Any, value: tuple[Any, ...]) -> tuple[Any, ...]:
        return target(value)

    def exposed_numbers(self, count: int) -> Any:
        return ((number, TEXT) for number in range(count))

    def exposed_blob(self, data: bytes) -> bytes:
        return data

    def exposed_next(self, before: int) -> int:
        return before + 1


@asynccontextmanager
async def serving(path: str, row: Row) -> AsyncGenerator[str]:
    # The relay of a row with latency forwards to what listens; on all rows that is a unix socket.
    server = ThreadedServer(Service, socket_path=path)
    threading.Thread(target=server.start, daemon=True).start()
    yield f"unix:{path}"
    server.close()


def _dial(address: str) -> Any:
    if address.startswith("unix:"):
        return rpyc.utils.factory.unix_connect(path_of(address))
    return rpyc.connect(*host_and_port(address))


@asynccontextmanager
async def echo(address: str, row: Row) -> AsyncGenerator[Unit]:
    with _dial(address) as connection:
        call, items = connection.root.echo, tuple(row.argument.items())
        if row.in_flight == 1:
            yield blocking(lambda: dict(call(items)))
            return
        start = rpyc.async_(call)
        under_way: deque[Any] = deque()

        def oldest() -> object:
            while len(under_way) < row.in_flight:
                under_way.append(start(items))
            return dict(under_way.popleft().value)

        yield blocking(oldest)


@asynccontextmanager
async def callback(address: str, row: Row) -> AsyncGenerator[Unit]:
    with _dial(address) as connection:
        call, items = connection.root.callback, tuple(row.argument.items())

        def back(value: tuple[Any, ...]) -> tuple[Any, ...]:
            return value

        yield blocking(lambda: dict(call(back, items)))


@asynccontextmanager
async def connect(address: str, row: Row) -> AsyncGenerator[Unit]:
    items = tuple(row.argument.items())

    def unit() -> object:
        with _dial(address) as connection:
            return dict(connection.root.echo(items))

    yield blocking(unit)


@asynccontextmanager
async def numbers(address: str, row: Row) -> AsyncGenerator[Unit]:
    with _dial(address) as connection:
        call = connection.root.numbers

        def unit() -> object:
            numbers = letters = 0
            for number, text in buffiter(call(row.items), chunk=CHUNK, max_chunk=CHUNK):
                numbers += number
                letters += len(text)
            return numbers, letters

        yield blocking(unit)


@asynccontextmanager
async def blob(address: str, row: Row) -> AsyncGenerator[Unit]:
    with _dial(address) as connection:
        call, argument = connection.root.blob, row.argument
        yield blocking(lambda: call(argument))


@asynccontextmanager
async def chain(address: str, _: Row) -> AsyncGenerator[Unit]:
    """A call on a result waits for the result."""
    with _dial(address) as connection:
        call = connection.root.next

        def unit() -> object:
            node = -1
            for _ in range(CHAIN):
                node = call(node)
            return node

        yield blocking(unit)


@asynccontextmanager
async def idle(address: str, row: Row) -> AsyncGenerator[Unit]:
    items = tuple(row.argument.items())
    opened: list[Any] = []

    def unit() -> object:
        opened.append(_dial(address))
        return dict(opened[-1].root.echo(items))

    yield blocking(unit)
    for connection in opened:
        connection.close()


OPENINGS: dict[Any, Opening] = {
    "echo": echo,
    "callback": callback,
    "connect": connect,
    "numbers": numbers,
    "blob": blob,
    "chain": chain,
    "idle": idle,
}
SUBJECT = Subject(serving=serving, openings=OPENINGS, windows=True)
