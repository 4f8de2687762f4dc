"""What a contract class has declared, as its decorators left it: nothing is looked up or evaluated yet."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Final, Literal, TypeAlias, cast

from typing_extensions import Format

__all__ = [
    "MARK",
    "MAX_NAME_BYTES",
    "MAX_VERSION",
    "Declaration",
    "Kind",
    "MethodOptions",
    "declaration_of",
    "options_of",
    "signature_of",
]

Kind: TypeAlias = Literal["call", "stream"]

MAX_NAME_BYTES: Final = 256
"""Longest contract name, in UTF-8 bytes (`Limits.max_name_bytes` holds the same for names that arrive)."""
MAX_VERSION: Final = 2**53 - 1
MARK: Final = "_capnet_options"
_UNEVALUATED: Final[dict[str, Any]] = {}
if sys.version_info >= (3, 14):
    from annotationlib import Format

    # Otherwise annotations would be evaluated here, before the names in them need to exist.
    _UNEVALUATED["annotation_format"] = Format.FORWARDREF


@dataclass(frozen=True, slots=True)
class MethodOptions:
    """What the decorators said of one method."""

    kind: Kind
    since: int = 1
    timeout: float | None = None
    idempotent: bool = False
    resume: str | None = None
    position: str | None = None


@dataclass(frozen=True, slots=True)
class Declaration:
    """What one contract class declares in its own body; inherited methods belong to the base's declaration."""

    name: str
    version: int
    methods: Mapping[str, FunctionType]
    ordered: bool


def declaration_of(cls: type) -> Declaration | None:
    """What `cls` itself declares, or None when it is not a contract."""
    return cast("Declaration | None", vars(cls).get("_capnet_declaration"))


def options_of(function: object) -> MethodOptions | None:
    """What the decorators said of `function`, or None when it is not declared."""
    # A property, staticmethod or classmethod has no marks of its own, so what it wraps is asked.
    wrapped = getattr(function, "fget", None) or getattr(function, "__func__", function)
    marks = getattr(wrapped, "__dict__", {})
    return cast("MethodOptions | None", marks.get(MARK))


def signature_of(function: Callable[..., object], *, follow_wrapped: bool = True) -> inspect.Signature:
    """The signature of `function`, its annotations not evaluated.

    Args:
        follow_wrapped: take that of the function which it is wrapped around, if any.
    """
    return inspect.signature(function, follow_wrapped=follow_wrapped, **_UNEVALUATED)
