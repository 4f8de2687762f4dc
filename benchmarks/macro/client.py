"""The calling side on capnet."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from benchmarks.macro.contract import Callback, Echo
from benchmarks.subject import VALUE, Unit
from capnet import connect as connect_to

__all__ = ["callback", "connect", "echo"]


class Back(Callback):
    """The client's own capability; the same object goes out with every call."""

    async def back(self, value: dict[str, Any]) -> dict[str, Any]:
        return value


@asynccontextmanager
async def echo(path: str) -> AsyncGenerator[Unit]:
    """One call on a bootstrapped proxy."""
    async with connect_to(f"unix:{path}") as connection:
        proxy = await connection.bootstrap(Echo)
        yield partial(proxy.echo, VALUE)


@asynccontextmanager
async def callback(path: str) -> AsyncGenerator[Unit]:
    """One call with a capability as argument, which the server calls before it answers."""
    async with connect_to(f"unix:{path}") as connection:
        proxy = await connection.bootstrap(Echo)
        yield partial(proxy.callback, Back(), VALUE)


@asynccontextmanager
async def connect(path: str) -> AsyncGenerator[Unit]:
    """A connection for each call: connect, bootstrap, call, close."""

    async def unit() -> object:
        async with connect_to(f"unix:{path}") as connection:
            proxy = await connection.bootstrap(Echo)
            return await proxy.echo(VALUE)

    yield unit
