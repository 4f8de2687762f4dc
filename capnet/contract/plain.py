"""Plain data: one level of a rich Python value, taken apart for the wire (P-FRAME-4).

The counterpart of `conversion.py`: what `plain` takes apart, the annotation puts together again. Containers inside are
left to the caller, who meets capabilities there.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import numbers
import uuid
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache, partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Final, TypeAlias, cast

import msgspec

from capnet.contract.fields import fields_of, is_attrs

__all__ = ["form_of", "is_numeric", "plain"]

MAX_KEY_BITS: Final = 128
"""Of an integer that is a key: it travels as text, and whoever reads it has a bound for that."""
_FUNCTIONS: Final = (FunctionType, MethodType, BuiltinFunctionType, partial)
_TakeApart: TypeAlias = Callable[[Any], Any]


def plain(value: object, text_keys: bool = False) -> Any:
    """`value` as None, bool, int, float, str, bytes, list or dict; what is inside of a container stays as it is.

    Args:
        value: a value of an annotated type.
        text_keys: the annotation has maps whose keys are not text; they become text here.

    Raises:
        TypeError: values of this type do not travel, or a map has keys that do not. Others: code of its class fails.
    """
    take_apart = _take_apart(cast("Any", type(value)))
    try:
        flat = take_apart(value)
    except _DoesNotTravel:
        raise
    except TypeError as error:
        # Another TypeError says that a value does not travel, and its text goes to the peer: these words are our own.
        raise RuntimeError(f"a `{type(value).__qualname__}` cannot be read") from error
    return _with_text_keys(flat) if text_keys and _is_map(flat) else flat


@lru_cache(maxsize=1024)
def form_of(cls: Any) -> type | None:
    """The class that must be declared where values of `cls` stand; None when what is sent is equal to them.

    An object with fields and a member of an enum need their own class. A moment, a number in text or a set need the
    type that theirs extends, since what is sent is a text or a list. A number, a text, bytes or a map need none.
    """
    if fields_of(cls) is not None:
        return cast("type", cls)
    if issubclass(cls, enum.Enum):
        return None if all(map(_is_its_value, cls)) else cls
    return None if issubclass(cls, _ALIKE) else next((form for form in _FORMS if issubclass(cls, form)), None)


def _is_its_value(member: enum.Enum) -> bool:
    """Whether a member is the number or the text that it travels as."""
    value = member.value
    if isinstance(member, int):
        return type(value) is int and int.__eq__(member, value)
    return isinstance(member, str) and type(value) is str and str.__eq__(member, value)


@lru_cache(maxsize=1024)
def _take_apart(cls: Any) -> _TakeApart:
    """How values of `cls` are taken apart. The order matters: an IntEnum is an int, a NamedTuple is a tuple."""
    if cls in (type(None), bool, int, float, str, bytes, list):
        return _itself
    if dataclasses.is_dataclass(cls) or is_attrs(cls):
        return partial(_fields, tuple((name, wire) for name, wire, _ in fields_of(cls) or ()))
    for base, take_apart in _BASES:
        if issubclass(cls, base):
            return _listed if base is Collection and is_numeric(cls) else take_apart
    return _listed if is_numeric(cls) else _refuse


def is_numeric(cls: Any) -> bool:
    """Whether it is an array or a number of numpy's, or of others that look like these."""
    return hasattr(cls, "dtype") and hasattr(cls, "tolist")


def _listed(value: Any) -> Any:
    """As the plain lists and numbers that it says it is."""
    return value.tolist()


def _itself(value: Any) -> Any:
    return value


class _DoesNotTravel(TypeError):
    """What is said of a value, in words of ours."""


def _refuse(value: Any) -> Any:
    cls = cast("Any", type(value))
    name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    raise _DoesNotTravel(f"`{name}` does not travel: {_way_out(cls)}")


def _way_out(cls: Any) -> str:
    """What to do with a value that is neither plain data nor a capability."""
    if hasattr(cls, "__fspath__"):
        return "send `os.fspath(path)`"
    if hasattr(cls, "model_dump"):
        return "send `model_dump()`, or make it a pydantic dataclass"
    if hasattr(cls, "__await__"):
        return "await it, and send what it brings"
    if issubclass(cls, type):
        return "send an object of that class"
    if hasattr(cls, "__next__"):
        return "send a list of its items, or declare a stream"
    if issubclass(cls, _FUNCTIONS):
        return "call it, and send what it returns; or declare a `Callable`"
    if issubclass(cls, numbers.Number):
        return "send an `int`, a `float` or a text"
    return "it is neither plain data nor a capability; make its class a dataclass, or its methods a contract"


def _fields(names: tuple[tuple[str, str], ...], value: Any) -> dict[str, Any]:
    return {wire: getattr(value, name) for name, wire in names}


def _struct(value: msgspec.Struct) -> Any:
    """A struct by its own rules: renamed fields, tag, array form; unset fields are left out of a map."""
    config, encoded = value.__struct_config__, value.__struct_encode_fields__
    fields = dict(zip(encoded, msgspec.structs.astuple(value), strict=True))
    if config.tag is not None:
        fields = {str(config.tag_field): config.tag, **fields}
    if config.array_like:
        return list(fields.values())
    return {name: field for name, field in fields.items() if field is not msgspec.UNSET}


def _mapping(value: Mapping[Any, Any]) -> dict[Any, Any]:
    """A map, whose keys are exact if all of them are text."""
    flat = dict(value)
    return _with_text_keys(flat) if all(map(_is_text, flat)) else flat


def _member(value: enum.Enum) -> Any:
    return value.value


def _text(value: Any) -> str:
    return str.__str__(value)


def _octets(value: bytes | bytearray) -> bytes:
    return bytes(memoryview(value))


def _moment(value: dt.datetime) -> Any:
    # msgspec writes exact classes only.
    exact = dt.datetime.combine(value.date(), value.timetz())
    _check_equal(exact, value)
    if not _is_whole(value.utcoffset()):  # it would be written in whole minutes, which is another moment
        try:
            exact = exact.astimezone(dt.UTC)
        except OverflowError:
            raise _DoesNotTravel("a moment that has no year in UTC does not travel") from None
    return msgspec.to_builtins(exact)


def _date(value: dt.date) -> str:
    return dt.date.isoformat(value)


def _time(value: dt.time) -> Any:
    offset = value.utcoffset()
    if not _is_whole(offset) or (offset is None and value.tzinfo is not None):
        raise _DoesNotTravel(
            "a time whose zone has no offset in whole minutes by itself does not travel: send a datetime"
        )
    exact = dt.time(value.hour, value.minute, value.second, value.microsecond, value.tzinfo, fold=value.fold)
    return msgspec.to_builtins(exact)


def _is_whole(offset: dt.timedelta | None) -> bool:
    """Whether an offset from UTC can be written in minutes."""
    return offset is None or not offset % dt.timedelta(minutes=1)


def _duration(value: dt.timedelta) -> Any:
    exact = dt.timedelta(value.days, value.seconds, value.microseconds)
    _check_equal(exact, value)
    return msgspec.to_builtins(exact)


def _check_equal(exact: object, value: object) -> None:
    """Subclasses may count nanoseconds, which would be lost."""
    if exact == value:
        return
    name, form = type(value).__qualname__, type(exact).__name__
    raise _DoesNotTravel(f"a `{name}` that is equal to no `{form}` does not travel: send a `{form}`")


# The first base that fits decides.
_BASES: tuple[tuple[type, _TakeApart], ...] = (
    (msgspec.Struct, _struct),
    (enum.Enum, _member),
    (str, _text),
    (bytes, _octets),
    (bytearray, _octets),
    (memoryview, bytes),
    (int, int.__int__),
    (float, float.__float__),
    (dt.datetime, _moment),
    (dt.date, _date),
    (dt.time, _time),
    (dt.timedelta, _duration),
    (uuid.UUID, uuid.UUID.__str__),
    (decimal.Decimal, decimal.Decimal.__str__),
    (Mapping, _mapping),
    (Collection, list),
)


_ALIKE: Final = (str, bytes, bytearray, memoryview, int, float, Mapping)
"""What is equal to the plain data that it becomes."""
_FORMS: Final[tuple[type, ...]] = (
    dt.datetime,
    dt.date,
    dt.time,
    dt.timedelta,
    uuid.UUID,
    decimal.Decimal,
    Collection,
)
"""What is not; the first that fits decides."""


def _is_map(flat: object) -> bool:
    return type(flat) is dict


def _with_text_keys(mapping: dict[Any, Any]) -> dict[str, Any]:
    keyed = {_text_key(key): value for key, value in mapping.items()}
    if len(keyed) < len(mapping):
        raise _DoesNotTravel("two keys of a map have the same text")
    return keyed


def _is_text(key: object) -> bool:
    """Whether a key is as good as a text wherever one is declared."""
    return type(key) is str or (isinstance(key, str) and form_of(type(key)) is None)


def _text_key(key: Any) -> str:
    flat = plain(key)
    if isinstance(flat, str):
        return flat
    if isinstance(flat, int) and not isinstance(flat, bool):
        if flat.bit_length() > MAX_KEY_BITS:
            raise _DoesNotTravel(f"an integer of more than {MAX_KEY_BITS} bits cannot be the key of a map")
        return str(flat)
    raise _DoesNotTravel(f"`{type(key).__qualname__}` cannot be the key of a map")
