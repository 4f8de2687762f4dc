"""A recording, read again. It may come from anybody: what is no entry is refused."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

from capnet.errors import InvalidArgument

from .recorder import MARK

__all__ = ["Entry", "read"]

_LONGEST: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a recording.

    Attributes:
        t: seconds since the recording began.
        connection: its number in the recording, 0 for what is about none.
        direction: `out` to the peer, `in` from it, empty for what is no frame.
        fields: all that the line has.
    """

    t: float
    connection: int
    direction: str
    fields: dict[str, Any]


def read(lines: Iterable[str]) -> Iterator[Entry]:
    """The entries of a recording, the first of which has `began`, in seconds since 1970, and `values`.

    The last line may have been cut off, when the program ended in the midst of it.

    Raises:
        InvalidArgument: it is no recording.
    """
    for number, line in enumerate(lines):
        if not line.endswith("\n"):
            return
        fields = _fields(line)
        if number == 0 and fields.get("recording") != MARK:
            raise InvalidArgument("this is no recording of capnet's")
        t, connection, direction = fields.get("t", 0), fields.get("connection", 0), fields.get("direction", "")
        if not isinstance(t, int | float) or not isinstance(connection, int) or not isinstance(direction, str):
            raise InvalidArgument(f"line {number + 1} is no entry of a recording")
        yield Entry(float(t), connection, direction, fields)


def _fields(line: str) -> dict[str, Any]:
    try:
        fields: object = json.loads(line) if len(line) <= _LONGEST else None
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise InvalidArgument("this is no recording of capnet's")
    return cast("dict[str, Any]", fields)
