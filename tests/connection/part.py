"""A plugin and the part that it serves: what is behind names and slots in tests of these, and how it dies."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from capnet import Cap, Connection, NotFound, Stream, call, options, stream
from capnet.testing import connected
from tests.connection.shop import Gate
from tests.cost import HANGS


class Room(Cap, name="test.SlotRoom"):
    @call
    async def topic(self) -> str: ...


@dataclass
class Feed:
    """A stream inside of data."""

    numbers: AsyncIterable[int] | None = None


class Part(Cap, name="test.SlotPart"):
    """What a plugin does, in the ways that matter when it ends."""

    @call
    async def who(self) -> str: ...
    @call
    async def work(self, key: str) -> str:
        """Waits at the gate."""
        ...

    @options(idempotent=True)
    @call
    async def look(self, keys: list[str]) -> str:
        """The same, and may be made again."""
        ...

    @options(idempotent=True)
    @call
    async def feed(self, numbers: Feed) -> int:
        """Takes one, then waits at the gate; it may be made again, but not with what was taken."""
        ...

    @options(timeout=0.02)
    @call
    async def soon(self) -> str: ...
    @call
    async def room(self, name: str) -> Room: ...
    @stream
    def count(self, first: int) -> Stream[int]:
        """Three numbers, then waits at the gate."""
        ...

    @options(idempotent=True)
    @stream
    def view(self) -> Stream[str]:
        """Waits at the gate, then says who it is."""
        ...


class MemRoom(Room):
    def __init__(self, name: str) -> None:
        self.name = name

    async def topic(self) -> str:
        return self.name


class MemPart(Part):
    def __init__(self, name: str) -> None:
        self.name = name
        self.gate = Gate()
        self.ran: list[str] = []

    async def who(self) -> str:
        return self.name

    async def work(self, key: str) -> str:
        self.ran.append(key)
        await self.gate.pass_through(key)
        return f"{key} by {self.name}"

    async def look(self, keys: list[str]) -> str:
        self.ran.append(",".join(keys))
        await self.gate.pass_through("look")
        return f"{','.join(keys)} by {self.name}"

    async def feed(self, numbers: Feed) -> int:
        assert numbers.numbers is not None
        self.ran.append(str(await anext(aiter(numbers.numbers))))
        await self.gate.pass_through("feed")
        return 1

    async def soon(self) -> str:
        await anyio.sleep(HANGS)
        return self.name

    async def room(self, name: str) -> Room:
        if not name:
            raise NotFound("no such room")
        return MemRoom(f"{name} by {self.name}")

    async def count(self, first: int) -> Stream[int]:
        for number in range(first, first + 3):
            yield number
        await self.gate.pass_through("count")

    async def view(self) -> Stream[str]:
        await self.gate.pass_through("view")
        yield self.name


class Plugin:
    """A program that serves one part: its own end, the one that its host has, and how it dies."""

    def __init__(self, part: MemPart, within: Connection, line: Connection) -> None:
        self.part = part
        self.line = line
        self.within = within

    async def proxy(self) -> Part:
        return await self.line.bootstrap(Part)

    async def die(self) -> None:
        """It is gone without a word."""
        self.within._session.driver.transport.abort()
        await self.line.wait_closed()


@asynccontextmanager
async def plugin(name: str) -> AsyncGenerator[Plugin]:
    part = MemPart(name)
    async with connected(part) as (within, line):
        yield Plugin(part, within, line)
