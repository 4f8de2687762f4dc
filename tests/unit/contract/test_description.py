"""Descriptions of contracts: what they say, what they keep when they travel, and what is refused of them."""

from __future__ import annotations

import enum
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import pytest

from capnet.contract import Cap, ContractDescription, Stream, call, callable_spec, contract_spec, options, stream
from capnet.contract.description import MAX_TEXT, MAX_WORDS, described
from capnet.errors import ContractError, InvalidArgument


class Level(enum.Enum):
    LOW = "low"


@dataclass
class Item:
    sku: str


PLAIN = Item("a")


class Shop(Cap, name="described.Shop", version=3):
    """Sells things.

    By the piece.
    """

    @options(since=2, timeout=2.5, idempotent=True)
    @call
    async def price(self, item: Item, level: Level = Level.LOW, *, sizes: tuple[int, ...] = (1, 2)) -> float:
        """What an item costs.

        Args:
            item: which
            sizes: in what sizes
        """
        ...

    @stream
    def items(self, like: Item = PLAIN, at_most: float = float("inf"), most: int | None = None) -> Stream[Item]: ...


class Bare(Cap, name="described.Bare"):
    @call
    async def go(self) -> None: ...


class MyShop(Shop):
    """Not for others."""

    async def price(self, item: Item, level: Level = Level.LOW, *, sizes: tuple[int, ...] = (1, 2)) -> float:
        """Not for others."""
        return 0.0

    async def items(self, like: Item = PLAIN, at_most: float = 0, most: int | None = None) -> Stream[Item]:
        """Not for others."""
        yield like


def test_it_says_what_the_contract_says() -> None:
    """Shapes and words; of an implementation what its contract says, and nothing of its own."""
    told = ContractDescription.of(MyShop)
    assert told == ContractDescription.of(Shop)
    assert (told.name, told.version, told.doc, told.summary) == (
        "described.Shop",
        3,
        "Sells things.\n\nBy the piece.",
        "Sells things.",
    )
    price, items = told.methods["price"], told.methods["items"]
    assert (price.kind, price.since, price.timeout, price.idempotent) == ("call", 2, 2.5, True)
    assert price.doc == "What an item costs."
    assert [(one.name, one.required, one.doc, one.keyword_only) for one in price.parameters.values()] == [
        ("item", True, "which", False),
        ("level", False, "", False),
        ("sizes", False, "in what sizes", True),
    ]
    assert (items.kind, items.since, items.timeout, items.idempotent, items.doc) == ("stream", 1, None, False, "")
    assert told.shape == contract_spec(Shop).shape


def test_defaults_are_told_when_they_are_plain_data() -> None:
    """An object of a class, and a number that JSON does not have, are not."""
    methods = ContractDescription.of(Shop).methods
    told = {
        one.name: (one.has_default, one.default) for method in methods.values() for one in method.parameters.values()
    }
    assert told == {
        "item": (False, None),
        "level": (True, "low"),
        "sizes": (True, [1, 2]),
        "like": (False, None),
        "at_most": (False, None),
        "most": (True, None),
    }


@pytest.mark.parametrize(
    "default",
    [2**60, "\ud800", {1: 2}, {"a": object()}, [[0] * 100], "x" * (MAX_TEXT + 1), {1}, float("nan")],
    ids=["large number", "not text", "keys", "object", "many", "long", "set", "nan"],
)
def test_defaults_that_are_not_are_left_out(default: Any) -> None:
    """Whatever they are: a contract may have any."""

    class Odd(Cap, name="described.Odd"):
        @call
        async def go(self, value: Any = default) -> None: ...

    assert not ContractDescription.of(Odd).methods["go"].parameters["value"].has_default


@pytest.mark.parametrize("default", [True, 1.5, -3, "text", ["a", None], {"a": {"b": []}}])
def test_plain_defaults_are_copied(default: Any) -> None:
    """What the contract has may be changed."""

    class Plain(Cap, name="described.Plain"):
        @call
        async def go(self, value: Any = default) -> None: ...

    (told,) = ContractDescription.of(Plain).methods["go"].parameters.values()
    assert (told.has_default, told.default) == (True, default)
    assert type(default) not in (list, dict) or told.default is not default


@pytest.mark.parametrize("contract", [Shop, Bare])
def test_it_travels_whole(contract: type[Cap]) -> None:
    """As plain data, which is JSON too; without words there is little of it."""
    told = ContractDescription.of(contract)
    assert ContractDescription.from_data(json.loads(json.dumps(told.data()))) == told
    assert ContractDescription.of(Bare).data() == {
        "contract": "described.Bare",
        "version": 1,
        "methods": {"go": ["call", {}, "none", 1]},
        "words": {},
    }


@dataclass(frozen=True)
class Doc:
    documentation: str


class Said(Cap, name="described.Said"):
    @call
    async def go(
        self,
        text: Annotated[int, 5, "how far"],
        documented: Annotated[int, msgspec.Meta(ge=1, description="how often")],
        doc: Annotated[int, Doc("how fast")],
        none: Annotated[int, 5],
        docstring: Annotated[int, "one thing"] = 1,
    ) -> None:
        """Go.

        Args:
            docstring: another
        """
        ...


def test_annotations_may_have_words() -> None:
    """What the docstring says goes before them."""
    told = {name: one.doc for name, one in ContractDescription.of(Said).methods["go"].parameters.items()}
    assert told == {
        "text": "how far", "documented": "how often", "doc": "how fast", "none": "", "docstring": "another",
    }  # fmt: skip


def test_a_function_has_one() -> None:
    """With the names that its parameters have on the wire."""
    told = described(callable_spec(Callable[[int, str], Awaitable[bool]]))
    assert (told.name, told.doc, list(told.methods["call"].parameters)) == ("capnet.Callable", "", ["a0", "a1"])


def test_no_capability() -> None:
    """Nothing to describe."""
    with pytest.raises(ContractError):
        ContractDescription.of(int)


def test_only_some_methods() -> None:
    """Others are not told of."""
    told = ContractDescription.of(Shop).only({"items", "more"})
    assert list(told.shape) == ["items"]
    assert told.data()["words"].get("methods", {}).keys() <= {"items"}


def test_what_is_said_is_bounded() -> None:
    """One text is cut, and when there is no room for more the rest stays unsaid: shapes are all there."""
    stubs: dict[str, Any] = {}
    for number in range(MAX_WORDS // MAX_TEXT + 2):

        async def stub(self: Any, a: str = "default") -> None: ...

        stub.__name__ = f"m{number}"
        stub.__doc__ = "ü" * MAX_TEXT
        stubs[stub.__name__] = call(stub)
    large = type("Large", (Cap,), stubs)
    told = ContractDescription.of(large)
    assert len(told.methods) == len(stubs)
    assert told.methods["m0"].doc == "ü" * (MAX_TEXT // 2)
    said = [method.doc for method in told.methods.values()]
    assert sum(len(doc.encode()) for doc in said) <= MAX_WORDS and said[0] and not said[-1]
    assert ContractDescription.from_data(told.data()) == told


def test_a_line_of_it_is_short() -> None:
    """There may be a thousand of them in one answer."""

    class Wordy(Cap, name="described.Wordy"):
        @call
        async def go(self) -> None: ...

    Wordy.__doc__ = "ü" * 1000 + "\nmore"
    told = ContractDescription.of(Wordy)
    assert told.summary == "ü" * 100 and len(told.doc) == 1005


def test_arguments_without_names() -> None:
    """They are taken in order, up to those that need a name."""
    price = ContractDescription.of(Shop).methods["price"]
    assert price.bind((1, 2), {"sizes": 3}) == {"item": 1, "level": 2, "sizes": 3}
    assert price.bind((), {"other": 3}) == {"other": 3}  # the peer says what it does not take
    with pytest.raises(TypeError, match="takes 2"):
        price.bind((1, 2, 3), {})
    with pytest.raises(TypeError, match="two values for 'item'"):
        price.bind((1,), {"item": 1})


def words(**said: Any) -> Any:
    """A description with words of a method and a parameter."""
    method = said.pop("method", {})
    return {
        "contract": "a.B",
        "version": 1,
        "methods": {"m": ["call", {"p": ["int", True]}, "none", 1]},
        "words": {**said, "methods": {"m": method}},
    }


MALFORMED: list[Any] = [
    None,
    [],
    {},
    {"contract": "", "version": 1, "methods": {}},
    {"contract": "x" * 257, "version": 1, "methods": {}},
    {"contract": "a", "version": True, "methods": {}},
    {"contract": "a", "version": -1, "methods": {}},
    {"contract": "a", "version": 1},
    {"contract": "a", "version": 1, "methods": {"m": ["call", {}, "odd", 1]}},
    {"contract": "a", "version": 1, "methods": {}, "words": []},
    words(doc=1),
    words(methods=1) | {"words": {"methods": 1}},
    words(method=[]),
    words(method={"doc": b"x"}),
    words(method={"timeout": 0}),
    words(method={"timeout": True}),
    words(method={"timeout": float("nan")}),
    words(method={"timeout": float("inf")}),
    words(method={"idempotent": 1}),
    words(method={"parameters": []}),
    words(method={"parameters": {"p": 1}}),
    words(method={"parameters": {"p": {"doc": None}}}),
    words(method={"parameters": {"p": {"keyword_only": "yes"}}}),
    words(method={"parameters": {"p": {"default": object()}}}),
    words(method={"parameters": {"p": {"default": [0] * 100}}}),
]


@pytest.mark.parametrize("data", MALFORMED, ids=range(len(MALFORMED)))
def test_what_is_no_description_is_refused(data: Any) -> None:
    """A peer may have sent anything."""
    with pytest.raises(InvalidArgument):
        ContractDescription.from_data(data)


def test_more_may_be_said() -> None:
    """By a newer peer, also of what is not there."""
    told = ContractDescription.from_data(
        {**words(doc="D", method={"doc": "d", "colour": 1, "parameters": {"q": {"doc": "?"}}}), "more": 1}
    )
    assert (told.doc, told.methods["m"].doc, told.methods["m"].parameters["p"].doc) == ("D", "d", "")
