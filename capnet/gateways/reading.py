"""JSON texts of anybody: what is too deep, or has too many values, is refused before anything is made of it."""

from __future__ import annotations

import json
import re
from sys import getsizeof
from typing import Any, Final

from .bounds import Bounds

__all__ = ["EACH", "Unreadable", "bare", "no_constant", "read", "spelled", "weighed", "weight_of"]

_TEXTS: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
"""A text in quotes, or one that does not end. It always fits where a quote is, so nothing is looked at twice."""
_NO_BRACKETS: Final = re.compile(r"[^\[\]{}]+")


EACH: Final = 64
"""What a value takes beside its letters, nearly."""


class Unreadable(ValueError):
    """A text is no JSON, or more than is taken.

    Args:
        too_much: it may be JSON.
    """

    def __init__(self, message: str, *, too_much: bool = False) -> None:
        super().__init__(message)
        self.too_much = too_much


def read(text: str | bytes, bounds: Bounds) -> Any:
    """The value of a JSON text; see `weighed`."""
    return weighed(text, bounds)[0]


def weighed(text: str | bytes, bounds: Bounds) -> tuple[Any, int]:
    """The value of a JSON text, and bytes that it takes up at most, nearly.

    Args:
        text: UTF-8, if it is bytes.

    Raises:
        Unreadable: it has none, or is out of bounds.
    """
    try:
        opened, commas, weight = _looked_at(text)
        value = text if isinstance(text, str) else text.decode()
        if opened > bounds.max_depth or opened + commas >= bounds.max_values:
            _check(value, bounds)
        return json.loads(value, parse_constant=no_constant), weight + getsizeof(value)
    except Unreadable:
        raise
    except (ValueError, RecursionError) as error:
        raise Unreadable("this is no JSON") from error


def spelled(text: str | bytes) -> Any:
    """The value of a JSON text that was read, with numbers as the texts by which they are written."""
    return json.loads(text, parse_float=str, parse_int=str)


def bare(text: str) -> str:
    """A JSON text without the texts in it: each of its marks is one."""
    return _TEXTS.sub("", text)


def no_constant(word: str) -> Any:
    """Refuse a number that JSON has no word for."""
    raise ValueError(word)  # NaN and infinities are no JSON


def weight_of(text: str) -> int:
    """Bytes that the value of a JSON text takes up at most, nearly."""
    return _looked_at(text)[2] + getsizeof(text)


def _looked_at(text: str | bytes) -> tuple[int, int, int]:
    """Marks in a text that open something, commas, and bytes that its value takes up at most beside the text as it is
    read: where letters are escapes they may be wide there. Bytes are faster to look at than letters."""
    wide = 0
    if isinstance(text, str):
        marks = [text.count(mark) for mark in "[{,:"]
        if "\\" in text:
            wide = 3 if "\\ud" in text or "\\uD" in text else int("\\u" in text)
    else:
        marks = [text.count(mark) for mark in (b"[", b"{", b",", b":")]
        if b"\\" in text:
            wide = 3 if b"\\ud" in text or b"\\uD" in text else int(b"\\u" in text)
    return marks[0] + marks[1], marks[2], EACH * (1 + sum(marks)) + wide * len(text)


def _check(text: str, bounds: Bounds) -> None:
    marks = bare(text)
    opened = marks.count("[") + marks.count("{")
    if opened + marks.count(",") >= bounds.max_values:
        raise Unreadable(f"a message has at most {bounds.max_values} values", too_much=True)
    if opened > bounds.max_depth:
        depth = 0
        for one in _NO_BRACKETS.sub("", marks):
            depth += 1 if one in "[{" else -1
            if depth > bounds.max_depth:
                raise Unreadable(f"a message is at most {bounds.max_depth} deep", too_much=True)
