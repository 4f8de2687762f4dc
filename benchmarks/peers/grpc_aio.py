"""grpcio: its asyncio API, with messages of protobuf, over a unix socket."""
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from benchmarks.subject import Opening, Subject, Unit, consume
from benchmarks.workload import CHAIN, TEXT, Row

__all__ = ["SUBJECT"]

messages, services = grpc.protos_and_services("benchmarks/peers/bench.proto")

OPTIONS = (("grpc.use_local_subchannel_pool", 1),)
"""A channel is a connection of its own, as the workloads want it: by default channels to one server share one."""


class Echo(services.EchoServicer):
    """What the server serves."""

    async def Echo(self, request: Any, context: Any) -> Any:
        return messages.Small(n=request.n, s=request.s)

    async def Numbers(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for number in range(request.count):
            yield messages.Small(n=number, s=TEXT)

    async def Blob(self, request: Any, context: Any) -> Any:
        return messages.Bytes(data=request.data)

    async def Next(self, request: Any, context: Any) -> Any:
        return messages.Count(count=request.count + 1)


@asynccontextmanager
async def serving(path: str, _: Row) -> AsyncGenerator[str]:
    server = grpc.aio.server()
    services.add_EchoServicer_to_server(Echo(), server)
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    yield f"unix:{path}"
    await server.stop(None)


@asynccontextmanager
async def _stub(address: str) -> AsyncGenerator[Any]:
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        yield services.EchoStub(channel)


async def _echo(stub: Any, value: dict[str, Any]) -> dict[str, Any]:
    answer = await stub.Echo(messages.Small(**value))
    return {"n": answer.n, "s": answer.s}


@asynccontextmanager
async def echo(address: str, row: Row) -> AsyncGenerator[Unit]:
    argument = row.argument
    async with _stub(address) as stub:
        yield lambda: _echo(stub, argument)


@asynccontextmanager
async def connect(address: str, row: Row) -> AsyncGenerator[Unit]:
    argument = row.argument

    async def unit() -> object:
        async with _stub(address) as stub:
            return await _echo(stub, argument)

    yield unit


@asynccontextmanager
async def numbers(address: str, row: Row) -> AsyncGenerator[Unit]:
    async with _stub(address) as stub:

        async def items() -> AsyncIterator[tuple[int, str]]:
            async for item in stub.Numbers(messages.Count(count=row.items)):
                yield item.n, item.s

        yield lambda: consume(items())


@asynccontextmanager
async def blob(address: str, row: Row) -> AsyncGenerator[Unit]:
    argument = row.argument
    async with _stub(address) as stub:

        async def unit() -> object:
            return (await stub.Blob(messages.Bytes(data=argument))).data

        yield unit


@asynccontextmanager
async def chain(address: str, _: Row) -> AsyncGenerator[Unit]:
    """It has no references to pipeline on: each call waits for the one before."""
    async with _stub(address) as stub:

        async def unit() -> object:
            node = messages.Count(count=-1)
            for _ in range(CHAIN):
                node = await stub.Next(node)
            return node.count

        yield unit


@asynccontextmanager
async def idle(address: str, row: Row) -> AsyncGenerator[Unit]:
    argument = row.argument
    async with AsyncExitStack() as opened:

        async def unit() -> object:
            return await _echo(await opened.enter_async_context(_stub(address)), argument)

        yield unit


OPENINGS: dict[Any, Opening] = {
    "echo": echo,
    "connect": connect,
    "numbers": numbers,
    "blob": blob,
    "chain": chain,
    "idle": idle,
}
SUBJECT = Subject(serving=serving, openings=OPENINGS)
