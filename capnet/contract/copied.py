"""Copies: a value as it is when it is sent, for what leaves later.

Most values are taken apart at once. Some wait: arguments of a call that needs another's result, items for readers who
are slow. Whoever has sent them may use the list, the buffer or the object again, so what waits is a copy. It has the
same types, because a reader in the same program is given it as it is.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from array import array
from collections import UserList, abc, deque
from collections.abc import Callable
from functools import lru_cache
from types import NoneType
from typing import Any, Final, TypeAlias, cast

import msgspec

from capnet.contract.capability import Cap
from capnet.contract.fields import is_attrs
from capnet.contract.plain import is_numeric
from capnet.contract.sink import Sink

__all__ = ["copied"]

MAX_DEPTH: Final = 128
"""Containers in containers that are copied; what is nested deeper does not travel anyway."""
_FIXED: Final = frozenset(
    {
        NoneType,
        bool,
        int,
        float,
        str,
        bytes,
        range,
        dt.datetime,
        dt.date,
        dt.time,
        dt.timedelta,
        uuid.UUID,
        decimal.Decimal,
    }
)
_kind: Callable[[Any], Any] = type
"""`type`, by another name: checkers leave the class alone."""


def copied(value: Any) -> Any:
    """A copy of `value` that no later change of it reaches; what cannot change is returned as it is.

    Capabilities, functions, promises and the ends of streams are no data: they stay what they are.

    Raises:
        Exception: what the class of an object in it raises when it is copied.
    """
    return value if _kind(value) in _FIXED else _Taking().take(value, MAX_DEPTH)


class _Taking:
    """One walk. What stands in several places, or in itself, is copied once."""

    __slots__ = ("_copies",)

    def __init__(self) -> None:
        self._copies: dict[int, tuple[Any, Any]] = {}

    def take(self, value: Any, depth: int) -> Any:
        """The copy of a value that stands `depth` levels above what is left alone."""
        kind = _kind(value)
        if kind in _FIXED or depth == 0:
            return value
        known = self._copies.get(id(value))
        if known is not None:
            return known[0]
        way = _way(kind)
        return value if way is None else way(self, value, depth - 1)

    def keep(self, value: Any, made: Any) -> Any:
        """Note a copy, and what it is of: as long as that is there, its id is its own."""
        self._copies[id(value)] = made, value
        return made


_Way: TypeAlias = Callable[[_Taking, Any, int], Any]


def _of_list(taking: _Taking, value: Any, depth: int) -> Any:
    made: list[Any] = taking.keep(value, [])
    made += [item if _kind(item) in _FIXED else taking.take(item, depth) for item in value]
    return made


def _of_dict(taking: _Taking, value: Any, depth: int) -> Any:
    """Keys do not change."""
    made: dict[Any, Any] = taking.keep(value, {})
    for key, item in value.items():
        made[key] = item if _kind(item) in _FIXED else taking.take(item, depth)
    return made


def _of_other(taking: _Taking, value: Any, depth: int) -> Any:
    """A container of which nobody knows what a copy shares with it becomes one that travels like it.

    It is no list, because that would arrive where what it stands for is refused.
    """
    if isinstance(value, abc.Mapping):
        return _of_dict(taking, value, depth)
    made = taking.keep(value, UserList[Any]())
    made.data = [taking.take(item, depth) for item in value]
    return made


def _of_tuple(taking: _Taking, value: Any, depth: int) -> Any:
    items = [taking.take(item, depth) for item in value]
    if all(item is old for item, old in zip(items, value, strict=True)):
        return value
    return taking.keep(value, cast("Any", tuple).__new__(_kind(value), items))


def _of_bytearray(taking: _Taking, value: Any, depth: int) -> Any:
    return taking.keep(value, bytearray(value))


def _of_memoryview(taking: _Taking, value: Any, depth: int) -> Any:
    return taking.keep(value, memoryview(bytes(value)))


def _of_flat(taking: _Taking, value: Any, depth: int) -> Any:
    """A container of what cannot change."""
    return taking.keep(value, copy.copy(value))


def _of_container(taking: _Taking, value: Any, depth: int) -> Any:
    """A dict, list or deque of a class of its own; what may change in it is copied as well."""
    made = taking.keep(value, copy.copy(value))
    places: Any = made.items() if issubclass(_kind(made), dict) else enumerate(made)
    for place, item in tuple(places):
        taken = taking.take(item, depth)
        if taken is not item:
            made[place] = taken
    return made


def _of_object(taking: _Taking, value: Any, depth: int) -> Any:
    """An object with fields. One that cannot be changed is itself, when nothing in it can be."""
    names, frozen, put = _fields(_kind(value))
    made = None if frozen else taking.keep(value, copy.copy(value))
    for name in names:
        item = getattr(value, name, None)
        if _kind(item) not in _FIXED and (taken := taking.take(item, depth)) is not item:
            made = taking.keep(value, copy.copy(value)) if made is None else made
            put(made, name, taken)
    return value if made is None else made


_WAYS: Final[dict[Any, _Way]] = {
    tuple: _of_tuple,
    bytearray: _of_bytearray,
    memoryview: _of_memoryview,
    list: _of_container,
    dict: _of_container,
    deque: _of_container,
    set: _of_flat,
    frozenset: _of_flat,
    array: _of_flat,
    abc.Collection: _of_other,
}
"""The first base that fits decides."""


@lru_cache(maxsize=1024)
def _way(kind: Any) -> _Way | None:
    """How values of a class are copied; None for those that stay what they are."""
    if kind is list or kind is dict:
        return _of_list if kind is list else _of_dict
    if issubclass(kind, (Cap, Sink, enum.Enum, str, bytes, int, float)) or hasattr(kind, "__aiter__"):
        return None
    if is_numeric(kind):
        return _of_flat
    if any("__call__" in vars(base) for base in kind.__mro__):
        return None
    if issubclass(kind, msgspec.Struct) or dataclasses.is_dataclass(kind) or is_attrs(kind):
        return _of_object
    return next((way for base, way in _WAYS.items() if issubclass(kind, base)), None)


@lru_cache(maxsize=1024)
def _fields(kind: Any) -> tuple[tuple[str, ...], bool, Callable[[Any, str, Any], None]]:
    """Names of the fields of a class, whether they cannot be set, and how to set one all the same."""
    if issubclass(kind, msgspec.Struct):
        struct: Any = kind
        return struct.__struct_fields__, struct.__struct_config__.frozen, msgspec.structs.force_setattr
    if is_attrs(kind):
        return tuple(field.name for field in kind.__attrs_attrs__), False, object.__setattr__
    return tuple(field.name for field in dataclasses.fields(kind)), kind.__dataclass_params__.frozen, object.__setattr__
