"""What the tests of Cap'n Web serve: a lounge with rooms, which uses whatever can be in a contract."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import anyio

from capnet import Cap, NotFound, Sink, Stream, call, channel, stream


@dataclass
class Info:
    topic: str
    tags: list[str]
    opened: dt.datetime
    last: dt.datetime | None = None


class Listener(Cap, name="web.Listener"):
    """What a client gives, to be told."""

    @call
    async def heard(self, text: str, number: int = 0, *, loud: bool = False) -> int: ...

    @stream
    def numbers(self, to: int) -> Stream[int]: ...

    @call
    async def when(self, at: dt.datetime) -> dt.datetime: ...

    @call
    async def friend(self) -> Listener: ...


class Room(Cap, name="web.Room"):
    @call
    async def post(self, text: str, *, author: str = "me") -> int: ...

    @call
    async def texts(self) -> list[str]: ...

    @call
    async def info(self) -> Info: ...


class Lounge(Cap, name="web.Lounge"):
    @call
    async def hello(self, name: str, greeting: str = "hello") -> str: ...

    @call
    async def open(self, topic: str) -> Room: ...

    @call
    async def later(self, topic: str) -> Room: ...

    @call
    async def merge(self, one: Room, other: Room) -> list[str]: ...

    @call
    async def numbers(self) -> list[int]: ...

    @call
    async def rooms(self) -> list[Room]: ...

    @call
    async def square(self, number: int) -> int: ...

    @call
    async def half(self, number: float) -> float: ...

    @call
    async def each(self, use: Callable[[int], Awaitable[int]]) -> list[list[int]]: ...

    @call
    async def all(self, uses: list[Callable[[int], Awaitable[int]]]) -> list[int]: ...

    @call
    async def adder(self, to: int) -> Callable[[int], Awaitable[int]]: ...

    @call
    async def listen(self, listener: Listener) -> list[int]: ...

    @call
    async def keep(self, listener: Listener) -> None: ...

    @call
    async def kept(self) -> Listener: ...

    @call
    async def drop(self) -> None: ...

    @call
    async def fail(self, kind: str) -> None: ...

    @call
    async def slow(self) -> None: ...

    @call
    async def same(self, value: Any) -> Any: ...

    @call
    async def data(self, data: bytes) -> bytes: ...

    @call
    async def after(self, at: dt.datetime, days: int = 1) -> dt.datetime: ...

    @call
    async def odd(self) -> dict[str, int]: ...

    @call
    async def upload(self, lines: AsyncIterable[str]) -> int: ...

    @call
    async def first(self, lines: AsyncIterable[str]) -> str: ...

    @call
    async def moments(self, moments: AsyncIterable[dt.datetime]) -> list[str]: ...

    @stream
    def download(self, to: int) -> Stream[str]: ...

    @stream
    def broken(self) -> Stream[int]: ...

    @call
    async def fill(self, sink: Sink[int], to: int) -> int: ...

    @call
    async def box(self) -> Sink[str]: ...

    @call
    async def moment_box(self) -> Sink[dt.datetime]: ...

    @call
    async def boxed(self) -> list[str]: ...

    @call
    async def anything(self, value: Cap) -> None: ...


@dataclass(eq=False)
class MemRoom(Room):
    topic: str
    said: list[str] = field(default_factory=list[str])

    async def post(self, text: str, *, author: str = "me") -> int:
        self.said.append(f"{author}: {text}")
        return len(self.said)

    async def texts(self) -> list[str]:
        return self.said

    async def info(self) -> Info:
        return Info(self.topic, ["a", "b"], dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC))


class MemLounge(Lounge):
    def __init__(self) -> None:
        self.open_rooms: dict[str, MemRoom] = {}
        self.begun = 0
        self.cancelled = 0
        self.downloaded = 0
        self.in_box: list[str] = []
        self.listener: Listener | None = None
        self.go = anyio.Event()

    async def hello(self, name: str, greeting: str = "hello") -> str:
        return f"{greeting} {name}"

    async def open(self, topic: str) -> Room:
        return self.open_rooms.setdefault(topic, MemRoom(topic))

    async def later(self, topic: str) -> Room:
        await self.go.wait()
        return await self.open(topic)

    async def merge(self, one: Room, other: Room) -> list[str]:
        return await one.texts() + await other.texts()

    async def numbers(self) -> list[int]:
        return [1, 2, 3]

    async def rooms(self) -> list[Room]:
        return list(self.open_rooms.values())

    async def square(self, number: int) -> int:
        return number * number

    async def half(self, number: float) -> float:
        return number / 2

    async def each(self, use: Callable[[int], Awaitable[int]]) -> list[list[int]]:
        return [[number, await use(number)] for number in range(3)]

    async def all(self, uses: list[Callable[[int], Awaitable[int]]]) -> list[int]:
        return [await use(number) for number, use in enumerate(uses)]

    async def adder(self, to: int) -> Callable[[int], Awaitable[int]]:
        async def add(number: int) -> int:
            return number + to

        return add

    async def listen(self, listener: Listener) -> list[int]:
        found = [await listener.heard("a"), await listener.heard("b", 2, loud=True)]
        found += [number async for number in listener.numbers(3)]
        at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        found.append((await listener.when(at) - at).days)
        async with await listener.friend() as friend:
            found.append(await friend.heard("c"))
        return found

    async def keep(self, listener: Listener) -> None:
        self.listener = listener

    async def kept(self) -> Listener:
        assert self.listener is not None
        return self.listener

    async def drop(self) -> None:
        assert self.listener is not None
        await self.listener.aclose()
        self.listener = None

    async def fail(self, kind: str) -> None:
        if kind == "not_found":
            raise NotFound("no such room", reason="room", details={"which": 7})
        raise RuntimeError("a secret")

    async def slow(self) -> None:
        self.begun += 1
        try:
            await anyio.sleep_forever()
        finally:
            self.cancelled += 1

    async def same(self, value: Any) -> Any:
        return value

    async def data(self, data: bytes) -> bytes:
        return data[::-1]

    async def after(self, at: dt.datetime, days: int = 1) -> dt.datetime:
        return at + dt.timedelta(days=days)

    async def odd(self) -> dict[str, int]:
        return {"constructor": 1}

    async def upload(self, lines: AsyncIterable[str]) -> int:
        return sum([len(line) async for line in lines])

    async def first(self, lines: AsyncIterable[str]) -> str:
        async for line in lines:
            return line
        return ""

    async def moments(self, moments: AsyncIterable[dt.datetime]) -> list[str]:
        return [moment.isoformat() async for moment in moments]

    async def download(self, to: int) -> Stream[str]:
        for number in range(to):
            self.downloaded += 1
            yield f"line {number}"

    async def broken(self) -> Stream[int]:
        yield 1
        raise NotFound("no more", reason="end")

    async def fill(self, sink: Sink[int], to: int) -> int:
        async with sink:
            for number in range(to):
                await sink.send(number)
        return to

    async def box(self) -> Sink[str]:
        sink, lines = channel(str)
        self.lines = lines
        return sink

    async def moment_box(self) -> Sink[dt.datetime]:
        sink, self.moments_in = channel(dt.datetime)
        return sink

    async def boxed(self) -> list[str]:
        return [line async for line in self.lines]

    async def anything(self, value: Cap) -> None:
        pass
