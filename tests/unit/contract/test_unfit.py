"""What is said of a value that does not fit: the place, and never the words of the class that has refused it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Self, TypeVar

import msgspec
import pytest

from capnet.contract.keys import MAX_ALIKE
from capnet.errors import InvalidArgument, NotFound
from tests.unit.contract.converting import converted, refusal

T = TypeVar("T")


@dataclass
class Box(Generic[T]):
    inside: T


class Refusing(ValueError):
    pass


class Mute(ValueError):
    def __str__(self) -> str:
        raise RuntimeError("secret")


def act(how: str) -> None:
    """What code of a class may do with a value."""
    match how:
        case "value":
            int("secret")
        case "type":
            raise TypeError("secret")
        case "subclass":
            raise Refusing("secret - at `$.secret`")
        case "empty":
            raise ValueError
        case "validation":
            raise msgspec.ValidationError("secret - at `$.secret`")
        case "chained":
            raise msgspec.ValidationError("secret - at `$.secret`") from ValueError("secret")
        case "conversion":
            msgspec.convert({"secret": 1}, dict[str, str])
        case "ours":
            raise NotFound("no such thing", reason="mine")
        case "ours too":
            raise InvalidArgument("not that one") from ValueError("secret")
        case "key":
            raise KeyError("secret")
        case "system":
            raise OSError("secret")
        case "mute":
            raise Mute("secret")
        case _:
            pass


@dataclass
class Checked:
    how: str

    def __post_init__(self) -> None:
        act(self.how)


class CheckedStruct(msgspec.Struct):
    how: str

    def __post_init__(self) -> None:
        act(self.how)


@dataclass
class Called:
    how: str
    other: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        act(self.how)


class CheckedRow(NamedTuple("CheckedRow", [("how", str)])):
    def __new__(cls, how: str) -> Self:
        act(how)
        return super().__new__(cls, how)


@dataclass
class Names:
    some: Iterable[Checked] = ()


def filled(value: Any, how: str) -> Any:
    """The value, with what is to be done in place of the question mark."""
    return json.loads(json.dumps(value).replace("?", how))


PLACES: list[Any] = [
    (Checked, {"how": "?"}, "`$.value`"),
    (CheckedStruct, {"how": "?"}, "`$.value`"),
    (list[Checked], [{"how": "x"}, {"how": "?"}], "`$.value[1]`"),
    (dict[str, Checked | None], {"secret": {"how": "?"}}, "`$.value[...]`"),
    (tuple[int, CheckedStruct], [1, {"how": "?"}], "`$.value[1]`"),
    (Box[Checked], {"inside": {"how": "?"}}, "`$.value.inside`"),
    (Names, {"some": [{"how": "?"}]}, "`$.value.some`"),
    (Iterable[Checked], [{"how": "?"}], "`$.value[0]`"),
    (Called, {"how": "?"}, "`$.value`"),
    (list[Called], [{"how": "x"}, {"how": "?"}], "`$.value[1]`"),
    (CheckedRow, ["?"], "`$.value`"),
]


@pytest.mark.parametrize("how", ["value", "type", "subclass", "empty"])
@pytest.mark.parametrize(("hint", "value", "place"), PLACES, ids=str)
def test_what_a_class_says_to_a_value_is_only_the_cause(hint: Any, value: Any, place: str, how: str) -> None:
    """The text names the place, and quotes nothing."""
    error = refusal(hint, filled(value, how))
    assert error.message == f"Invalid value - at {place}"
    assert error.reason == "invalid_value"
    assert isinstance(error.__cause__, ValueError if how != "type" else TypeError)
    assert "secret" not in repr(error.details)


@pytest.mark.parametrize("how", ["validation", "chained", "conversion"])
@pytest.mark.parametrize(("hint", "value", "place"), PLACES, ids=str)
def test_what_msgspec_says_elsewhere_is_not_taken_for_its_own(hint: Any, value: Any, place: str, how: str) -> None:
    """Where it stood is not known then."""
    error = refusal(hint, filled(value, how))
    assert error.message.startswith("Invalid value") and "secret" not in error.message
    assert error.reason == "invalid_value"
    assert isinstance(error.__cause__, msgspec.ValidationError)


@pytest.mark.parametrize(("hint", "value", "place"), PLACES, ids=str)
def test_errors_that_are_for_the_caller_reach_it(hint: Any, value: Any, place: str) -> None:
    with pytest.raises(NotFound) as caught:
        converted(hint, filled(value, "ours"))
    assert (caught.value.message, caught.value.reason) == ("no such thing", "mine")
    error = refusal(hint, filled(value, "ours too"))
    assert (error.message, error.reason) == ("not that one", None)


@pytest.mark.parametrize(("how", "kind"), [("key", KeyError), ("system", OSError), ("mute", RuntimeError)])
@pytest.mark.parametrize(("hint", "value", "place"), PLACES[:8], ids=str)
def test_a_class_that_fails_fails(hint: Any, value: Any, place: str, how: str, kind: type[Exception]) -> None:
    """No value is to blame; what becomes of it is for whoever calls."""
    with pytest.raises(kind):
        converted(hint, filled(value, how))


@dataclass(frozen=True)
class Unlucky:
    how: str

    def __hash__(self) -> int:
        act(self.how)
        return 1

    def __eq__(self, other: object) -> bool:
        act("value")
        return True


@dataclass
class Dated:
    when: int = field(default_factory=lambda: int("secret"))


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (set[Unlucky], [{"how": "value"}]),
        (set[Unlucky], [{"how": "type"}]),
        (set[Unlucky], [{"how": "value"}] * (MAX_ALIKE + 1)),
        (set[Unlucky], [{"how": "a"}, {"how": "b"}]),
        (set[Unlucky], [{"how": str(number)} for number in range(MAX_ALIKE + 1)]),
        (Dated, {}),
    ],
    ids=str,
)
def test_words_of_hashes_and_defaults_are_left_out_too(hint: Any, value: Any) -> None:
    error = refusal(hint, value)
    if "hashable" not in error.message:  # as newer versions of msgspec say, and no more than that
        assert error.message.startswith("Invalid value") and error.reason == "invalid_value"
    assert "secret" not in error.message
