"""Which classes are built by a call: those whose constructor says more than that every field is set."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Generic, NamedTuple, Self, TypedDict, TypeVar

import msgspec
import pytest

from capnet.contract.construction import can_be_called, is_called

T = TypeVar("T")


@dataclass
class Plain:
    a: int
    b: int = 0


class Further(Plain): ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen(Generic[T]):
    a: T


@dataclass
class Keywords(Plain):
    _: KW_ONLY
    c: int = 0

    def __post_init__(self) -> None: ...


class Row(NamedTuple):
    a: int
    b: int = 0


class Lone(msgspec.Struct):
    a: int


class Words(TypedDict):
    a: int


Other = NamedTuple("Other", [("a", int)])  # noqa: UP014 - the other way to write one


@dataclass
class Kept:
    a: int
    b: int = field(init=False, default=0)


@dataclass
class Written:
    a: int

    def __init__(self, a: int) -> None:
        self.a = a


@dataclass(init=False)
class Unwritten:
    a: int


@dataclass(init=False)
class Wider(Plain):
    c: int = 0


class Careful(Plain):
    def __init__(self, a: int, b: int = 0) -> None:
        super().__init__(a, b)


@dataclass
class Watched:
    a: int

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)


@dataclass
class Made:
    a: int

    def __new__(cls, a: int) -> Self:
        return super().__new__(cls)


class Calls(type):
    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs)


@dataclass
class Metered(metaclass=Calls):
    a: int


class CarefulRow(Row):
    def __new__(cls, a: int, b: int = 0) -> Self:
        return super().__new__(cls, a, b)


class LateRow(Row):
    def __init__(self, *values: int) -> None: ...


@dataclass(init=False)
class Builtin(ValueError):
    """Its constructor is not written in Python."""

    a: int


@pytest.mark.parametrize("cls", [Plain, Further, Frozen, Keywords, Row, Other, Lone, Words])
def test_a_constructor_that_sets_every_field_is_left_out(cls: Any) -> None:
    assert not is_called(cls)


CALLED = [
    Kept, Written, Unwritten, Wider, Careful, Watched, Made, Metered, CarefulRow, LateRow, Builtin,
]  # fmt: skip


@pytest.mark.parametrize("cls", CALLED)
def test_any_other_is_called(cls: Any) -> None:
    assert is_called(cls)


class Odd:
    """Its signature cannot be told."""

    __signature__ = "none"


@pytest.mark.parametrize(
    ("cls", "names", "required", "fits"),
    [
        (Kept, ["a"], ["a"], True),
        (Written, ["a"], ["a"], True),
        (Unwritten, ["a"], ["a"], False),
        (Wider, ["a", "b", "c"], ["a"], False),
        (Careful, ["a", "b"], ["a"], True),
        (Careful, ["a", "b"], [], False),
        (CarefulRow, ["a", "b"], ["a"], True),
        (LateRow, ["a", "b"], ["a"], False),
        (Odd, [], [], False),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_a_class_takes_its_fields_by_name_and_needs_nothing_else(
    cls: Any, names: list[str], required: list[str], fits: bool
) -> None:
    assert can_be_called(cls, names, required) is fits
