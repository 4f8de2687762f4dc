"""The contract that tests of streams share, and an implementation whose ends the tests hold in their hands."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio

from capnet import Cap, CapnetError, Connection, NotFound, Sink, Stream, call, stream
from capnet.engine.inspect import check_invariants
from capnet.testing import assert_no_leaks
from tests.connection.shop import Item, MemItem, Parcel, until


@dataclass
class Post:
    """Data of several types."""

    number: int
    text: str
    tags: list[str] = field(default_factory=list[str])


@dataclass
class Bundle:
    """Both ends of streams inside data."""

    numbers: AsyncIterable[int]
    answers: Sink[int]


class Flows(Cap, name="test.Flows"):
    """One method for each way in which a stream comes to be."""

    @stream
    def numbers(self, count: int) -> Stream[int]: ...
    @stream
    def anything(self, values: list[Any]) -> Stream[Any]: ...
    @stream
    def posts(self, count: int) -> Stream[Post]: ...
    @stream
    def pairs(self, count: int) -> Stream[tuple[int, str]]: ...
    @stream
    def chunks(self, sizes: list[int]) -> Stream[bytes]: ...
    @stream
    def items(self, labels: list[str]) -> Stream[Item]: ...
    @stream
    def parcels(self, labels: list[str]) -> Stream[Parcel]: ...
    @stream
    def pages(self, sizes: list[int]) -> Stream[Stream[int]]: ...
    @stream
    def odd(self, values: list[Any]) -> Stream[int]:
        """Numbers, if `values` are."""
        ...

    @stream
    def sleepy(self, count: int) -> Stream[int]:
        """So many numbers, and then nothing for ever."""
        ...

    @stream
    def failing(self, count: int, how: str) -> Stream[int]:
        """So many numbers, and then an error."""
        ...

    @stream
    def double(self, numbers: AsyncIterable[int]) -> Stream[int]: ...
    @call
    async def named(self, sizes: dict[str, int]) -> dict[str, Stream[int]]: ...
    @call
    async def maybe(self, there: bool) -> Stream[int] | None: ...
    @call
    async def add(self, numbers: AsyncIterable[int]) -> int: ...
    @call
    async def add_each(self, many: list[AsyncIterable[int]]) -> list[int]: ...
    @call
    async def read_some(self, numbers: AsyncIterable[int], count: int) -> list[int]:
        """Reads so many, and leaves."""
        ...

    @call
    async def keep(self, numbers: AsyncIterable[int]) -> None:
        """Reads nothing now; the implementation has it in `kept`."""
        ...

    @call
    async def keep_sink(self, sink: Sink[int]) -> None: ...
    @call
    async def open_sink(self) -> Sink[int]: ...
    @call
    async def work(self, bundle: Bundle) -> None:
        """Answers each number."""
        ...

    @call
    async def ping(self, value: int = 0) -> int: ...


class MemFlows(Flows):
    """The implementation.

    Attributes:
        produced: items that were taken from generators of this object.
        ended: how each of its generators ended, oldest first: `end`, or the name of what was raised in it.
        items_made: capabilities that went out as items.
        kept, sink: what `keep` and `keep_sink` were given.
        own_sink: what `open_sink` hands out.
        read: items that its handlers have read.
    """

    def __init__(self) -> None:
        self.produced = 0
        self.opened = 0
        self.ended: list[str] = []
        self.items_made: list[MemItem] = []
        self.kept: AsyncIterator[int] | None = None
        self.sink: Sink[int] | None = None
        self.own_sink: Sink[int] | None = None
        self.read: list[int] = []
        self.closed = 0

    @contextmanager
    def _watched(self) -> Generator[None]:
        self.opened += 1
        try:
            yield
        except BaseException as error:
            name = type(error).__name__
            self.ended.append("cancelled" if "Cancelled" in name else name)
            raise
        self.ended.append("end")

    async def numbers(self, count: int) -> Stream[int]:
        with self._watched():
            for number in range(count):
                self.produced += 1
                yield number

    async def anything(self, values: list[Any]) -> Stream[Any]:
        with self._watched():
            for value in values:
                self.produced += 1
                yield value

    async def posts(self, count: int) -> Stream[Post]:
        for number in range(count):
            yield Post(number, f"post {number}", ["a"] * number)

    async def pairs(self, count: int) -> Stream[tuple[int, str]]:
        for number in range(count):
            yield number, str(number)

    async def chunks(self, sizes: list[int]) -> Stream[bytes]:
        with self._watched():
            for size in sizes:
                self.produced += 1
                yield bytes(size)

    async def items(self, labels: list[str]) -> Stream[Item]:
        with self._watched():
            for label in labels:
                self.items_made.append(MemItem(label))
                yield self.items_made[-1]

    async def parcels(self, labels: list[str]) -> Stream[Parcel]:
        for label in labels:
            self.items_made.append(MemItem(label))
            yield Parcel(len(label), self.items_made[-1], self.items_made[-1])

    async def pages(self, sizes: list[int]) -> Stream[Stream[int]]:
        with self._watched():
            for size in sizes:
                yield self.numbers(size)

    def odd(self, values: list[Any]) -> Stream[int]:
        return self.anything(values)

    async def sleepy(self, count: int) -> Stream[int]:
        with self._watched():
            for number in range(count):
                self.produced += 1
                yield number
            await anyio.sleep_forever()

    async def failing(self, count: int, how: str) -> Stream[int]:
        with self._watched():
            for number in range(count):
                yield number
            if how == "capnet":
                raise NotFound("no more of them", reason="gone_fishing", details={"at": count}, retry="after-resync")
            raise RuntimeError(how)

    async def double(self, numbers: AsyncIterable[int]) -> Stream[int]:
        with self._watched():
            async for number in numbers:
                yield number * 2

    async def named(self, sizes: dict[str, int]) -> dict[str, Stream[int]]:
        return {name: self.numbers(size) for name, size in sizes.items()}

    async def maybe(self, there: bool) -> Stream[int] | None:
        return self.numbers(3) if there else None

    async def add(self, numbers: AsyncIterable[int]) -> int:
        total = 0
        async for number in numbers:
            self.read.append(number)
            total += number
        return total

    async def add_each(self, many: list[AsyncIterable[int]]) -> list[int]:
        return [await self.add(numbers) for numbers in many]

    async def read_some(self, numbers: AsyncIterable[int], count: int) -> list[int]:
        reader = aiter(numbers)
        return [await anext(reader) for _ in range(count)]

    async def keep(self, numbers: AsyncIterable[int]) -> None:
        self.kept = aiter(numbers)

    async def keep_sink(self, sink: Sink[int]) -> None:
        self.sink = sink

    async def open_sink(self) -> Sink[int]:
        assert self.own_sink is not None
        return self.own_sink

    async def work(self, bundle: Bundle) -> None:
        async with bundle.answers:
            async for number in bundle.numbers:
                await bundle.answers.send(number * number)

    async def ping(self, value: int = 0) -> int:
        return value

    async def aclose(self) -> None:
        self.closed += 1


class Counting:
    """An async iterable of numbers at the caller, which tells how far it has come and how it ended."""

    def __init__(self, count: int = 10**9) -> None:
        self.count = count
        self.produced = 0
        self.ended: list[str] = []

    async def run(self, *, sleep: bool = False) -> AsyncGenerator[int]:
        """The generator; with `sleep` it ends in a wait that nobody ends."""
        try:
            for number in range(self.count):
                self.produced += 1
                yield number
            if sleep:
                await anyio.sleep_forever()
        except BaseException as error:
            name = type(error).__name__
            self.ended.append("cancelled" if "Cancelled" in name else name)
            raise
        self.ended.append("end")


async def read_into(read: list[Any], items: AsyncIterable[Any]) -> None:
    """Read to the end; what was read before an error is in `read`."""
    async for item in items:
        read.append(item)  # noqa: PERF401 - a comprehension would lose it


async def reason_of(method: Callable[..., Awaitable[object]], *arguments: Any) -> str | None:
    """Why a call fails; its error is not kept, nor what the error has gone through."""
    try:
        await method(*arguments)
    except CapnetError as error:
        return error.reason
    raise AssertionError("it did not fail")


async def nothing_open(*connections: Connection) -> None:
    """`assert_no_leaks`, streams included; and the invariants of both engines hold."""
    await assert_no_leaks(*connections)
    await until(lambda: not any(connection.stats()["streams"] for connection in connections))
    for connection in connections:
        check_invariants(connection._session.engine)
        assert connection.close_cause is None and not connection.stats()["strikes"]


async def turns(server: Connection, client: Connection, times: int = 3) -> None:
    """Let everything that is on its way arrive, and what follows from it: whatever may happen has happened then."""
    for _ in range(times):
        await client.ping()
        await server.ping()
