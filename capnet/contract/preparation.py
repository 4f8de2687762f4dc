"""Preparation: what is done to plain data from a peer before msgspec converts it, where msgspec alone could be misused.

Objects whose class has a constructor of its own are built by that (`construction.py`), and items of sets, keys of maps
and flags are looked at (`keys.py`). `preparation` makes one function for a type, or none where nothing of this is in
it, which is most often so.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial, reduce
from types import UnionType
from typing import Any, Final, TypeAlias, Union, get_args, get_origin

import msgspec

from capnet.contract.annotation import ARRAYS, MAPS
from capnet.contract.capability import Cap
from capnet.contract.construction import is_called
from capnet.contract.fields import Fields, fields_of, is_array, tag_of
from capnet.contract.flags import bits_of, check_flag, check_flag_keys
from capnet.contract.growth import SETS
from capnet.contract.hints import meant_by, member_hints
from capnet.contract.keys import (
    Prepare,
    collides,
    is_unkeyed,
    items_of_set,
    number_keys,
    uuid_keys,
)
from capnet.contract.unfit import REFUSED, Unfit, judged
from capnet.errors import CapnetError

__all__ = ["BYTES", "Hook", "fields_step", "preparation"]

Hook: TypeAlias = Callable[[Any, Any], Any]
BYTES: Final = (bytes, bytearray, memoryview)
_kind: Callable[[Any], Any] = type
"""`type`, by another name: checkers leave the class alone."""


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
    if not steps:
        return _itself

    def of_fields(value: Any) -> Any:
        if _kind(value) is not dict or not value:
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
        hint = meant_by(hint)
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
            return partial(check_flag, bits_of(origin))
        return self._class(origin, hint)

    def _named(self, hints: Iterable[tuple[Any, Any]]) -> Iterable[tuple[Any, Prepare]]:
        return ((name, step) for name, hint in hints if (step := self.of(hint)))

    def _array(self, origin: Any, item: Any) -> Prepare:
        step = self.of(item)
        items = step.each if isinstance(step, _Built | _Enclosed) else None if step is None else partial(_each, step)
        if origin not in SETS:
            return items or _itself
        return partial(
            items_of_set, items, partial(self._converted, list[item]) if collides(item) else None, is_unkeyed(item)
        )

    def _map(self, key: Any, step: Prepare | None) -> Prepare:
        values = _itself if step is None else partial(_each_value, step)
        kind = meant_by(key)
        if kind is int:
            return partial(number_keys, values)
        if kind is uuid.UUID:
            return partial(uuid_keys, partial(self._converted, list[uuid.UUID]), values)
        if isinstance(kind, type) and issubclass(kind, enum.Flag):
            return partial(check_flag_keys, bits_of(kind), values)
        return values

    def _class(self, cls: Any, hint: Any) -> Prepare:
        if hint in self._made:
            return self._made[hint]
        if hint in self._open:
            return _Enclosed(self._made, hint)
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
            step = _Built(cls, record, self._converted, step)
        elif tag:
            step = partial(_tagged, 0 if of_array else next(iter(tag)), next(iter(tag.values())), step)
        self._open.discard(hint)
        self._made[hint] = step
        return step


def _needs(hint: Any, seen: set[Any]) -> bool:
    """Whether a type has anything in it that is to be prepared."""
    hint = meant_by(hint)
    if hint in seen:
        return False
    seen.add(hint)
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, UnionType, tuple) or origin in ARRAYS:
        return (origin in SETS and is_unkeyed(_argument(hint, 0))) or any(_needs(inner, seen) for inner in arguments)
    if origin in MAPS:
        return meant_by(_argument(hint, 0)) in (int, uuid.UUID) or any(_needs(inner, seen) for inner in arguments)
    if not isinstance(origin, type) or issubclass(origin, Cap):
        return False
    if issubclass(origin, enum.Enum):
        return issubclass(origin, enum.Flag)
    fields = fields_of(origin)
    if fields is None:
        return False
    hints = member_hints(hint, origin.__qualname__)
    return is_called(origin) or any(_needs(hints[name], seen) for name, _, _ in fields)


def _argument(hint: Any, index: int) -> Any:
    arguments = get_args(hint)
    return arguments[index] if arguments else Any


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
    if not steps:
        return _itself

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


class _Built:
    """Makes objects of a class, each of its fields and by a call of it.

    Args:
        record: the fields that it takes, as a struct.
        converted: converts a value to a type.
        fields: the step for its fields.
    """

    __slots__ = ("_cls", "_each_taken", "_fields", "_form", "_names", "_taken")

    def __init__(self, cls: Any, record: Any, converted: Callable[[Any, Any], Any], fields: Prepare) -> None:
        self._cls = cls
        self._form: type = list if is_array(cls) else dict
        self._names: dict[str, None] = dict.fromkeys(record.__struct_fields__)
        self._fields = fields
        self._taken = partial(converted, record)
        self._each_taken = partial(converted, list[record])

    def __call__(self, value: Any) -> Any:
        if _kind(value) is not self._form:
            return value
        value = self._fields(value)
        return self._made(value, self._taken(value))

    def each(self, values: Any) -> Any:
        """A list of them; the fields of all are converted at once."""
        if _kind(values) is not list or set(map(_kind, values)) != {self._form}:
            return _each(self, values)
        if self._fields is not _itself:
            values = _each(self._fields, values)
        made: list[Any] = []
        taken = self._each_taken(values)
        try:
            for value, fields in zip(values, taken, strict=True):
                made.append(self._made(value, fields))
        except Unfit as unfit:
            unfit.steps.append(f"[{len(made)}]")
            raise
        return made

    def _made(self, value: Any, taken: Any) -> Any:
        names = self._names
        if self._form is list:
            given = dict(zip(names, msgspec.structs.astuple(taken)[: len(value)]))  # noqa: B905 - others are left out
        else:
            given = {name: getattr(taken, name) for name in value if name in names}
        try:
            return self._cls(**given)
        except CapnetError:
            raise
        except (ValueError, TypeError, msgspec.ValidationError) as error:
            raise Unfit(REFUSED, error) from None


class _Enclosed:
    """The step for a class that stands within itself: it is known when that of the outer one is.

    Args:
        made: the steps by class, where it will be.
        hint: the class.
    """

    __slots__ = ("_hint", "_made")

    def __init__(self, made: Mapping[Any, Prepare], hint: Any) -> None:
        self._made = made
        self._hint = hint

    def __call__(self, value: Any) -> Any:
        return self._made[self._hint](value)

    def each(self, values: Any) -> Any:
        """A list of them."""
        step = self._made[self._hint]
        return step.each(values) if isinstance(step, _Built) else _each(step, values)


def _record(cls: Any, hints: Mapping[str, Any], fields: Fields) -> type[msgspec.Struct]:
    """The fields that a class takes, as a struct."""
    definitions: list[Any] = [
        (wire, hints[name]) if required else (wire, hints[name], msgspec.UNSET) for name, wire, required in fields
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
