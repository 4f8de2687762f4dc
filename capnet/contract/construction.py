"""Construction: which classes with fields are built by a call of the class, and whether that call can be made.

msgspec makes an empty object and sets each field that came. That does what a call does where the constructor is the one
that `dataclass` or `NamedTuple` has written and takes every field. Any other has a say in what it takes and what it
refuses, so it is called; so are attrs classes, whose constructors convert and validate.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable
from typing import Any, Final, cast

import msgspec
from typing_extensions import is_typeddict

from capnet.contract.fields import is_attrs

__all__ = ["can_be_called", "is_called"]

_WRITTEN: Final = "__create_fn__.<locals>.__init__"
"""The name that the code of an `__init__` has which `dataclass` has written."""


def is_called(cls: Any) -> bool:
    """Whether objects of a class with fields must be built by a call."""
    if issubclass(cls, msgspec.Struct) or is_typeddict(cls):
        return False  # neither can have a constructor of its own
    own = cast("Any", type(cls)).__call__ is not type.__call__
    if dataclasses.is_dataclass(cls):
        return own or not _has_written_init(cls)
    if is_attrs(cls):
        return True
    return own or cls.__init__ is not object.__init__ or "_tuple_new" not in cls.__new__.__globals__


def can_be_called(cls: Any, names: Iterable[str], required: Iterable[str]) -> bool:
    """Whether the class takes all of these by name, and asks for no more than is required."""
    try:
        signature = inspect.signature(cls)
        signature.bind(**dict.fromkeys(names))
        signature.bind(**dict.fromkeys(required))
    except (TypeError, ValueError):
        return False
    return True


def _has_written_init(cls: Any) -> bool:
    """Whether the constructor sets every field and nothing comes between."""
    code = getattr(cls.__init__, "__code__", None)
    if code is None or code.co_qualname != _WRITTEN or cls.__new__ is not object.__new__:
        return False
    taken = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    return set(taken) == {field.name for field in dataclasses.fields(cls)} and (
        cls.__dataclass_params__.frozen or cls.__setattr__ is object.__setattr__
    )
