"""The contracts that tests of attenuation share, and a clock that they turn."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import pytest

from capnet import INJECT, CallContext, Cap, Sink, Stream, call, stream
from capnet.attenuation import restriction
from tests.connection.shop import Gate

T = TypeVar("T")


class Store(Cap, name="test.Store"):
    """Reads and writes."""

    @call
    async def read(self, key: str, *, default: str = "") -> str: ...
    @call
    async def write(self, key: str, value: str) -> None: ...
    @call
    async def who(self) -> tuple[str, str]:
        """What the context says: peer and method."""
        ...

    @call
    async def wait(self) -> str:
        """Waits at the gate."""
        ...

    @call
    async def sub(self, name: str) -> Store:
        """Another one."""
        ...

    @stream
    def keys(self) -> Stream[str]:
        """All keys, then waits at the gate."""
        ...


class MemStore(Store):
    """In memory; `log` has what reached it."""

    def __init__(self, values: dict[str, str] | None = None) -> None:
        self.values = values or {}
        self.gate = Gate()
        self.log: list[str] = []
        self.subs: list[MemStore] = []
        self.ended = 0
        self.closed = 0

    async def read(self, key: str, *, default: str = "") -> str:
        self.log.append(f"read {key}")
        return self.values.get(key, default)

    async def write(self, key: str, value: str) -> None:
        self.log.append(f"write {key}")
        self.values[key] = value

    async def who(self, ctx: CallContext = INJECT) -> tuple[str, str]:
        return ("", "") if ctx is INJECT else (ctx.peer, ctx.method)

    async def wait(self) -> str:
        await self.gate.pass_through("wait")
        return "waited"

    async def sub(self, name: str) -> Store:
        self.subs.append(MemStore({"name": name}))
        return self.subs[-1]

    async def keys(self) -> Stream[str]:
        try:
            for key in list(self.values):
                yield key
            await self.gate.pass_through("keys")
        finally:
            self.ended += 1

    async def aclose(self) -> None:
        self.closed += 1


class Counter(Cap, name="test.Counter", ordered=True):
    """Calls run one at a time."""

    @call
    async def add(self, name: str) -> None: ...


class MemCounter(Counter):
    def __init__(self) -> None:
        self.gate = Gate()
        self.running = 0
        self.most = 0
        self.done: list[str] = []

    async def add(self, name: str) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        await self.gate.pass_through(name)
        self.running -= 1
        self.done.append(name)


class Topic(Cap, Generic[T], name="test.Topic"):
    """A generic contract."""

    @call
    async def swap(self, value: T) -> T: ...


class Point(NamedTuple):
    x: int
    y: int


class PointTopic(Topic[Point]):
    """Says what it was given; `seen` has it as it came."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    async def swap(self, value: Point) -> Point:
        self.seen.append(value)
        return Point(value.y, value.x)


@dataclass
class Box:
    """Capabilities inside data."""

    store: Store
    more: dict[str, list[Store]] = field(default_factory=dict[str, list[Store]])
    point: tuple[int, Store | None] = (0, None)


class Desk(Cap, name="test.Desk"):
    """Everything that can cross a boundary."""

    @call
    async def open(self, name: str) -> Store: ...
    @call
    async def keep(self, store: Store) -> None: ...
    @call
    async def kept(self) -> Store: ...
    @call
    async def same(self, store: Store) -> bool:
        """Whether it is the one that was kept."""
        ...

    @call
    async def box(self) -> Box: ...
    @call
    async def unpack(self, box: Box) -> list[str]: ...
    @call
    async def ask(self, question: Callable[[str], Awaitable[str]], about: str) -> str: ...
    @call
    async def asker(self) -> Callable[[str], Awaitable[str]]: ...
    @stream
    def stores(self, count: int) -> Stream[Store]: ...
    @call
    async def names(self, stores: AsyncIterable[Store]) -> list[str]: ...
    @call
    async def feed(self, into: Sink[Store], count: int) -> None: ...
    @call
    async def anything(self, value: Any) -> Any: ...
    @call
    async def call_out(self, store: Store) -> str:
        """Waits in a call on what it was given."""
        ...


class MemDesk(Desk):
    """In memory; `seen` has what it was given."""

    def __init__(self) -> None:
        self.store = MemStore({"name": "inner"})
        self.made: dict[str, MemStore] = {}
        self.seen: list[Any] = []

    def _make(self, name: str) -> MemStore:
        return self.made.setdefault(name, MemStore({"name": name}))

    async def open(self, name: str) -> Store:
        return self._make(name)

    async def keep(self, store: Store) -> None:
        self.seen.append(store)

    async def kept(self) -> Store:
        return self.seen[-1]  # type: ignore[no-any-return]

    async def same(self, store: Store) -> bool:
        return bool(store == self.seen[-1])

    async def box(self) -> Box:
        return Box(self._make("a"), {"b": [self._make("b")]}, (1, self._make("c")))

    async def unpack(self, box: Box) -> list[str]:
        self.seen.append(box)
        stores = [box.store, *(store for row in box.more.values() for store in row), box.point[1]]
        return [await store.read("name") for store in stores if store is not None]

    async def ask(self, question: Callable[[str], Awaitable[str]], about: str) -> str:
        self.seen.append(question)
        return await question(about)

    async def asker(self) -> Callable[[str], Awaitable[str]]:
        return self.answer

    async def answer(self, about: str) -> str:
        return f"inside says {about}"

    async def stores(self, count: int) -> Stream[Store]:
        for number in range(count):
            yield self._make(str(number))

    async def names(self, stores: AsyncIterable[Store]) -> list[str]:
        found: list[str] = []
        async for store in stores:
            self.seen.append(store)
            found.append(await store.read("name"))
        return found

    async def feed(self, into: Sink[Store], count: int) -> None:
        async with into:
            for number in range(count):
                await into.send(self._make(str(number)))

    async def anything(self, value: Any) -> Any:
        self.seen.append(value)
        return value

    async def call_out(self, store: Store) -> str:
        self.seen.append(store)
        return await store.wait()


class Clock:
    """Stands in for the clock of `restrict`; it goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that buckets and periods look at."""
    made = Clock()
    monkeypatch.setattr(restriction, "monotonic", made)
    return made
