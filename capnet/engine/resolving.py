"""What the references in a frame of the peer's stand for here (P-REF)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from capnet.errors import CapnetError, NotFound, ProtocolViolation, Revoked
from capnet.wire.references import CapRef, Reference, StreamRef, kind_of

from .exports import FIRST_USER_ID, Export
from .tables import Tables

__all__ = ["refers", "resolve"]


def resolve(tables: Tables, references: Sequence[Reference], *, promises: bool = False) -> CapnetError | None:
    """Find what each reference stands for, and count those that arrive.

    All of them are counted, also when one cannot be found: then the value as a whole is refused with the error
    returned, and the caller releases them.

    Raises:
        ProtocolViolation: an honest peer does not send one of them, such as a promise where those are not allowed.
    """
    refusal: CapnetError | None = None
    homes: list[Export | None] = [
        _home(tables, reference) if type(reference) is CapRef and reference.id < 0 else None for reference in references
    ]
    for reference, home in zip(references, homes, strict=True):
        if type(reference) is StreamRef:
            tables.streams.arrive(reference)
        elif type(reference) is not CapRef:
            if not promises:
                raise ProtocolViolation("P-REF", "an unanswered result outside of a call's arguments")
        elif reference.id > 0:
            reference.subject = tables.imports.arrive(reference.id, reference.interface, reference.version)
        elif home is None:
            refusal = NotFound(f"capability {-reference.id} was given back", reason="released")
        elif home.revoked is not None:
            refusal = Revoked(home.revoked)
        else:
            reference.subject = home
    return refusal


def _home(tables: Tables, reference: CapRef) -> Export | None:
    """The export that comes home, unless it is gone.

    Raises:
        ProtocolViolation: P-ID-3, it is built in; P-ID-4, it was never issued; P-REF-5, it was exported as
        something else than the peer says.
    """
    id = -reference.id
    if id < FIRST_USER_ID:
        raise ProtocolViolation("P-ID-3", f"cap-id {id} does not travel")
    export = tables.exports.named(id)
    if export is not None and (export.interface != reference.interface or export.version != reference.version):
        raise ProtocolViolation("P-REF-5", f"cap-id {id} comes home as something else than it was given as")
    return export


def refers(value: Any) -> bool:
    """Whether a reference stands in plain data."""
    kind = kind_of(value)
    if kind is dict or kind is list:
        return any(map(refers, value.values() if kind is dict else value))
    return isinstance(value, Reference)
