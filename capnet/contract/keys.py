"""Keys: items of sets and keys of maps that a peer has chosen, looked at before they make work.

A hash of numbers, and of what is made of them, has no key in Python. So a peer can choose thousands that have the same,
or that stand in each other's way otherwise, and each would be compared with all before it.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Callable
from os import urandom
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

from capnet.contract.annotation import ARRAYS
from capnet.contract.capability import Cap
from capnet.contract.fields import fields_of
from capnet.contract.flags import MAX_KEY_CHARS, Prepare
from capnet.contract.hints import meant_by
from capnet.contract.unfit import Unfit, judged

__all__ = [
    "MAX_ALIKE",
    "MAX_KEY_CHARS",
    "MAX_ORDERED",
    "Prepare",
    "collides",
    "is_unkeyed",
    "items_of_set",
    "number_keys",
    "uuid_keys",
]

MAX_ALIKE: Final = 16
"""Items of one set, or keys of one map, that have the same hash."""
MAX_ORDERED: Final = 4096
"""Items of a set and keys of a map that are put into it in the order in which they came. More, where their hash has no
key, are in an order that nobody knows: it can be reckoned out beforehand, too, whose place is taken when it comes."""
_OWN_HASH_CHARS: Final = 18
"""Characters of an integer up to which it is its own hash."""

UNKEYED: Final = frozenset({Any, object, int, float, dt.datetime, dt.time, dt.timedelta})
"""Their hash has no key, but few of the values that can travel have the same."""
COLLIDING: Final = frozenset({uuid.UUID, decimal.Decimal})
"""Any number of them have the same hash; so it is with everything that is made of several values."""

_kind: Callable[[Any], Any] = type
"""`type`, by another name: checkers leave the class alone."""


def is_unkeyed(hint: Any) -> bool:
    """Whether a peer knows the hashes of values of this type."""
    hint = meant_by(hint)
    if get_origin(hint) in (Union, UnionType):
        return any(map(is_unkeyed, get_args(hint)))
    return hint in UNKEYED or collides(hint)


def collides(hint: Any) -> bool:
    """Whether any number of values of this type have the same hash."""
    hint = meant_by(hint)
    origin = get_origin(hint) or hint
    if origin in (Union, UnionType):
        return any(map(collides, get_args(hint)))
    if origin in COLLIDING or origin is tuple or origin in ARRAYS:
        return True
    return isinstance(origin, type) and not issubclass(origin, (Cap, enum.Enum)) and fields_of(origin) is not None


def items_of_set(prepare: Prepare | None, convert: Prepare | None, unkeyed: bool, value: Any) -> Any:
    """The items of a set, for msgspec to put into one.

    Args:
        prepare: what is done to the items first.
        convert: makes a list of them, where any number can have the same hash.
        unkeyed: a peer knows their hashes.
    """
    if prepare is not None:
        value = prepare(value)
    if _kind(value) is not list or len(value) <= MAX_ALIKE:
        return value
    if convert is not None:
        value = convert(value)
        _check_alike(value)
    return _mixed(value) if unkeyed else value


def number_keys(values: Prepare, value: Any) -> Any:
    """A map with integers for keys."""
    value = values(value)
    if _kind(value) is not dict:
        return value
    longest = max(map(len, value), default=0)
    if longest > MAX_KEY_CHARS:
        raise Unfit("Integer out of range - at `key` in `$`")
    if longest > _OWN_HASH_CHARS and len(value) > MAX_ALIKE:
        try:
            keys = list(map(int, value))
        except ValueError:
            raise Unfit("Expected `int`, got `str` - at `key` in `$`") from None
        _check_alike(keys)
    return value if len(value) <= MAX_ORDERED else {key: value[key] for key in _mixed(list(value))}


def uuid_keys(convert: Prepare, values: Prepare, value: Any) -> Any:
    """A map with UUIDs for keys."""
    value = values(value)
    if _kind(value) is not dict or len(value) <= MAX_ALIKE:
        return value
    entries = list(value.values())
    keys = convert(list(value))
    _check_alike(keys)
    pairs = list(zip(keys, entries, strict=True))
    return dict(_mixed(pairs))


def _check_alike(keys: list[Any]) -> None:
    """Nothing, when no more than `MAX_ALIKE` of the keys that are not equal have the same hash.

    Raises:
        Unfit: there are more.
    """
    try:
        hashes = list(map(hash, keys))
        if len(set(_mixed(hashes))) == len(hashes) or not _is_crowded(keys, hashes):
            return
    except Exception as error:
        raise judged(error)  # noqa: B904 - it has its cause
    raise Unfit(f"More than {MAX_ALIKE} different values with one hash - at `$`")


def _is_crowded(keys: list[Any], hashes: list[int]) -> bool:
    """Whether a hash is that of more keys than `MAX_ALIKE`, equal ones counted as one."""
    different: list[Any] = []
    last: int | None = None
    for place in sorted(range(len(keys)), key=hashes.__getitem__):
        if hashes[place] != last:
            last, different = hashes[place], [keys[place]]
        elif keys[place] not in different:
            different.append(keys[place])
            if len(different) > MAX_ALIKE:
                return True
    return False


def _mixed(items: list[Any]) -> list[Any]:
    """The same, if there are many, in an order that whoever sent them cannot know."""
    if len(items) <= MAX_ORDERED:
        return items
    chance = urandom(128)
    starts = sorted(range(64 + chance[0] % 64), key=chance.__getitem__)
    return [item for start in starts for item in items[start :: len(starts)]]
