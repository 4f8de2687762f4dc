"""Values that JSON and Python do not both have, and errors as each side knows them."""

from __future__ import annotations

import datetime as dt
import sys
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import capnet
from capnet import CapnetError, Internal, InvalidArgument, ResourceExhausted
from capnet.gateways.reading import EACH
from capnet.gateways.values import details_of

__all__ = [
    "SCALARS",
    "UNDEFINED",
    "Moment",
    "Special",
    "count_of",
    "error_of",
    "moment_of",
    "name_of",
    "size_of",
    "text_of",
]


class _Undefined:
    """The one of its kind."""

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED: Final = _Undefined()
"""What JavaScript has beside null: an argument that was left out, a key that is not there."""

Special: TypeAlias = "_Undefined | Moment"


@dataclass(frozen=True, slots=True)
class Moment:
    """A `Date` of JavaScript.

    Attributes:
        milliseconds: since 1970; None for one that is invalid.
    """

    milliseconds: float | None


_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def text_of(moment: Moment) -> str:
    """A moment as capnet has it: ISO 8601, in UTC.

    Raises:
        InvalidArgument: it is invalid, or in no year that Python has.
    """
    if moment.milliseconds is None:
        raise InvalidArgument("this Date is invalid")
    try:
        return (_EPOCH + dt.timedelta(milliseconds=moment.milliseconds)).isoformat()
    except (OverflowError, ValueError) as error:
        raise InvalidArgument("a Date is of the years 1 to 9999") from error


def moment_of(text: str) -> Moment | str:
    """The same back: whole milliseconds. A time without a zone is no moment, and stays a text."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return text
    return text if moment.tzinfo is None else Moment((moment - _EPOCH) // dt.timedelta(milliseconds=1))


_CODES: Final[dict[str, type[CapnetError]]] = {
    kind.code: kind
    for kind in (
        capnet.CallCancelled,
        capnet.InvalidArgument,
        capnet.DeadlineExceeded,
        capnet.NotFound,
        capnet.AlreadyExists,
        capnet.PermissionDenied,
        capnet.Unauthenticated,
        capnet.ResourceExhausted,
        capnet.FailedPrecondition,
        capnet.Unimplemented,
        capnet.Unavailable,
        capnet.Internal,
    )
}
_NAMES: Final = {"invalid_argument": "TypeError", "unimplemented": "TypeError"}
"""Classes of errors in JavaScript, where one says the same as the code."""


def name_of(error: CapnetError) -> str:
    """The name that an error has in JavaScript."""
    return _NAMES.get(error.code, "Error")


def error_of(name: str, message: str, properties: dict[str, Any]) -> CapnetError:
    """The error that a client has rejected with: one of ours when its `code` says so."""
    kind = _CODES.get(cast("Any", properties.get("code"))) if isinstance(properties.get("code"), str) else None
    reason, details = properties.get("reason"), properties.get("details")
    reason = reason[:256] if isinstance(reason, str) else None
    if kind is None:
        return Internal(f"{name}: {message}" if name != "Error" else message, reason=reason)
    return kind(message, reason=reason, details=details_of(details))


SCALARS: Final = frozenset({str, int, float, bool, type(None), bytes})
"""Classes of values that have no others in them."""


def size_of(value: Any) -> int:
    """Bytes that a value takes, nearly."""
    if isinstance(value, str | bytes):
        return EACH + sys.getsizeof(value)
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return EACH + sum(size_of(key) + size_of(item) for key, item in items)
    if isinstance(value, list):
        return EACH + sum(size_of(item) for item in cast("Any", value))
    return EACH


def count_of(value: Any, left: int, depth: int) -> int:
    """How many values are in one. Parts that it has several times count each time.

    Args:
        left: how many there may be.
        depth: how deep they may be nested.

    Raises:
        ResourceExhausted: there are more, or they are deeper.
    """
    if depth < 0:
        raise ResourceExhausted("a value is nested too deeply", reason="max_depth")
    count = 1
    if isinstance(value, list | dict):
        parts: Any = cast("dict[str, Any]", value).values() if isinstance(value, dict) else cast("Any", value)
        for part in parts:
            count += 1 if type(part) in SCALARS else count_of(part, left - count, depth - 1)
    if count > left:
        raise ResourceExhausted("a value has too many others in it", reason="max_values")
    return count
