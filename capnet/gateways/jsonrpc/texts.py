"""Messages as texts: what is sent, and the ids of others, which go back as they came."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from capnet.gateways.reading import spelled

__all__ = ["Key", "Once", "Params", "dumped", "failure_text", "id_of", "message_text", "params_of"]

MAX_ID: Final = 256
"""Characters in the id of a request."""

Params: TypeAlias = "dict[str, Any] | list[Any]"
Key: TypeAlias = "tuple[str, object]"
"""By what a request is known: 1 and "1" are two, and 1 and 1.0 are one."""


class Once:
    """The value of a text with its numbers as they are written, when somebody wants it."""

    def __init__(self, text: str | bytes) -> None:
        self._text = text
        self._value: Any = None

    def value(self) -> Any:
        if self._value is None:
            self._value = spelled(self._text)
        return self._value


def id_of(value: object, as_written: Callable[[], Any]) -> tuple[Key | None, str | None]:
    """By what a request is known, which null is not, and its id in JSON; None twice for what is no id."""
    if value is None:
        return None, "null"
    if type(value) is str:
        return (("text", value), dumped(value)) if len(value) <= MAX_ID else (None, None)
    if type(value) is int and value and abs(value) < 10**MAX_ID:
        return ("number", value), str(value)
    if type(value) not in (int, float):
        return None, None
    written: str = as_written()["id"]
    return (("number", value), written) if len(written) <= MAX_ID else (None, None)


def params_of(params: Params | None) -> Mapping[str, Any]:
    return {} if params is None else {"params": params}


def failure_text(number: str, code: int, message: str, data: Any = None) -> str:
    told = {"code": code, "message": message} | ({} if data is None else {"data": data})
    return f'{{"jsonrpc":"2.0","id":{number},"error":{dumped(told)}}}'


def message_text(message: Mapping[str, Any]) -> str:
    return dumped({"jsonrpc": "2.0", **message})


def dumped(value: Any) -> str:
    # In ASCII: half a surrogate, which JSON can hold and UTF-8 cannot, goes back as it came.
    return json.dumps(value, allow_nan=False, separators=(",", ":"))
