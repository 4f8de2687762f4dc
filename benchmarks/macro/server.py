"""The serving side on capnet."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.macro.contract import Callback, Echo, Node
from benchmarks.subject import TEXT
from capnet import Host, Stream

__all__ = ["EchoService", "NodeService", "serving"]


class EchoService(Echo):
    """Answers at once, or after the callback."""

    async def echo(self, value: dict[str, Any]) -> dict[str, Any]:
        return value

    async def callback(self, target: Callback, value: dict[str, Any]) -> dict[str, Any]:
        return await target.back(value)

    async def numbers(self, count: int) -> Stream[tuple[int, str]]:
        for number in range(count):
            yield number, TEXT

    async def blob(self, data: bytes) -> bytes:
        return data


class NodeService(Node):
    """A link that makes the next one when it is asked for."""

    def __init__(self, before: int) -> None:
        self._before = before

    async def next(self) -> Node:
        return NodeService(self._before + 1)

    async def value(self) -> int:
        return self._before


@asynccontextmanager
async def serving(path: str) -> AsyncGenerator[None]:
    """Listen on a unix socket inside the block, with everything at its default."""
    async with Host() as host:
        host.serve(EchoService())
        host.serve(NodeService(0))
        await host.listen(f"unix:{path}")
        yield
