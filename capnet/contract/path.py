"""Paths into a result: what stands at `["members"][0]` in a value of an annotated type, once it has travelled.

A call may be made on what a result will be (P-CALL-8) before it is there; then only the annotation knows what a step
leads to, and how the step is called on the wire: a field may be renamed, a NamedTuple is an array, keys are text.
"""

from __future__ import annotations

from collections import abc
from collections.abc import Callable
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Final, NotRequired, Required, Union, get_args, get_origin

import msgspec
from typing_extensions import ReadOnly

from capnet.contract.annotation import ARRAYS, MAPS, Annotation, read_annotation
from capnet.contract.callables import callable_contract
from capnet.contract.capability import Cap
from capnet.contract.fields import fields_of, is_array, tag_of
from capnet.contract.hints import member_hints, stands_for
from capnet.contract.plain import plain
from capnet.errors import InvalidArgument, cut_text

__all__ = ["Step", "contract_at", "step_into"]

Step = str | int
"""A key or the name of a field, or a position from 0."""

ANYTHING: Final = frozenset({Any, object})
UNORDERED: Final = frozenset({set, frozenset, abc.Set, abc.MutableSet})
"""They travel as arrays, but which item comes first is chance."""
MARKS: Final = frozenset({Required, NotRequired, ReadOnly})
"""They say something of a field, not of the type that stands in it."""


def step_into(annotation: Annotation, step: Step) -> tuple[Step, Annotation]:
    """What stands at `step` in a value of the annotated type.

    Args:
        annotation: of the value; None beside the type is looked through.
        step: of a tuple or sequence the position, of a map the key (one that is not text may be given as the text it
            becomes), of a class with fields the name of the field.

    Returns:
        The step as it is called on the wire, and the annotation of what it leads to.

    Raises:
        InvalidArgument: values of this type have no such step.
    """
    if type(step) not in (str, int):
        raise InvalidArgument(f"a step is a key or a position, not a `{type(step).__qualname__}`")
    return _step_into(annotation.hint, step)


def contract_at(annotation: Annotation) -> Any:
    """The contract of a capability, also with type arguments such as `Topic[int]`; None when it is something else.

    None beside the contract is looked through; a `Callable` has the contract that is made for it.
    """
    return _contract_at(annotation.hint)


@lru_cache(maxsize=1024)
def _contract_at(hint: Any) -> Any:
    hint, origin = _value_type(hint)
    if origin is Callable:
        return callable_contract(hint)
    return hint if isinstance(origin, type) and issubclass(origin, Cap) else None


@lru_cache(maxsize=1024)
def _step_into(hint: Any, step: Step) -> tuple[Step, Annotation]:
    found = _found(hint, step)
    if found is None:
        raise InvalidArgument(cut_text(f"`{_name(hint)}` has no step {step!r}"))
    wire, inner = found
    return wire, read_annotation(_unmarked(inner), f"step {step!r}")


def _found(hint: Any, step: Step) -> tuple[Step, Any] | None:
    """The step on the wire and the type it leads to."""
    hint, origin = _value_type(hint)
    arguments = get_args(hint)
    if origin in ANYTHING:
        return step, Any
    if origin is tuple:
        return _position(arguments, step)
    if origin in ARRAYS:
        return _position(((*arguments, Any)[0], ...), step) if origin not in UNORDERED else None
    if origin in MAPS:
        key, value = arguments or (Any, Any)
        text = _text_key(_value_type(key)[0], step)
        return None if text is None else (text, value)
    return _member(origin, hint, step) if isinstance(origin, type) else None


def _position(items: tuple[Any, ...], step: Step) -> tuple[Step, Any] | None:
    if isinstance(step, str) or step < 0:  # how long it will be is not known, so nothing counts from its end
        return None
    if not items or items[-1] is Ellipsis:
        return step, items[0] if items else Any
    return (step, items[step]) if step < len(items) else None


def _text_key(kind: Any, step: Step) -> str | None:
    """The text that a key is on the wire, if the map may have it."""
    if kind in ANYTHING:
        return step if isinstance(step, str) else None  # keys of no declared type travel only when they are text
    try:
        if isinstance(step, str):
            (key,) = msgspec.convert({step: None}, dict[kind, None], str_keys=True)
        else:
            key = msgspec.convert(step, kind)
        keyed: dict[str, None] = plain({key: None}, text_keys=True)
    except (msgspec.ValidationError, TypeError):  # TypeError: a number that does not travel
        return None
    return next(iter(keyed))


def _member(cls: Any, hint: Any, step: Step) -> tuple[Step, Any] | None:
    """A field of a class with fields."""
    fields = fields_of(cls) or []
    if isinstance(step, int):
        if not issubclass(cls, tuple) or not 0 <= step < len(fields):
            return None
        step = fields[step][0]
    first = len(tag_of(cls))
    for index, (name, wire, _) in enumerate(fields, first):
        if name == step:
            return index if is_array(cls) else wire, member_hints(hint, cls.__qualname__)[name]
    return None


def _value_type(hint: Any) -> tuple[Any, Any]:
    """The type behind aliases and beside None, and its origin."""
    while True:
        meant = stands_for(hint)
        if get_origin(meant) in (Union, UnionType):
            rest = [member for member in get_args(meant) if member not in (NoneType, msgspec.UnsetType)]
            meant = rest[0] if len(rest) == 1 else meant
        if meant is hint:
            return hint, get_origin(hint) or hint
        hint = meant


def _unmarked(hint: Any) -> Any:
    while get_origin(hint) in MARKS:
        (hint,) = get_args(hint)
    return hint


def _name(hint: Any) -> str:
    return hint.__qualname__ if isinstance(hint, type) else str(hint)
