"""Positions: what may stand where, step by step as on the wire."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from collections import abc
from collections.abc import AsyncIterable, Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, TypedDict, TypeVar

import msgspec
import pytest

from capnet.contract import Cap, Sink, Stream, call, callable_contract
from capnet.contract.position import ANYTHING, NOTHING, UNKNOWN, Position, position_of

T = TypeVar("T")


class Reader(Cap, name="test.Reader"):
    @call
    async def read(self) -> int: ...


class File(Reader, name="test.File"):
    @call
    async def write(self) -> int: ...


class Topic(Cap, Generic[T], name="test.Topic"):
    @call
    async def get(self) -> T: ...


@dataclass
class Box(Generic[T]):
    inside: T
    count: int
    next: Box[T] | None = None


class Pair(NamedTuple):
    template: Reader
    scratch: File


class Options(TypedDict):
    source: Reader
    target: NotRequired[File]


class Color(enum.Enum):
    RED = 1


class Left(msgspec.Struct, tag=True):
    it: Reader
    both: Reader


class Right(msgspec.Struct, tag=True, rename={"it": "that"}):
    it: File
    both: File


class Row(msgspec.Struct, tag="row", array_like=True):
    it: Reader
    number: int
    other: File


Named = NewType("Named", Reader)
Text = NewType("Text", str)
On = Callable[[int], Awaitable[int]]
Off = Callable[[str], Awaitable[int]]


def at(hint: Any, *steps: str | int) -> Position:
    """The position at a path."""
    position = position_of(hint)
    for step in steps:
        position = position.inside(step)
    return position


@pytest.mark.parametrize(
    ("hint", "steps", "contract"),
    [
        (Reader, (), Reader),
        (Reader | None, (), Reader),
        (Cap, (), Cap),
        (Named, (), Reader),
        (Annotated[Reader, "words"], (), Reader),
        (Topic[int], (), Topic[int]),
        (On, (), callable_contract(On)),
        (list[Reader], (7,), Reader),
        (set[Reader], (0,), Reader),
        (Iterable[Reader], (0,), Reader),
        (abc.Sequence[tuple[Reader, File]], (3, 1), File),
        (tuple[Reader, ...], (9,), Reader),
        (tuple[Reader, File], (0,), Reader),
        (tuple[Reader, File], (1,), File),
        (dict[str, Reader], ("any",), Reader),
        (Mapping[int, list[File]], ("1", 0), File),
        (Box[Reader], ("inside",), Reader),
        (Box[Box[File]], ("inside", "next", "inside"), File),
        (Pair, (0,), Reader),
        (Pair, (1,), File),
        (Options, ("source",), Reader),
        (Options, ("target",), File),
        (Row, (1,), Reader),
        (Row, (3,), File),
        (Left, ("it",), Reader),
        (Right, ("that",), File),
        (list[Reader] | dict[str, File], (0,), Reader),
        (list[Reader] | dict[str, File], ("a",), File),
        (dict[str, On | None], ("a",), callable_contract(On)),
    ],
    ids=str,
)
def test_each_place_has_its_own_contract(hint: Any, steps: tuple[str | int, ...], contract: Any) -> None:
    """Whatever else the annotation mentions."""
    assert at(hint, *steps).contract == contract


@pytest.mark.parametrize(
    ("hint", "steps"),
    [
        (int, ()),
        (None, ()),
        (int, ("deep", 1)),
        (Literal["a"], ()),
        (Color, ()),
        (list[int], (0,)),
        (tuple[Reader, File], (2,)),
        (dict[str, int], ("a",)),
        (Box[Reader], ("count",)),
        (Box[Reader], ("other",)),
        (Row, (0,)),
        (Row, (2,)),
        (Right, ("it",)),
        (int | str | None, ()),
        (msgspec.UnsetType, ()),
    ],
    ids=str,
)
def test_where_data_is_declared_nothing_else_may_stand(hint: Any, steps: tuple[str | int, ...]) -> None:
    """No capability, function, stream or sink."""
    position = at(hint, *steps)
    assert position.contract is None and position.items is None and not position.takes_functions


def test_anything_is_anything_all_the_way_down() -> None:
    """Also where it stands beside other things."""
    for hint in (Any, object):
        assert position_of(hint) is ANYTHING
        sequence: Any = list
        assert at(sequence[hint], 3, "deep", 0) is ANYTHING
    assert ANYTHING.contract is Cap and ANYTHING.items is ANYTHING
    assert at(tuple[Reader, Any], 1) is ANYTHING
    bare: Any = dict
    assert at(bare, "a") is ANYTHING
    assert at(Any | int, "a") is ANYTHING


def test_ends_of_streams_have_items() -> None:
    """Each with a position of its own."""
    for hint in (AsyncIterable[Pair], Stream[Pair], Sink[Pair]):
        items = position_of(hint).items
        assert items is not None and items.inside(0).contract is Reader and items.inside(1).contract is File
        assert position_of(hint).contract is None


def test_two_functions_in_one_value_are_told_apart() -> None:
    """By where they stand."""
    assert at(tuple[On, Off], 0).contract is callable_contract(On)
    assert at(tuple[On, Off], 1).contract is callable_contract(Off)
    assert at(tuple[On, Off], 1).takes_functions and not position_of(Topic[int]).takes_functions


def test_of_several_classes_the_value_says_which() -> None:
    """A plain map that could be any of them may hold nothing."""
    position = position_of(Left | Right)
    assert position.of(Left).inside("both").contract is Reader
    assert position.of(Right).inside("both").contract is File
    assert position.inside("both") is NOTHING
    assert position.of(dict) is position
    three = position_of(Left | Right | None | Row2)
    assert three.of(Row2).inside("last").contract is File
    assert three.inside("last") is NOTHING
    assert position_of(Left | None).inside("both").contract is Reader


class Row2(msgspec.Struct, tag=True):
    last: File


class Special(Left, tag="special"):
    more: int = 0


def test_a_subclass_is_what_it_extends() -> None:
    """What it has beside that was not declared."""
    assert position_of(Left | Right).of(Special).inside("it").contract is Reader


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (dict[str, int], False),
        (dict[Any, int], False),
        (dict[Text, int], False),
        (dict[int, int], True),
        (dict[Color, int], True),
        (Mapping[Literal["a"], int], True),
        (dict[int, int] | None, True),
        (list[dict[int, int]], False),
    ],
    ids=str,
)
def test_maps_with_other_keys_are_marked(hint: Any, expected: bool) -> None:
    """They become text, and those of other maps beside them do not."""
    assert position_of(hint).text_keys is expected


@dataclass
class Shape:
    name: str


@dataclass
class Circle(Shape):
    radius: float = 0.0


@dataclass
class Nothing:
    pass


class Empty(msgspec.Struct, tag=True):
    pass


def edition(name: str) -> Any:
    """A class as a module has it that was loaded again."""
    return type(name, (), {"__module__": __name__, "__qualname__": name})


FORMS: list[Any] = [
    (dt.datetime, {dt.datetime}),
    (dt.date | None, {dt.date}),
    (uuid.UUID, {uuid.UUID}),
    (int | decimal.Decimal, {decimal.Decimal}),
    (Color, {Color}),
    (Shape, {Shape}),
    (Nothing, {Nothing}),
    (Box[int], {Box}),
    (Left | Right | Empty, {Left, Right, Empty}),
    (Pair, {Pair}),
    (set[int], {Collection}),
    (tuple[int, str], {Collection}),
    (Iterable[int], {Collection}),
    (list[int] | dt.datetime, {Collection, dt.datetime}),
    (int | str, set()),
    (dict[str, int], set()),
    (Any, set()),
    (Any | dt.datetime, set()),
    (dict[str, dt.datetime] | Any, set()),
]


@pytest.mark.parametrize(("hint", "expected"), FORMS, ids=[str(hint) for hint, _ in FORMS])
def test_what_is_told_apart_has_to_be_declared(hint: Any, expected: set[Any]) -> None:
    """Beside `Any` nothing counts as declared: it arrives as what it travels as."""
    position = position_of(hint)
    forms: Any = position.forms
    assert set(forms) == expected
    others = {dt.datetime, dt.date, uuid.UUID, decimal.Decimal, Color, Shape, Circle, Left, Empty, Collection} - forms
    assert all(map(position.takes, forms)) and not any(map(position.takes, others))


def test_a_named_tuple_is_a_tuple_and_an_edition_is_the_class() -> None:
    """The first equals what arrives, and a module may have been loaded again."""
    assert position_of(tuple[int, ...]).takes(Pair) and position_of(Iterable[int]).takes(Pair)
    assert not position_of(Pair).takes(Row2) and not ANYTHING.takes(Pair)
    assert position_of(Shape | None).takes(edition("Shape"))
    assert not position_of(Shape | None).takes(edition("Circle"))


def test_who_knows_nothing_refuses_nothing() -> None:
    """What goes through a program that forwards is declared elsewhere."""
    assert all(map(UNKNOWN.takes, (Shape, Circle, Color, dt.datetime, Collection)))
    assert UNKNOWN.inside("a").inside(0) is UNKNOWN and UNKNOWN.contract is Cap and UNKNOWN.items is UNKNOWN


def test_a_refusal_says_what_would_happen() -> None:
    """And what to do."""
    assert "Any" in ANYTHING.refusal(set, Collection)
    told = position_of(Shape).refusal(Circle, Circle)
    assert "Circle" in told and "Shape" in told and "tagged" in told
    assert "declared" in position_of(str).refusal(uuid.UUID, uuid.UUID)
    assert "declared" in UNKNOWN.refusal(uuid.UUID, uuid.UUID)


KEYS: list[Any] = [
    (Shape, {"name"}),
    (Nothing, set()),
    (Left, {"type", "it", "both"}),
    (Right, {"type", "that", "both"}),
    (Options | None, {"source", "target"}),
    (Options | list[int], {"source", "target"}),
    (Left | Right, None),
    (Left | Empty, None),
    (Pair, None),
    (dict[str, int], None),
    (Any, None),
]


@pytest.mark.parametrize(("hint", "keys"), KEYS, ids=[str(hint) for hint, _ in KEYS])
def test_a_class_has_these_keys_only(hint: Any, keys: Any) -> None:
    """Of several classes only the value says which."""
    assert position_of(hint).keys == keys


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (Shape, True),
        (list[dict[str, tuple[int, Shape]]], True),
        (Left | Right, True),
        (Box[Box[int]], True),
        (list[Options] | None, True),
        (int, False),
        (Any, False),
        (list[dict[str, Any]], False),
        (Pair, False),
        (Stream[Shape], False),
        (Color, False),
    ],
    ids=str,
)
def test_what_holds_such_a_class_is_known(hint: Any, expected: bool) -> None:
    """At any depth; the items of a stream are asked for themselves."""
    position = position_of(hint)
    assert position.checks_keys is expected and position.checks_keys is expected
    assert position_of(Stream[Shape]).inside(0).checks_keys is False
