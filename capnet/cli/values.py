"""Values on the command line: words into arguments, and what comes into JSON."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Final, cast

from anyio import wait_readable
from anyio.lowlevel import checkpoint

from capnet import Sink, Untyped
from capnet.cli.exits import Stop

__all__ = ["as_json", "example_of", "lines_of_input", "value_of"]

_TEXTS: Final = frozenset({"str", "datetime", "date", "time", "timedelta", "uuid", "decimal"})
_WORDS: Final = {"int": "NUMBER", "float": "NUMBER", "bool": "true", "none": "null", "bytes": "BASE64", "any": "VALUE"}


def value_of(word: str, shape: Any) -> Any:
    """What a word on the command line stands for: JSON, else text.

    Args:
        shape: of what is taken there, None when that is not known. Where a text is taken and no number, a number is
            text; bytes are written in base64.

    Raises:
        Stop: it is not base64.
    """
    if shape == "bytes":
        try:
            return base64.b64decode(word, validate=True)
        except ValueError as error:
            raise Stop(f"{word!r} is not base64: {error}") from error
    try:
        value = json.loads(word)
    except ValueError:
        return word
    if isinstance(value, str) or shape is None or not _takes_text(shape):
        return value
    return None if value is None and _takes_none(shape) else word


def _takes_text(shape: Any) -> bool:
    """Whether nothing but text is taken, and perhaps None."""
    if isinstance(shape, str):
        return shape in _TEXTS
    if shape[0] == "literal":
        return any(isinstance(value, str) for value in shape[1:]) and not any(isinstance(one, int) for one in shape[1:])
    return shape[0] == "union" and all(part == "none" or _takes_text(part) for part in shape[1:])


def _takes_none(shape: Any) -> bool:
    return shape == "none" or (shape[0] in ("union", "literal") and any(part in (None, "none") for part in shape[1:]))


def example_of(shape: Any) -> str:
    """How an argument of a type is written, in a word."""
    if isinstance(shape, str):
        return _WORDS.get(shape, "TEXT")
    if shape[0] in ("stream", "sink"):
        return "-"
    return "@NAME" if shape[0] == "cap" else "JSON"


def as_json(value: Any, reference: Callable[[Untyped], Any]) -> Any:
    """What a peer has given, as JSON has it: bytes are base64, and what JSON does not have is named.

    Args:
        reference: says what stands for a capability.
    """
    if isinstance(value, dict):
        return {key: as_json(item, reference) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [as_json(item, reference) for item in cast("Any", value)]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Untyped):
        return reference(value)
    if isinstance(value, AsyncIterable):
        return {"stream": True}
    if isinstance(value, Sink):
        return {"sink": True}
    return value


async def lines_of_input() -> AsyncIterator[Any]:
    """The lines of standard input: each is JSON, else text. Empty ones are passed over.

    Raises:
        Stop: it is not UTF-8.
    """
    rest = b""
    while chunk := await _read(sys.stdin.fileno()):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield _line(line)
    if rest.strip():
        yield _line(rest)


def _line(line: bytes) -> Any:
    try:
        return value_of(line.decode().rstrip("\r"), None)
    except UnicodeDecodeError as error:
        raise Stop(f"standard input is not UTF-8: {error}") from error


async def _read(descriptor: int) -> bytes:
    await checkpoint()
    with suppress(PermissionError):  # a file, which is always ready
        await wait_readable(descriptor)
    return os.read(descriptor, 65536)
