"""The serving side on capnet."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.macro.contract import Callback, Echo, Node
from benchmarks.macro.limits import limits_of
from benchmarks.macro.places import listening
from benchmarks.workload import TEXT, Row
from capnet import Admission, CallInfo, Host, Identity, Introduction, Stream
from capnet.observe import CallFinished

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

    async def nodes(self, count: int) -> list[Node]:
        return [NodeService(number) for number in range(count)]


class NodeService(Node):
    """A link that makes the next one when it is asked for."""

    def __init__(self, before: int) -> None:
        self._before = before

    async def next(self) -> Node:
        return NodeService(self._before + 1)

    async def value(self) -> int:
        return self._before


class Guarded:
    """A policy that says yes to everything, and is asked about each call."""

    def identify(self, introduction: Introduction) -> Identity:
        return Identity()

    def admit(self, request: Admission) -> bool:
        return True

    def guard(self, call: CallInfo) -> bool:
        return True


@asynccontextmanager
async def serving(path: str, row: Row) -> AsyncGenerator[str]:
    """Listen inside the block, on a unix socket unless the row has another carrier."""
    async with Host(policy=Guarded() if row.guard else None, limits=limits_of(row)) as host:
        for _ in range(row.observers):
            host.on(CallFinished, _look)
        host.serve(EchoService())
        host.serve(NodeService(0))
        async with listening(host, path, row.carrier) as address:
            yield address


def _look(_: CallFinished) -> None:
    """What an observer does is its own cost; that it is told is ours."""
