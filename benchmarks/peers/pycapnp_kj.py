"""pycapnp: Cap'n Proto's C++ library on asyncio, over a unix socket."""
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import capnp

from benchmarks.address import host_and_port, path_of
from benchmarks.subject import Opening, Subject, Unit
from benchmarks.workload import CHAIN, TEXT, Row

__all__ = ["SUBJECT"]

bench = capnp.load(str(Path(__file__).with_name("bench.capnp")))

WINDOW = 256
"""Items of a stream that are under way at once."""


class Echo(bench.Echo.Server):
    """What the server serves."""

    async def echo(self, value: Any, **_: Any) -> Any:
        return value

    async def callback(self, target: Any, value: Any, **_: Any) -> Any:
        return (await target.back(value)).value

    async def numbers(self, count: int, items: Any, **_: Any) -> None:
        for start in range(0, count, WINDOW):
            numbers = range(start, min(start + WINDOW, count))
            await asyncio.gather(*(items.item(number, TEXT) for number in numbers))

    async def blob(self, data: bytes, **_: Any) -> bytes:
        return data

    async def first(self, **_: Any) -> Any:
        return Node(0)


class Node(bench.Node.Server):
    """A link of a chain."""

    def __init__(self, before: int) -> None:
        self._before = before

    async def next(self, **_: Any) -> Any:
        return Node(self._before + 1)

    async def value(self, **_: Any) -> int:
        return self._before


class Back(bench.Callback.Server):
    """The client's own capability."""

    async def back(self, value: Any, **_: Any) -> Any:
        return value


class Items(bench.Items.Server):
    """Where a stream's items go: calls on an object of the consumer's.

    They are plain calls, many at once: that is more than twice as fast as the library's own `-> stream` calls, each of
    which is waited for.
    """

    def __init__(self) -> None:
        self.numbers = self.letters = 0

    async def item(self, n: int, s: str, **_: Any) -> None:
        self.numbers += n
        self.letters += len(s)


async def _serve(stream: Any) -> None:
    await capnp.TwoPartyServer(stream, bootstrap=Echo()).on_disconnect()


@asynccontextmanager
async def serving(path: str, _: Row) -> AsyncGenerator[str]:
    async with capnp.kj_loop():
        server = await capnp.AsyncIoStream.create_unix_server(_serve, path)
        serve = asyncio.ensure_future(server.serve_forever())
        yield f"unix:{path}"
        serve.cancel()


@asynccontextmanager
async def _loop(opening: Opening, address: str, row: Row) -> AsyncGenerator[Unit]:
    async with capnp.kj_loop(), opening(address, row) as unit:
        yield unit


def _on_loop(opening: Opening) -> Opening:
    """Its own event loop runs inside asyncio's for as long as the units are used."""
    return lambda address, row: _loop(opening, address, row)


async def _dial(address: str) -> tuple[Any, Any]:
    if address.startswith("unix:"):
        stream = await capnp.AsyncIoStream.create_unix_connection(path_of(address))
    else:
        stream = await capnp.AsyncIoStream.create_connection(*host_and_port(address))
    client = capnp.TwoPartyClient(stream)
    return client, client.bootstrap().cast_as(bench.Echo)


async def _echo(proxy: Any, value: dict[str, Any]) -> dict[str, Any]:
    answer = (await proxy.echo(value)).value
    return {"n": answer.n, "s": answer.s}


@asynccontextmanager
async def echo(address: str, row: Row) -> AsyncGenerator[Unit]:
    argument = row.argument
    _, proxy = await _dial(address)
    yield lambda: _echo(proxy, argument)


@asynccontextmanager
async def callback(address: str, row: Row) -> AsyncGenerator[Unit]:
    argument, back = row.argument, Back()
    _, proxy = await _dial(address)

    async def unit() -> object:
        answer = (await proxy.callback(back, argument)).value
        return {"n": answer.n, "s": answer.s}

    yield unit


@asynccontextmanager
async def connect(address: str, row: Row) -> AsyncGenerator[Unit]:
    argument = row.argument

    async def unit() -> object:
        client, proxy = await _dial(address)
        answer = await _echo(proxy, argument)
        client.close()
        return answer

    yield unit


@asynccontextmanager
async def numbers(address: str, row: Row) -> AsyncGenerator[Unit]:
    _, proxy = await _dial(address)

    async def unit() -> object:
        items = Items()
        await proxy.numbers(row.items, items)
        return items.numbers, items.letters

    yield unit


@asynccontextmanager
async def blob(address: str, row: Row) -> AsyncGenerator[Unit]:
    argument = row.argument
    _, proxy = await _dial(address)

    async def unit() -> object:
        return (await proxy.blob(argument)).data

    yield unit


@asynccontextmanager
async def chain(address: str, _: Row) -> AsyncGenerator[Unit]:
    """Calls on results that have not arrived, as capnet does it."""
    _, proxy = await _dial(address)
    first = (await proxy.first()).node

    async def unit() -> object:
        node = first.next()
        for _ in range(CHAIN - 2):
            node = node.node.next()
        return (await node.node.value()).before

    yield unit


@asynccontextmanager
async def idle(address: str, row: Row) -> AsyncGenerator[Unit]:
    argument = row.argument
    opened: list[Any] = []

    async def unit() -> object:
        opened.append(await _dial(address))
        return await _echo(opened[-1][1], argument)

    yield unit


OPENINGS: dict[Any, Opening] = {
    "echo": _on_loop(echo),
    "callback": _on_loop(callback),
    "connect": _on_loop(connect),
    "numbers": _on_loop(numbers),
    "blob": _on_loop(blob),
    "chain": _on_loop(chain),
    "idle": _on_loop(idle),
}
SUBJECT = Subject(serving=serving, openings=OPENINGS)
