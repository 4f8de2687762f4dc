"""What requests of the newer protocol say in headers as well, for whoever stands between and does not read messages."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final, cast

from .session import PREFIX, STATELESS

__all__ = ["METHOD", "NAME", "VERSION", "Mismatch", "check_headers", "encoded", "is_stateless", "named_in", "within"]

VERSION, METHOD, NAME = "mcp-protocol-version", "mcp-method", "mcp-name"
_NAMED: Final[Mapping[str, str]] = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""Methods whose requests say what they are about, and under which name."""
_SAFE: Final = re.compile(r"[ -~]+")
_ENCODED: Final = re.compile(r"=\?base64\?(.*)\?=", re.DOTALL)


class Mismatch(Exception):
    """Headers say something else than the message.

    Args:
        id: of the request.
    """

    def __init__(self, id: Any, message: str) -> None:
        super().__init__(message)
        self.id = id if type(id) in (str, int) else None


def is_stateless(headers: Mapping[str, str], message: Mapping[str, Any]) -> bool:
    """Whether a request is of the newer protocol, as it says itself or as its headers say."""
    return _version(message) is not None or headers.get(VERSION) in STATELESS


def check_headers(headers: Mapping[str, str], message: Mapping[str, Any]) -> None:
    """Nothing, when headers and message say the same.

    Raises:
        Mismatch: they do not.
    """
    number, method = message.get("id"), message.get("method")
    if headers.get(VERSION) != _version(message):
        raise Mismatch(number, f"{VERSION} is not what the message says")
    if headers.get(METHOD) != method:
        raise Mismatch(number, f"{METHOD} is not what the message says")
    named = named_in(method, message.get("params"))
    if named is not None and _decoded(headers.get(NAME)) != named:
        raise Mismatch(number, f"{NAME} is not what the message says")


def named_in(method: Any, params: Any) -> Any:
    """What the parameters of a request are about, where the headers say it as well; None where not."""
    key = _NAMED.get(method) if isinstance(method, str) else None
    return None if key is None else within(params, key)


def encoded(value: str) -> str:
    """A text as a header has it: in base64, where it would not arrive as it is."""
    if _SAFE.fullmatch(value) and value == value.strip() and not _ENCODED.fullmatch(value):
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="


def within(message: Any, *names: str) -> Any:
    """What is in a message, at the end of these names; None when there is nothing."""
    for name in names:
        message = cast("dict[str, Any]", message).get(name) if isinstance(message, dict) else None
    return message


def _version(message: Mapping[str, Any]) -> Any:
    return within(message, "params", "_meta", f"{PREFIX}protocolVersion")


def _decoded(value: str | None) -> str | None:
    """What a header stands for that may be written in base64; None when it stands for nothing."""
    wrapped = None if value is None else _ENCODED.fullmatch(value)
    if wrapped is None:
        return value
    try:
        return base64.b64decode(wrapped[1], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
