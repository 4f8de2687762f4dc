"""Capabilities and functions deep in data: they work there, and are given back with it."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

import anyio

from capnet import Cap, Stream, call, stream
from capnet.testing import assert_no_leaks, connected
from tests.connection.shop import until

Progress = Callable[[float], Awaitable[None]]


@dataclass
class Options:
    """What a caller may say, some of it as functions."""

    ref: str
    on_progress: Progress | None = None
    more: dict[str, Progress] = field(default_factory=dict[str, Progress])


@dataclass
class Entry:
    name: str
    node: Node


class Node(Cap, name="nested.Node"):
    @call
    async def clone(self, options: Options) -> int: ...

    @call
    async def children(self, count: int) -> dict[str, list[Entry]]: ...

    @stream
    def walk(self, count: int) -> Stream[Entry]: ...

    @stream
    def beside(self) -> Stream[int]: ...


class MemNode(Node):
    def __init__(self, closed: list[str], name: str = "") -> None:
        self.closed = closed
        self.name = name

    async def clone(self, options: Options) -> int:
        functions = [one for one in (options.on_progress, *options.more.values()) if one is not None]
        for number, function in enumerate(functions):
            await function(number / 2)
        return len(functions)

    async def children(self, count: int) -> dict[str, list[Entry]]:
        return {"x": [Entry(str(number), MemNode(self.closed, str(number))) for number in range(count)]}

    async def walk(self, count: int) -> Stream[Entry]:
        for number in range(count):
            yield Entry(str(number), MemNode(self.closed, str(number)))

    async def beside(self) -> Stream[int]:
        """A task group and a scope around each step, as when a source is read beside something else."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            with anyio.CancelScope():
                try:
                    for number in range(1000):
                        yield number
                        await anyio.lowlevel.checkpoint()
                finally:
                    self.closed.append("beside")
                    tasks.cancel_scope.cancel()

    async def aclose(self) -> None:
        self.closed.append(self.name)


async def test_functions_in_arguments() -> None:
    """In a dataclass and in a map in that; the same one twice is one. The end of the call gives them back."""
    told: list[float] = []

    async def progress(part: float) -> None:
        told.append(part)

    async def other(part: float) -> None:
        told.append(-part)

    async with connected(MemNode([])) as (server, client):
        node = await client.bootstrap(Node)
        assert await node.clone(Options("a", progress, {"x": progress, "y": other})) == 3
        assert await node.clone(Options("b")) == 0
        assert told == [0, 0.5, -1]
        del node
        gc.collect()
        await assert_no_leaks(server, client)


async def test_proxies_in_results_and_items_are_given_back_with_them() -> None:
    """One that is kept goes on; of the others the close hooks run, each once."""
    closed: list[str] = []
    async with connected(MemNode(closed, "root")) as (server, client):
        node = await client.bootstrap(Node)
        held = client.stats()["imports"]
        found = await node.children(50)
        assert client.stats()["imports"] == held + 50
        kept = found["x"][7].node
        del found
        gc.collect()
        await until(lambda: len(closed) == 49)
        assert len((await kept.children(3))["x"]) == 3
        names = [entry.name async for entry in node.walk(500)]
        assert names == [str(number) for number in range(500)]
        gc.collect()
        await until(lambda: len(closed) == 49 + 3 + 500)
        assert client.stats()["imports"] == held + 1 and "7" not in closed[:49]
        del kept, node
        gc.collect()
        await assert_no_leaks(server, client)
    assert sorted(closed).count("root") == 1 and len(closed) == 50 + 3 + 500 + 1


async def test_a_generator_with_a_scope_of_its_own() -> None:
    """It is left where it was entered, whether it is read to its end, left, or its reader is cancelled."""
    closed: list[str] = []
    async with connected(MemNode(closed)) as (server, client):
        node = await client.bootstrap(Node)
        assert [number async for number in node.beside()] == list(range(1000))
        async with aclosing(node.beside()) as numbers:
            assert await anext(numbers) == 0
        await until(lambda: closed == ["beside"] * 2)
        with anyio.CancelScope() as scope:
            async for number in node.beside():
                if number == 3:
                    scope.cancel()
        await until(lambda: closed == ["beside"] * 3)
        await until(lambda: not server.stats()["streams"] and not client.stats()["streams"])
