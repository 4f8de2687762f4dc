"""Growth: how much more a value takes once it is what its annotation says, than the charge of its frame counts for it.

The charge (P-LIMIT-3) is that of plain data, because caller and callee must agree on it and only the callee knows what
its handler is given. Most types are no larger than what travels for them. A set is, and so is an object of a class
whose fields have defaults: for either a single byte may have come. The figures are bytes for each value in the frame,
at most on average over it; `tests/property/test_charge.py` holds them against what Python takes.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import abc
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, NamedTuple, get_origin

import msgspec

from capnet.contract.fields import is_attrs
from capnet.contract.unfit import Unfit
from capnet.limits import BYTES_PER_VALUE

__all__ = [
    "GROWING",
    "IN_SET",
    "MAX_DEFAULTS",
    "NO_DEFAULTS",
    "SET",
    "SETS",
    "Defaults",
    "defaults_of_class",
    "growth_of_class",
]

GROWING: Final[dict[Any, int]] = {
    dt.time: 8,
    memoryview: 290,
}
"""Scalars that may be larger than what is counted for the text or bytes they are made of."""
SETS: Final = frozenset({set, frozenset, abc.Set, abc.MutableSet})
SET: Final = 112
"""An empty set, for which one byte has come."""
IN_SET: Final = 98
"""What an item takes more in a set than in a list: these grow in large steps."""

MAX_DEFAULTS: Final = 32_768
"""Defaults that are made anew, by a `default_factory`, for the fields left out in one message."""

_COUNTED: Final = BYTES_PER_VALUE + 1
_POINTER: Final = 8
_AROUND: Final = 32
"""Beside an object: what the collector keeps in front of it, the place that it stands in, and what is rounded up."""
_DICT: Final = 104
_ENTRY: Final = 24
_MADE: Final[dict[Any, int]] = {list: 56, dict: 64, set: 216, frozenset: 216}
_MADE_BY_OTHERS: Final = 256
"""What a function of the user's makes as a default; nobody can know."""
_kind: Callable[[Any], Any] = type
"""`type`, by another name: checkers leave the class alone."""


class Defaults(NamedTuple):
    """Of the classes in an annotation that may be made of next to nothing: how many defaults are made for one object.

    Attributes:
        made: at most, by an object of which nothing came.
        names: of their fields, as they travel.
        arrays: there are some that travel without these.
    """

    made: int = 0
    names: frozenset[str] = frozenset()
    arrays: bool = False

    def joined(self, other: Defaults) -> Defaults:
        """Of both."""
        return Defaults(max(self.made, other.made), self.names | other.names, self.arrays or other.arrays)

    def check(self, value: Any) -> None:
        """Nothing, if no more than `MAX_DEFAULTS` are made for what a peer has left out.

        What might be an object counts as one, such as an empty map: so it is one walk, and knows of no types.

        Raises:
            Unfit: there are more.
        """
        made, names, left = self.made, self.names, MAX_DEFAULTS
        fields = len(names)
        containers = [value]
        for container in containers:
            if _kind(container) is dict:
                if container.keys() <= names:
                    left -= min(made, fields - len(container))
                container = container.values()
            elif self.arrays:
                left -= max(0, min(made, fields - len(container)))
            if left < 0:
                raise Unfit(f"More than {MAX_DEFAULTS} defaults would be made for fields left out")
            containers += [item for item in container if _kind(item) is dict or _kind(item) is list]


NO_DEFAULTS: Final = Defaults()


def defaults_of_class(cls: Any, names: Collection[str], required: int, array: bool) -> Defaults:
    """What objects of a class may have made for them; nothing where this is no more than what came.

    Args:
        cls, required, array: as for `growth_of_class`.
        names: of its fields, as they travel.
    """
    made = len(list(_factories(cls)))
    return Defaults(made, frozenset(names), array) if made >= _fewest(required, array) else NO_DEFAULTS


def growth_of_class(cls: Any, required: int, fields: int, array: bool) -> int:
    """Growth of an object with fields that came as a map or an array of as little as is allowed.

    Args:
        cls: its class.
        required: how many fields must be there.
        fields: how many there are.
        array: it travels as an array, without the names of its fields.
    """
    values = _fewest(required, array)
    more = _size(cls, fields) + sum(map(_made_by, _factories(cls))) - _COUNTED * values
    return max(0, -(-more // values))


def _fewest(required: int, array: bool) -> int:
    """Values that must come for an object."""
    return 1 + required * (1 if array else 2)


def _size(cls: Any, fields: int) -> int:
    """Of an object itself, and its place in what it stands in."""
    size: int = _AROUND + cls.__basicsize__ + _POINTER * fields
    return size + _DICT + _ENTRY * fields if cls.__dictoffset__ else size


def _made_by(factory: Any) -> int:
    """What a default takes that is made anew for each object."""
    return _MADE.get(get_origin(factory) or factory, _MADE_BY_OTHERS)


def _factories(cls: Any) -> Iterable[Any]:
    """What makes the defaults of fields anew for each object."""
    if dataclasses.is_dataclass(cls):
        made = [field.default_factory for field in dataclasses.fields(cls)]
        return [make for make in made if make is not dataclasses.MISSING]
    if is_attrs(cls):
        return [field.default.factory for field in cls.__attrs_attrs__ if hasattr(field.default, "factory")]
    if issubclass(cls, msgspec.Struct):
        factories = [field.default_factory for field in msgspec.structs.fields(cls)]
        return [make for make in factories if make is not msgspec.NODEFAULT]
    return ()
