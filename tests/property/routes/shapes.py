"""Shapes: where in a value a capability may stand, as annotation, as value, and how it is taken out again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Annotated, Any, Final, Generic, NamedTuple, NewType, Optional, TypedDict, TypeVar, Union, cast

import msgspec

__all__ = ["SHAPES", "Shape", "bare", "nested", "of"]

T = TypeVar("T")


class Shape(NamedTuple):
    """One way to put something into a value.

    Attributes:
        text: what is around it.
        hint: of the whole value.
        pack: makes the value.
        unpack: takes out what was packed, of a value as its type declares it.
    """

    text: str
    hint: Any
    pack: Callable[[Any], Any]
    unpack: Callable[[Any], Any]


@dataclass
class Job(Generic[T]):
    """A place whose type is an argument, beside one that takes anything."""

    source: T
    note: Any = None


@dataclass
class Chain(Generic[T]):
    """A class that holds itself."""

    value: T | None
    rest: Chain[T] | None = None


def of(generic: Any, *arguments: Any) -> Any:
    """`generic[arguments]`, of what is known only when it runs."""
    (first, *others) = arguments
    return generic[(first, *others) if others else first]


def _itself(value: Any) -> Any:
    return value


def _wrapped(text: str, hint: Any, inner: Shape, pack: Callable[[Any], Any], unpack: Callable[[Any], Any]) -> Shape:
    def packed(what: Any) -> Any:
        return pack(inner.pack(what))

    def unpacked(value: Any) -> Any:
        return inner.unpack(unpack(value))

    return Shape(f"{text}[{inner.text}]", hint, packed, unpacked)


def _first(value: Any) -> Any:
    (first, *_) = value
    return first


def _list(inner: Shape, beside: Any) -> Shape:
    return _wrapped("list", of(list, inner.hint), inner, lambda what: [what], _first)


def _tuple(inner: Shape, beside: Any) -> Shape:
    return _wrapped("tuple", of(tuple, inner.hint, ...), inner, lambda what: (what,), _first)


def _pair(inner: Shape, beside: Any) -> Shape:
    """The other place declares something else."""
    hint = of(tuple, of(Optional, beside), inner.hint, int)
    return _wrapped("pair", hint, inner, lambda what: (None, what, 7), lambda value: value[1])


def _sequence(inner: Shape, beside: Any) -> Shape:
    return _wrapped("Sequence", of(Sequence, inner.hint), inner, lambda what: [what], _first)


def _iterable(inner: Shape, beside: Any) -> Shape:
    return _wrapped("Iterable", of(Iterable, inner.hint), inner, lambda what: (what,), _first)


def _optional(inner: Shape, beside: Any) -> Shape:
    return _wrapped("Optional", of(Optional, inner.hint), inner, _itself, _itself)


def _map(inner: Shape, beside: Any) -> Shape:
    return _wrapped("dict", of(dict, str, inner.hint), inner, lambda what: {"k": what}, lambda value: value["k"])


def _numbered(inner: Shape, beside: Any) -> Shape:
    """Its keys become text on the wire."""
    return _wrapped("Mapping", of(Mapping, int, inner.hint), inner, lambda what: {3: what}, lambda value: value[3])


def _job(inner: Shape, beside: Any) -> Shape:
    return _wrapped("Job", of(Job, inner.hint), inner, lambda what: Job(what), lambda value: value.source)


def _chain(inner: Shape, beside: Any) -> Shape:
    def pack(what: Any) -> Any:
        return Chain(None, Chain(what))

    return _wrapped("Chain", of(Chain, inner.hint), inner, pack, lambda value: value.rest.value)


def _typed_dict(inner: Shape, beside: Any) -> Shape:
    make = cast("Any", TypedDict)
    hint = make("Slip", {"other": of(Optional, beside), "one": inner.hint})
    return _wrapped("Slip", hint, inner, lambda what: {"other": None, "one": what}, lambda value: value["one"])


def _named_tuple(inner: Shape, beside: Any) -> Shape:
    make = cast("Any", NamedTuple)
    hint = make("Card", [("other", of(Optional, beside)), ("one", inner.hint)])
    return _wrapped("Card", hint, inner, lambda what: hint(None, what), lambda value: value.one)


def _struct(inner: Shape, beside: Any) -> Shape:
    """One whose field has another name on the wire, which is the other field's name here."""
    make: Any = msgspec.defstruct
    fields = [("one", inner.hint), ("other", of(Optional, beside), None)]
    hint = make("Case", fields, rename={"one": "other", "other": "one"})
    return _wrapped("Case", hint, inner, lambda what: hint(one=what), lambda value: value.one)


def _array_struct(inner: Shape, beside: Any) -> Shape:
    make: Any = msgspec.defstruct
    hint = make("Row", [("other", of(Optional, beside)), ("one", inner.hint)], array_like=True, tag=True)
    return _wrapped("Row", hint, inner, lambda what: hint(other=None, one=what), lambda value: value.one)


def _union(inner: Shape, beside: Any) -> Shape:
    """One of two classes, whose fields of one name differ."""
    make: Any = msgspec.defstruct
    red = make("Red", [("one", of(Optional, beside))], tag="red")
    blue = make("Blue", [("one", inner.hint)], tag="blue")
    hint = of(Union, red, blue)
    return _wrapped("Red|Blue", hint, inner, lambda what: blue(one=what), lambda value: value.one)


def _annotated(inner: Shape, beside: Any) -> Shape:
    return _wrapped("Annotated", of(Annotated, inner.hint, "note"), inner, _itself, _itself)


def _new_type(inner: Shape, beside: Any) -> Shape:
    make: Any = NewType
    hint = make("Known", of(list, inner.hint))
    return _wrapped("NewType", hint, inner, lambda what: [what], _first)


def _set(inner: Shape, beside: Any) -> Shape:
    """Only of what has a hash."""
    return _wrapped("frozenset", of(frozenset, inner.hint), inner, lambda what: frozenset([what]), _first)


Around = Callable[[Shape, Any], Shape]
SHAPES: Final[tuple[Around, ...]] = (
    _list,
    _tuple,
    _pair,
    _sequence,
    _iterable,
    _optional,
    _map,
    _numbered,
    _job,
    _chain,
    _typed_dict,
    _named_tuple,
    _struct,
    _array_struct,
    _union,
    _annotated,
    _new_type,
)


def bare(hint: Any) -> Shape:
    """The thing itself."""
    return Shape(getattr(hint, "__name__", str(hint)), hint, _itself, _itself)


def nested(random: Random, hint: Any, beside: Callable[[], Any]) -> Shape:
    """A shape made by chance around what is declared by `hint`; up to three deep.

    Args:
        beside: gives what another place in the same value declares.
    """
    shape = bare(hint)
    if random.random() < 0.1:
        shape = _set(shape, beside())
    for _ in range(random.choice((0, 1, 1, 1, 2, 2, 3))):
        shape = random.choice(SHAPES)(shape, beside())
    return shape
