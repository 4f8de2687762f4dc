"""What is not of the declared type, or would not be what it was, does not leave: with the path, and what to do."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypedDict, cast

import attrs
import msgspec
import pytest

from capnet import Cap, CapnetError, FailedPrecondition, Internal, InvalidArgument, Sink, Stream, call, channel, stream
from capnet.testing import connected


@dataclass
class Shape:
    name: str


@dataclass
class Circle(Shape):
    radius: float = 0.0


class Square(Shape):
    """It says nothing of the field that it has."""

    def __init__(self, side: float) -> None:
        super().__init__("square")
        self.side = side


class Struct(msgspec.Struct):
    a: int


class FurtherStruct(Struct):
    b: int = 0


@attrs.define
class Attrs:
    a: int


@attrs.define
class FurtherAttrs(Attrs):
    b: int = 0


class Row(NamedTuple):
    a: int


class FurtherRow(Row):
    b = 0


class Words(TypedDict):
    a: int


class FurtherWords(Words):
    b: int


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    name: str


class Puppy(Dog, tag=True):
    weeks: int


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Drawing:
    shapes: list[Shape] = field(default_factory=list[Shape])
    structs: dict[str, Struct] = field(default_factory=dict[str, Struct])
    attrs: tuple[Attrs | None, int] = (None, 0)
    rows: list[Row] = field(default_factory=list[Row])
    words: list[Words] = field(default_factory=list[Words])
    animals: list[Cat | Dog] = field(default_factory=list[Cat | Dog])
    text: str = ""
    day: dt.date | None = None
    anything: Any = None


class Board(Cap, name="declared.Board"):
    @call
    async def draw(self, drawing: Drawing) -> Drawing: ...

    @call
    async def give(self, which: str) -> Drawing: ...

    @call
    async def words(self, words: Words) -> Words: ...

    @call
    async def tell(self, told: Callable[[Drawing], Awaitable[Drawing]]) -> str: ...

    @call
    async def take(self, drawings: Stream[Drawing]) -> int: ...

    @call
    async def fill(self, drawings: Sink[Drawing], which: str) -> str: ...

    @stream
    def follow(self, which: str) -> Stream[Drawing]: ...


WRONG: dict[str, tuple[Drawing, str]] = {
    "dataclass": (Drawing([Shape("a"), Circle("c", 2.0)]), ".shapes[1]"),
    "class that hides its field": (Drawing([Square(2.0)]), ".shapes[0]"),
    "struct": (Drawing(structs={"a": FurtherStruct(1)}), ".structs.a"),
    "attrs": (Drawing(attrs=(FurtherAttrs(1), 0)), ".attrs[0]"),
    "named tuple": (Drawing(rows=[FurtherRow(1)]), ".rows[0]"),
    "typed dict": (Drawing(words=[cast("Words", {"a": 1, "b": 2})]), ".words[0]"),
    "tagged struct": (Drawing(animals=[Cat(9), Puppy("rex", 3)]), ".animals[1]"),
    "id for text": (Drawing(text=cast("Any", uuid.UUID(int=1))), ".text"),
    "member for text": (Drawing(text=cast("Any", Colour.RED)), ".text"),
    "moment for a day": (Drawing(day=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)), ".day"),
    "set for anything": (Drawing(anything=[{3}]), ".anything[0]"),
    "frozenset for anything": (Drawing(anything={"a": frozenset({3})}), ".anything.a"),
    "deque for anything": (Drawing(anything=collections.deque([1])), ".anything"),
    "moment for anything": (Drawing(anything=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)), ".anything"),
    "day for anything": (Drawing(anything=dt.date(2026, 1, 1)), ".anything"),
    "time for anything": (Drawing(anything=dt.time(12)), ".anything"),
    "duration for anything": (Drawing(anything=dt.timedelta(1)), ".anything"),
    "price for anything": (Drawing(anything=decimal.Decimal("1.10")), ".anything"),
    "id for anything": (Drawing(anything=(1, uuid.UUID(int=1))), ".anything[1]"),
    "object for anything": (Drawing(anything=Shape("a")), ".anything"),
    "struct for anything": (Drawing(anything=Struct(1)), ".anything"),
    "attrs for anything": (Drawing(anything=Attrs(1)), ".anything"),
    "named tuple for anything": (Drawing(anything=Row(1)), ".anything"),
    "member for anything": (Drawing(anything=Colour.RED), ".anything"),
    "number as a key for anything": (Drawing(anything={1: 2}), ".anything"),
    "wide number for anything": (Drawing(anything=2**64), ".anything"),
}


def fault_of(name: str) -> tuple[type[CapnetError], bool]:
    """What whoever has asked for it is told, and whether that says where it stands: not of what is of another type."""
    return (FailedPrecondition, True) if name.endswith("for anything") else (Internal, False)


class MemBoard(Board):
    async def draw(self, drawing: Drawing) -> Drawing:
        return drawing

    async def give(self, which: str) -> Drawing:
        return WRONG[which][0]

    async def words(self, words: Words) -> Words:
        return words

    async def tell(self, told: Callable[[Drawing], Awaitable[Drawing]]) -> str:
        return (await told(Drawing(text="x"))).text

    async def take(self, drawings: Stream[Drawing]) -> int:
        return len([drawing async for drawing in drawings])

    async def fill(self, drawings: Sink[Drawing], which: str) -> str:
        async with drawings:
            await drawings.send(Drawing())
            try:
                await drawings.send(WRONG[which][0])
            except InvalidArgument as error:
                return error.message
        return "sent"

    async def follow(self, which: str) -> Stream[Drawing]:
        yield Drawing()
        yield WRONG[which][0]


@pytest.mark.parametrize("name", WRONG)
async def test_what_would_arrive_as_something_else_does_not_leave(name: str) -> None:
    """As an argument it is the caller's mistake, as a result the callee's; the connection lives on."""
    wrong, path = WRONG[name]
    async with connected(MemBoard()) as (_, client):
        board = await client.bootstrap(Board)
        with pytest.raises(InvalidArgument) as caught:
            await board.draw(wrong)
        assert f"`$.drawing{path}`" in str(caught.value)
        kind, placed = fault_of(name)
        with pytest.raises(kind) as failed:
            await board.give(name)
        assert (failed.value.reason == "unencodable_result" and f"`${path}`" in failed.value.message) is placed
        assert await board.draw(Drawing([Shape("a")])) == Drawing([Shape("a")])


@pytest.mark.parametrize("name", ["dataclass", "typed dict", "set for anything"])
async def test_neither_do_items_nor_what_functions_take_and_give(name: str) -> None:
    """What was sent before arrives."""
    wrong, path = WRONG[name]
    async with connected(MemBoard()) as (_, client):
        board = await client.bootstrap(Board)

        async def wrong_ones() -> Stream[Drawing]:
            yield Drawing()
            yield wrong

        async def answer(drawing: Drawing) -> Drawing:
            return wrong

        kind, placed = fault_of(name)
        with pytest.raises(kind) as refused:
            await board.take(wrong_ones())
        assert (refused.value.reason == "unencodable_item") is placed
        async with aclosing(board.follow(name)) as followed:
            assert await anext(followed) == Drawing()
            with pytest.raises(kind) as ended:
                await anext(followed)
        assert (ended.value.reason == "unencodable_item" and f"`${path}`" in ended.value.message) is placed
        sink, drawings = channel(Drawing)
        assert f"`${path}`" in await board.fill(sink, name)
        assert [drawing async for drawing in drawings] == [Drawing()]
        with pytest.raises(kind):
            await board.tell(answer)


async def test_a_key_that_is_not_declared_is_no_part_of_a_typed_dict() -> None:
    """Whoever extends it has declared another one."""
    async with connected(MemBoard()) as (_, client):
        board = await client.bootstrap(Board)
        further: FurtherWords = {"a": 1, "b": 2}
        with pytest.raises(InvalidArgument):
            await board.words(further)
        assert await board.words({"a": 1}) == {"a": 1}


async def test_plain_data_is_taken_for_what_is_declared() -> None:
    """What a checker of types lets pass arrives as the declared type, and what equals plain data is plain data."""
    async with connected(MemBoard()) as (_, client):
        board = await client.bootstrap(Board)
        anything: Any = [(1, 2), bytearray(b"x"), collections.OrderedDict(a=1), 5.0]
        drawing = await board.draw(Drawing(anything=anything, rows=cast("Any", [(1,)]), animals=[Cat(9), Dog("rex")]))
        assert drawing.rows == [Row(1)] and drawing.animals == [Cat(9), Dog("rex")]
        assert drawing.anything == [[1, 2], b"x", {"a": 1}, 5.0]
