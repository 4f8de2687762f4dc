"""Shared by host and plugin: every form a contract may have."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from capnet import Cap, Stream, call, options, stream
from capnet.contract import Sink

T = TypeVar("T")


@dataclass(frozen=True)
class Msg:
    who: str
    text: str


class Member(Cap, name="chat.Member"):
    @call
    async def notify(self, msg: Msg) -> None: ...


class Room(Cap, name="chat.Room", version=2):
    @call
    async def post(self, text: str, *, urgent: bool = False) -> int: ...
    @call
    async def join(self, member: Member) -> None: ...
    @call
    async def watch(self, on: Callable[[Msg], Awaitable[None]]) -> None: ...
    @stream
    def history(self, limit: int = 100) -> Stream[Msg]: ...
    @call
    async def upload(self, chunks: AsyncIterable[bytes]) -> int: ...
    @stream
    def translate(self, lines: AsyncIterable[str], *, to: str = "en") -> Stream[str]: ...
    @options(since=2, timeout=5.0, idempotent=True)
    @call
    async def rename(self, title: str) -> None: ...


class Journal(Cap, name="chat.Journal", ordered=True):
    @call
    async def follow(self, into: Sink[Msg]) -> None: ...
    @call
    async def writer(self) -> Sink[str]: ...
    @stream
    def entries(self) -> Stream[Msg]: ...


class Lobby(Cap, name="chat.Lobby"):
    @call
    async def open(self, topic: str) -> Room: ...
    @call
    async def rooms(self) -> Mapping[str, Room]: ...
    @call
    async def merge(self, rooms: Sequence[Room]) -> Room: ...
    @call
    async def find(self, topic: str) -> Room | None: ...


class Topic(Cap, Generic[T], name="chat.Topic"):
    @call
    async def publish(self, item: T) -> None: ...
    @stream
    def items(self) -> Stream[T]: ...
