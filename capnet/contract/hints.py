"""Hints: what is written in an annotation, before it is judged: strings resolved, other words for types taken away."""

from __future__ import annotations

from typing import Annotated, Any, Final, NewType, NotRequired, Required, get_args, get_origin, get_type_hints

from typing_extensions import Format, ReadOnly, get_annotations

from capnet.contract.generics import bindings_of, substitute
from capnet.errors import ContractError

__all__ = ["meant_by", "member_hints", "resolved_hints", "stands_for", "words_in"]

WRAPPERS: Final = frozenset({Annotated, Required, NotRequired, ReadOnly})


def resolved_hints(annotated: Any, where: str, **names: Any) -> dict[str, Any]:
    """The annotations of a function or class, strings resolved.

    Args:
        annotated: the function or class.
        where: what it is, for the error.
        names: what the strings may name beside the globals of its module.

    Raises:
        ContractError: a name is unknown at run time, or a string is no type.
    """
    try:
        return get_type_hints(annotated, localns=names or None, include_extras=True)
    except NameError as error:
        raise ContractError(
            f"{where}: cannot resolve '{error.name}'",
            hint="import it at run time, not under TYPE_CHECKING; define it in a module, not in a function",
        ) from error
    except (AttributeError, SyntaxError, TypeError) as error:
        raise ContractError(f"{where}: cannot resolve an annotation: {error}") from error


def member_hints(hint: Any, where: str) -> dict[str, Any]:
    """Annotations of a class with fields and its bases, each with the type arguments of the class that wrote it.

    Args:
        hint: the class, or the class with type arguments.
        where: what it is part of, for the error.

    Raises:
        ContractError: a name in one is unknown at run time.
    """
    hints: dict[str, Any] = {}
    for base, bindings in reversed(bindings_of(hint).items()):
        if own := get_annotations(base, format=Format.FORWARDREF):
            resolved = resolved_hints(base, where)
            hints |= {name: substitute(resolved[name], bindings) for name in own}
    return hints


def stands_for(hint: Any) -> Any:
    """What a wrapper (`Annotated`, `Required`, …), a `NewType` or a `type` alias is another word for, else `hint`."""
    origin = get_origin(hint) or hint
    if origin in WRAPPERS:
        return get_args(hint)[0]
    if isinstance(origin, NewType):
        return origin.__supertype__
    if hasattr(origin, "__value__"):  # `type X = …`, whose class differs between Python and typing_extensions
        bindings = dict(zip(origin.__type_params__, get_args(hint), strict=False))
        return substitute(origin.__value__, bindings)
    return hint


def meant_by(hint: Any) -> Any:
    """What all wrappers, `NewType`s and aliases around a type are other words for."""
    while (meant := stands_for(hint)) is not hint:
        hint = meant
    return hint


def words_in(hint: Any) -> str:
    """What `Annotated` says of a type for people: a text, or what has one as its `documentation` or `description`."""
    for note in getattr(hint, "__metadata__", ()):
        for said in (note, getattr(note, "documentation", None), getattr(note, "description", None)):
            if isinstance(said, str):
                return said
    return ""
