"""What is done to plain data before msgspec converts it: constructors that are called, keys that are looked at."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Generic, Literal, NamedTuple, NewType, Self, TypedDict, TypeVar

import msgspec
import pytest

from capnet.contract import Cap, call
from capnet.contract.annotation import read_annotation
from capnet.contract.conversion import Conversion, narrow
from capnet.contract.preparation import preparation
from tests.counting import calls_of
from tests.unit.contract.converting import converted, refusal

T = TypeVar("T")


class Member(Cap, name="test.PreparedMember"):
    @call
    async def notify(self) -> None: ...


class Me(Member):
    async def notify(self) -> None: ...


class Received:
    """What the codec makes of a reference."""

    def __init__(self, proxy: Member) -> None:
        self.proxy = proxy

    def __capnet_narrow__(self, contract: Any) -> object:
        return self.proxy


# Classes


@dataclass
class Kept:
    name: str
    admin: bool = field(init=False, default=False)
    size: int = field(init=False)
    tags: list[str] = field(init=False, default_factory=list[str])

    def __post_init__(self) -> None:
        self.size = len(self.name)


@dataclass(init=False)
class Path:
    parts: list[str]

    def __init__(self, parts: list[str]) -> None:
        if ".." in parts:
            raise ValueError("secret")
        self.parts = parts


class Even(NamedTuple):
    half: int
    name: str = "even"


class CarefulEven(Even):
    def __new__(cls, half: int, name: str = "even") -> Self:
        if half % 2:
            raise TypeError("secret")
        return super().__new__(cls, half, name)


@dataclass
class Tree:
    kept: Kept
    below: list[Tree] = field(default_factory=list["Tree"])
    more: Mapping[str, Kept] = field(default_factory=dict[str, Kept])


@dataclass
class Box(Generic[T]):
    inside: T
    count: int = field(init=False, default=1)


class Cat(msgspec.Struct, tag="cat"):
    kept: Kept


class Dog(msgspec.Struct, tag="dog"):
    kept: int


class Left(msgspec.Struct, tag="left", array_like=True):
    kept: Kept


class Right(msgspec.Struct, tag="right", array_like=True):
    kept: int


class Words(TypedDict, total=False):
    kept: Kept


@dataclass
class Holder:
    member: Member
    data: bytes
    number: int = field(init=False, default=7)


Renamed = NewType("Renamed", Kept)

BUILT: list[Any] = [
    (Kept, {"name": "x", "admin": True, "size": 9, "tags": ["y"]}, Kept("x")),
    (Kept | None, {"name": "x"}, Kept("x")),
    (Kept | int | list[Kept], [{"name": "x"}], [Kept("x")]),
    (Renamed, {"name": "x"}, Kept("x")),
    (list[Kept], [{"name": "x"}], [Kept("x")]),
    (tuple[Kept, ...], [{"name": "x"}], (Kept("x"),)),
    (tuple[int, Kept], [1, {"name": "x"}], (1, Kept("x"))),
    (dict[str, Kept], {"a": {"name": "x"}}, {"a": Kept("x")}),
    (dict[int, Kept], {"1": {"name": "x"}}, {1: Kept("x")}),
    (Words, {"kept": {"name": "x"}}, {"kept": Kept("x")}),
    (Words, {}, {}),
    (Path, {"parts": ["a"]}, Path(["a"])),
    (CarefulEven, [2], CarefulEven(2)),
    (CarefulEven, [2, "two"], CarefulEven(2, "two")),
    (Tree, {"kept": {"name": "x"}, "below": [{"kept": {"name": "y"}}]}, Tree(Kept("x"), [Tree(Kept("y"))])),
    (Tree, {"kept": {"name": "x"}, "more": {"a": {"name": "y"}}}, Tree(Kept("x"), [], {"a": Kept("y")})),
    (Box[int], {"inside": 1, "count": 5}, Box(1)),
    (list[Box[Kept]], [{"inside": {"name": "x"}}] * 2, [Box(Kept("x"))] * 2),
    (list[Kept | None], [None, {"name": "x"}], [None, Kept("x")]),
    (list[CarefulEven], [[2], [4, "four"]], [CarefulEven(2), CarefulEven(4, "four")]),
    (Box[Kept], {"inside": {"name": "x"}}, Box(Kept("x"))),
    (Cat | Dog, {"type": "cat", "kept": {"name": "x"}}, Cat(Kept("x"))),
    (Cat | Dog, {"type": "dog", "kept": 1}, Dog(1)),
    (Left | Right, ["left", {"name": "x"}], Left(Kept("x"))),
    (Left | Right, ["right", 1], Right(1)),
    (Iterable[Kept], [{"name": "x"}], [Kept("x")]),
]


@pytest.mark.parametrize(("hint", "value", "expected"), BUILT, ids=str)
def test_objects_are_built_by_their_class(hint: Any, value: Any, expected: Any) -> None:
    """What it keeps to itself is not taken, and what came is not changed."""
    before = repr(value)
    found = converted(hint, value)
    assert found == expected and type(found) is type(expected)
    assert repr(value) == before


def test_what_msgspec_does_not_know_stands_in_them_too() -> None:
    me = Me()
    assert converted(Holder, {"member": Received(me), "data": b"x", "number": 1}) == Holder(me, b"x")


UNFIT: list[Any] = [
    (Kept, 5, "Expected `object`, got `int` - at `$.value`"),
    (Kept, [], "Expected `object`, got `array` - at `$.value`"),
    (Kept, {}, "Object missing required field `name` - at `$.value`"),
    (Kept, {"name": 1}, "Expected `str`, got `int` - at `$.value.name`"),
    (CarefulEven, {"half": 1}, "Expected `array`, got `object` - at `$.value`"),
    (CarefulEven, [2, "a", 3], "Expected `array` of at most length 2, got 3 - at `$.value`"),
    (list[Kept], [{"name": "x"}, {"name": 1}], "Expected `str`, got `int` - at `$.value[1].name`"),
    (list[Kept], {"name": "x"}, "Expected `array`, got `object` - at `$.value`"),
    (dict[str, Kept], {"a": {"name": 1}}, "Expected `str`, got `int` - at `$.value[...].name`"),
    (dict[str, Kept], [], "Expected `object`, got `array` - at `$.value`"),
    (tuple[int, Kept], [1, {"name": 1}], "Expected `str`, got `int` - at `$.value[1].name`"),
    (tuple[int, Kept], [1], "Expected `array` of length 2, got 1 - at `$.value`"),
    (tuple[int, Kept], 1, "Expected `array`, got `int` - at `$.value`"),
    (Tree, {"kept": {"name": "x"}, "below": [{"kept": {}}]}, "at `$.value.below[0].kept`"),
    (Cat | Dog, {"kept": {"name": "x"}}, "Object missing required field `type` - at `$.value`"),
    (Left | Right, [], "Expected `array` of at least length 1, got 0 - at `$.value`"),
    (Cat | Dog, 1, "Expected `object`, got `int` - at `$.value`"),
    (Holder, {"member": 1, "data": b""}, "Expected `test.PreparedMember`, got `int` - at `$.value.member`"),
]


@pytest.mark.parametrize(("hint", "value", "text"), UNFIT, ids=str)
def test_what_does_not_fit_them_is_refused_with_its_path(hint: Any, value: Any, text: str) -> None:
    assert text in refusal(hint, value).message


# Nothing to do


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Checked:
    names: Iterable[int] = ()

    def __post_init__(self) -> None: ...


@pytest.mark.parametrize("value", [5, None, "x", [1]])
def test_another_form_than_declared_is_left_for_msgspec(value: Any) -> None:
    maps: list[Any] = [dict[str, Kept], Tree, Cat | Dog]
    for hint in maps:
        assert "Expected `object`" in refusal(hint, value).message
    assert "Expected `" in refusal(list[Kept], value).message


NOTHING: list[Any] = [
    None, int, str, bytes, Any, object, dt.datetime, uuid.UUID, Decimal, Colour, Literal["a", 1], Member, Cap,
    list[int], list[uuid.UUID], tuple[int, ...], tuple[()], Sequence[Decimal], Collection[str], dict[str, int],
    dict[dt.date, int], dict[Colour, int], dict[Any, Any], Mapping[str, list[uuid.UUID]], set[str], set[dt.date],
    set[Colour], set[Member], set[bytes], set[bool], Checked, list[Dog], Even,
]  # fmt: skip


@pytest.mark.parametrize("hint", NOTHING, ids=str)
def test_most_types_take_no_preparation(hint: Any) -> None:
    assert preparation(hint, narrow) is None


def test_small_sets_take_one_call_each() -> None:
    """65 000 of them fit a frame."""
    small = Conversion("test", [("value", read_annotation(list[set[uuid.UUID]], "here"), True)])
    assert calls_of(lambda: small.convert({"value": [[]] * 1000})) <= 1050


def test_what_msgspec_can_do_takes_no_call() -> None:
    """Nested iterables, too, outside of classes."""
    nested = Conversion("test", [("value", read_annotation(list[Iterable[int]], "here"), True)])
    assert calls_of(lambda: nested.convert({"value": [[]] * 1000})) <= 50


def test_objects_that_are_called_take_few_calls_each() -> None:
    """Their fields are converted together."""
    kept = Conversion("test", [("value", read_annotation(list[Kept], "here"), True)])
    value = [{"name": "x"}] * 1000
    assert calls_of(lambda: kept.convert({"value": value})) <= 6 * 1000
    assert calls_of(lambda: kept.convert({"value": value}), "_converted") == 1


@dataclass
class Branch:
    branches: list[Branch] = field(default_factory=list["Branch"])
    hidden: int = field(default=1, init=False)


@dataclass
class Fork:
    """Which is no list: each of its own is built by itself."""

    left: Fork | None = None
    hidden: int = field(default=1, init=False)


def test_many_objects_of_a_class_that_stands_within_itself_are_converted_at_once() -> None:
    tree = Conversion("test", [("value", read_annotation(Branch, "here"), True)])
    made = tree.convert({"value": {"branches": [{}, {"branches": [{}]}]}}).value
    assert made == Branch([Branch(), Branch([Branch()])])
    flat = calls_of(lambda: tree.convert({"value": {"branches": [{}] * 1000}}), "_converted")
    assert flat <= 4
    fork = Conversion("test", [("value", read_annotation(Fork, "here"), True)])
    assert fork.convert({"value": {"left": {"left": {}}}}).value == Fork(Fork(Fork()))
