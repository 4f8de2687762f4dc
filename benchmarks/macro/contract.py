"""The capabilities the workloads use."""

from __future__ import annotations

from typing import Any

from capnet import Cap, Stream, call, stream

__all__ = ["Callback", "Echo", "Node"]


class Callback(Cap, name="bench.Callback"):
    """What the client passes in and the server calls back."""

    @call
    async def back(self, value: dict[str, Any]) -> dict[str, Any]:
        """The value as it came."""


class Echo(Cap, name="bench.Echo"):
    """What the server serves."""

    @call
    async def echo(self, value: dict[str, Any]) -> dict[str, Any]:
        """The value as it came."""

    @call
    async def callback(self, target: Callback, value: dict[str, Any]) -> dict[str, Any]:
        """The value as `target` gave it back, called before this call answers."""

    @stream
    def numbers(self, count: int) -> Stream[tuple[int, str]]:
        """The numbers below `count`, each with a short text."""
        ...

    @call
    async def blob(self, data: bytes) -> bytes:
        """The bytes as they came."""

    @call
    async def nodes(self, count: int) -> list[Node]:
        """So many links, each a capability of its own."""


class Node(Cap, name="bench.Node"):
    """A link of a chain; the first one is served."""

    @call
    async def next(self) -> Node:
        """The link after this one."""

    @call
    async def value(self) -> int:
        """How many links come before this one."""
