"""Expressions: how values are written in messages, and what is in them that is no value yet.

`Reader` makes a tree of an expression: plain data, and nodes for what has to be worked out, waited for, or turned into
something of capnet's. `Writer` writes a value. Both are told by whoever has the tables what the numbers stand for.
"""

from __future__ import annotations

import base64
import math
from collections.abc import AsyncIterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias, cast

from capnet import CapnetError, FailedPrecondition, InvalidArgument, Sink, Untyped

from .cells import Cell
from .messages import BadMessage
from .values import UNDEFINED, Moment, error_of, name_of

__all__ = ["Numbers", "Path", "Reader", "Remap", "Thrown", "Unfit", "Use", "Writer"]

Path: TypeAlias = "tuple[str | int, ...]"

LOST: Final = frozenset(
    {
        "__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__", "__proto__", "constructor",
        "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toJSON", "toLocaleString", "toString", "valueOf",
    }
)  # fmt: skip
"""Keys that a client drops when they arrive."""
_WHOLE: Final = 2**53
_NUMBERS: Final = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
_PLAIN: Final = frozenset({str, float, bool, type(None)})
"""Values that are what they are written as."""
_NODES: Final = frozenset({"import", "pipeline", "remap", "export", "promise", "writable", "readable"})
_BYTES: Final = ("Uint8Array", "ArrayBuffer")
_FETCH: Final = ("headers", "request", "response", "blob")
_BIGINT: Final = 21
"""Characters of an integer that capnet has."""


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """A property of something, or a call on it.

    Attributes:
        source: what it is of.
        path: leads to it there.
        arguments: of the call; None for a property.
    """

    source: Cell
    path: Path
    arguments: list[Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Remap:
    """What becomes of each element of an array.

    Attributes:
        source: in which the array is.
        path: leads to it there.
        captures: what the instructions use beside, by number from -1 down.
        instructions: expressions, which are read for each element anew.
    """

    source: Cell
    path: Path
    captures: list[Cell]
    instructions: list[Any] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Unfit:
    """What cannot be passed on; whatever it stands in fails with the error."""

    error: CapnetError


@dataclass(frozen=True, slots=True, eq=False)
class Thrown:
    """An error of the client's."""

    error: CapnetError


class Numbers(Protocol):
    """What the numbers in an expression stand for. Each method raises `BadMessage` for a number that stands for
    nothing."""

    def ours(self, number: int) -> Cell:
        """What was promised or given to the client."""
        ...

    def theirs(self, kind: str, number: int) -> Any:
        """What the client gives: `export`, `promise`, `writable`."""
        ...

    def readable(self, number: int) -> Any:
        """The readable end of a pipe."""
        ...


class Reader:
    """Makes trees of expressions.

    Args:
        numbers: what they stand for.
        depth: nesting that is taken.
    """

    def __init__(self, numbers: Numbers, depth: int) -> None:
        self._numbers = numbers
        self._depth = depth
        self.count = 0
        """Values that were read."""
        self.nodes = 0
        """What of these is no value yet."""

    def read(self, expression: Any, depth: int = 0) -> Any:
        """The tree of an expression.

        Raises:
            BadMessage: it is none.
        """
        self.count += 1
        if depth > self._depth:
            raise BadMessage(f"an expression has a depth of at most {self._depth}")
        if isinstance(expression, list):
            parts: list[Any] = cast("Any", expression)
            if len(parts) == 1 and _is_list(parts[0]):
                self.count += len(parts[0])
                return [
                    one
                    if type(one) in _PLAIN or (type(one) is int and -_WHOLE <= one <= _WHOLE)
                    else self._inner(one, depth + 1)
                    for one in parts[0]
                ]
            return self._special(parts, depth)
        if isinstance(expression, dict):
            return self._object(cast("dict[str, Any]", expression), depth)
        if type(expression) is int and not -_WHOLE <= expression <= _WHOLE:
            return float(expression)  # as it is to whoever has sent it
        return expression

    def _inner(self, expression: Any, depth: int) -> Any:
        """What is in an array, whose values are counted."""
        self.count -= 1
        return self.read(expression, depth)

    def _object(self, fields: dict[str, Any], depth: int) -> dict[str, Any]:
        read = {key: self.read(one, depth + 1) for key, one in fields.items()}
        return {key: one for key, one in read.items() if one is not UNDEFINED and key not in LOST}

    def _special(self, parts: list[Any], depth: int) -> Any:
        if parts and isinstance(parts[0], str) and parts[0] in _NODES:
            return self._node(parts, depth)
        match parts:
            case ["undefined"]:
                return UNDEFINED
            case ["inf" | "-inf" | "nan"]:
                return _NUMBERS[parts[0]]
            case ["bigint", str(digits)]:
                return self._bigint(digits)
            case ["date", None | int() | float()] if type(parts[1]) is not bool:
                return Moment(parts[1])
            case ["bytes", str(text), *kind] if len(kind) <= 1:
                return self._bytes(text, *kind)
            case ["url", str(text)]:
                return text
            case ["error", str(name), str(message), *rest] if len(rest) <= 2:
                return self._error(name, message, rest, depth)
            case [str(word), *_] if word in _FETCH:
                return _unfit(f"a {word.capitalize()} does not travel further than to this gateway")
            case _:
                raise BadMessage("this is no expression")

    def _node(self, parts: list[Any], depth: int) -> Any:
        self.nodes += 1
        match parts:
            case ["import" | "pipeline", number] if _is_number(number):
                return Use(self._numbers.ours(number), ())
            case ["import" | "pipeline", number, path] if _is_number(number):
                return Use(self._numbers.ours(number), _path(path))
            case ["import" | "pipeline", number, path, arguments] if _is_number(number) and _is_list(arguments):
                given = [self.read(one, depth + 1) for one in arguments]
                return Use(self._numbers.ours(number), _path(path), given)
            case ["remap", number, path, *rest] if _is_number(number) and list(map(_is_list, rest)) == [True, True]:
                held = [self._capture(one) for one in rest[0]]
                return Remap(self._numbers.ours(number), _path(path), held, rest[1])
            case ["export" | "promise" | "writable", number] if _is_number(number):
                return self._numbers.theirs(parts[0], number)
            case ["readable", number] if _is_number(number):
                return self._numbers.readable(number)
            case _:
                raise BadMessage("this is no expression")

    def _capture(self, capture: Any) -> Cell:
        self.nodes += 1
        match capture:
            case ["import", number] if _is_number(number):
                return self._numbers.ours(number)
            case ["export", number] if _is_number(number):
                return cast("Cell", self._numbers.theirs("capture", number))
            case _:
                raise BadMessage("this is nothing that a map can use")

    def _bigint(self, digits: str) -> Any:
        if not digits.removeprefix("-").isdecimal() or not digits.isascii():
            raise BadMessage("this is no integer")
        return int(digits) if len(digits) <= _BIGINT else _unfit("an integer has at most 64 bits")

    def _bytes(self, text: str, kind: Any = _BYTES[0]) -> Any:
        if not isinstance(kind, str):
            raise BadMessage("this is no kind of bytes")
        if kind not in _BYTES:
            return _unfit(f"bytes are a Uint8Array or an ArrayBuffer here, and no {kind[:40]}")
        try:
            return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
        except ValueError:
            raise BadMessage("this is no base64") from None

    def _error(self, name: str, message: str, rest: list[Any], depth: int) -> Thrown:
        properties: Any = rest[1] if len(rest) == 2 else {}
        if not isinstance(properties, dict):
            raise BadMessage("the properties of an error are an object")
        found = self._object(cast("dict[str, Any]", properties), depth + 1)
        return Thrown(error_of(name[:100], message, found))


def _unfit(words: str) -> Unfit:
    return Unfit(InvalidArgument(words))


def _is_number(number: object) -> bool:
    return type(number) is int


def _is_list(value: object) -> bool:
    return type(value) is list


def _path(path: Any) -> Path:
    if not _is_list(path) or any(type(one) not in (str, int) for one in path):
        raise BadMessage("a path has keys and indexes")
    return tuple(path)


class Writer:
    """Writes values as expressions.

    Args:
        given: what stands for a capability, a stream or a sink: it gets a number of the client's or ours.
    """

    def __init__(self, given: _Given) -> None:
        self._given = given

    def write(self, value: Any) -> Any:
        """The expression of a value.

        Raises:
            CapnetError: the client would not get what it is.
        """
        if value is None or isinstance(value, str | bool):
            return value
        if isinstance(value, int):
            return value if -_WHOLE < value < _WHOLE else ["bigint", str(value)]
        if isinstance(value, float):
            return value if math.isfinite(value) else ["nan" if value != value else "inf" if value > 0 else "-inf"]
        if isinstance(value, list | tuple):
            return [[self.write(one) for one in cast("Sequence[Any]", value)]]
        if isinstance(value, dict):
            return self._object(cast("dict[str, Any]", value))
        if isinstance(value, bytes):
            return ["bytes", base64.b64encode(value).decode().rstrip("=")]
        if value is UNDEFINED:
            return ["undefined"]
        if isinstance(value, Moment):
            return ["date", value.milliseconds]
        return self._reference(value)

    def _reference(self, value: Any) -> Any:
        if isinstance(value, CapnetError):
            return self.error(value)
        if isinstance(value, Untyped):
            return ["export", self._given.capability(value)]
        if isinstance(value, Sink):
            return ["writable", self._given.sink(value)]
        if isinstance(value, AsyncIterable):
            return ["readable", self._given.stream(value)]
        return self._given.other(value)

    def _object(self, fields: dict[str, Any]) -> dict[str, Any]:
        if not LOST.isdisjoint(fields):
            lost = ", ".join(sorted(LOST.intersection(fields)))
            raise FailedPrecondition(f"a client would lose what stands under {lost}", reason="unencodable_result")
        return {key: self.write(one) for key, one in fields.items()}

    def error(self, error: CapnetError) -> Any:
        """The expression of an error; of its details, what has no capabilities in it."""
        words = {"code": error.code, "reason": error.reason, "retry": error.retry}
        properties: dict[str, Any] = {word: said for word, said in words.items() if said is not None}
        details = {key: one for key, one in error.details.items() if key not in LOST}
        if details:
            properties["details"] = _Plain().write(details)
        return ["error", name_of(error), error.message, None, properties]


class _Plain(Writer):
    """Writes what has no capabilities; where there is one, the text says so."""

    def __init__(self) -> None:
        super().__init__(cast("Any", None))

    def _reference(self, value: Any) -> Any:
        return f"<{type(value).__name__}>"

    def _object(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {key: self.write(one) for key, one in fields.items() if key not in LOST}


class _Given(Protocol):
    def capability(self, value: Untyped) -> int: ...
    def sink(self, value: Any) -> int: ...
    def stream(self, value: Any) -> int: ...
    def other(self, value: Any) -> Any: ...
