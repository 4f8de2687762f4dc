"""Crossing: a value that goes over a boundary, rebuilt with something else in place of what could lead back.

Data is copied, as it would be on the wire, so that no list or object is shared by both sides. What is neither data nor
declared where it stands does not cross: a closed boundary is the better mistake. Beside the value goes its position, by
the same steps as on the wire (`capnet/contract/position.py`).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from collections.abc import AsyncIterable, Collection, Mapping
from functools import lru_cache
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from capnet.contract import Cap, Sink
from capnet.contract.fields import is_array, is_attrs, tag_of
from capnet.contract.position import NOTHING, Position
from capnet.errors import InvalidArgument
from capnet.wire.references import kind_of

__all__ = ["MAX_DEPTH", "Replacing", "cannot_cross", "rebuilt"]

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
    msgspec.UnsetType,
)

_PLAIN: Final[frozenset[Any]] = frozenset(
    (type(None), bool, int, float, str, bytes, uuid.UUID, decimal.Decimal, dt.datetime, dt.date)
)
"""Of these there are the most; they are found at a glance."""
_COPIED: Final[frozenset[Any]] = frozenset((list, dict, tuple, set, frozenset))
_Steps: TypeAlias = tuple[tuple[str, str | int], ...]


class Replacing(Protocol):
    """What stands on the other side for what is no data; `place` is what is declared where it stands."""

    def capability(self, value: Cap, place: Position) -> Any:
        """For a capability."""
        ...

    def function(self, value: Any, place: Position) -> Any:
        """For a function."""
        ...

    def stream(self, value: AsyncIterable[Any], place: Position) -> Any:
        """For the reading end of a stream."""
        ...

    def sink(self, value: Sink[Any], place: Position) -> Any:
        """For the writing end of a stream."""
        ...


def rebuilt(value: Any, place: Position, replacing: Replacing, depth: int = MAX_DEPTH) -> Any:
    """A copy of `value` with replacements, at any depth.

    Args:
        value: anything.
        place: what is declared for it.
        replacing: what stands for what is no data.
        depth: of containers that are still let through.

    Raises:
        InvalidArgument: `cannot_cross`, something in it is neither data nor anything that a contract may carry.
    """
    kind = kind_of(value)
    if kind in _PLAIN:
        return value
    if kind in _COPIED and depth > 0:
        return _copied(kind, value, place, replacing, depth - 1) if value else kind()
    if issubclass(kind, _DATA):
        return value
    if issubclass(kind, Cap):
        return replacing.capability(value, place)
    if depth <= 0:
        raise cannot_cross("a value nested so deeply")
    place = place.of(kind)
    if issubclass(kind, tuple):
        make = getattr(kind_of(value), "_make", tuple)  # a NamedTuple has one
        return make(_items(value, place, replacing, depth - 1))
    steps = _steps(kind)
    if steps is not None:
        return _object(kind, value, steps, place, replacing, depth - 1)
    if issubclass(kind, Mapping):
        return _map(value, place, replacing, depth - 1)
    if issubclass(kind, Collection):
        items = _items(value, place, replacing, depth - 1)
        return frozenset(items) if issubclass(kind, frozenset) else set(items) if issubclass(kind, set) else items
    return _end(kind, value, place, replacing)


def _copied(kind: Any, value: Any, place: Position, replacing: Replacing, depth: int) -> Any:
    """A container as conversions make them, which may be large: what is plain in it takes no step of its own."""
    items = value.values() if kind is dict else value
    if _PLAIN.issuperset(map(type, items)) and (kind is not dict or _PLAIN.issuperset(map(type, value))):
        return value if kind is tuple else value.copy()
    if kind is dict:
        return _map(value, place, replacing, depth)
    made = _items(value, place, replacing, depth)
    return made if kind is list else kind_of(value)(made)


def _map(value: Mapping[Any, Any], place: Position, replacing: Replacing, depth: int) -> dict[Any, Any]:
    same = place.value
    return {
        key if type(key) in _PLAIN else rebuilt(key, NOTHING, replacing, depth): (
            item if type(item) in _PLAIN else rebuilt(item, same or _under(place, key), replacing, depth)
        )
        for key, item in value.items()
    }


def _under(place: Position, key: Any) -> Position:
    """What may stand under one key of several that are declared; those are text."""
    return place.inside(key) if isinstance(key, str) else NOTHING


def _items(value: Collection[Any], place: Position, replacing: Replacing, depth: int) -> list[Any]:
    same = place.element
    return [
        item if type(item) in _PLAIN else rebuilt(item, same or place.inside(index), replacing, depth)
        for index, item in enumerate(value)
    ]


def _end(kind: Any, value: Any, place: Position, replacing: Replacing) -> Any:
    if issubclass(kind, AsyncIterable):
        return replacing.stream(value, place)
    if issubclass(kind, Sink):
        return replacing.sink(value, place)
    if callable(value) and not issubclass(kind, type):
        return replacing.function(value, place)
    raise cannot_cross(f"`{kind.__qualname__}`")


@lru_cache(maxsize=1024)
def _steps(kind: Any) -> _Steps | None:
    """The fields of an object, each with the step to it on the wire; None when its class has none."""
    if issubclass(kind, msgspec.Struct):
        names: tuple[str, ...] = kind.__struct_fields__
        steps = kind.__struct_encode_fields__
        if is_array(kind):
            steps = range(len(tag_of(kind)), len(tag_of(kind)) + len(names))
        return tuple(zip(names, steps, strict=True))
    if dataclasses.is_dataclass(kind):
        return tuple((field.name, field.name) for field in dataclasses.fields(kind))
    return tuple((field.name, field.alias) for field in kind.__attrs_attrs__) if is_attrs(kind) else None


def _object(kind: Any, value: Any, steps: _Steps, place: Position, replacing: Replacing, depth: int) -> Any:
    """Another one of the same class with its fields, and nothing else; no code of the class is run."""
    fields: dict[str, Any] = {}
    for name, step in steps:
        item = getattr(value, name)
        fields[name] = item if type(item) in _PLAIN else rebuilt(item, place.inside(step), replacing, depth)
    if issubclass(kind, msgspec.Struct):
        struct = msgspec.structs.replace(value)
        for name, field in fields.items():
            msgspec.structs.force_setattr(struct, name, field)
        return struct
    made = object.__new__(kind)
    for name, field in fields.items():
        object.__setattr__(made, name, field)
    return made


def cannot_cross(what: str, hint: str | None = None) -> InvalidArgument:
    """The error of what may not go over the boundary."""
    return InvalidArgument(f"{what} does not cross a membrane", reason="cannot_cross", hint=hint)
