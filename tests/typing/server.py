"""Implementations: subclass and fill in, no decorators."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from typing import assert_type

from contract import Journal, Lobby, Member, Msg, Room, Topic

from capnet import INJECT, CallContext, CapnetError, Connection, Stream
from capnet.contract import Sink


class MemRoom(Room):
    async def post(self, text: str, *, urgent: bool = False, ctx: CallContext = INJECT) -> int:
        assert_type(ctx.connection, Connection)
        assert_type(ctx.principal, str | None)
        return len(text) + len(ctx.peer)

    async def join(self, member: Member) -> None:
        await member.notify(Msg("sys", "welcome"))

    async def watch(self, on: Callable[[Msg], Awaitable[None]]) -> None:
        await on(Msg("sys", "hi"))

    async def history(self, limit: int = 100) -> Stream[Msg]:
        yield Msg("a", "b")

    async def upload(self, chunks: AsyncIterable[bytes]) -> int:
        return sum([len(chunk) async for chunk in chunks])

    async def translate(self, lines: AsyncIterable[str], *, to: str = "en") -> Stream[str]:
        async for line in lines:
            yield line.upper()

    async def rename(self, title: str) -> None: ...

    async def aclose(self) -> None: ...


class Lines(Sink[str]):
    async def send(self, item: str) -> None: ...

    async def aclose(self) -> None: ...

    def fail(self, error: CapnetError) -> None: ...


class MemJournal(Journal):
    async def follow(self, into: Sink[Msg]) -> None:
        async with into:
            await into.send(Msg("a", "b"))

    async def writer(self) -> Lines:
        return Lines()

    def entries(self) -> Stream[Msg]:
        return MemRoom().history()


class MemLobby(Lobby):
    def __init__(self) -> None:
        self.by_topic: dict[str, MemRoom] = {}

    async def open(self, topic: str) -> MemRoom:
        return self.by_topic.setdefault(topic, MemRoom())

    async def rooms(self) -> dict[str, MemRoom]:
        return self.by_topic

    async def merge(self, rooms: Sequence[Room]) -> Room:
        return rooms[0]

    async def find(self, topic: str) -> Room | None:
        return self.by_topic.get(topic)


class Numbers(Topic[int]):
    async def publish(self, item: int) -> None: ...

    async def items(self) -> Stream[int]:
        yield 1


COMPLETE: tuple[Room, Lobby, Topic[int], Journal] = (MemRoom(), MemLobby(), Numbers(), MemJournal())
