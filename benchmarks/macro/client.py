"""The calling side on capnet."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any

import capnet
from benchmarks.macro.contract import Callback, Echo, Node
from benchmarks.subject import CHAIN, ITEMS, PAYLOAD, VALUE, Unit, consume

__all__ = ["blob", "callback", "chain", "connect", "echo", "numbers"]


class Back(Callback):
    """The client's own capability; the same object goes out with every call."""

    async def back(self, value: dict[str, Any]) -> dict[str, Any]:
        return value


@asynccontextmanager
async def echo(path: str) -> AsyncGenerator[Unit]:
    """One call on a bootstrapped proxy."""
    async with capnet.connect(f"unix:{path}") as connection:
        proxy = await connection.bootstrap(Echo)
        yield partial(proxy.echo, VALUE)


@asynccontextmanager
async def callback(path: str) -> AsyncGenerator[Unit]:
    """One call with a capability as argument, which the server calls before it answers."""
    async with capnet.connect(f"unix:{path}") as connection:
        proxy = await connection.bootstrap(Echo)
        yield partial(proxy.callback, Back(), VALUE)


@asynccontextmanager
async def connect(path: str) -> AsyncGenerator[Unit]:
    """A connection for each call: connect, bootstrap, call, close."""

    async def unit() -> object:
        async with capnet.connect(f"unix:{path}") as connection:
            proxy = await connection.bootstrap(Echo)
            return await proxy.echo(VALUE)

    yield unit


@asynccontextmanager
async def numbers(path: str) -> AsyncGenerator[Unit]:
    """One stream on a bootstrapped proxy."""
    async with capnet.connect(f"unix:{path}") as connection:
        proxy = await connection.bootstrap(Echo)

        async def unit() -> object:
            async with aclosing(proxy.numbers(ITEMS)) as items:
                return await consume(items)

        yield unit


@asynccontextmanager
async def blob(path: str) -> AsyncGenerator[Unit]:
    """One large call on a bootstrapped proxy."""
    async with capnet.connect(f"unix:{path}") as connection:
        proxy = await connection.bootstrap(Echo)
        yield partial(proxy.blob, PAYLOAD)


@asynccontextmanager
async def chain(path: str) -> AsyncGenerator[Unit]:
    """Calls on results that have not arrived: only the last answer is waited for."""
    async with capnet.connect(f"unix:{path}") as connection:
        first = await connection.bootstrap(Node)

        async def unit() -> object:
            node = first.next()
            for _ in range(CHAIN - 2):
                node = capnet.pipe(node).next()
            return await capnet.pipe(node).value()

        yield unit
