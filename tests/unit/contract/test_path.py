"""Steps into a result: what they are called on the wire, and what they lead to."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import AsyncIterable, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, Required, TypedDict, TypeVar

import msgspec
import pytest

from capnet.contract import Cap, Sink, call, callable_contract, contract_at, step_into
from capnet.contract.annotation import read_annotation
from capnet.contract.plain import plain
from capnet.errors import InvalidArgument

T = TypeVar("T")


class Member(Cap, name="test.Member"):
    @call
    async def notify(self) -> None: ...


class Topic(Cap, Generic[T], name="test.Topic"):
    @call
    async def get(self) -> T: ...


class Color(enum.Enum):
    RED = "r"


class Level(enum.IntEnum):
    LOW = 1


@dataclass
class Guest:
    member: Member
    friend: Guest | None = None


@dataclass
class Box(Generic[T]):
    value: T


class Pair(NamedTuple):
    name: str
    member: Member


class Options(TypedDict, total=False):
    member: Required[Member]
    count: NotRequired[Annotated[int, msgspec.Meta(ge=1)]]


class Renamed(msgspec.Struct, rename="camel", tag="t"):
    the_member: Member
    maybe: Member | msgspec.UnsetType = msgspec.UNSET


class Row(msgspec.Struct, array_like=True):
    name: str
    member: Member


class TaggedRow(Row, array_like=True, tag=True): ...


On: Any = Callable[[int], Awaitable[None]]
Roster = NewType("Roster", list[Member])


def step(hint: Any, *steps: Any) -> tuple[Any, Any]:
    """The last step on the wire and the type behind it."""
    annotation = read_annotation(hint, "here")
    wire: Any = None
    for each in steps:
        wire, annotation = step_into(annotation, each)
    return wire, annotation.hint


STEPS: list[Any] = [
    (list[Member], 0, 0, Member),
    (list[Member], 10**6, 10**6, Member),
    (Sequence[Member], 1, 1, Member),
    (Iterable[Member], 1, 1, Member),
    (Collection[Member], 1, 1, Member),
    (list, 3, 3, Any),
    (tuple, 3, 3, Any),
    (tuple[Member, ...], 3, 3, Member),
    (tuple[int, Member], 0, 0, int),
    (tuple[int, Member], 1, 1, Member),
    (dict[str, Member], "a", "a", Member),
    (Mapping[str, Topic[int]], "a", "a", Topic[int]),
    (dict, "a", "a", Any),
    (dict[object, int], "a", "a", int),
    (dict[int, Member], 5, "5", Member),
    (dict[int, Member], "-5", "-5", Member),
    (dict[Level, Member], 1, "1", Member),
    (dict[Literal[1, 2], Member], 2, "2", Member),
    (dict[Color, Member], "r", "r", Member),
    (dict[dt.date, Member], "2020-01-02", "2020-01-02", Member),
    (dict[uuid.UUID, int], f"{uuid.UUID(int=10)!s}".upper(), str(uuid.UUID(int=10)), int),
    (Guest, "member", "member", Member),
    (Guest, "friend", "friend", Guest | None),
    (Box[Member], "value", "value", Member),
    (Box, "value", "value", Any),
    (Pair, "member", 1, Member),
    (Pair, 1, 1, Member),
    (Options, "member", "member", Member),
    (Options, "count", "count", Annotated[int, msgspec.Meta(ge=1)]),
    (Renamed, "the_member", "theMember", Member),
    (Renamed, "maybe", "maybe", Member | msgspec.UnsetType),
    (Row, "member", 1, Member),
    (TaggedRow, "member", 2, Member),
    (Guest | None, "member", "member", Member),
    (Annotated[Guest | None, "note"], "member", "member", Member),
    (Roster, 0, 0, Member),
    (Any, "a", "a", Any),
    (object, 1, 1, Any),
]


@pytest.mark.parametrize(("hint", "taken", "wire", "behind"), STEPS, ids=str)
def test_a_step_leads_to_what_stands_there(hint: Any, taken: Any, wire: Any, behind: Any) -> None:
    """Renamed fields, arrays and text keys are called as they travel."""
    found = step(hint, taken)
    assert found == (wire, behind)
    assert type(found[0]) is type(wire)


VALUES: list[Any] = [
    (list[int], [5, 6], 1, 6),
    (dict[int, int], {5: 6}, 5, 6),
    (dict[Level, int], {Level.LOW: 6}, 1, 6),
    (dict[dt.date, int], {dt.date(2020, 1, 2): 6}, "2020-01-02", 6),
    (Box[int], Box(6), "value", 6),
    (Pair, Pair("a", "b"), "member", "b"),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    (Renamed, Renamed("a"), "the_member", "a"),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    (Row, Row("a", "b"), "member", "b"),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    (TaggedRow, TaggedRow("a", "b"), "member", "b"),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
]


@pytest.mark.parametrize(("hint", "value", "taken", "expected"), VALUES, ids=str)
def test_the_value_that_travels_has_that_step(hint: Any, value: Any, taken: Any, expected: Any) -> None:
    """What the sender makes of a value is found by the step on the wire."""
    annotation = read_annotation(hint, "here")
    wire, _ = step_into(annotation, taken)
    assert plain(value, annotation.text_keys)[wire] == expected


def test_steps_follow_each_other() -> None:
    """A path is as long as the type is deep."""
    assert step(dict[str, list[Guest | None]], "a", 0, "friend", "friend", "member") == ("member", Member)


def test_what_stands_there_is_as_if_it_were_declared() -> None:
    """Contracts and flags are those of the part."""
    _, found = step_into(read_annotation(tuple[Topic[int], dict[int, bytes]], "here"), 1)
    assert found == read_annotation(dict[int, bytes], "here")


def test_a_step_is_looked_up_once() -> None:
    """Calling again costs a dictionary."""
    annotation = read_annotation(list[Guest], "here")
    assert step_into(annotation, 0) is step_into(annotation, 0)


NO_STEPS: list[Any] = [
    (int, 0),
    (str, 0),
    (None, "a"),
    (list[int], "a"),
    (list[int], -1),
    (list[int], True),
    (list[int], 1.0),
    (list[int], None),
    (list[int], slice(1)),
    (tuple[int, str], 2),
    (tuple[int, str], -1),
    (set[int], 0),
    (frozenset[int], 0),
    (AbstractSet[int], 0),
    (dict[str, int], 5),
    (dict[int, int], "x"),
    (dict[Any, int], 5),
    (dict[object, int], 5),
    (dict[int, int], 2**200),
    (dict[Color, int], "x"),
    (dict[Level, int], 2),
    (dict[dt.date, int], 5),
    (Guest, "nobody"),
    (Guest, "__class__"),
    (Guest, 0),
    (Pair, "nobody"),
    (Pair, 2),
    (Pair, -1),
    (Options, 0),
    (Renamed, "theMember"),
    (Renamed, "type"),
    (Row, 1),
    (int | str, 0),
    (Guest | list[int], "member"),
    (Color, "RED"),
    (Literal["a"], 0),
    (Member, "notify"),
    (Topic[int], "get"),
    (On, "call"),
    (AsyncIterable[Member], 0),
    (Sink[Member], 0),
]


@pytest.mark.parametrize(("hint", "taken"), NO_STEPS, ids=str)
def test_a_step_that_no_value_has_is_refused(hint: Any, taken: Any) -> None:
    """Before anything leaves."""
    with pytest.raises(InvalidArgument):
        step(hint, taken)


def test_a_refusal_is_short() -> None:
    """The step may be any text."""
    with pytest.raises(InvalidArgument) as caught:
        step(Guest, "x" * 100_000)
    assert len(caught.value.message) <= 4096


CONTRACTS: list[Any] = [
    (Member, Member),
    (Member | None, Member),
    (Annotated[Member, "note"], Member),
    (Topic[int], Topic[int]),
    (Cap, Cap),
    (On, callable_contract(On)),
    (On | None, callable_contract(On)),
    (int, None),
    (None, None),
    (Any, None),
    (list[Member], None),
    (Guest, None),
    (AsyncIterable[Member], None),
    (Literal["a"], None),
]


@pytest.mark.parametrize(("hint", "contract"), CONTRACTS, ids=str)
def test_the_contract_of_a_capability(hint: Any, contract: Any) -> None:
    """None where something else stands."""
    assert contract_at(read_annotation(hint, "here")) == contract
