"""Copies: nothing that is done to a value afterwards is seen in them."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import types
from array import array
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import attrs
import msgspec
import pytest

from capnet.contract import Cap, Sink, call
from capnet.contract.copied import MAX_DEPTH, copied
from capnet.contract.plain import form_of


@dataclasses.dataclass
class Item:
    name: str
    lines: list[int]
    total: int = dataclasses.field(init=False, default=0)


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    name: str
    lines: Any = ()


class Struct(msgspec.Struct):
    lines: list[int]


class FrozenStruct(msgspec.Struct, frozen=True):
    lines: Any


@attrs.define
class Attrs:
    lines: list[int]


@attrs.frozen
class FrozenAttrs:
    lines: Any


class Row(NamedTuple):
    a: int
    lines: Any


class Words(dict[str, Any]):
    extra = 1


class Own(collections.UserList[Any]):
    pass


class Held(Mapping[str, Any]):
    """A map of a class of its own, over data that a copy of it would share."""

    def __init__(self, held: dict[str, Any]) -> None:
        self.held = held

    def __getitem__(self, key: str) -> Any:
        return self.held[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.held)

    def __len__(self) -> int:
        return len(self.held)


class Numbers(collections.UserList[int]):
    """As an array of numpy's looks."""

    dtype = "int64"

    def tolist(self) -> list[int]:
        return self.data


class Color(enum.Enum):
    RED = "r"


class Room(Cap, name="test.copied.Room"):
    @call
    async def say(self) -> None: ...


@dataclasses.dataclass
class MemRoom(Room):
    said: list[str]

    async def say(self) -> None: ...


class ListSink(Sink[int]):
    async def send(self, item: int) -> None: ...

    async def aclose(self) -> None: ...

    def fail(self, error: Exception) -> None: ...


@dataclasses.dataclass
class Function:
    said: list[str]

    def __call__(self) -> None: ...


async def items() -> Any:
    yield 1


CHANGES: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "list": (lambda: [1, [2]], lambda value: value[1].append(3)),
    "dict": (lambda: {"a": {"b": 1}}, lambda value: value["a"].clear()),
    "tuple": (lambda: (1, [2]), lambda value: value[1].append(3)),
    "named tuple": (lambda: Row(1, [2]), lambda value: value.lines.append(3)),
    "set": (lambda: {1}, lambda value: value.add(2)),
    "bytearray": (lambda: bytearray(b"abc"), lambda value: value.reverse()),
    "memoryview": (lambda: memoryview(bytearray(b"abc")), lambda value: value.obj.reverse()),
    "array": (lambda: array("i", [1, 2]), lambda value: value.reverse()),
    "deque": (lambda: collections.deque([[1]]), lambda value: value[0].append(2)),
    "OrderedDict": (lambda: collections.OrderedDict[str, list[int]](a=[1]), lambda value: value["a"].append(2)),
    "defaultdict": (lambda: collections.defaultdict(list, a=[1]), lambda value: value["a"].append(2)),
    "Counter": (lambda: collections.Counter("aab"), lambda value: value.update("b")),
    "dict of its own": (lambda: Words(a=[1]), lambda value: value["a"].append(2)),
    "dataclass": (lambda: Item("a", [1]), lambda value: value.lines.append(2)),
    "field of a dataclass": (lambda: Item("a", [1]), lambda value: setattr(value, "name", "b")),
    "frozen dataclass": (lambda: Frozen("a", [1]), lambda value: value.lines.append(2)),
    "struct": (lambda: Struct([1]), lambda value: value.lines.append(2)),
    "frozen struct": (lambda: FrozenStruct([1]), lambda value: value.lines.append(2)),
    "attrs": (lambda: Attrs([1]), lambda value: value.lines.append(2)),
    "frozen attrs": (lambda: FrozenAttrs([1]), lambda value: value.lines.append(2)),
    "array of another": (lambda: Numbers([1, 2]), lambda value: value.reverse()),
    "deep": (lambda: [Row(1, {"a": (Item("a", [1]),)})], lambda value: value[0].lines["a"][0].lines.append(2)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_done_to_a_value_afterwards_is_not_seen(name: str) -> None:
    """The copy is of the same type, and equal to what the value was."""
    make, change = CHANGES[name]
    value = make()
    taken = copied(value)
    assert taken == make() and type(taken) is type(value)
    change(value)
    assert taken == make() and value != taken


OTHERS: dict[str, tuple[Callable[[], Any], Callable[[Any], object], Any]] = {
    "map": (lambda: Held({"a": [1]}), lambda value: value.held["a"].append(2), {"a": [1]}),
    "list": (lambda: Own([[1]]), lambda value: value.data[0].append(2), [[1]]),
    "view": (lambda: {"a": [1]}.values(), lambda value: next(iter(value)).append(2), [[1]]),
    "proxy": (lambda: types.MappingProxyType({"a": [1]}), lambda value: value["a"].append(2), {"a": [1]}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_container_of_another_class_is_taken_as_what_it_would_arrive_as(name: str) -> None:
    """A copy of it may share what it holds."""
    make, change, expected = OTHERS[name]
    value = make()
    taken = copied(value)
    change(value)
    assert taken == expected
    forms = {form_of(cast("Any", type(one))) for one in (taken, value)}
    assert len(forms) == 1, "it is refused where the other one is"


FIXED: list[Any] = [
    None,
    1,
    "a",
    b"a",
    dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    Color.RED,
    (1, ("a",)),
    range(3),
    Row(1, None),
    Frozen("a", (1,)),
    FrozenStruct((1,)),
    MemRoom([]),
    ListSink(),
    items(),
    Function([]),
    print,
    object(),
    type("Text", (str,), {})("a"),
]


@pytest.mark.parametrize("value", FIXED, ids=lambda value: type(value).__name__)
def test_what_cannot_change_and_what_is_no_data_stays_what_it_is(value: object) -> None:
    """Also in something else."""
    assert copied(value) is value
    assert copied([value])[0] is value


def test_what_stands_in_two_places_is_copied_once() -> None:
    """So a value that unfolds without end does not, and one that holds itself comes to an end."""
    shared: list[Any] = [1]
    taken = copied([shared, shared])
    assert taken[0] is taken[1] and taken[0] is not shared
    knot: list[Any] = []
    knot.append(knot)
    taken = copied(knot)
    assert taken is not knot and taken[0] is taken
    wide: Any = []
    for _ in range(100):
        wide = [wide, wide]
    assert copied(wide) is not wide


def test_what_is_nested_too_deeply_to_travel_is_left() -> None:
    """Without a step on the stack for each level."""
    value: Any = 0
    for _ in range(100_000):
        value = [value]
    taken, left = copied(value), value
    for _ in range(MAX_DEPTH):
        assert taken is not left
        taken, left = taken[0], left[0]
    assert taken is left


def test_other_attributes_of_an_object_stay() -> None:
    """A reader in the same program is given all of it."""
    item = Item("a", [1])
    item.total = 5
    item.__dict__["note"] = "x"
    assert vars(copied(item)) == vars(item)
