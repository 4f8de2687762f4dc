"""A desk where every kind of work is done, and which keeps nothing: for tests that look at what is left behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import Any

from anyio import sleep_forever

from capnet import Cap, NotFound, Sink, Stream, call, revoke, stream

__all__ = ["VALUE", "Desk", "Item", "MemDesk", "MemItem", "OwnItem", "count", "successor"]

VALUE: dict[str, Any] = {"n": 123_456, "s": "abcdefghijklmnopqrstuvwxyz012345"}
"""An argument of usual size."""


class Item(Cap, name="test.Item"):
    """Something to hand around."""

    @call
    async def label(self) -> str: ...


class Desk(Cap, name="test.Desk"):
    """Where the work is done."""

    @call
    async def echo(self, value: dict[str, Any]) -> dict[str, Any]: ...
    @call
    async def make(self, label: str) -> Item: ...
    @call
    async def read(self, item: Item) -> str:
        """Asks it for its label, and gives it back."""
        ...

    @call
    async def ask(self, question: Callable[[int], Awaitable[int]], number: int) -> int: ...
    @call
    async def lend(self, label: str) -> Item: ...
    @call
    async def recall(self, label: str) -> int:
        """Take what was lent back; from how many."""
        ...

    @call
    async def wait(self) -> None:
        """For ever."""
        ...

    @call
    async def secret(self) -> None:
        """Denied."""
        ...

    @call
    async def fail(self, how: str) -> None:
        """With an error for the caller, or with one that was not meant for it."""
        ...

    @call
    async def fill(self, sink: Sink[int], count: int) -> None: ...
    @stream
    def numbers(self, count: int) -> Stream[int]: ...
    @stream
    def items(self, count: int) -> Stream[Item]: ...
    @call
    async def add(self, numbers: AsyncIterable[int]) -> int: ...
    @stream
    def double(self, numbers: AsyncIterable[int]) -> Stream[int]: ...
    @stream
    def failing(self, how: str) -> Stream[int]:
        """Two numbers, and then what `fail` does."""
        ...

    @stream
    def silent(self) -> Stream[int]:
        """A number, and then nothing for ever."""
        ...


class MemItem(Item):
    """Counts its end."""

    def __init__(self, label: str, tally: Counter[str]) -> None:
        self._label = label
        self._tally = tally
        tally["items made"] += 1

    async def label(self) -> str:
        return self._label

    async def aclose(self) -> None:
        self._tally["items closed"] += 1


class MemDesk(Desk):
    """Counts what it does."""

    def __init__(self, tally: Counter[str], lent: dict[str, Item]) -> None:
        self._tally = tally
        self._lent = lent
        tally["desks made"] += 1

    async def echo(self, value: dict[str, Any]) -> dict[str, Any]:
        self._tally["calls"] += 1
        return value

    async def make(self, label: str) -> Item:
        return MemItem(label, self._tally)

    async def read(self, item: Item) -> str:
        async with item:
            return await item.label()

    async def ask(self, question: Callable[[int], Awaitable[int]], number: int) -> int:
        return await question(number)

    async def lend(self, label: str) -> Item:
        self._lent[label] = item = MemItem(label, self._tally)
        return item

    async def recall(self, label: str) -> int:
        return len(revoke(self._lent.pop(label)))

    async def wait(self) -> None:
        self._tally["waits begun"] += 1
        try:
            await sleep_forever()
        finally:
            self._tally["waits ended"] += 1

    async def secret(self) -> None:
        raise AssertionError("the guard lets nobody come here")

    async def fail(self, how: str) -> None:
        raise NotFound("there is none") if how == "declared" else RuntimeError(how)

    async def fill(self, sink: Sink[int], count: int) -> None:
        async with sink:
            for number in range(count):
                await sink.send(number)

    async def numbers(self, count: int) -> Stream[int]:
        for number in range(count):
            yield number

    async def items(self, count: int) -> Stream[Item]:
        for number in range(count):
            yield MemItem(str(number), self._tally)

    async def add(self, numbers: AsyncIterable[int]) -> int:
        return sum([number async for number in numbers])

    async def double(self, numbers: AsyncIterable[int]) -> Stream[int]:
        async for number in numbers:
            yield 2 * number

    async def failing(self, how: str) -> Stream[int]:
        yield 0
        yield 1
        await self.fail(how)

    async def silent(self) -> Stream[int]:
        yield 0
        await sleep_forever()

    async def aclose(self) -> None:
        self._tally["desks closed"] += 1


class OwnItem(Item):
    """The client's."""

    def __init__(self, label: str) -> None:
        self._label = label

    async def label(self) -> str:
        return self._label


async def successor(number: int) -> int:
    return number + 1


async def count(to: int) -> AsyncGenerator[int]:
    for number in range(to):
        yield number
