"""JSON Schema of methods: valid in its dialect, and what it takes is what the method takes."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import uuid
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import pytest
from jsonschema import Draft202012Validator

from capnet.contract import Cap, ContractDescription, Sink, Stream, call, contract_spec, stream
from capnet.contract.annotation import read_annotation
from capnet.contract.schema import schema
from capnet.errors import InvalidArgument


@dataclass
class Node:
    value: int
    children: list[Node]
    above: Node | None = None


class Other:
    @dataclass
    class Node:
        text: str


@dataclass
class Both:
    mine: Node
    yours: Other.Node
    mine_again: Node


@dataclass
class Inner:
    outer: Outer | None


@dataclass
class Outer:
    inner: Inner
    again: Inner


@dataclass
class Alone:
    inner: Inner


@dataclass
class Shared:
    outer: Outer
    alone: Inner


class Odd(msgspec.Struct, tag="odd/~%", tag_field="kind"):
    n: int


class Even(msgspec.Struct, tag="even", tag_field="kind"):
    n: int


class Room(Cap, name="schema.Room"):
    @call
    async def everything(
        self,
        text: str,
        number: int,
        nodes: Both,
        shared: Shared,
        union: Odd | Even,
        pair: tuple[int, str],
        word: Literal["a", 1] | None,
        by_day: Mapping[dt.date, int],
        by_number: dict[int, str],
        by_word: dict[Literal["a", "b"], str],
        by_any: dict[Any, int],
        by_text: dict[str, Any],
        moment: dt.datetime,
        id: uuid.UUID,
        price: decimal.Decimal,
        data: bytes,
        flag: bool,
        ratio: float = 0.5,
        *,
        maybe: str | None = None,
    ) -> Node:
        """Takes everything.

        Args:
            text: some text
        """
        ...

    @call
    async def handles(
        self, other: Room, each: Callable[[int, Node], Awaitable[str]], into: Sink[Node], lines: AsyncIterable[str]
    ) -> list[Room]: ...

    @stream
    def history(self) -> Stream[Node]: ...


METHODS = ContractDescription.of(Room).methods
NONE = {"outer": None}
LEAF: Any = {"value": 1, "children": []}


def takes(made: dict[str, Any], value: Any) -> bool:
    """Whether a schema takes a value."""
    validator: Any = Draft202012Validator(made)
    return bool(validator.is_valid(value))


@pytest.mark.parametrize("name", METHODS)
def test_every_schema_is_one(name: str) -> None:
    """Of its dialect, and plain JSON."""
    for made in (METHODS[name].parameters_schema(), METHODS[name].result_schema()):
        assert made["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        Draft202012Validator.check_schema(made)
        assert json.loads(json.dumps(made)) == made


def everything(**changed: Any) -> dict[str, Any]:
    """Arguments that fit, but for what is changed."""
    return {
        "text": "a",
        "number": 1,
        "nodes": {"mine": {"value": 1, "children": [LEAF], "above": LEAF}, "yours": {"text": "b"}, "mine_again": LEAF},
        "shared": {
            "outer": {"inner": NONE, "again": {"outer": {"inner": NONE, "again": NONE}}},
            "alone": NONE,
        },
        "union": {"kind": "even", "n": 1},
        "pair": [1, "x"],
        "word": None,
        "by_day": {"2026-01-01": 1},
        "by_number": {"-1": "a"},
        "by_word": {"a": "x"},
        "by_any": {"x": 1},
        "by_text": {"x": [1, {}]},
        "moment": "2026-01-01T00:00:00Z",
        "id": "4bf92f35-77b3-4da6-a3ce-929d0e0e4736",
        "price": "1.5",
        "data": "AA==",
        "flag": True,
        **changed,
    }


def test_what_fits_is_taken_by_both() -> None:
    """By the schema and by the method."""
    made = METHODS["everything"].parameters_schema()
    assert takes(made, everything())
    spec = contract_spec(Room).methods["everything"]
    spec.receive_arguments(everything(data=b""))
    assert made["properties"]["text"]["description"] == "some text"
    assert (made["properties"]["ratio"]["default"], made["properties"]["maybe"]["default"]) == (0.5, None)


WRONG: list[dict[str, Any]] = [
    {"text": 1},
    {"number": "1"},
    {"nodes": {"mine": LEAF, "yours": LEAF, "mine_again": LEAF}},
    {"nodes": {"mine": LEAF, "yours": {"text": "b"}, "mine_again": {"value": 1, "children": [{"value": 1}]}}},
    {"shared": {"outer": {"inner": {"outer": {}}, "again": {"outer": None}}, "alone": {"outer": None}}},
    {"union": {"kind": "neither", "n": 1}},
    {"pair": [1]},
    {"pair": [1, "x", 2]},
    {"word": "b"},
    {"by_number": {"a": "a"}},
    {"by_word": {"c": "x"}},
    {"by_any": {"x": "1"}},
    {"flag": 1},
    {"unknown": 1},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_what_does_not_fit_is_refused_by_both(wrong: dict[str, Any]) -> None:
    """The schema promises neither more nor less."""
    made = METHODS["everything"].parameters_schema()
    assert not takes(made, everything(**wrong))
    with pytest.raises(InvalidArgument):
        contract_spec(Room).methods["everything"].receive_arguments(everything(**{"data": b"", **wrong}))


def test_what_json_does_not_have_is_marked() -> None:
    """A capability, a function and a sink are handles; a stream is an array."""
    properties = METHODS["handles"].parameters_schema()["properties"]
    marks = {name: (one["type"], one["x-capnet"]) for name, one in properties.items()}
    node = {"$ref": "#/$defs/Node"}
    assert marks == {
        "other": ("string", {"capability": ["schema.Room"]}),
        "each": ("string", {"callable": {"parameters": [{"type": "integer"}, node], "result": {"type": "string"}}}),
        "into": ("string", {"sink": node}),
        "lines": ("array", {"stream": True}),
    }
    assert METHODS["handles"].result_schema()["items"]["x-capnet"] == {"capability": ["schema.Room"]}
    assert METHODS["history"].result_schema()["items"] == node


def test_classes_of_one_name_stay_apart() -> None:
    """Those that are the same stand there once."""
    made = schema(read_annotation(Both, "here").shape)
    assert sorted(made["$defs"]) == ["Both", "Node", "Node-2"]
    assert made["$defs"]["Both"]["properties"]["mine_again"] == {"$ref": "#/$defs/Node"}
    # What refers to another class around it is not the same as what does not.
    assert len(schema(read_annotation(Shared, "here").shape)["$defs"]) == 5


def test_a_label_may_be_any_text() -> None:
    """It comes from a peer."""
    made = schema(["list", ["struct", "a/b~c%d e", {"x": [["union", ["ref", "a/b~c%d e"], "none"], False]}]])
    assert takes(made, [{"x": {"x": None}}])
    assert not takes(made, [{"x": {"x": 1}}])


def test_nested_shapes_take_steps_in_proportion() -> None:
    """A peer may nest what refers to what is around it as deep as shapes go, and the answer stays as large as that."""
    shape: Any = ["ref", "s0"]
    for depth in reversed(range(30)):
        shape = ["struct", f"s{depth}", {"a": [shape, True], "b": [["ref", f"s{depth}"], True]}]
    assert len(schema(shape)["$defs"]) == 30


def test_a_tuple_of_nothing() -> None:
    """A peer may declare one."""
    assert takes(schema(["tuple"]), []) and not takes(schema(["tuple"]), [1])
