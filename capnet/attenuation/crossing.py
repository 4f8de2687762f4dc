"""Crossing: a value that goes over a boundary, rebuilt with something else in place of what could lead back.

Data is copied, as it would be on the wire, so that no list or object is shared by both sides. What is neither data nor
something a contract may carry does not cross: a closed boundary is the better mistake.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from collections.abc import AsyncIterable, Callable, Collection, Mapping
from typing import Any, Final, Protocol, cast

import msgspec

from capnet.contract import Cap, Sink
from capnet.errors import InvalidArgument

__all__ = ["MAX_DEPTH", "Replacing", "rebuilt"]

MAX_DEPTH: Final = 64
"""Containers in containers that cross; a value that holds itself has no end."""
_DATA: Final = (
    bool,
    int,
    float,
    str,
    bytes,
    bytearray,
    memoryview,
    enum.Enum,
    dt.date,
    dt.time,
    dt.timedelta,
    dt.tzinfo,
    uuid.UUID,
    decimal.Decimal,
)


class Replacing(Protocol):
    """What stands on the other side for what is no data."""

    def capability(self, value: Cap) -> Any:
        """For a capability."""
        ...

    def function(self, value: Any) -> Any:
        """For a function."""
        ...

    def stream(self, value: AsyncIterable[Any]) -> Any:
        """For the reading end of a stream."""
        ...

    def sink(self, value: Sink[Any]) -> Any:
        """For the writing end of a stream."""
        ...


def rebuilt(value: Any, replacing: Replacing, depth: int = MAX_DEPTH) -> Any:
    """A copy of `value` with replacements, at any depth.

    Raises:
        InvalidArgument: `cannot_cross`, something in it is neither data nor anything that a contract may carry.
    """
    kind = cast("Any", type(value))
    if value is None or issubclass(kind, _DATA):
        return value
    if issubclass(kind, Cap):
        return replacing.capability(value)
    if depth <= 0:
        raise _refused("a value nested so deeply")
    if issubclass(kind, tuple):
        return _tuple(value, replacing, depth)
    fields = _fields(value)
    if fields is not None:
        return _object(kind, value, {name: rebuilt(field, replacing, depth - 1) for name, field in fields.items()})
    if issubclass(kind, Mapping):
        return {rebuilt(key, replacing, depth - 1): rebuilt(item, replacing, depth - 1) for key, item in value.items()}
    if issubclass(kind, Collection):
        items = [rebuilt(item, replacing, depth - 1) for item in value]
        return frozenset(items) if issubclass(kind, frozenset) else set(items) if issubclass(kind, set) else items
    return _end(kind, value, replacing)


def _end(kind: Any, value: Any, replacing: Replacing) -> Any:
    if issubclass(kind, AsyncIterable):
        return replacing.stream(value)
    if issubclass(kind, Sink):
        return replacing.sink(value)
    if callable(value) and not issubclass(kind, type):
        return replacing.function(value)
    raise _refused(f"`{kind.__qualname__}`")


def _tuple(value: Any, replacing: Replacing, depth: int) -> Any:
    items = (rebuilt(item, replacing, depth - 1) for item in value)
    kind = cast("Any", type(value))
    make: Callable[[Any], Any] = getattr(kind, "_make", tuple)  # a NamedTuple has one
    return make(items)


def _fields(value: Any) -> dict[str, Any] | None:
    """The fields of a dataclass or a struct; None when it is neither."""
    if isinstance(value, type):
        return None
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return None


def _object(kind: Any, value: Any, fields: Mapping[str, Any]) -> Any:
    """Another one of the same class with these fields, and nothing else; no code of the class is run."""
    if issubclass(kind, msgspec.Struct):
        struct = msgspec.structs.replace(value)
        for name, field in fields.items():
            msgspec.structs.force_setattr(struct, name, field)
        return struct
    made = object.__new__(kind)
    for name, field in fields.items():
        object.__setattr__(made, name, field)
    return made


def _refused(what: str) -> InvalidArgument:
    return InvalidArgument(f"{what} does not cross a membrane", reason="cannot_cross")
