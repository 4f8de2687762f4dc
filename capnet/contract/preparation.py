"""Preparation: what is done to plain data from a peer before msgspec converts it, where msgspec alone could be misused.

- Objects whose class has a constructor of its own are built by that (`construction.py`).
- The items of sets and the keys of maps are looked at: a hash of numbers, and of what is made of them, has no key in
  Python, so a peer can choose thousands that stand in each other's way, and each would be compared with all the others.
- A flag has no bits that its class does not declare: Python remembers every combination that it is ever asked for.

`preparation` makes one function for a type, or none where nothing of this is in it, which is most often so.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from collections import abc
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial, reduce
from itertools import islice
from os import urandom
from types import UnionType
from typing import Any, Final, TypeAlias, Union, get_args, get_origin

import msgspec

from capnet.contract.annotation import (
    ARRAYS,
    MAPS,
    Fields,
    fields_of,
    is_array,
    member_hints,
    stands_for,
    tag_of,
)
from capnet.contract.capability import Cap
from capnet.contract.construction import is_called
from capnet.errors import CapnetError

__all__ = [
    "BYTES",
    "MAX_ALIKE",
    "MAX_KEY_CHARS",
    "MAX_ORDERED",
    "Prepare",
    "Unfit",
    "fields_step",
    "judged",
    "preparation",
]

Prepare: TypeAlias = Callable[[Any], Any]
"""Gives a value back with parts of it built or in another order; what has another form than declared stays as it is,
for msgspec to refuse."""
Hook: TypeAlias = Callable[[Any, Any], Any]

MAX_ALIKE: Final = 16
"""Items of one set, or keys of one map, that have the same hash."""
MAX_ORDERED: Final = 4096
"""Items of a set and keys of a map that are put into it in the order in which they came. More, where their hash has no
key, are in an order that nobody knows: it can be reckoned out beforehand, too, whose place is taken when it comes."""
MAX_KEY_CHARS: Final = 40
"""Characters of a key that is a number: those of an integer of 128 bits. To read a long one takes long."""
_OWN_HASH_CHARS: Final = 18
"""Characters of an integer up to which it is its own hash."""

BYTES: Final = (bytes, bytearray, memoryview)
UNKEYED: Final = frozenset({Any, object, int, float, dt.datetime, dt.time, dt.timedelta})
"""Their hash has no key, but few of the values that can travel have the same."""
COLLIDING: Final = frozenset({uuid.UUID, decimal.Decimal})
"""Any number of them have the same hash; so it is with everything that is made of several values."""
SETS: Final = frozenset({set, frozenset, abc.Set, abc.MutableSet})

_REFUSED: Final = "Invalid value"
_kind: Callable[[Any], Any] = type
"""`type`, by another name: checkers leave the class alone."""


class Unfit(TypeError):
    """A value does not fit. The text is ours, and names the place; what the cause says is not for the peer."""

    def __init__(self, text: str, cause: BaseException | None = None) -> None:
        super().__init__(text)
        self.cause = cause
        self.steps: list[str] = []

    def __str__(self) -> str:
        text = str(self.args[0])
        message, found, inner = text.rpartition("`$")
        steps = "".join(reversed(self.steps))
        if not steps:
            return text
        return f"{message}`${steps}{inner}" if found else f"{text} - at `${steps}`"


def judged(error: Exception) -> Exception:
    """What becomes of an error that msgspec has raised; to be asked where msgspec was called.

    An `Unfit` for what it refuses itself, and for what a class refuses with a ValueError or a TypeError, whose text is
    left out: msgspec would repeat it. Errors that are for the caller stay, and so do all that no value is to blame for.
    """
    assert error.__traceback__ is not None
    raised_within = error.__traceback__.tb_next is not None  # by code in Python, which msgspec has called
    cause = None if raised_within else error.__cause__
    if isinstance(cause, Unfit):
        return Unfit(str(error), cause.cause)
    told = error if cause is None else cause
    if isinstance(told, CapnetError):
        return told
    if cause is not None:
        _, found, place = str(error).rpartition(" - at `")
        return Unfit(f"{_REFUSED}{found}{place}" if found else _REFUSED, cause)
    if raised_within:
        return Unfit(_REFUSED, error) if isinstance(error, (ValueError, TypeError, msgspec.ValidationError)) else error
    return Unfit(str(error)) if isinstance(error, (msgspec.ValidationError, TypeError)) else error


@lru_cache(maxsize=1024)
def preparation(hint: Any, hook: Hook) -> Prepare | None:
    """What is done to values of a type, None for nothing.

    Args:
        hint: the type.
        hook: what converts those that msgspec does not know.
    """
    return _Steps(hook).of(hint)


def fields_step(steps: Mapping[str, Prepare]) -> Prepare:
    """A step for a map, from those for the values under its keys."""

    def of_fields(value: Any) -> Any:
        if _kind(value) is not dict:
            return value
        made = dict(value)
        for name, step in steps.items():
            if name in made:
                try:
                    made[name] = step(made[name])
                except Unfit as unfit:
                    unfit.steps.append(f".{name}")
                    raise
        return made

    return of_fields


class _Steps:
    """Makes the steps for one type, and for the classes in it that enclose themselves."""

    def __init__(self, hook: Hook) -> None:
        self._converted = partial(_converted, {"dec_hook": hook, "builtin_types": BYTES, "str_keys": True})
        self._made: dict[Any, Prepare] = {}
        self._open: set[Any] = set()

    def of(self, hint: Any) -> Prepare | None:
        """The step for a type, None when it needs none."""
        hint = _meant(hint)
        if not _needs(hint, set()):
            return None
        origin = get_origin(hint) or hint
        if origin in (Union, UnionType):
            return _in_turn([step for member in get_args(hint) if (step := self.of(member))])
        if origin is tuple and get_args(hint)[-1:] not in ((), (...,)):
            return _positions(dict(self._named(enumerate(get_args(hint)))))
        if origin in ARRAYS or origin is tuple:
            return self._array(origin, _argument(hint, 0))
        if origin in MAPS:
            return self._map(_argument(hint, 0), self.of(_argument(hint, 1)))
        if issubclass(origin, enum.Flag):
            return partial(_flag, _bits(origin))
        return self._class(origin, hint)

    def _named(self, hints: Iterable[tuple[Any, Any]]) -> Iterable[tuple[Any, Prepare]]:
        return ((name, step) for name, hint in hints if (step := self.of(hint)))

    def _array(self, origin: Any, item: Any) -> Prepare:
        step = self.of(item)
        items = None if step is None else partial(_each, step)
        if origin not in SETS:
            return items or _itself
        return partial(
            _set, items, partial(self._converted, list[item]) if _collides(item) else None, _is_unkeyed(item)
        )

    def _map(self, key: Any, step: Prepare | None) -> Prepare:
        values = _itself if step is None else partial(_each_value, step)
        kind = _meant(key)
        if kind is int:
            return partial(_number_keys, values)
        if kind is uuid.UUID:
            return partial(_uuid_keys, partial(self._converted, list[uuid.UUID]), values)
        if isinstance(kind, type) and issubclass(kind, enum.Flag):
            return partial(_flag_keys, _bits(kind), values)
        return values

    def _class(self, cls: Any, hint: Any) -> Prepare:
        if hint in self._made:
            return self._made[hint]
        if hint in self._open:
            return lambda value: self._made[hint](value)
        self._open.add(hint)
        hints = member_hints(hint, cls.__qualname__)
        fields = fields_of(cls) or []
        tag, of_array = tag_of(cls), is_array(cls)
        if of_array:
            step = _positions(dict(self._named(enumerate((hints[name] for name, _, _ in fields), len(tag)))))
        else:
            step = fields_step(dict(self._named((wire, hints[name]) for name, wire, _ in fields)))
        if is_called(cls):
            record = _record(cls, hints, fields)
            step = partial(_built, cls, record.__struct_fields__, partial(self._converted, record), step)
        elif tag:
            step = partial(_tagged, 0 if of_array else next(iter(tag)), next(iter(tag.values())), step)
        self._open.discard(hint)
        self._made[hint] = step
        return step


def _needs(hint: Any, seen: set[Any]) -> bool:
    """Whether a type has anything in it that is to be prepared."""
    hint = _meant(hint)
    if hint in seen:
        return False
    seen.add(hint)
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, UnionType, tuple) or origin in ARRAYS:
        return (origin in SETS and _is_unkeyed(_argument(hint, 0))) or any(_needs(inner, seen) for inner in arguments)
    if origin in MAPS:
        return _meant(_argument(hint, 0)) in (int, uuid.UUID) or any(_needs(inner, seen) for inner in arguments)
    if not isinstance(origin, type) or issubclass(origin, Cap):
        return False
    if issubclass(origin, enum.Enum):
        return issubclass(origin, enum.Flag)
    fields = fields_of(origin)
    if fields is None:
        return False
    hints = member_hints(hint, origin.__qualname__)
    return is_called(origin) or any(_needs(hints[name], seen) for name, _, _ in fields)


def _meant(hint: Any) -> Any:
    while (meant := stands_for(hint)) is not hint:
        hint = meant
    return hint


def _argument(hint: Any, index: int) -> Any:
    arguments = get_args(hint)
    return arguments[index] if arguments else Any


def _is_unkeyed(hint: Any) -> bool:
    """Whether a peer knows the hashes of values of this type."""
    hint = _meant(hint)
    if get_origin(hint) in (Union, UnionType):
        return any(map(_is_unkeyed, get_args(hint)))
    return hint in UNKEYED or _collides(hint)


def _collides(hint: Any) -> bool:
    """Whether any number of values of this type have the same hash."""
    hint = _meant(hint)
    origin = get_origin(hint) or hint
    if origin in (Union, UnionType):
        return any(map(_collides, get_args(hint)))
    if origin in COLLIDING or origin is tuple or origin in ARRAYS:
        return True
    return isinstance(origin, type) and not issubclass(origin, (Cap, enum.Enum)) and fields_of(origin) is not None


def _bits(flag: type[enum.Flag]) -> int:
    bits = 0
    for member in flag.__members__.values():
        bits |= member.value
    return bits


# Steps


def _in_turn(steps: list[Prepare]) -> Prepare:
    """For a union: each has an eye for values of its own form only."""
    if len(steps) == 1:
        return steps[0]
    return lambda value: reduce(lambda made, step: step(made), steps, value)


def _itself(value: Any) -> Any:
    return value


def _each(step: Prepare, value: Any) -> Any:
    if _kind(value) is not list:
        return value
    made: list[Any] = []
    add = made.append
    try:
        for item in value:
            add(step(item))
    except Unfit as unfit:
        unfit.steps.append(f"[{len(made)}]")
        raise
    return made


def _each_value(step: Prepare, value: Any) -> Any:
    if _kind(value) is not dict:
        return value
    try:
        return {key: step(item) for key, item in value.items()}
    except Unfit as unfit:
        unfit.steps.append("[...]")
        raise


def _positions(steps: Mapping[int, Prepare]) -> Prepare:
    def of_positions(value: Any) -> Any:
        if _kind(value) is not list:
            return value
        made = list(value)
        for index, step in steps.items():
            if index < len(made):
                try:
                    made[index] = step(made[index])
                except Unfit as unfit:
                    unfit.steps.append(f"[{index}]")
                    raise
        return made

    return of_positions


def _tagged(place: Any, tag: Any, step: Prepare, value: Any) -> Any:
    """Of a struct that is told by its tag from others."""
    try:
        found = value[place]
    except (KeyError, IndexError, TypeError):
        return value
    return step(value) if found == tag else value


def _set(items: Prepare | None, convert: Prepare | None, unkeyed: bool, value: Any) -> Any:
    """The items of a set, for msgspec to put into one."""
    if items is not None:
        value = items(value)
    if _kind(value) is not list or len(value) <= MAX_ALIKE:
        return value
    if convert is not None:
        value = convert(value)
        _check_alike(value)
    return _mixed(value) if unkeyed else value


def _number_keys(values: Prepare, value: Any) -> Any:
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


def _uuid_keys(convert: Prepare, values: Prepare, value: Any) -> Any:
    value = values(value)
    if _kind(value) is not dict or len(value) <= MAX_ALIKE:
        return value
    entries = list(value.values())
    keys = convert(list(value))
    _check_alike(keys)
    pairs = list(zip(keys, entries, strict=True))
    return dict(_mixed(pairs))


def _flag_keys(bits: int, values: Prepare, value: Any) -> Any:
    value = values(value)
    if _kind(value) is dict:
        for key in value:
            if key.isascii() and key.removeprefix("-").isdecimal():
                if len(key) > MAX_KEY_CHARS:
                    raise Unfit("Integer out of range - at `key` in `$`")
                _flag(bits, int(key))
    return value


def _flag(bits: int, value: Any) -> Any:
    if _kind(value) is int and value & ~bits:
        raise Unfit(f"Invalid enum value {value}")
    return value


def _built(cls: Any, names: tuple[str, ...], convert: Prepare, fields: Prepare, value: Any) -> Any:
    """An object of a class, of its fields and by a call of it."""
    if _kind(value) is not (list if is_array(cls) else dict):
        return value
    taken = msgspec.structs.astuple(convert(fields(value)))
    given = {name: field for name, field in zip(names, taken, strict=True) if field is not msgspec.UNSET}
    try:
        return cls(**given)
    except CapnetError:
        raise
    except (ValueError, TypeError, msgspec.ValidationError) as error:
        raise Unfit(_REFUSED, error) from None


def _record(cls: Any, hints: Mapping[str, Any], fields: Fields) -> type[msgspec.Struct]:
    """The fields that a class takes, as a struct."""
    definitions: list[Any] = [
        (name, hints[name]) if required else (name, hints[name], msgspec.UNSET) for name, _, required in fields
    ]
    of_array = is_array(cls)
    return msgspec.defstruct(
        cls.__name__, definitions, array_like=of_array, forbid_unknown_fields=of_array, kw_only=not of_array
    )


def _converted(options: Mapping[str, Any], hint: Any, value: Any) -> Any:
    try:
        return msgspec.convert(value, hint, **options)
    except Exception as error:
        raise judged(error)  # noqa: B904 - it has its cause


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
    ranked = sorted(hashes)
    suspects: dict[str, list[Any]] = {
        str(one): [] for one, other in zip(ranked, islice(ranked, MAX_ALIKE, None), strict=False) if one == other
    }
    if suspects:
        for key, one in zip(keys, hashes, strict=True):
            different = suspects.get(str(one))
            if different is not None and key not in different:
                different.append(key)
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
