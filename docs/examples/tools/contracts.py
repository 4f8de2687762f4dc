"""What the tool server agrees on with its clients, and with the plugin that has the tools."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from capnet import Cap, Stream, call, options, stream

Progress = Callable[[str], Awaitable[None]]


@dataclass(frozen=True)
class About:
    """A tool: what it does, and whether a person has to agree each time."""

    name: str
    text: str
    dangerous: bool


class Toolbox(Cap, name="tools.Toolbox"):
    """The plugin's: all that it can do."""

    @options(idempotent=True)
    @call
    async def tools(self) -> list[About]: ...
    @call
    async def run(self, name: str, arguments: dict[str, Any], progress: Progress | None) -> Any: ...
    @stream
    def follow(self, name: str, arguments: dict[str, Any]) -> Stream[str]: ...


class Tool(Cap, name="tools.Tool"):
    """The server's: one of these, for one client."""

    @call
    async def run(self, arguments: dict[str, Any], progress: Progress | None = None) -> Any: ...
    @stream
    def follow(self, arguments: dict[str, Any]) -> Stream[str]: ...


class Approver(Cap, name="tools.Approver"):
    """A client's: asks a person."""

    @call
    async def approve(self, what: str) -> bool: ...


class Desk(Cap, name="tools.Desk"):
    """The server's: where a client finds tools."""

    @call
    async def search(self, words: str) -> list[About]: ...
    @call
    async def tool(self, name: str, approver: Approver | None = None) -> Tool: ...
