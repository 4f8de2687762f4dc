"""Messages: JSON texts that are arrays, with a word first. What is too large is refused before it is decoded."""

from __future__ import annotations

import json
import re
from typing import Any, Final, cast

from capnet.gateways.reading import bare, no_constant

from .bounds import Bounds

__all__ = ["BadMessage", "decode", "encode"]

_MARKS: Final = ",[{"
"""At most one value comes behind each of these."""
_HALF: Final = re.compile(r"\\u[dD][89a-fA-F]")
_DIGITS: Final = 20
"""Of an integer that is kept whole; a longer one is what it is to JavaScript, a floating-point number."""


class BadMessage(Exception):
    """What no client sends that speaks the protocol; the session ends with it."""


def decode(text: str, bounds: Bounds) -> list[Any]:
    """The parts of a message.

    Raises:
        BadMessage: it is none, or too large.
    """
    if len(text) > bounds.max_message:
        raise BadMessage(f"a message has at most {bounds.max_message} characters")
    if _marks(text) > bounds.max_values and _marks(bare(text)) > bounds.max_values:
        raise BadMessage(f"a message has at most {bounds.max_values} values")
    try:
        message: object = _load(text)
        if _HALF.search(text):  # half a surrogate, which JavaScript's texts may have, and no others
            whole = json.dumps(message, ensure_ascii=False).encode("utf-16-le", "surrogatepass")
            message = _load(whole.decode("utf-16-le", "replace"))
    except (ValueError, RecursionError):
        raise BadMessage("this is no JSON") from None
    if not isinstance(message, list) or not message or not isinstance(cast("Any", message)[0], str):
        raise BadMessage("a message is an array with a word first")
    parts: list[Any] = cast("Any", message)
    return parts


def encode(*parts: Any) -> str:
    """A message of these parts."""
    return json.dumps(parts, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _load(text: str) -> object:
    return json.loads(text, parse_int=_integer, parse_constant=no_constant)


def _marks(text: str) -> int:
    return sum(map(text.count, _MARKS))


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _DIGITS else float(digits)
