"""What leaves is what is declared: in the same words as where it arrives, on the side whose fault it is."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from capnet.contract import Cap, Sink, Stream, call
from capnet.contract.annotation import read_annotation
from capnet.contract.leaving import Leaving, leaving_item
from capnet.errors import NotFound
from capnet.limits import HIGHEST_INTEGER, LOWEST_INTEGER


class Room(Cap, name="leaving.Room"):
    @call
    async def title(self) -> str: ...


class Reference:
    """What stands in the place of a capability."""


@dataclass
class Point:
    x: int
    y: int = 0


@dataclass
class Fussy:
    number: int

    def __post_init__(self) -> None:
        if self.number == 1:
            raise ValueError("one")
        if self.number == 2:
            raise NotFound("two")


@dataclass
class Door:
    room: Room
    number: int = 0
    title: str = field(init=False)

    def __post_init__(self) -> None:
        if self.number:
            self.title = self.room.no_such_thing  # type: ignore[attr-defined]


@dataclass
class Many:
    numbers: Iterable[int]
    anything: object = None


def leaving(hint: Any) -> Leaving:
    return Leaving(read_annotation(hint, "here"), "result")


GOOD: list[tuple[Any, list[Any]]] = [
    (None, [None]),
    (int, [1]),
    (float, [1.0, 1]),
    (Any, [1, "x", [Reference()], {"a": {}}]),
    (object, [1, [Reference()]]),
    (dict, [{}, {"a": [1]}]),
    (dict[str, Any], [{}, {"a": [1], "b": Reference()}]),
    (Mapping[str, Any], [{"a": 1}]),
    (list, [[], [1, "a"]]),
    (list[Any], [[1], (1, 2)]),
    (Sequence[Any], [[1]]),
    (dict[int, str], [{"1": "one"}]),
    (set[int], [[1, 2]]),
    (bytes, [b"x"]),
    (tuple[int, str], [[1, "a"], (1, "a")]),
    (Point, [{"x": 1}, {"x": 1, "y": 2}]),
    (list[Point], [[{"x": 1}]]),
    (Fussy, [{"number": 3}]),
    (Room, [Reference()]),
    (Room | None, [Reference(), None]),
    (list[Room], [[Reference()]]),
    (Callable[[int], Awaitable[int]], [Reference()]),
    (AsyncIterable[int], [Reference()]),
    (dict[str, Sink[int]], [{"a": Reference()}]),
    (Door, [{"room": Reference()}, {"room": Reference(), "number": 1}]),
    (Many, [{"numbers": [1, 2]}, {"numbers": [], "anything": [1]}]),
]
BAD: list[tuple[Any, list[Any]]] = [
    (None, [0, ""]),
    (int, ["1", 1.0, True, None, [1]]),
    (str, [1, b"x"]),
    (dict[str, Any], [[], "x", None, Reference()]),
    (list[Any], [{}, "x", Reference()]),
    (dict[str, int], [{"a": "1"}]),
    (tuple[int, str], [[1], [1, 2], ["1", "a"], "ab"]),
    (Point, [{"x": "1"}, {"y": 1}, [1, 2], Reference()]),
    (list[Point], [[{"x": 1}, {"x": None}]]),
    (Fussy, [{"number": 1}, {"number": 2}, {"number": "3"}]),
    (Room, [1, "room", {"title": 1}, None]),
    (list[Room], [[Reference(), 1]]),
    (Room | None, [1]),
    (Callable[[int], Awaitable[int]], [1]),
    (AsyncIterable[int], [[1, 2]]),
    (Door, [{"room": 1}, {"room": Reference(), "number": "x"}]),
    (Many, [{"numbers": ["1"]}, {"numbers": 1}]),
]


def _cases(table: list[tuple[Any, list[Any]]]) -> list[Any]:
    numbered = [
        (row, place, hint, value) for row, (hint, values) in enumerate(table) for place, value in enumerate(values)
    ]
    return [pytest.param(hint, value, id=f"{row}-{place}") for row, place, hint, value in numbered]


@pytest.mark.parametrize(("hint", "value"), _cases(GOOD))
def test_what_is_declared_may_leave(hint: Any, value: Any) -> None:
    leaving(hint).check(value)


@pytest.mark.parametrize(("hint", "value"), _cases(BAD))
def test_what_is_not_declared_may_not(hint: Any, value: Any) -> None:
    """Never by an error that is for the peer, whatever a class of the user's raises."""
    one = leaving(hint)
    for _ in range(2):
        with pytest.raises(TypeError):
            one.check(value)


def test_the_text_names_the_path_and_the_cause_is_there() -> None:
    with pytest.raises(TypeError, match=r"\$\.result\[1\]\.x") as caught:
        leaving(list[Point]).check([{"x": 1}, {"x": "a"}])
    assert caught.value.__cause__ is not None


def test_the_exact_type_of_what_needs_no_check() -> None:
    exact = [leaving(hint).exact for hint in (None, int, str, dict, dict[str, Any], list[Any], Any)]
    assert exact == [type(None), int, str, dict, dict, list, None]
    assert not isinstance([], leaving(list[int]).exact) and not isinstance({}, leaving(dict[str, int]).exact)
    assert not isinstance([], leaving(set[Any]).exact)


def test_a_tuple_of_plain_values_is_told_at_once() -> None:
    as_is = leaving(tuple[int, str]).as_is
    assert as_is is not None
    assert as_is((1, "a")) and as_is((LOWEST_INTEGER, "")) and as_is((HIGHEST_INTEGER - 1, ""))
    for other in (
        [1, "a"],
        (1,),
        (1, 2),
        ("1", "a"),
        (True, "a"),
        (HIGHEST_INTEGER, ""),
        (LOWEST_INTEGER - 1, ""),
        None,
    ):
        assert not as_is(other)
    for hint in (int, tuple[int, ...], tuple[int, Point], tuple[()], list[int]):
        assert leaving(hint).as_is is None


def test_items_are_what_their_end_declares() -> None:
    for end in (Stream[int], Sink[int], AsyncIterable[int]):
        leaving_item(end).check(1)
        with pytest.raises(TypeError, match=r"the item .*\$\.item"):
            leaving_item(end).check("1")
