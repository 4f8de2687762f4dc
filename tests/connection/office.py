"""What the tests of untyped references and of descriptions are about: files that a clerk hands out."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import anyio

from capnet import Cap, NotFound, Sink, Stream, call, options, stream

__all__ = ["Clerk", "File", "MemClerk", "MemFile", "Note", "Reader"]


@dataclass
class Note:
    """A line and when it was written."""

    text: str
    when: dt.date = dt.date(2026, 1, 1)


class Reader(Cap, name="office.Reader"):
    """Reads a file."""

    @options(idempotent=True)
    @call
    async def read(self, first: int = 0, *, most: int = 100) -> list[Note]:
        """The lines of it.

        Args:
            first: where to begin
            most: how many at most
        """
        ...

    @stream
    def follow(self, count: int) -> Stream[Note]:
        """Lines as they come."""
        ...


class File(Reader, name="office.File", version=2):
    """Reads and writes a file."""

    @options(since=2, timeout=60)
    @call
    async def write(self, text: str) -> int: ...

    @call
    async def append(self, lines: AsyncIterable[Note]) -> int: ...

    @call
    async def copy_to(self, sink: Sink[Note]) -> int: ...


class Clerk(Cap, name="office.Clerk"):
    @call
    async def open(self, name: str) -> File: ...

    @call
    async def show(self, name: str) -> Reader: ...

    @call
    async def all(self) -> dict[str, File]: ...

    @call
    async def count(self, reader: Reader) -> int: ...

    @call
    async def keep(self, what: Any) -> Any: ...

    @call
    async def each(self, name: str, do: Callable[[str, int], Awaitable[bool]]) -> int:
        """How often a function of the caller's says yes."""
        ...

    @call
    async def hang(self) -> None: ...


@dataclass(eq=False)
class MemFile(File):
    """A file in memory."""

    lines: list[Note] = field(default_factory=list[Note])
    calls: list[str] = field(default_factory=list[str])

    async def read(self, first: int = 0, *, most: int = 100) -> list[Note]:
        self.calls.append("read")
        return self.lines[first : first + most]

    async def follow(self, count: int) -> Stream[Note]:
        for number in range(count):
            yield Note(str(number))

    async def write(self, text: str) -> int:
        self.calls.append("write")
        self.lines.append(Note(text))
        return len(self.lines)

    async def append(self, lines: AsyncIterable[Note]) -> int:
        async for line in lines:
            self.lines.append(line)
        return len(self.lines)

    async def copy_to(self, sink: Sink[Note]) -> int:
        for line in self.lines:
            await sink.send(line)
        await sink.aclose()
        return len(self.lines)


@dataclass(eq=False)
class MemClerk(Clerk):
    """Has files."""

    files: dict[str, File] = field(default_factory=lambda: {"tea": MemFile()})
    kept: list[Any] = field(default_factory=list[Any])
    hanging: int = 0

    async def open(self, name: str) -> File:
        if name not in self.files:
            raise NotFound(f"no file {name!r}", details={"name": name})
        return self.files[name]

    async def show(self, name: str) -> Reader:
        return await self.open(name)

    async def all(self) -> dict[str, File]:
        return self.files

    async def count(self, reader: Reader) -> int:
        return len(await reader.read())

    async def keep(self, what: Any) -> Any:
        self.kept.append(what)
        return what

    async def each(self, name: str, do: Callable[[str, int], Awaitable[bool]]) -> int:
        said = [await do(line.text, number) for number, line in enumerate(await (await self.open(name)).read())]
        return said.count(True)

    async def hang(self) -> None:
        self.hanging += 1
        try:
            await anyio.sleep_forever()
        finally:
            self.hanging -= 1


async def notes(*texts: str) -> AsyncIterator[dict[str, Any]]:
    """Lines as plain data."""
    for text in texts:
        yield {"text": text, "when": "2026-02-03"}
