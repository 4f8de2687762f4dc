"""Values as JSON has them, and back. What JSON cannot hold has a handle: a text that nobody can guess."""

from __future__ import annotations

import base64
import math
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from time import monotonic as clock
from typing import Any, Final, cast

from capnet import Internal, InvalidArgument, MethodDescription, NotFound, Untyped

__all__ = ["Handles", "arguments_of", "check_travels", "details_of", "result_of"]

MAX_HANDLES: Final = 1000
"""What one session holds; what was not used for longest goes first."""
DEPTH: Final = 1000
MAX_DETAILS: Final = 12 * 1024
"""Bytes of the details of one error, nearly; capnet takes 16 KiB."""
DETAILS_DEPTH: Final = 16
_WORDS: Final = ("reason", "retry")
"""What errors have beside their details."""


class Handles:
    """What one session has been given, by handle.

    Args:
        most: what it holds.
        function: makes a function that calls a method of the client's, where the client can be called.
        unused: seconds that a handle is good for without being used.
    """

    def __init__(
        self,
        most: int = MAX_HANDLES,
        function: Callable[[str], Any] | None = None,
        *,
        unused: float = math.inf,
    ) -> None:
        self._most = most
        self._unused = unused
        self.function = function
        self._held: OrderedDict[str, tuple[Any, float]] = OrderedDict()
        """Things, and when they were used; that one is the last which was used last."""

    def add(self, thing: Any) -> str:
        """A handle for a capability or a stream."""
        handle = "cap_" + base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()
        self._held[handle] = thing, clock()
        return handle

    def surplus(self) -> Sequence[Any]:
        """What is too much, or was not used for too long; it is to be closed."""
        found: list[Any] = []
        while self._held:
            handle = next(iter(self._held))
            if len(self._held) <= self._most and self._good(handle):
                break
            found.append(self._held.pop(handle)[0])
        return found

    def get(self, handle: object) -> Any:
        """What a handle stands for.

        Raises:
            NotFound: nothing, in this session or any more.
        """
        if not isinstance(handle, str) or not self._good(handle):
            raise NotFound("this is no handle that was given here, or it has not been used for long", reason="handle")
        thing, _ = self._held.pop(handle)
        self._held[handle] = thing, clock()
        return thing

    def take(self, handle: object) -> Any:
        """The same, and the handle stands for nothing any more."""
        thing = self.get(handle)
        del self._held[cast("str", handle)]
        return thing

    def _good(self, handle: str) -> bool:
        return handle in self._held and clock() <= self._held[handle][1] + self._unused

    def json(self, value: Any) -> Any:
        """What a peer has given, as JSON has it: bytes are base64, and capabilities and streams are handles."""
        if isinstance(value, dict):
            return {key: self.json(item) for key, item in cast("dict[str, Any]", value).items()}
        if isinstance(value, list):
            return [self.json(item) for item in cast("Any", value)]
        if isinstance(value, bytes):
            return base64.b64encode(value).decode()
        if isinstance(value, float) and value - value != 0:
            return str(value)  # not a number, and infinities
        return self.add(value) if isinstance(value, Untyped | AsyncIterable) else value


def arguments_of(method: MethodDescription, given: Mapping[str, Any], handles: Handles) -> dict[str, Any]:
    """Arguments for a call, of what a client has sent. The peer checks them; here is only turned what JSON lacks.

    Raises:
        CapnetError: one is unknown or missing, is no base64, or is no handle.
    """
    for name in given:
        if name not in method.parameters:
            raise InvalidArgument(f"there is no parameter {name[:100]!r}")
    for one in method.parameters.values():
        if one.required and one.name not in given:
            raise InvalidArgument(f"{one.name} is missing")
    return {name: _value(value, method.parameters[name].type, {}, handles) for name, value in given.items()}


def result_of(method: MethodDescription, value: Any) -> Any:
    """What a client has answered, as the method gives it: bytes are bytes again. Whoever asked checks it.

    Raises:
        InvalidArgument: it is no base64.
    """
    return _value(value, method.result, {}, Handles(0))


def check_travels(value: Any) -> None:
    """Whether JSON of a client's can be passed on to peers.

    Raises:
        Internal: `unencodable_result`, it has a number or a text that none of theirs is.
    """
    if not _travels(value, DEPTH):
        raise Internal("the other side has answered what cannot be passed on", reason="unencodable_result")


def details_of(told: object) -> dict[str, Any]:
    """What of the details of a client's error can be passed on to peers: the first that are together small enough."""
    kept: dict[str, Any] = {}
    left = MAX_DETAILS
    for key, value in cast("dict[str, Any]", told).items() if isinstance(told, dict) else ():
        if key not in _WORDS and _travels({key: value}, DETAILS_DEPTH):
            left -= len(repr((key, value)).encode())
            if left >= 0:
                kept[key] = value
    return kept


def _travels(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return depth > 0 and all(_travels(key, 0) and _travels(item, depth - 1) for key, item in items)
    if isinstance(value, list):
        return depth > 0 and all(_travels(item, depth - 1) for item in cast("Any", value))
    if isinstance(value, str):
        return not _is_broken(value)
    if type(value) is int:
        return -(2**64) <= value < 2**64
    return value is None or isinstance(value, bool | float | bytes)


def _is_broken(text: str) -> bool:
    """Half a surrogate is in it."""
    return not text.isascii() and any("\ud800" <= one <= "\udfff" for one in text)


def _value(value: Any, shape: Any, scope: Mapping[str, Any], handles: Handles) -> Any:
    if isinstance(shape, str):
        return _plain(value, shape)
    form, *parts = shape
    match form, value:
        case "cap", str():
            return handles.get(value)
        case "callable", str() if handles.function is not None:
            return _function(handles.function(value), parts[1], handles)
        case "ref", _:
            return _value(value, scope[parts[0]], scope, handles)
        case "struct", dict():
            inside = {**scope, parts[0]: shape}
            return {
                key: _value(item, parts[1][key][0], inside, handles) if key in parts[1] else item
                for key, item in cast("dict[str, Any]", value).items()
            }
        case "map", dict():
            return {key: _value(item, parts[1], scope, handles) for key, item in cast("dict[str, Any]", value).items()}
        case "tuple", list():
            items = cast("Any", value)
            return [_value(*pair, scope, handles) for pair in zip(items, parts, strict=False)] + items[len(parts) :]
        case "stream", list():
            return _stream([_value(item, parts[0], scope, handles) for item in cast("Any", value)])
        case "union", _:
            fitting = next((part for part in parts if _fits(value, part)), None)
            return value if fitting is None else _value(value, fitting, scope, handles)
        case _, list() if form not in ("literal", "cap"):
            return [_value(item, parts[0], scope, handles) for item in cast("Any", value)]
        case _:
            return value


def _function(ask: Callable[..., Awaitable[Any]], shape: Any, handles: Handles) -> Callable[..., Awaitable[Any]]:
    async def function(*arguments: Any) -> Any:
        return _value(await ask(*arguments), shape, {}, handles)

    return function


def _plain(value: Any, shape: str) -> Any:
    if shape == "bytes" and isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except ValueError as error:
            raise InvalidArgument("this is no base64") from error
    if shape == "int" and isinstance(value, float) and value.is_integer():
        return int(value)  # to JSON, 1.0 is a whole number
    return value


def _fits(value: Any, shape: Any) -> bool:
    """Whether a value may be of this part of a union, as far as what is turned depends on it."""
    form: str = shape if isinstance(shape, str) else shape[0]
    if isinstance(value, dict):
        fields: dict[str, Any] = cast("Any", shape)[2] if form == "struct" else {}
        return form in ("struct", "map", "ref") and all(name in value for name, (_, must) in fields.items() if must)
    if isinstance(value, list):
        return form not in ("struct", "map", "ref", "cap", "literal") and not isinstance(shape, str)
    if isinstance(value, str):
        if form == "literal":
            return value in shape[1:]
        return value.startswith("cap_") if form == "cap" else isinstance(shape, str) and form not in _NO_TEXTS
    return False


_NO_TEXTS: Final = ("int", "float", "bool", "none")


async def _stream(items: Sequence[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item
