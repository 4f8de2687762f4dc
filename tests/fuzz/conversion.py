"""Fuzz target: what came from a peer as the types that a contract declares, and errors as the peer words them.

The first byte chooses a type; what follows is a frame with one value in it, or decides on one that is made of words and
names that mean something to these types. Nothing but `InvalidArgument` may come out of
the conversion, with a text of bounded length; what was converted can be sent on, and comes back the same. As an error's
details the value makes an error that can be sent on as well (P-ERR-1).
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NotRequired, TypedDict, cast

import msgspec

from capnet.contract.annotation import read_annotation
from capnet.contract.conversion import Conversion
from capnet.contract.plain import plain
from capnet.errors import MAX_MESSAGE_BYTES, CapnetError, InvalidArgument, ProtocolViolation, from_wire
from capnet.limits import Limits
from capnet.wire.codec import Codec
from capnet.wire.references import AnswerRef, CapRef, StreamRef
from capnet.wire.values import lower
from tests.fuzz.choices import Choices
from tests.property.agreement import bare

__all__ = ["one_input"]


class Colour(enum.Enum):
    """By value."""

    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    """By field, and itself in itself."""

    x: int
    y: float = 0.0
    next: Point | None = None


class Movie(TypedDict):
    """A map with keys that are known."""

    name: str
    year: NotRequired[int]


class Tagged(msgspec.Struct, tag="tagged"):
    """A struct that says what it is."""

    ids: set[int]


class Other(msgspec.Struct, tag="other"):
    """Another."""

    when: dt.datetime | None = None


_TYPES: Final[tuple[Any, ...]] = (
    int, float, bool, str, bytes, None, Any, object, list[int], dict[str, int], dict[int, list[str]], tuple[int, str],
    tuple[int, ...], set[str], frozenset[int], Colour, Point, Movie, Tagged | Other, int | str | None, Literal["a", 1],
    dt.datetime, dt.date, dt.time, dt.timedelta, uuid.UUID, decimal.Decimal, bytearray, Mapping[str, Point],
    list[Point | None], dict[Colour, bytes], dict[dt.date, Movie], AsyncIterable[int], Callable[[int], Awaitable[int]],
    list[Any],
)  # fmt: skip
_KEYS: Final = (
    "x",
    "y",
    "next",
    "name",
    "year",
    "type",
    "ids",
    "when",
    "reason",
    "retry",
    "1",
    "2024-02-29",
    "red",
    "",
)
_TEXTS: Final = (
    "red", "a", "tagged", "other", "2024-02-29", "2024-02-29T23:59:59.999999Z", "0001-01-01T00:00:00+23:59", "23:59:60",
    "9999-12-31T23:59:59-12:00", "12:30:00.5", "P1DT2H", "-P99999999D", "P1Y", "PT1e9S", "1e400", "-0", "NaN", "sNaN",
    "00000000-0000-0000-0000-000000000000", "0" * 32, "9" * 400, "1", "true", "null", "\ud7ff", "x" * 5000, "internal",
)  # fmt: skip
_NUMBERS: Final = (
    None, True, False, 0, 1, -1, 2, 2**31, 2**53, 2**63, 2**64 - 1, -(2**64), 0.0, -0.0, 0.5, 1e300, 5e-324,
    float("inf"), float("nan"), 1e18, 86400, -1e15, 253402300800, 253402300799.9999999,
)  # fmt: skip
_CODEC: Final = Codec(Limits())
_WIDE: Final = Limits(max_depth=130, max_items=200_000)


class _Case:
    """A type, and what converts to it, as for a parameter of a method."""

    def __init__(self, hint: Any) -> None:
        self.annotation = read_annotation(hint, "fuzz.case")
        self.conversion = Conversion("fuzz.case", [("value", self.annotation, True)])

    def converted(self, value: Any) -> Any:
        """`value` as the type, or why it is none."""
        try:
            return self.conversion.convert({"value": value}).value
        except InvalidArgument as error:
            return error


_CASES: Final = [_Case(hint) for hint in _TYPES]


def one_input(data: bytes) -> None:
    """Play one input."""
    choices = Choices(data)
    case = choices.one_of(_CASES)
    payload = choices.rest() if choices.below(4) == 0 else _CODEC.encode([_value(choices, 4)])
    try:
        frame, references = _CODEC.decode(payload)
    except ProtocolViolation:
        return
    if len(frame) != 1:
        return
    (value,) = frame
    _make_error(value)
    made = case.converted(value)
    if isinstance(made, InvalidArgument):
        assert len(made.message.encode()) <= MAX_MESSAGE_BYTES
        return
    if references:
        return  # they are the connection's to send on
    lowered, _ = lower(made, _plainer, _WIDE, 0)
    again = case.converted(_CODEC.decode(_CODEC.encode([lowered]))[0][0])
    assert type(again) is type(made)
    # NaN is not itself, and a set has no order.
    assert bare(lower(again, _plainer, _WIDE, 0)[0]) == bare(lowered) or again == made


def _value(choices: Choices, depth: int) -> Any:
    match choices.below(8 if depth else 5):
        case 0 | 1:
            return choices.one_of(_TEXTS)
        case 2:
            return choices.one_of(_NUMBERS)
        case 3:
            return choices.take(choices.below(20))
        case 4:
            return choices.take(choices.below(40)).decode(errors="replace")
        case 5:
            return [_value(choices, depth - 1) for _ in range(choices.below(5))]
        case _:
            return {choices.one_of(_KEYS): _value(choices, depth - 1) for _ in range(choices.below(5))}


def _make_error(details: Any) -> None:
    """An error with these details, and one whose words are its texts."""
    texts = list(_texts(details))[:3] or [""]
    for code in ("not_found", "failed_precondition", "resource_exhausted", texts[0]):
        error = from_wire(code, texts[-1], cast("dict[str, Any]", details) if isinstance(details, dict) else None)
        assert isinstance(error, CapnetError)
        str(error)
        code, message, said = error.to_wire()
        assert type(code) is str and len(message.encode()) <= MAX_MESSAGE_BYTES
        again = from_wire(code, message, said)
        assert type(again) is type(error) and (again.reason, again.retry) == (error.reason, error.retry)
        assert type(error.again()) is type(error)


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for key, item in cast("dict[str, Any]", value).items():
                yield key
                yield from _texts(item)
        case [*items]:
            for item in items:
                yield from _texts(item)
        case CapRef() | AnswerRef() | StreamRef():
            yield from _texts(value.content())
        case _:
            pass


def _plainer(value: Any, place: object) -> Any:
    return plain(value)
