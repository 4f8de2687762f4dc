"""The calling side on capnet."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from typing import Any

import capnet
from benchmarks.macro.contract import Callback, Echo, Node
from benchmarks.macro.places import connecting
from benchmarks.subject import Opening, Unit, consume
from benchmarks.workload import CHAIN, Row, Shape

__all__ = ["OPENINGS"]

NODES = 1000
"""Capabilities that are asked for at once: one result holds 1 024."""


class Back(Callback):
    """The client's own capability; the same object goes out with every call."""

    async def back(self, value: dict[str, Any]) -> dict[str, Any]:
        return value


@asynccontextmanager
async def echo(address: str, row: Row) -> AsyncGenerator[Unit]:
    """One call on a bootstrapped proxy."""
    async with connecting(address, row) as connection:
        proxy = await connection.bootstrap(Echo)
        held = [await proxy.nodes(min(NODES, row.exports - start)) for start in range(0, row.exports, NODES)]
        yield partial(proxy.echo, row.argument)
        del held


@asynccontextmanager
async def callback(address: str, row: Row) -> AsyncGenerator[Unit]:
    """One call with a capability as argument, which the server calls before it answers."""
    async with capnet.connect(address) as connection:
        proxy = await connection.bootstrap(Echo)
        yield partial(proxy.callback, Back(), row.argument)


@asynccontextmanager
async def connect(address: str, row: Row) -> AsyncGenerator[Unit]:
    """A connection for each call: connect, bootstrap, call, close."""
    argument = row.argument

    async def unit() -> object:
        async with capnet.connect(address) as connection:
            proxy = await connection.bootstrap(Echo)
            return await proxy.echo(argument)

    yield unit


@asynccontextmanager
async def numbers(address: str, row: Row) -> AsyncGenerator[Unit]:
    """One stream on a bootstrapped proxy."""
    async with connecting(address, row) as connection:
        proxy = await connection.bootstrap(Echo)

        async def unit() -> object:
            async with aclosing(proxy.numbers(row.items)) as items:
                return await consume(items)

        yield unit


@asynccontextmanager
async def blob(address: str, row: Row) -> AsyncGenerator[Unit]:
    """One large call on a bootstrapped proxy."""
    async with connecting(address, row) as connection:
        proxy = await connection.bootstrap(Echo)
        yield partial(proxy.blob, row.argument)


@asynccontextmanager
async def chain(address: str, _: Row) -> AsyncGenerator[Unit]:
    """Calls on results that have not arrived: only the last answer is waited for."""
    async with capnet.connect(address) as connection:
        first = await connection.bootstrap(Node)

        async def unit() -> object:
            node = first.next()
            for _ in range(CHAIN - 2):
                node = capnet.pipe(node).next()
            return await capnet.pipe(node).value()

        yield unit


@asynccontextmanager
async def idle(address: str, row: Row) -> AsyncGenerator[Unit]:
    """A connection that stays, after bootstrap and one call."""
    argument = row.argument
    held: list[Echo] = []
    async with AsyncExitStack() as opened:

        async def unit() -> object:
            connection = await opened.enter_async_context(capnet.connect(address))
            proxy = await connection.bootstrap(Echo)
            held.append(proxy)
            return await proxy.echo(argument)

        yield unit


OPENINGS: Mapping[Shape, Opening] = {
    "echo": echo,
    "callback": callback,
    "connect": connect,
    "numbers": numbers,
    "blob": blob,
    "chain": chain,
    "idle": idle,
}
