"""Contracts as 'unix:x' tells of them. Made by `capnet describe --stub`."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from capnet import Cap, Sink, Stream, call, options, stream
from msgspec import Struct, UNSET, UnsetType


class Note(Struct, kw_only=True):
    text: str
    when: date | UnsetType = UNSET


class Node(Struct, kw_only=True):
    value: int
    children: list[Node]
    above: Node | None | UnsetType = UNSET


@dataclass
class Both:
    mine: Node
    yours: Node2
    mine_again: Node


@dataclass
class Node2:
    text: str


@dataclass
class Shared:
    outer: Outer
    alone: Inner2


@dataclass
class Outer:
    inner: Inner
    again: Inner


@dataclass
class Inner:
    outer: Outer | None


@dataclass
class Inner2:
    outer: Outer2 | None


@dataclass
class Outer2:
    inner: Inner2
    again: Inner2


class Odd(Struct, kw_only=True, tag_field="kind", tag="odd/~%"):
    n: int


class Even(Struct, kw_only=True, tag_field="kind", tag="even"):
    n: int


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


class Reader(Cap, name="office.Reader"):
    """Nothing more is known of it here."""


class File(Reader, name="office.File", version=2):
    """Reads and writes a file."""

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

    @options(since=2, timeout=60)
    @call
    async def write(self, text: str) -> int: ...

    @call
    async def append(self, lines: AsyncIterable[Note]) -> int: ...

    @call
    async def copy_to(self, sink: Sink[Note]) -> int: ...


class Room(Cap, name="schema.Room"):
    @call
    async def everything(
        self,
        text: str,
        number: int,
        nodes: Both,
        shared: Shared,
        union: Odd | Even,
        pair: tuple[int, str],
        word: Literal["a", 1] | None,
        by_day: dict[date, int],
        by_number: dict[int, str],
        by_word: dict[Literal["a", "b"], str],
        by_any: dict[Any, int],
        by_text: dict[str, Any],
        moment: datetime,
        id: UUID,
        price: Decimal,
        data: bytes,
        flag: bool,
        ratio: float = 0.5,
        *,
        maybe: str | None = None,
    ) -> Node:
        """Takes everything.

        Args:
            text: some text
        """
        ...

    @call
    async def handles(
        self,
        other: Room,
        each: Callable[[int, Node], Awaitable[str]],
        into: Sink[Node],
        lines: AsyncIterable[str],
    ) -> list[Room]: ...

    @stream
    def history(self) -> Stream[Node]: ...
