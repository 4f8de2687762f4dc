"""Lowering: any Python value to one that may be encoded, in one walk (P-FRAME-4).

The walk is the encoder's gate. It bounds depth, items and references before cbor2 sees the value (its encoder recurses
natively and a deep or cyclic value would end the process), refuses integers that would become bignums and keys that are
not text, and asks `enrich` about every object that is not plain data: it answers with plainer data or a reference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from capnet.errors import InvalidArgument
from capnet.limits import Limits

from .references import AnswerRef, CapRef, Reference, StreamRef

__all__ = ["NO_REFERENCES", "Unencodable", "lower", "lower_map"]

Enrich = Callable[[Any], Any]
"""Turns one object that is not plain into plainer data or a reference; raises TypeError when it is neither."""

NO_REFERENCES: Final[tuple[Reference, ...]] = ()
_UNCHANGED: Final = frozenset((str, bytes, bool, type(None), float))
_REFERENCES: Final = frozenset((CapRef, AnswerRef, StreamRef))
_LOWEST, _HIGHEST = -(2**64), 2**64


class Unencodable(InvalidArgument):
    """A value that cannot travel; the text says where it stands and why. Nothing has been sent or counted."""

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.steps: list[str] = []

    def __str__(self) -> str:
        return f"{self.code}: {self.message} - at `${''.join(reversed(self.steps))}`"


def lower(value: Any, enrich: Enrich, limits: Limits) -> tuple[Any, tuple[Reference, ...] | list[Reference]]:
    """`value` as plain data, and the references that now stand in it.

    Containers are copied, so later changes by the caller do not reach the frame.

    Raises:
        Unencodable: with the path of what cannot travel.
    """
    if type(value) in _UNCHANGED:
        return value, NO_REFERENCES
    walk = _Walk(enrich, limits)
    return walk.value(value, limits.max_depth), walk.references or NO_REFERENCES


def lower_map(values: dict[str, Any], enrich: Enrich, limits: Limits) -> tuple[dict[str, Any], Any]:
    """Like `lower` for a map whose keys are known to be text, such as arguments by name; scalars cost one look each."""
    for item in values.values():
        kind = type(item)
        if kind not in _UNCHANGED and not (kind is int and _LOWEST <= item < _HIGHEST):
            break
    else:
        return values, NO_REFERENCES
    return lower(values, enrich, limits)


class _Walk:
    __slots__ = ("budget", "enrich", "max_references", "references")

    def __init__(self, enrich: Enrich, limits: Limits) -> None:
        self.enrich = enrich
        self.budget = limits.max_items
        self.max_references = limits.max_references
        self.references: list[Reference] = []

    def value(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind in _UNCHANGED:
            return value
        if kind is int:
            if _LOWEST <= value < _HIGHEST:
                return value
            raise Unencodable("integer of more than 64 bits")
        if kind is dict:
            return self._map(value, depth)
        if kind is list or kind is tuple:
            return self._array(value, depth)
        if kind in _REFERENCES:
            return self._reference(value)
        return self._rich(value, depth)

    def _map(self, value: dict[Any, Any], depth: int) -> dict[str, Any]:
        self._open(2 * len(value), depth)
        lowered = {}
        for key, item in value.items():
            if type(key) is not str:
                return self._with_text_keys(value, key, depth)
            kind = type(item)
            if kind in _UNCHANGED:
                lowered[key] = item
                continue
            try:
                lowered[key] = self.value(item, depth - 1)
            except Unencodable as error:
                error.steps.append(f".{key}"[:100])
                raise
        return lowered

    def _with_text_keys(self, value: dict[Any, Any], key: Any, depth: int) -> dict[str, Any]:
        """`enrich` makes text of keys where that is declared; anywhere else it would change what the value says."""
        plainer = self.enrich(value)
        if plainer is value or not all(type(text) is str for text in plainer):
            raise Unencodable(f"map key of type {type(key).__name__}, text is needed")
        return self._map(plainer, depth)

    def _array(self, value: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
        self._open(len(value), depth)
        lowered: list[Any] = []
        for item in value:
            kind = type(item)
            if kind in _UNCHANGED:
                lowered.append(item)
                continue
            try:
                lowered.append(self.value(item, depth - 1))
            except Unencodable as error:
                error.steps.append(f"[{len(lowered)}]")
                raise
        return lowered

    def _open(self, items: int, depth: int) -> None:
        if depth <= 0:
            raise Unencodable("nested too deeply, or a cycle")
        self.budget -= items
        if self.budget < 0:
            raise Unencodable("too many values for one frame", reason="max_items")

    def _reference(self, value: Reference) -> Reference:
        if len(self.references) >= self.max_references:
            raise Unencodable("too many references for one frame", reason="max_references")
        self.references.append(value)
        return value

    def _rich(self, value: Any, depth: int) -> Any:
        if depth <= 0:
            raise Unencodable("nested too deeply, or a cycle")
        try:
            plainer = self.enrich(value)
        except TypeError as error:
            raise Unencodable(str(error)) from None
        return self.value(plainer, depth - 1 if type(plainer) not in _REFERENCES else depth)
