"""py-capnweb: Cap'n Web in Python, over its WebSocket, which listens on TCP only."""
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, redirect_stdout
from typing import Any

from capnweb.client import Client, ClientConfig
from capnweb.error import RpcError
from capnweb.server import Server, ServerConfig
from capnweb.types import RpcTarget

from benchmarks.address import host_and_port
from benchmarks.subject import Opening, Subject, Unit
from benchmarks.workload import CHAIN, Row

__all__ = ["SUBJECT"]


class Echo(RpcTarget):
    """What the server serves."""

    async def call(self, method: str, args: list[Any]) -> Any:
        match method:
            case "echo":
                return args[0]
            case "next":
                return args[0] + 1
            case _:
                raise RpcError.not_found(method)

    async def get_property(self, property: str) -> Any:  # noqa: A002 - its name there
        raise RpcError.not_found(property)


@asynccontextmanager
async def serving(_path: str, _: Row) -> AsyncGenerator[str]:
    server = Server(ServerConfig(host="127.0.0.1", port=0))
    server.register_capability(0, Echo())
    with redirect_stdout(sys.stderr):  # it prints where it listens
        await server.start()
    yield f"tcp:127.0.0.1:{server.port}"
    await server.stop()


def _client(address: str) -> Any:
    host, port = host_and_port(address)
    return Client(ClientConfig(url=f"ws://{host}:{port}/rpc/ws"))


@asynccontextmanager
async def echo(address: str, row: Row) -> AsyncGenerator[Unit]:
    arguments = [row.argument]
    async with _client(address) as client:
        yield lambda: client.call(0, "echo", arguments)


@asynccontextmanager
async def connect(address: str, row: Row) -> AsyncGenerator[Unit]:
    arguments = [row.argument]

    async def unit() -> object:
        async with _client(address) as client:
            return await client.call(0, "echo", arguments)

    yield unit


@asynccontextmanager
async def chain(address: str, _: Row) -> AsyncGenerator[Unit]:
    """Each call waits for the one before: a batch of 0.5.0 fails when a call in it takes or is made on a promise."""
    async with _client(address) as client:

        async def unit() -> object:
            node: Any = -1
            for _ in range(CHAIN):
                node = await client.call(0, "next", [node])
            return node

        yield unit


@asynccontextmanager
async def idle(address: str, row: Row) -> AsyncGenerator[Unit]:
    arguments = [row.argument]
    async with AsyncExitStack() as opened:

        async def unit() -> object:
            client = await opened.enter_async_context(_client(address))
            return await client.call(0, "echo", arguments)

        yield unit


OPENINGS: dict[Any, Opening] = {"echo": echo, "connect": connect, "chain": chain, "idle": idle}
SUBJECT = Subject(serving=serving, openings=OPENINGS)
