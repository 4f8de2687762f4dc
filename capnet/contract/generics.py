"""Type arguments: what `T` stands for in `Topic[int]`, in its bases, and in the annotations of both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeAlias, TypeVar, Union, cast, get_args, get_origin

__all__ = ["Bindings", "bindings_of", "substitute"]

Bindings: TypeAlias = Mapping[Any, Any]
"""Type variable → the type it stands for."""


def bindings_of(hint: Any) -> dict[type, Bindings]:
    """For `hint`, a class or a parametrised class, and each of its bases: what its own type variables stand for."""
    found: dict[type, Bindings] = {}
    _bind(hint, {}, found)
    return found


def _bind(hint: Any, outer: Bindings, found: dict[type, Bindings]) -> None:
    cls = get_origin(hint) or hint
    if not isinstance(cls, type) or cls in found:
        return
    arguments = [substitute(argument, outer) for argument in get_args(hint)]
    own = dict(zip(getattr(cls, "__parameters__", ()), arguments, strict=False))
    found[cls] = own
    for base in cast("tuple[Any, ...]", vars(cls).get("__orig_bases__", cls.__bases__)):
        if get_origin(base) is not Generic:
            _bind(base, own, found)


def substitute(hint: Any, bindings: Bindings) -> Any:
    """`hint` with its type variables replaced; one that stands for nothing becomes its bound, or `Any`."""
    if isinstance(hint, TypeVar):
        return bindings[hint] if hint in bindings else _upper_bound(hint)
    # A bare generic class has parameters too, but leaving them open is its own business.
    variables: tuple[Any, ...] = () if isinstance(hint, type) else getattr(hint, "__parameters__", ())
    if not variables:
        return hint
    parametrised: Any = hint
    return parametrised[tuple(substitute(variable, bindings) for variable in variables)]


def _upper_bound(variable: TypeVar) -> Any:
    if variable.__constraints__:
        return Union[variable.__constraints__]  # noqa: UP007 - built from a tuple
    return Any if variable.__bound__ is None else variable.__bound__
