"""What implementations say that they return is compared with the contract, as far as they say something."""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, NoReturn, TypedDict, TypeVar

import pytest

from capnet.contract import Cap, Stream, call, contract_spec, implementation_table, stream
from capnet.errors import ContractError

T = TypeVar("T")


@dataclass
class Point:
    x: int
    y: int = 0


@dataclass
class Point3(Point):
    z: int = 0


class Pair(NamedTuple):
    one: int
    two: str


class Row(TypedDict):
    name: str


class Colour(enum.Enum):
    RED = "red"


class Half(enum.Enum):
    HALF = 0.5


class Name(str): ...


class Room(Cap, name="results.Room"):
    @call
    async def post(self) -> int: ...


class Large(Room, name="results.Large"):
    @call
    async def grow(self) -> int: ...


class MemRoom(Room):
    async def post(self) -> int:
        return 1


def refusal(declared: Any, own: Any, kind: Any = call) -> str:
    """Why an implementation that is annotated so is refused; empty when it is not."""

    def declare(hint: Any) -> Any:
        async def method(self: Any) -> None: ...

        async def items(self: Any) -> AsyncIterator[None]:
            yield

        found: Any = method if kind is call else items
        found.__annotations__["return"] = hint
        return found

    def stub(self: Any) -> None: ...

    mark = call(declare(declared)) if kind is call else stream(stub)
    mark.__annotations__["return"] = declared
    contract = type("Made", (Cap,), {"method": mark, "__module__": __name__})
    made = type("MemMade", (contract,), {"method": declare(own), "__module__": __name__})
    try:
        implementation_table(made, contract_spec(contract))
    except ContractError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("declared", "own"),
    [
        (int, str),
        (int, None),
        (int, bool),
        (None, int),
        (int, "int | None"),
        (list[int], list[str]),
        (list[int], dict[str, int]),
        (Point, int),
        (Room, str),
        (Large, Room),
        (Literal["a"], Literal["b"]),
        (Row, dict[str, int]),
        (tuple[int, str], tuple[str, int]),
    ],
    ids=str,
)
def test_another_type_is_refused(declared: Any, own: Any) -> None:
    assert "method 'method' returns `" in refusal(declared, own)


@pytest.mark.parametrize(
    ("declared", "own"),
    [
        (int, int),
        (int, Any),
        (int, object),
        (list[int], list[Any]),
        (list[int], list),
        (float, int),
        ("int | None", int),
        (Sequence[int], list[int]),
        (Mapping[str, int], dict[str, int]),
        (Point, Point3),
        (tuple[int, str], Pair),
        (str, Colour),
        (str, Literal["a"]),
        (Room, Large),
        (Room, MemRoom),
        (str, Name),
        (int, T),
        (int, NoReturn),
        (int, "Unknown"),
        (float, Half),
        (Any, int),
    ],
    ids=str,
)
def test_what_may_fit_is_accepted(declared: Any, own: Any) -> None:
    """What it does return is checked each time, so nothing is refused that a type checker would take."""
    assert not refusal(declared, own)


@pytest.mark.parametrize(
    ("own", "good"),
    [(Stream[int], True), (AsyncIterator[int], True), (AsyncGenerator[int, None], True), (Stream[str], False)],
    ids=str,
)
def test_items_of_streams(own: Any, *, good: bool) -> None:
    assert (not refusal(Stream[int], own, stream)) is good


def test_an_annotation_may_be_left_out() -> None:
    class Silent(Room):
        async def post(self):  # type: ignore[no-untyped-def]
            return 1

    assert implementation_table(Silent, contract_spec(Room))


class Topic(Cap, Generic[T], name="results.Topic"):
    @call
    async def last(self) -> T: ...


def test_type_variables_are_what_they_are_bound_to() -> None:
    """A generic implementation says nothing that could be compared."""

    class MemTopic(Topic[T]):
        async def last(self) -> T:
            raise NotImplementedError

    assert implementation_table(MemTopic, contract_spec(Topic[int]))
