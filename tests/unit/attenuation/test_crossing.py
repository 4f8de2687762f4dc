"""What crosses a boundary: data as a copy, with replacements, and nothing else."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple, cast

import attrs
import msgspec
import pytest

from capnet import Cap, InvalidArgument, Sink, channel
from capnet.attenuation.crossing import MAX_DEPTH, rebuilt
from capnet.contract.position import ANYTHING, Position, position_of
from tests.attenuation.store import Desk, MemDesk, MemStore, Store
from tests.counting import calls_of


class Marked(NamedTuple):
    what: object
    contract: object = Cap


class Marks:
    """Puts a mark in place of everything that is no data."""

    def capability(self, value: Cap, place: Position) -> Any:
        return Marked(value, place.contract)

    def function(self, value: Callable[..., Any], place: Position) -> Any:
        return Marked(value, place.contract)

    def stream(self, value: AsyncIterable[Any], place: Position) -> Any:
        return Marked(value, place.contract)

    def sink(self, value: Sink[Any], place: Position) -> Any:
        return Marked(value, place.contract)


class Row(NamedTuple):
    number: int
    inside: object


@dataclass(frozen=True, slots=True)
class Frozen:
    inside: object
    row: list[object] = field(default_factory=list[object])


@dataclass
class Hooked:
    inside: object
    made: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.made += 1


class Struct(msgspec.Struct, frozen=True):
    inside: object
    name: str = "n"


class Colour(enum.Enum):
    RED = "red"


STORE = MemStore()
MARK = Marked(STORE)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        7,
        1.5,
        "text",
        b"bytes",
        bytearray(b"x"),
        Colour.RED,
        dt.datetime.now(dt.UTC),
        dt.date(2030, 1, 1),
        dt.time(1),
        dt.timedelta(1),
        uuid.uuid4(),
        Decimal("1.5"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_plain_values_cross_as_they_are(value: object) -> None:
    assert rebuilt(value, ANYTHING, Marks()) is value


@pytest.mark.parametrize(
    ("value", "crossed"),
    [
        ([STORE, 1], [MARK, 1]),
        ((STORE, 1), (MARK, 1)),
        ({"k": STORE}, {"k": MARK}),
        ({"k": [{"j": (STORE,)}]}, {"k": [{"j": (MARK,)}]}),
        ({STORE}, {MARK}),
        (frozenset({STORE}), frozenset({MARK})),
        (deque([STORE]), [MARK]),
        (Row(1, [STORE]), Row(1, [MARK])),
        (Frozen(STORE, [STORE]), Frozen(MARK, [MARK])),
        (Struct(STORE), Struct(MARK)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_capabilities_are_found_in(value: object, crossed: object) -> None:
    found = rebuilt(value, ANYTHING, Marks())
    assert found == crossed
    assert type(found) is type(crossed)


@pytest.mark.parametrize(
    "value",
    [[], {}, set[object](), [1], {"a": 1}, {1}, [[1], {"a": [2]}], {"a": {}}],
    ids=repr,
)
def test_nothing_that_can_change_is_shared(value: Any) -> None:
    found = rebuilt(value, ANYTHING, Marks())
    assert found == value and found is not value
    for mine, other in zip(inside(found), inside(value), strict=True):
        assert mine is not other


def inside(value: Any) -> list[Any]:
    """What can change in a container."""
    items: Iterable[Any] = cast("dict[str, Any]", value).values() if isinstance(value, dict) else value
    return [item for item in items if isinstance(item, (list, dict, set))]


MANY = 1000
LARGE: dict[str, tuple[Any, int]] = {
    "numbers": ([0] * MANY, 0),
    "map": ({str(number): 0.5 for number in range(MANY)}, 0),
    "tuple": (tuple(range(MANY)), 0),
    "set": ({uuid.UUID(int=number) for number in range(MANY)}, 0),
    "empty lists": ([[]] * MANY, 1),
    "maps": ([{"a": 1}] * MANY, 2),
    "tuples": ([(1, 2)] * MANY, 2),
    "named tuples": ([Row(1, 2)] * MANY, 6),
    "dataclasses": ([Frozen(1, [])] * MANY, 6),
}
"""Values, and calls of functions for each item."""


@pytest.mark.parametrize(("value", "each"), LARGE.values(), ids=LARGE)
def test_plain_values_take_no_step_of_their_own(value: Any, each: int) -> None:
    """A frame holds 65 536 of them, and each membrane on the way copies all."""
    assert calls_of(lambda: rebuilt(value, ANYTHING, Marks())) <= each * MANY + 20


@pytest.mark.parametrize(
    "hint", [list[list[int]], list[list[Store]], set[tuple[Store, ...]], dict[str, list[Store]]], ids=str
)
def test_places_take_no_step_of_their_own(hint: Any) -> None:
    """Where all that is inside has the same."""
    place = position_of(hint)
    value = {str(number): list[Store]() for number in range(MANY)} if "dict" in str(hint) else [list[Store]()] * MANY
    assert calls_of(lambda: rebuilt(value, place, Marks())) <= MANY + 20


def test_what_is_declared_where_it_stands_is_told() -> None:
    """By the steps of the wire: fields by their names there, or by an index behind the tag."""

    class Renamed(msgspec.Struct, rename={"one": "other", "other": "one"}):
        one: Store
        other: Desk
        unset: int | msgspec.UnsetType = msgspec.UNSET

    class Array(msgspec.Struct, array_like=True, tag="array"):
        number: int
        one: Store
        other: Desk

    desk = MemDesk()
    hint = tuple[Renamed, Array, dict[str, Desk], list[Store]]
    value = (Renamed(STORE, desk), Array(1, STORE, desk), {"k": cast("Desk", STORE)}, [STORE])
    renamed, array, mapped, listed = rebuilt(value, position_of(hint), Marks())
    for struct in (renamed, array):
        assert (struct.one, struct.other) == ((STORE, Store), (desk, Desk))
    assert (mapped["k"], listed) == ((STORE, Desk), [(STORE, Store)])
    assert renamed.unset is msgspec.UNSET


def test_data_is_copied_and_no_code_of_its_classes_is_run() -> None:
    value = Hooked([1])
    value.made = 5
    vars(value)["extra"] = STORE
    found = rebuilt(value, ANYTHING, Marks())
    assert (found.inside, found.made) == ([1], 5) and found.inside is not value.inside
    assert "extra" not in vars(found)


def test_ends_of_streams_and_functions_are_replaced() -> None:
    sink, items = channel(int)
    function = STORE.read
    assert rebuilt([sink, items, function], ANYTHING, Marks()) == [Marked(sink), Marked(items), Marked(function)]


@pytest.mark.parametrize("value", [object(), [object()], MemStore, RuntimeError("x"), type, ...])
def test_what_is_nothing_of_that_does_not_cross(value: object) -> None:
    with pytest.raises(InvalidArgument) as caught:
        rebuilt(value, ANYTHING, Marks())
    assert caught.value.reason == "cannot_cross"


def test_a_value_that_holds_itself_does_not_cross() -> None:
    circle: list[object] = []
    circle.append(circle)
    deep: object = 1
    for _ in range(MAX_DEPTH):
        deep = [deep]
    assert rebuilt(deep, ANYTHING, Marks()) == deep
    for value in (circle, [deep]):
        with pytest.raises(InvalidArgument) as caught:
            rebuilt(value, ANYTHING, Marks())
        assert caught.value.reason == "cannot_cross"


@attrs.frozen
class Parcel:
    _reader: Any
    note: str


def test_objects_of_attrs_cross_as_others_do() -> None:
    """Also where nothing of theirs can be set."""
    sink = channel(int)[0]
    found = rebuilt(Parcel(sink, "x"), ANYTHING, Marks())
    assert type(found) is Parcel and found == Parcel(Marked(sink), "x")
