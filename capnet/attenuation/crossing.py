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
from collections.abc import AsyncIterable, Collection, Mapping
from functools import lru_cache
from typing import Any, Final, Protocol

import msgspec

from capnet.contract import Cap, Sink
from capnet.errors import InvalidArgument
from capnet.wire.references import kind_of

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

_PLAIN: Final[frozenset[Any]] = frozenset(
    (type(None), bool, int, float, str, bytes, uuid.UUID, decimal.Decimal, dt.datetime, dt.date)
)
"""Of these there are the most; they are found at a glance."""
_COPIED: Final[frozenset[Any]] = frozenset((list, dict, tuple, set, frozenset))


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
    kind = kind_of(value)
    if kind in _PLAIN:
        return value
    if kind in _COPIED and depth > 0:
        return _copied(kind, value, replacing, depth - 1) if value else kind()
    if issubclass(kind, _DATA):
        return value
    if issubclass(kind, Cap):
        return replacing.capability(value)
    if depth <= 0:
        raise _refused("a value nested so deeply")
    if issubclass(kind, tuple):
        make = getattr(kind_of(value), "_make", tuple)  # a NamedTuple has one
        return make([rebuilt(item, replacing, depth - 1) for item in value])
    names = _names(kind)
    if names is not None:
        return _object(kind, value, {name: rebuilt(getattr(value, name), replacing, depth - 1) for name in names})
    if issubclass(kind, Mapping):
        return {rebuilt(key, replacing, depth - 1): rebuilt(item, replacing, depth - 1) for key, item in value.items()}
    if issubclass(kind, Collection):
        items = [rebuilt(item, replacing, depth - 1) for item in value]
        return frozenset(items) if issubclass(kind, frozenset) else set(items) if issubclass(kind, set) else items
    return _end(kind, value, replacing)


def _copied(kind: Any, value: Any, replacing: Replacing, depth: int) -> Any:
    """A container as conversions make them, which may be large: what is plain in it takes no step of its own."""
    items = value.values() if kind is dict else value
    if _PLAIN.issuperset(map(type, items)) and (kind is not dict or _PLAIN.issuperset(map(type, value))):
        return value if kind is tuple else value.copy()
    if kind is dict:
        return {
            key if type(key) in _PLAIN else rebuilt(key, replacing, depth): (
                item if type(item) in _PLAIN else rebuilt(item, replacing, depth)
            )
            for key, item in value.items()
        }
    made = [item if type(item) in _PLAIN else rebuilt(item, replacing, depth) for item in value]
    return made if kind is list else kind_of(value)(made)


def _end(kind: Any, value: Any, replacing: Replacing) -> Any:
    if issubclass(kind, AsyncIterable):
        return replacing.stream(value)
    if issubclass(kind, Sink):
        return replacing.sink(value)
    if callable(value) and not issubclass(kind, type):
        return replacing.function(value)
    raise _refused(f"`{kind.__qualname__}`")


@lru_cache(maxsize=1024)
def _names(kind: Any) -> tuple[str, ...] | None:
    """The fields of a dataclass or a struct; None when it is neither."""
    if issubclass(kind, msgspec.Struct):
        return tuple(kind.__struct_fields__)
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else None


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
