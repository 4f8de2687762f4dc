"""Classes with fields: dataclasses, attrs classes, msgspec structs, named tuples and typed dicts, each in its own way.

What is said here of a class holds on both sides: what it sends of its objects, and what it takes to build one.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, TypeAlias

import msgspec
from typing_extensions import Format, get_annotations, is_typeddict

__all__ = ["Fields", "fields_of", "is_array", "is_attrs", "tag_of"]

Fields: TypeAlias = list[tuple[str, str, bool]]
"""Name in Python, name on the wire, whether it must be there."""


def fields_of(cls: Any) -> Fields | None:
    """The fields that a class takes, in order; None when it is no class with fields."""
    if issubclass(cls, msgspec.Struct):
        return _struct_fields(cls)
    if dataclasses.is_dataclass(cls):
        return _dataclass_fields(cls)
    if is_attrs(cls):
        return _attrs_fields(cls)
    if is_typeddict(cls):
        return _dict_fields(cls)
    return _tuple_fields(cls) if _is_named_tuple(cls) else None


def is_array(cls: Any) -> bool:
    """Whether a class with fields travels as an array, not as a map."""
    return issubclass(cls, tuple) or (issubclass(cls, msgspec.Struct) and cls.__struct_config__.array_like)


def is_attrs(cls: Any) -> bool:
    """Whether attrs has made a class, or a base of it; that package need not be there."""
    return isinstance(getattr(cls, "__attrs_attrs__", None), tuple)


def tag_of(cls: Any) -> dict[str, Any]:
    """The field that tells the members of a union of structs apart, name → value; empty when there is none."""
    config = cls.__struct_config__ if issubclass(cls, msgspec.Struct) else None
    return {str(config.tag_field): config.tag} if config and config.tag is not None else {}


def _is_named_tuple(cls: Any) -> bool:
    return hasattr(cls, "_fields") and issubclass(cls, tuple)


def _struct_fields(cls: type[msgspec.Struct]) -> Fields:
    return [(field.name, field.encode_name, field.required) for field in msgspec.structs.fields(cls)]


def _dataclass_fields(cls: Any) -> Fields:
    missing = dataclasses.MISSING
    return [
        (field.name, field.name, field.default is missing and field.default_factory is missing)
        for field in dataclasses.fields(cls)
        if field.init
    ]


def _attrs_fields(cls: Any) -> Fields:
    """On the wire a field has the name that the constructor takes, which has no underscore in front."""
    try:
        optional = {
            name for name, taken in inspect.signature(cls).parameters.items() if taken.default is not taken.empty
        }
    except (TypeError, ValueError):
        optional = set[str]()
    return [(field.name, field.alias, field.alias not in optional) for field in cls.__attrs_attrs__ if field.init]


def _dict_fields(cls: Any) -> Fields:
    return [(name, name, name in cls.__required_keys__) for name in get_annotations(cls, format=Format.FORWARDREF)]


def _tuple_fields(cls: Any) -> Fields:
    return [(name, name, name not in cls._field_defaults) for name in cls._fields]
