"""A contract that hands out more of itself in every way there is, for tests of revocation."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import Any

import anyio
from anyio.abc import TaskGroup

from capnet import Cap, Sink, Stream, call, channel, pipe, stream
from tests.connection.shop import Gate


class Keeper(Cap, name="test.Keeper"):
    """Keeps what it is given, at another peer."""

    @call
    async def keep(self, door: Door) -> None: ...
    @call
    async def read(self, numbers: AsyncIterable[int]) -> int:
        """Reads on and on, after the call has ended."""
        ...

    @call
    async def write(self, into: Sink[int]) -> None:
        """Keeps the sink."""
        ...

    @call
    async def get(self) -> Door:
        """A door of its own, behind the gate."""
        ...

    @call
    async def keep_both(self, door: Door, other: Door) -> None: ...


class MemKeeper(Keeper):
    """Keeps it in memory."""

    def __init__(self, own: Door | None = None) -> None:
        self.gate = Gate()
        self.own = own
        self.doors: list[Door] = []
        self.numbers: list[int] = []
        self.reading: AsyncIterable[int] | None = None
        self.sink: Sink[int] | None = None

    async def keep(self, door: Door) -> None:
        self.doors.append(door)

    async def read(self, numbers: AsyncIterable[int]) -> int:
        self.reading = numbers
        return 0

    async def write(self, into: Sink[int]) -> None:
        self.sink = into

    async def get(self) -> Door:
        await self.gate.pass_through("get")
        assert self.own is not None
        return self.own

    async def keep_both(self, door: Door, other: Door) -> None:
        self.doors.append(door)


class Door(Cap, name="test.Door"):
    """Leads to others."""

    @call
    async def name(self) -> str: ...
    @call
    async def open(self, name: str) -> Door:
        """Another door, new each time."""
        ...

    @call
    async def many(self, count: int) -> list[Door]: ...
    @call
    async def known(self, name: str) -> Door:
        """A door that the program keeps: the same for the same name, whoever asks."""
        ...

    @call
    async def key(self) -> Callable[[str], Awaitable[str]]:
        """A function."""
        ...

    @stream
    def row(self, names: list[str]) -> Stream[Door]:
        """Doors, and after them nothing for ever."""
        ...

    @call
    async def ends(self) -> dict[str, Any]:
        """Both ends of two channels, of which the others stay."""
        ...

    @call
    async def give(self, name: str) -> None:
        """A door to the keeper at another peer."""
        ...

    @call
    async def give_later(self, name: str) -> None:
        """The same, in a task that goes on when the call has ended, behind the gate."""
        ...

    @call
    async def give_first(self, name: str) -> None:
        """A door to the keeper, in a call that cannot leave before another is answered."""
        ...

    @call
    async def feed(self) -> None:
        """A stream and a sink to the keeper at another peer; both go on when the call has ended."""
        ...

    @call
    async def wait(self, name: str = "") -> str:
        """Stays behind the gate."""
        ...

    @call
    async def wait_and_open(self, name: str) -> Door: ...
    @call
    async def hand(self, door: Door) -> Door:
        """What it was given."""
        ...

    @call
    async def do(self, what: str) -> str:
        """What the test wants done inside of a handler."""
        ...


async def _nothing() -> AsyncGenerator[int]:
    for number in list[int]():
        yield number


class House:
    """What all doors of a program share.

    Attributes:
        keeper: at another peer, if there is one.
        started: what its handlers have been called for, in order.
        actions: what `do` does.
    """

    def __init__(self) -> None:
        self.gate = Gate()
        self.doors: dict[str, MemDoor] = {}
        self.started: list[str] = []
        self.closed: list[str] = []
        self.keeper: Keeper | None = None
        self.tasks: TaskGroup | None = None
        self.actions: dict[str, Callable[[], object]] = {}
        self.streams_ended = 0
        self.root = self.door("root")

    def door(self, name: str) -> MemDoor:
        """The door of that name, made if there is none."""
        found = self.doors.get(name)
        if found is None:
            found = self.doors[name] = MemDoor(self, name)
        return found


class MemDoor(Door):
    """A door in memory."""

    def __init__(self, house: House, name: str) -> None:
        self.house = house
        self.label = name

    async def name(self) -> str:
        self.house.started.append(self.label)
        return self.label

    async def open(self, name: str) -> Door:
        return MemDoor(self.house, name)

    async def many(self, count: int) -> list[Door]:
        return [MemDoor(self.house, str(number)) for number in range(count)]

    async def known(self, name: str) -> Door:
        return self.house.door(name)

    async def key(self) -> Callable[[str], Awaitable[str]]:
        async def turn(word: str) -> str:
            self.house.started.append(word)
            return word

        return turn

    async def row(self, names: list[str]) -> Stream[Door]:
        try:
            for name in names:
                yield MemDoor(self.house, name)
            await anyio.sleep_forever()
        finally:
            self.house.streams_ended += 1

    async def ends(self) -> dict[str, Any]:
        sink, reader = channel(int)
        self.house.actions["sink"] = lambda: sink
        to_us, ours = channel(int)
        self.house.actions["ours"] = lambda: ours
        return {"reader": reader, "sink": to_us}

    async def give(self, name: str) -> None:
        assert self.house.keeper is not None
        await self.house.keeper.keep(self.house.door(name))

    async def give_later(self, name: str) -> None:
        async def later() -> None:
            await self.house.gate.pass_through(name)
            await self.give(name)

        assert self.house.tasks is not None
        self.house.tasks.start_soon(later)

    async def give_first(self, name: str) -> None:
        assert self.house.keeper is not None
        brought = self.house.keeper.get()
        await self.house.keeper.read(_nothing())  # so it has left, and its answer is not kept there
        await self.house.keeper.keep_both(self.house.door(name), pipe(brought))

    async def feed(self) -> None:
        async def numbers() -> AsyncGenerator[int]:
            try:
                yield 1
                await anyio.sleep_forever()
            finally:
                self.house.streams_ended += 1

        assert self.house.keeper is not None
        sink, reader = channel(int)
        self.house.actions["fed"] = lambda: reader
        await self.house.keeper.read(numbers())
        await self.house.keeper.write(sink)

    async def wait(self, name: str = "") -> str:
        await self.house.gate.pass_through(name or self.label)
        return self.label

    async def wait_and_open(self, name: str) -> Door:
        await self.house.gate.pass_through(name)
        return MemDoor(self.house, name)

    async def hand(self, door: Door) -> Door:
        return door

    async def do(self, what: str) -> str:
        self.house.actions[what]()
        return what

    async def aclose(self) -> None:
        self.house.closed.append(self.label)
