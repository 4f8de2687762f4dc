"""Lowering: any Python value to one that may be encoded, in one walk (P-FRAME-4).

The walk is the encoder's gate. It bounds depth, items and references before cbor2 sees the value (its encoder recurses
natively and a deep or cyclic value would end the process), refuses integers that would become bignums and keys that are
not text, and asks `enrich` about every object that is not plain data: it answers with plainer data or a reference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias

from capnet.errors import InvalidArgument
from capnet.limits import HIGHEST_INTEGER, LOWEST_INTEGER, FrameBounds, Limits, bound
from capnet.native import compiled

from .references import AnswerRef, CapRef, Reference, StreamRef, kind_of

__all__ = [
    "NO_REFERENCES",
    "Enrich",
    "OfAnotherType",
    "Place",
    "Unencodable",
    "is_plain",
    "lower",
    "only_data",
    "unencodable_text",
]


class Place(Protocol):
    """What is declared for the place where a value stands; only `enrich` knows what that means.

    Attributes:
        keys: all that a map there may have; None where any may stand.
        checks_keys: there are such places in it.
    """

    keys: frozenset[str] | None

    @property
    def checks_keys(self) -> bool:
        """See above."""
        ...

    def inside(self, step: str | int, /) -> Any:
        """The place of what stands at an index or under a key."""
        ...

    def of(self, kind: type, /) -> Any:
        """The same place, for a value of a class."""
        ...


class _Anywhere:
    """The place of values of which nothing is declared."""

    __slots__ = ()
    keys: frozenset[str] | None = None
    checks_keys = False

    def inside(self, step: str | int, /) -> _Anywhere:
        return self

    def of(self, kind: type, /) -> _Anywhere:
        return self


ANYWHERE: Final = _Anywhere()
Enrich = Callable[[Any, Any], Any]
"""Turns one object that is not plain, at its place, into plainer data or a reference.

It raises TypeError when it is neither, and `OfAnotherType` when it may not stand there."""

NO_REFERENCES: Final[tuple[Reference, ...]] = ()
Bounds: TypeAlias = Limits | FrameBounds
"""What a frame keeps to: that of one side, or of both."""
_UNCHANGED: Final = frozenset((str, bytes, bool, type(None), float))
_REFERENCES: Final = frozenset((CapRef, AnswerRef, StreamRef))
_MOST_PATH: Final = 60
FRAME_DEPTH: Final = 1
_FRAME_ITEMS: Final = 64
"""What is left for the frame around a value: one array, its other items, and a call's meta with 24 words of context."""
_STREAM: Final = "send them as a stream"


class OfAnotherType(TypeError):
    """A value could travel, and something else is declared where it stands."""


class Unencodable(InvalidArgument):
    """A value that cannot travel; the text says where it stands and why. Nothing has been sent or counted."""

    def __init__(self, message: str = "", **about: Any) -> None:
        super().__init__(message, **about)
        self.steps: list[str] = []
        self.refusal: type[TypeError] | None = None
        """What `enrich` has raised, if that was it."""

    @classmethod
    def because(cls, refusal: TypeError) -> Unencodable:
        """What is said where `enrich` has refused it."""
        error = cls(str(refusal))
        error.refusal = type(refusal)
        return error

    def say_where(self) -> None:
        """Put the place into the text, which is all that a peer is told; of a long one the middle is left out."""
        path = "".join(reversed(self.steps))
        if len(path) > 2 * _MOST_PATH:
            path = f"{path[:_MOST_PATH]}…{path[-_MOST_PATH:]}"
        self.message = f"{self.message} - at `${path}`"


def lower(
    value: Any, enrich: Enrich, limits: Bounds, around: int = FRAME_DEPTH, place: Place = ANYWHERE
) -> tuple[Any, tuple[Reference, ...] | list[Reference]]:
    """`value` as plain data, and the references that now stand in it.

    What is plain already is returned as it is, so encode it before anybody can change it.

    Args:
        limits: of the frame that it will stand in.
        around: containers that it will stand in.
        place: what is declared for it.

    Raises:
        Unencodable: with the path of what cannot travel.
    """
    if is_plain(value, limits, around) and not place.checks_keys:
        return value, NO_REFERENCES
    walk = _Walk(enrich, limits)
    try:
        return walk.value(value, limits.max_depth - around, place), walk.references or NO_REFERENCES
    except Unencodable as error:
        error.say_where()
        raise


def unencodable_text(data: Any) -> Unencodable | None:
    """What is to be said of plain data that has a text with a lone surrogate in it; None when it has none."""
    steps = _steps_to_surrogate(data)
    if steps is None:
        return None
    error = Unencodable("text with a lone surrogate cannot travel")
    error.steps = steps
    error.say_where()
    return error


def _steps_to_surrogate(data: Any) -> list[str] | None:
    """The way to the first text that has one, innermost step first."""
    kind = kind_of(data)
    if kind is str:
        return None if _shown(data) == data else []
    steps: list[str] | None = None
    if kind is dict:
        for key, item in data.items():
            steps = _steps_to_surrogate(item) if _shown(key) == key else []
            if steps is not None:
                return [*steps, f".{_shown(key)}"[:100]]
    elif kind is list or kind is tuple:
        for index, item in enumerate(data):
            steps = _steps_to_surrogate(item)
            if steps is not None:
                return [*steps, f"[{index}]"]
    return None


def _shown(key: Any) -> Any:
    """The text with its surrogates spelt out."""
    return key.encode(errors="backslashreplace").decode() if type(key) is str else key


def only_data(value: Any, place: object) -> Any:
    """An `enrich` for what must be plain data already.

    Raises:
        TypeError: always.
    """
    raise TypeError(f"{type(value).__name__} is not plain data")


@compiled
def is_plain(value: Any, limits: Bounds, around: int = FRAME_DEPTH) -> bool:
    """Whether `value` may be encoded as it is: plain data within the bounds, without references."""
    kind = kind_of(value)
    if kind in _UNCHANGED:
        return True
    if kind is int:
        return LOWEST_INTEGER <= value < HIGHEST_INTEGER  # type: ignore[no-any-return]
    return _room_left(value, limits.max_depth - around, limits.max_items - _FRAME_ITEMS) >= 0


def _said(limits: Bounds, field: str, otherwise: str = "") -> str:
    if isinstance(limits, FrameBounds):
        return limits.said(field, otherwise)
    return bound(field, getattr(limits, field), "sender", otherwise=otherwise)


def _room_left(container: Any, depth: int, room: int) -> int:
    """How many more values there is room for beside those of a container, if all of it is plain; else less than 0.

    The room is counted on the way down: a small graph that unfolds without end is left as soon as it is too much.
    """
    kind = kind_of(container)
    if depth <= 0 or (kind is not dict and kind is not list and kind is not tuple):
        return -1
    room -= len(container)
    if kind is dict:
        for key in container:
            if type(key) is not str:
                return -1
        room -= len(container)
        container = container.values()
    for item in container:
        kind = kind_of(item)
        if kind in _UNCHANGED or (kind is int and LOWEST_INTEGER <= item < HIGHEST_INTEGER):
            continue
        room = _room_left(item, depth - 1, room)
        if room < 0:
            return -1
    return room


def _not_declared(value: dict[Any, Any], keys: frozenset[str]) -> str:
    key = str(next(key for key in value if key not in keys))[:100]
    return f"key `{key}` is not declared here and would be lost: declare it, or leave it out"


def _is_text_map(value: Any) -> bool:
    kind = kind_of(value)
    return kind is dict and all(type(key) is str for key in value)


class _Walk:
    __slots__ = ("budget", "enrich", "limits", "references")

    def __init__(self, enrich: Enrich, limits: Bounds) -> None:
        self.enrich = enrich
        self.limits = limits
        self.budget = limits.max_items - _FRAME_ITEMS
        self.references: list[Reference] = []

    def value(self, value: Any, depth: int, place: Any) -> Any:
        kind = kind_of(value)
        if kind in _UNCHANGED:
            return value
        if kind is int:
            if LOWEST_INTEGER <= value < HIGHEST_INTEGER:
                return value
            raise Unencodable("integer of more than 64 bits: send a text, or bytes")
        if kind is dict:
            return self._map(value, depth, place)
        if kind is list or kind is tuple:
            return self._array(value, depth, place)
        if kind in _REFERENCES:
            return self._reference(value, depth)
        return self._rich(value, depth, place)

    def _map(self, value: dict[Any, Any], depth: int, place: Any) -> dict[str, Any]:
        self._open(2 * len(value), depth)
        lowered: dict[str, Any] = {}
        if place.keys is not None and not place.keys.issuperset(value):
            raise Unencodable.because(OfAnotherType(_not_declared(value, place.keys)))
        for key, item in value.items():
            if type(key) is not str:
                return self._with_text_keys(value, key, lowered, depth, place)
            kind = kind_of(item)
            if kind in _UNCHANGED:
                lowered[key] = item
                continue
            try:
                lowered[key] = self.value(item, depth - 1, place.inside(key))
            except Unencodable as error:
                error.steps.append(f".{key}"[:100])
                raise
        return lowered

    def _with_text_keys(
        self, value: dict[Any, Any], key: Any, lowered: dict[str, Any], depth: int, place: Any
    ) -> dict[str, Any]:
        """`enrich` makes text of keys where that is declared; anywhere else it would change what the value says."""
        try:
            plainer = self.enrich(value, place)
        except TypeError as error:
            raise Unencodable.because(error) from None
        if plainer is value or not _is_text_map(plainer):
            what = f"map key of type {type(key).__name__}, text is needed"
            raise Unencodable(f"{what}: declare the type of the keys, or send pairs")
        # What was lowered before that key was met is not lowered again: its references would be counted twice.
        rest = dict(list(plainer.items())[len(lowered) :])
        self.budget += 2 * len(rest)
        return {**lowered, **self._map(rest, depth, place)}

    def _array(self, value: list[Any] | tuple[Any, ...], depth: int, place: Any) -> list[Any]:
        self._open(len(value), depth)
        lowered: list[Any] = []
        for item in value:
            kind = kind_of(item)
            if kind in _UNCHANGED:
                lowered.append(item)
                continue
            try:
                lowered.append(self.value(item, depth - 1, place.inside(len(lowered))))
            except Unencodable as error:
                error.steps.append(f"[{len(lowered)}]")
                raise
        return lowered

    def _open(self, items: int, depth: int) -> None:
        if depth <= 0:
            raise self._too_deep()
        self.budget -= items
        if self.budget < 0:
            text = f"too many values for one frame: {_said(self.limits, 'max_items', _STREAM)}"
            raise Unencodable(text, reason="max_items")

    def _too_deep(self) -> Unencodable:
        return Unencodable(f"nested too deeply, or a cycle: {_said(self.limits, 'max_depth')}", reason="max_depth")

    def _reference(self, value: Reference, depth: int) -> Reference:
        size = 4 if type(value) is CapRef else 1 + len(value.content())  # a tag, and an array under it
        self._open(size, depth - 1)
        if len(self.references) >= self.limits.max_references:
            text = f"too many references for one frame: {_said(self.limits, 'max_references')}"
            raise Unencodable(text, reason="max_references")
        self.references.append(value)
        return value

    def _rich(self, value: Any, depth: int, place: Any) -> Any:
        if depth <= 0:
            raise self._too_deep()
        try:
            plainer = self.enrich(value, place)
        except TypeError as error:
            raise Unencodable.because(error) from None
        if type(plainer) in _REFERENCES:
            return self._reference(plainer, depth)
        return self.value(plainer, depth - 1, place.of(type(value)))
