"""Positions: what may stand where in a value, so that each capability leaves under the contract declared for its place.

`position_of` turns an annotation into a tree that is walked beside the value: in `tuple[Reader, File]` the first
element leaves as a `Reader` whatever else it is, and in `int` no capability leaves at all. The steps are those of the
wire: a field by the name it has there, an element by its index, a value by its key.

It says of data, too, what would not arrive as it left: an object of another class than the declared one, a moment where
a text is declared or nothing, a key that the declared class does not have.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache
from types import UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

from capnet.contract.annotation import ARRAYS, ENDS, MAPS, WORDS
from capnet.contract.callables import CallableCap, callable_contract
from capnet.contract.capability import Cap
from capnet.contract.fields import fields_of, is_array, tag_of
from capnet.contract.hints import meant_by, member_hints, stands_for

__all__ = ["ANYTHING", "NOTHING", "UNKNOWN", "Position", "position_of"]


class Position:
    """What is declared for one place in a value.

    Args:
        contract: of the capability or function that may stand there, with type arguments; `Cap` for one of any
            contract; None where none may stand.
        items: what the items of a stream or a sink there may be; None where no such end may stand.
        end: the stream or the sink, as it is declared; None where either may stand.
        element: what each element of an array there may be.
        each: the same for an array with a place for each.
        value: what each value of a map there may be.
        fields: the same for a map with a place for each key.
        text_keys: it is a map whose keys become text on the wire.
        forms: the classes that are declared there, of those that are told apart (`form_of`).
        keys: all that a map there may have; None where any may stand.
    """

    __slots__ = (
        "_checks_keys",
        "_classes",
        "_each",
        "_fields",
        "contract",
        "element",
        "end",
        "forms",
        "items",
        "keys",
        "takes_functions",
        "text_keys",
        "value",
    )

    def __init__(
        self,
        contract: Any = None,
        *,
        items: Position | None = None,
        end: Any = None,
        element: Position | None = None,
        each: tuple[Position, ...] = (),
        value: Position | None = None,
        fields: Mapping[str, Position] | None = None,
        text_keys: bool = False,
        forms: Collection[type] = (),
    ) -> None:
        self.contract = contract
        self.takes_functions = _is_callable(contract)
        """Whether a function may stand there; `contract` is the one that it leaves under."""
        self.forms = frozenset(forms)
        self.keys: frozenset[str] | None = None
        self._checks_keys: bool | None = None
        self.items = items
        self.end = end
        self.text_keys = text_keys
        self.element = element
        self._each = each
        self.value = value
        self._fields: Mapping[Any, Position] = fields or {}
        self._classes: dict[type, Position] = {}
        """Where one of several classes with fields may stand, what each of them holds: only the value says which."""

    @property
    def checks_keys(self) -> bool:
        """Whether a map in it may not have every key: then plain data has to be looked at as well."""
        if self._checks_keys is None:
            self._checks_keys = any(position.keys is not None for position in _all_in(self))
        return self._checks_keys

    def takes(self, form: type) -> bool:
        """Whether a value of a form arrives here as what it is. A named tuple is as good as another tuple."""
        forms = self.forms
        if form in forms or self is UNKNOWN or (issubclass(form, tuple) and Collection in forms):
            return True
        # A module that is loaded again brings another class, which says the same.
        return any(form.__qualname__ == one.__qualname__ and form.__module__ == one.__module__ for one in forms)

    def refusal(self, kind: type, form: type) -> str:
        """What is said to whoever sends a value of a class here, whose form is not taken."""
        name = kind.__qualname__
        if self is ANYTHING:
            return f"`{name}` would arrive as plain data where `Any` is declared: declare its type, or send plain data"
        base = next((base for base in form.__mro__ if base in self.forms), None)
        if base is None:
            return f"`{name}` is not declared here, and would arrive as something else"
        return (
            f"`{name}` would arrive as `{base.__qualname__}`, which is declared here: declare `{name}`, "
            f"or a union of tagged msgspec structs"
        )

    def around(self) -> Iterator[Position]:
        """The positions one step further in."""
        found = (self.element, self.value, *self._each, *self._fields.values(), *self._classes.values())
        return (position for position in found if position is not None)

    def inside(self, step: str | int) -> Position:
        """What may stand one step further in: at an index of an array, or under a key of a map."""
        if type(step) is int:
            return self.element or (self._each[step] if step < len(self._each) else NOTHING)
        return self.value or self._fields.get(step, NOTHING)

    def of(self, kind: type) -> Position:
        """The same for a value of a class."""
        classes = self._classes
        return next((classes[base] for base in kind.__mro__ if base in classes), self) if classes else self

    def join(self, other: Position, kind: type) -> None:
        """What another type declares, `kind` with its arguments, may stand here as well.

        What could be one of several classes and has not said which, as a plain map, may hold nothing.
        """
        self.contract = self.contract or other.contract
        self.takes_functions = _is_callable(self.contract)
        self.items = self.items or other.items
        self.end = self.end or other.end
        self.text_keys = self.text_keys or other.text_keys
        self.forms |= other.forms
        self.element = self.element or other.element
        self.value = self.value or other.value
        if other.keys is not None or other._each:
            self._classes[kind] = other
        only = len(self._classes) == 1
        self._fields, self._each = (self._fields or other._fields, self._each or other._each) if only else ({}, ())
        self.keys = (self.keys or other.keys) if only else None


def _is_callable(contract: Any) -> bool:
    return isinstance(contract, type) and issubclass(contract, CallableCap)


NOTHING: Final = Position()
"""Where plain data is declared: no capability, function, stream or sink may stand there, however deep."""
ANYTHING: Final = Position(Cap)
"""Where `Any` is declared: any capability, under what it is held under, and data that is plain."""
UNKNOWN: Final = Position(Cap)
"""Where nobody here knows what is declared: whatever comes, as it is."""
for _any in (ANYTHING, UNKNOWN):
    _any.items = _any.element = _any.value = _any
NOTHING.element = NOTHING.value = NOTHING


_WORDS: Final[Mapping[Any, Position]] = {
    word: Position(forms=(word,)) for word in (dt.datetime, dt.date, dt.time, dt.timedelta, uuid.UUID, decimal.Decimal)
}


@lru_cache(maxsize=4096)
def position_of(hint: Any) -> Position:
    """The position that an annotation describes; `read_annotation` has found that all in it may travel."""
    return _Reading().read(hint)


class _Reading:
    """One walk over one annotation. A class that holds itself leads to the position that is being made of it."""

    def __init__(self) -> None:
        self._known: dict[Any, Position] = {}

    def read(self, hint: Any) -> Position:
        """The position of a type."""
        origin = get_origin(hint) or hint
        if origin in WORDS or origin is Literal:
            return ANYTHING if WORDS.get(origin) == "any" else _WORDS.get(origin, NOTHING)
        if origin in (Union, UnionType):
            return self._union(get_args(hint))
        meant = stands_for(hint)
        return self._container(origin, hint) if meant is hint else self.read(meant)

    def _union(self, members: tuple[Any, ...]) -> Position:
        read = [(position, member) for member in members if (position := self.read(member)) is not NOTHING]
        if len(read) < 2:
            return read[0][0] if read else NOTHING
        joined = Position()
        for position, member in read:
            joined.join(position, get_origin(member) or member)
        if any(position is ANYTHING for position, _ in read):  # then nobody can tell what else is meant
            joined.forms = frozenset()
        return joined

    def _container(self, origin: Any, hint: Any) -> Position:
        arguments = get_args(hint)
        first, last = (arguments[0], arguments[-1]) if arguments else (Any, Any)
        if origin is tuple and arguments and last is not Ellipsis:
            return Position(each=tuple(map(self.read, arguments)), forms=(Collection,))
        if origin is tuple or origin in ARRAYS:
            return Position(element=self.read(first), forms=(Collection,))
        if origin in MAPS:
            return Position(value=self.read(last), text_keys=not _is_text(first))
        if origin in ENDS:
            return Position(items=self.read(first), end=hint)
        if origin is Callable:
            return Position(callable_contract(hint))
        return self._class(origin, hint)

    def _class(self, cls: Any, hint: Any) -> Position:
        if issubclass(cls, Cap):
            return Position(hint)
        if issubclass(cls, enum.Enum):
            return Position(forms=(cls,))
        fields = fields_of(cls)
        if fields is None:
            return NOTHING
        position = self._known.get(hint)
        if position is None:
            position = self._known[hint] = Position(forms=(cls,))
            hints = member_hints(hint, cls.__qualname__)
            inside = {wire: self.read(hints[name]) for name, wire, _ in fields}
            if is_array(cls):
                position._each = (*(NOTHING for _ in tag_of(cls)), *inside.values())  # noqa: SLF001 - made here
            else:
                position._fields = inside
                position.keys = frozenset((*tag_of(cls), *inside))
        return position


def _all_in(position: Position) -> Iterator[Position]:
    """A position and all in it, each once; the items of streams have positions of their own."""
    found = {id(position): position}
    left = [position]
    while left:
        one = left.pop()
        yield one
        fresh = {id(inner): inner for inner in one.around() if id(inner) not in found}
        found |= fresh
        left += fresh.values()


def _is_text(key: Any) -> bool:
    """Whether keys of this type are text already."""
    return WORDS.get(meant_by(key)) in ("any", "str")
