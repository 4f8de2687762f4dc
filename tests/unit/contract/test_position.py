"""Positions: what may stand where, step by step as on the wire."""

from __future__ import annotations

import enum
from collections import abc
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, TypedDict, TypeVar

import msgspec
import pytest

from capnet.contract import Cap, Sink, Stream, call, callable_contract
from capnet.contract.position import ANYTHING, NOTHING, Position, position_of

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
