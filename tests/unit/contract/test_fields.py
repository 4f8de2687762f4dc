"""Classes with fields, and attrs classes all the way: declared, sent, built and refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar

import attrs
import msgspec
import pytest

from capnet.contract.annotation import read_annotation
from capnet.contract.construction import is_called
from capnet.contract.conversion import Conversion
from capnet.contract.fields import fields_of, is_array, is_attrs, tag_of
from capnet.contract.growth import growth_of_class
from capnet.contract.plain import plain
from capnet.errors import ContractError, InvalidArgument

T = TypeVar("T")


@dataclass
class Data:
    a: int
    b: int = 0
    c: list[int] = field(default_factory=list[int])
    d: int = field(init=False, default=0)


class Struct(msgspec.Struct, rename="camel", tag="s"):
    some_name: int
    other: int = 0


class Row(NamedTuple):
    a: int
    b: int = 0


class Words(TypedDict):
    a: int


def in_order(lines: list[int]) -> list[int]:
    return sorted(lines)


@attrs.define
class Order(Generic[T]):
    sku: str
    what: T
    _count: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    lines: list[int] = attrs.field(factory=list[int], converter=in_order, kw_only=True)
    total: int = attrs.field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        self.total = self._count * 2


@attrs.frozen
class Key:
    name: str


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (Data, [("a", "a", True), ("b", "b", False), ("c", "c", False)]),
        (Struct, [("some_name", "someName", True), ("other", "other", False)]),
        (Row, [("a", "a", True), ("b", "b", False)]),
        (Words, [("a", "a", True)]),
        (
            Order,
            [("sku", "sku", True), ("what", "what", True), ("_count", "count", False), ("lines", "lines", False)],
        ),
        (int, None),
        (tuple, None),
    ],
)
def test_each_says_what_it_takes(cls: Any, expected: Any) -> None:
    """By its name here and on the wire, and whether it must be there."""
    assert fields_of(cls) == expected


def test_some_travel_as_arrays_and_some_have_a_tag() -> None:
    """Which is a matter of the class."""
    assert is_array(Row) and not is_array(Struct) and not is_array(Order)
    assert tag_of(Struct) == {"type": "s"} and tag_of(Data) == {}
    assert is_attrs(Order) and not is_attrs(Data) and is_called(Order)


def round_trip(hint: Any, value: Any) -> Any:
    """What arrives of what is sent."""
    conversion = Conversion("test", [("value", read_annotation(hint, "here"), True)])
    return conversion.convert({"value": value}).value


def test_an_attrs_object_is_built_by_its_constructor() -> None:
    """Converters and validators have their say, and defaults fill what is absent."""
    order = Order("tea", 5, 3, lines=[2, 1])
    flat = plain(order)
    assert flat == {"sku": "tea", "what": 5, "count": 3, "lines": [1, 2]}
    assert round_trip(Order[int], flat) == order
    assert round_trip(Order[int], {"sku": "tea", "what": 5, "lines": [3, 1]}) == Order("tea", 5, lines=[1, 3])
    assert round_trip(dict[str, list[Order[int]]], {"a": [flat, flat]}) == {"a": [order, order]}
    assert round_trip(Key | None, {"name": "x"}) == Key("x")


@pytest.mark.parametrize(
    ("flat", "path"),
    [
        ({"sku": 5, "what": 5}, "$.value.sku"),
        ({"sku": "tea"}, "$.value"),
        ({"sku": "tea", "what": 5, "count": 0}, "$.value"),
        ([1], "$.value"),
    ],
    ids=str,
)
def test_what_an_attrs_class_refuses_is_refused(flat: Any, path: str) -> None:
    """By its validators as by its types."""
    with pytest.raises(InvalidArgument) as caught:
        round_trip(Order[int], flat)
    assert f"`{path}`" in caught.value.message


@attrs.define(init=False)
class Handmade:
    a: int

    def __init__(self, *, secret: int) -> None:
        self.a = secret


class Unsigned(type):
    @property
    def __signature__(cls) -> object:
        raise ValueError


@attrs.define
class Hidden(metaclass=Unsigned):
    a: int


@pytest.mark.parametrize("cls", [Handmade, Hidden], ids=lambda cls: cls.__name__)
def test_an_attrs_class_that_cannot_be_built_of_its_fields_is_refused(cls: Any) -> None:
    """When the contract is declared."""
    with pytest.raises(ContractError):
        read_annotation(cls, "here")


def test_a_field_without_a_type_is_refused() -> None:
    """Nobody knows what it takes."""
    untyped: Any = attrs.make_class("untyped", {"a": attrs.field()})
    with pytest.raises(ContractError) as caught:
        read_annotation(untyped, "here")
    assert caught.value.__notes__


def test_what_an_attrs_class_makes_as_defaults_is_counted() -> None:
    """A single field may have come."""

    @attrs.define
    class Few:
        a: int

    @attrs.define
    class Many:
        a: int
        b: list[int] = attrs.field(factory=list[int])
        c: dict[str, int] = attrs.field(factory=dict[str, int])
        d: set[int] = attrs.field(factory=set[int])

    assert growth_of_class(Many, 1, 4, array=False) > growth_of_class(Few, 1, 1, array=False)
