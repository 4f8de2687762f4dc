"""Comparing contracts: what a client needs against what a server offers."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capnet.contract import Cap, Sink, Stream, call, contract_spec, differences, options, stream
from capnet.contract.annotation import read_annotation
from capnet.contract.shape import MAX_DIFFERENCES
from capnet.errors import InvalidArgument


class Member(Cap, name="test.Member"):
    @call
    async def notify(self) -> None: ...


class Admin(Member, name="test.Admin"): ...


class Color(enum.Enum):
    RED = "r"
    BLUE = "b"


@dataclass
class Item:
    sku: str
    qty: int = 1


@dataclass
class Wider:
    sku: str
    qty: int = 1
    more: str = ""


@dataclass
class Demanding:
    sku: str
    qty: int
    more: str


@dataclass
class Tree:
    value: int
    children: list[Tree]


@dataclass
class FloatTree:
    value: float
    children: list[FloatTree]


@dataclass
class TextTree:
    value: str
    children: list[TextTree]


class Point(NamedTuple):
    x: int
    y: int


class Old(Cap, name="test.Room", version=1):
    @call
    async def post(self, text: str, *, urgent: bool = False) -> int: ...

    @stream
    def history(self, limit: int = 100) -> Stream[Item]: ...


class New(Cap, name="test.Room", version=2):
    @call
    async def post(self, text: str | None, *, urgent: bool = False, to: str = "all") -> int: ...

    @stream
    def history(self, limit: float = 100) -> Stream[Wider]: ...

    @options(since=2)
    @call
    async def rename(self, title: str) -> None: ...


OLD, NEW = contract_spec(Old).shape, contract_spec(New).shape


def with_result(kind: Any) -> dict[str, Any]:
    return {"f": ["call", {}, kind, 1]}


def with_parameter(kind: Any, required: bool = True) -> dict[str, Any]:
    return {"f": ["call", {"x": [kind, required]}, "none", 1]}


def shape_of(hint: Any) -> Any:
    return read_annotation(hint, "here").shape


def test_a_shape_describes_every_method() -> None:
    """Kind, parameters with type and whether required, result, since."""
    assert contract_spec(New).shape == {
        "post": [
            "call",
            {"text": [["union", "str", "none"], True], "urgent": ["bool", False], "to": ["str", False]},
            "int",
            1,
        ],
        "history": [
            "stream",
            {"limit": ["float", False]},
            ["stream", ["struct", "Wider", {"sku": ["str", True], "qty": ["int", False], "more": ["str", False]}]],
            1,
        ],
        "rename": ["call", {"title": ["str", True]}, "none", 2],
    }


def test_a_contract_fits_itself() -> None:
    """No differences."""
    assert differences(OLD, OLD) == differences(NEW, NEW) == []


def test_additions_keep_old_clients_working() -> None:
    """New methods, optional parameters, wider parameters, more fields in results."""
    assert differences(OLD, NEW) == []


def test_a_newer_client_learns_what_is_missing() -> None:
    """Each difference names method and parameter."""
    assert differences(NEW, OLD) == [
        "method 'post': parameter 'text': needs str | none, offers str",
        "method 'post': parameter 'to': is missing",
        "method 'history': parameter 'limit': needs float, offers int",
        "method 'rename': is missing",
    ]


def test_a_method_newer_than_the_server_may_be_missing() -> None:
    """Calling it fails; the rest works (P-CAP-3)."""
    assert "method 'rename': is missing" not in differences(NEW, OLD, offered_version=1)
    assert "method 'rename': is missing" in differences(NEW, OLD, offered_version=2)


SENTENCES: list[Any] = [
    (with_result("int"), {"f": ["stream", {}, "int", 1]}, "method 'f': needs a call, offers a stream"),
    (with_parameter("bool"), with_parameter("int"), "method 'f': parameter 'x': needs bool, offers int"),
    (
        with_parameter("int", required=False),
        with_parameter("int"),
        "method 'f': parameter 'x': needs it optional, offers it required",
    ),
    (
        with_result("none"),
        with_parameter("int"),
        "method 'f': parameter 'x': is required, but unknown to the client",
    ),
    (with_result("int"), with_result(["union", "int", "none"]), "method 'f': result: needs int, offers int | none"),
]


@pytest.mark.parametrize(("needs", "offers", "expected"), SENTENCES)
def test_each_difference_is_a_sentence(needs: Any, offers: Any, expected: str) -> None:
    """For people, but precise."""
    assert differences(needs, offers) == [expected]


FITS: list[tuple[Any, Any]] = [
    (int, float),
    (int, Any),
    (Item, Any),
    (Member, Any),
    (dt.datetime, str),
    (Color, str),
    (Color, Literal["r", "b", "x"]),
    (Literal["r"], Color),
    (Literal["r"], Literal["r"] | None),
    (Literal[1], float),
    (Literal["a"] | None, str | None),
    (int, int | None),
    (int | None, int | str | None),
    (list[int], Sequence[float]),
    (tuple[int, int], list[int]),
    (Point, tuple[float, int]),
    (dict[str, int], Mapping[str, float]),
    (Item, Wider),
    (Wider, Item),
    (Demanding, Item),
    (Demanding, dict[str, Any]),
    (Item, dict[str, int | str]),
    (Tree, Tree),
    (Tree, FloatTree),
    (Admin, Member),
    (Member, Cap),
    (Member, Member | None),
    (Callable[[float], Awaitable[int]], Callable[[int], Awaitable[float]]),
    (Callable[[], Awaitable[None]], Cap),
    (AsyncIterable[int], AsyncIterable[float]),
    (Sink[float], Sink[int]),
    (Sink[Item], Sink[Wider]),
    (Sink[Tree], Sink[Tree]),
    (Sink[FloatTree], Sink[Tree]),
    (Sink[Any], Sink[Member]),
    (Sink[Sink[int]], Sink[Sink[float]]),
    (Sink[AsyncIterable[float]], Sink[AsyncIterable[int]]),
    (Sink[int], Sink[int] | None),
    (Sink[int], Any),
]

MISFITS: list[tuple[Any, Any]] = [
    (float, int),
    (bool, int),
    (int, str),
    (Any, int),
    (str, dt.datetime),
    (str, Color),
    (Literal[1], str),
    (Literal["r", "x"], Color),
    (Literal["r", 5], str | None),
    (int | None, int),
    (list[float], list[int]),
    (list[int], tuple[int, int]),
    (list[int], int),
    (int, list[int]),
    (tuple[int, str], list[int]),
    (tuple[int, int], tuple[int, int, int]),
    (tuple[int, str], tuple[int, int]),
    (dict[str, float], dict[str, int]),
    (dict[str, int], Item),
    (Item, Demanding),
    (Item, dict[str, int]),
    (Item, dict[int, Any]),
    (Tree, TextTree),
    (FloatTree, Tree),
    (Member, Admin),
    (Cap, Member),
    (Member, int),
    (Member, Callable[[], Awaitable[None]]),
    (Callable[[], Awaitable[None]], Member),
    (Callable[[int], Awaitable[int]], Callable[[float], Awaitable[int]]),
    (Callable[[int], Awaitable[int]], Callable[[], Awaitable[int]]),
    (Callable[[], Awaitable[float]], Callable[[], Awaitable[int]]),
    (AsyncIterable[float], AsyncIterable[int]),
    (AsyncIterable[int], list[int]),
    (Sink[int], Sink[float]),
    (Sink[Tree], Sink[FloatTree]),
    (Sink[Member], Sink[Cap]),
    (Sink[Sink[float]], Sink[Sink[int]]),
    (Sink[int], AsyncIterable[int]),
    (AsyncIterable[int], Sink[int]),
    (Sink[int], list[int]),
    (Sink[int] | None, Sink[int]),
]


@pytest.mark.parametrize(("given_type", "taken"), FITS, ids=str)
def test_every_value_of_one_fits_the_other(given_type: Any, taken: Any) -> None:
    """As an argument one way, as a result the other way."""
    assert differences(with_parameter(shape_of(given_type)), with_parameter(shape_of(taken))) == []
    assert differences(with_result(shape_of(taken)), with_result(shape_of(given_type))) == []


@pytest.mark.parametrize(("given_type", "taken"), MISFITS, ids=str)
def test_some_value_of_one_does_not_fit_the_other(given_type: Any, taken: Any) -> None:
    """So the comparison says so."""
    assert len(differences(with_parameter(shape_of(given_type)), with_parameter(shape_of(taken)))) == 1
    assert len(differences(with_result(shape_of(taken)), with_result(shape_of(given_type)))) == 1


def test_what_was_found_with_a_wrong_assumption_is_forgotten() -> None:
    """A struct that fits only while its parent is assumed to fit must not be remembered as fitting."""
    inner = ["struct", "I", {"up": [["union", ["ref", "T"], "none"], True]}]
    given_type = ["struct", "T", {"i": [inner, True], "v": ["str", True]}]
    inner_taken = ["struct", "I", {"up": [["union", ["ref", "T"], "none"], True]}]
    taken = ["struct", "T", {"i": [inner_taken, True], "v": ["int", True]}]
    needs = {"f": ["call", {"a": [["union", given_type, "none"], True], "b": [given_type, True]}, "none", 1]}
    offers = {"f": ["call", {"a": [["union", taken, "none"], True], "b": [taken, True]}, "none", 1]}
    assert len(differences(needs, offers)) == 2


WRONG: list[Any] = [
    None,
    [],
    {5: ["call", {}, "none", 1]},
    {"f": None},
    {"f": []},
    {"f": ["other", {}, "none", 1]},
    {"f": ["call", {}, "none", 0]},
    {"f": ["call", {}, "none", "1"]},
    {"f": ["call", [], "none", 1]},
    {"f": ["call", {5: ["int", True]}, "none", 1]},
    {"f": ["call", {"x": ["int"]}, "none", 1]},
    {"f": ["call", {"x": ["int", 1]}, "none", 1]},
    with_result("integer"),
    with_result(None),
    with_result([]),
    with_result({}),
    with_result(["list"]),
    with_result(["sink"]),
    with_result(["sink", "int", "int"]),
    with_result(["map", "str"]),
    with_result(["literal", 1.5]),
    with_result(["literal", []]),
    with_result(["cap", 5]),
    with_result(["callable", "int", "int"]),
    with_result(["struct", "A", []]),
    with_result(["struct", 5, {}]),
    with_result(["ref", "A"]),
    with_result(["struct", "A", {"a": [["struct", "B", {}], True], "b": [["ref", "B"], True]}]),
]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_what_is_no_shape_is_refused(wrong: Any) -> None:
    """Whichever side it comes from; nothing of it is read before."""
    with pytest.raises(InvalidArgument):
        differences(wrong, OLD)
    with pytest.raises(InvalidArgument):
        differences(OLD, wrong)


def nested(depth: int) -> Any:
    kind: Any = "int"
    for _ in range(depth):
        kind = ["list", kind]
    return kind


def test_depth_is_bounded() -> None:
    """64 types deep and no deeper."""
    assert differences(with_result(nested(64)), with_result(nested(64))) == []
    with pytest.raises(InvalidArgument, match="too deeply"):
        differences(with_result(nested(65)), OLD)


TOO_LARGE: list[Any] = [
    {f"m{index}": ["call", {}, "int", 1] for index in range(10_001)},
    with_result(["union", *["int"] * 10_001]),
    with_result(["literal", *range(10_001)]),
    with_result(["cap", *["name"] * 10_001]),
]


@pytest.mark.parametrize("large", TOO_LARGE, ids=["methods", "types", "literals", "names"])
def test_size_is_bounded(large: Any) -> None:
    """10 000 types in one shape."""
    with pytest.raises(InvalidArgument, match="too large"):
        differences(OLD, large)


@pytest.mark.parametrize(
    "large",
    [
        with_result(["union", *(["list", ["literal", index]] for index in range(300))]),
        with_result(["literal", *range(500)]),
    ],
    ids=["unions", "literals"],
)
def test_work_is_bounded(large: Any) -> None:
    """Comparing two unions costs their product."""
    same = with_result(large["f"][2][:1] + large["f"][2][:0:-1])
    with pytest.raises(InvalidArgument, match="too long"):
        differences(same, large)


def test_many_differences_are_cut() -> None:
    """A peer cannot make the list long."""
    method: Any = ["call", {}, "int", 1]
    needs = {f"m{index}": method for index in range(500)}
    assert len(differences(needs, {})) == MAX_DIFFERENCES


WORDS: list[Any] = [
    (["struct", "x" * 1000, {}], f"'{'x' * 64}…'"),
    (["struct", "a\nb", {}], r"'a\nb'"),
    (["cap", "test.A"], "cap['test.A']"),
    (["cap"], "cap[]"),
    (["sink", "int"], "sink[int]"),
    (["literal", "a", 1], "literal['a', 1]"),
    (["tuple", *["int"] * 5], "tuple[int, int, int, int, …]"),
    (nested(5), "list[list[list[…]]]"),
    (["callable", ["int", "str"], "none"], "callable[int, str, none]"),
]


@pytest.mark.parametrize(("kind", "words"), WORDS)
def test_types_are_told_shortly(kind: Any, words: str) -> None:
    """Whatever the peer called them."""
    assert differences(with_result("bool"), with_result(kind)) == [f"method 'f': result: needs bool, offers {words}"]


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 3)
    | st.sampled_from(["int", "list", "struct", "ref", "A", "union", "call"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["f", "x"]), inner, max_size=2),
    max_leaves=20,
)


@given(JUNK)
def test_any_other_data_is_refused_cleanly(junk: Any) -> None:
    """It is a shape or it is an InvalidArgument; nothing else happens."""
    with suppress(InvalidArgument):
        assert differences(junk, junk) == []
    with suppress(InvalidArgument):
        differences(with_result(junk), with_result("int"))


def test_a_structure_where_text_is_needed_is_a_difference() -> None:
    """P-CAP-3: what the peer sends may be of any shape; it is compared, never hashed."""
    needs: dict[str, Any] = {"get": ["call", {}, "str", 1]}
    offers: dict[str, Any] = {"get": ["call", {}, ["list", "int"], 1]}
    assert len(differences(needs, offers)) == 1
