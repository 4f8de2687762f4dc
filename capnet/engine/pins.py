"""Pins: what keeps an export open that the peer has given back.

Each call on it is one, and each stream of those calls, each call and each item that brings it home, and each result
that is kept and leads to it. What the peer has dropped lingers until its last pin is gone.
"""

from __future__ import annotations

from collections.abc import Iterable

from capnet.wire.references import CapRef, Reference

from .answers import Answer
from .events import ExportEnded
from .exports import Export
from .tables import Tables

__all__ = ["dropped", "hold_homes", "homes_in", "pin", "pin_all", "unpin", "unpin_all"]


def pin(export: Export | None) -> None:
    """Keep an export open, if there is one."""
    if export is not None:
        export.pins += 1


def pin_all(exports: Iterable[Export]) -> None:
    """The same for each."""
    for export in exports:
        export.pins += 1


def unpin(tables: Tables, export: Export | None) -> None:
    """Undo one `pin`: one that the peer has dropped meanwhile ends with its last."""
    if export is not None:
        export.pins -= 1
        if not export.pins and export in tables.exports.lingering:
            del tables.exports.lingering[export]
            tables.emit(ExportEnded(export, "dropped"))


def unpin_all(tables: Tables, exports: Iterable[Export]) -> None:
    """The same for each."""
    for export in exports:
        unpin(tables, export)


def hold_homes(answer: Answer, references: Iterable[Reference]) -> None:
    """Exports of ours that come with a call stay open until it is done, whatever the peer drops meanwhile."""
    homes = homes_in(references)
    if homes:
        answer.homes = (answer.homes or []) + homes
        pin_all(homes)


def dropped(tables: Tables, export: Export) -> None:
    """Say that the peer has given an export back; not while something here still leads to it."""
    if export.pins:
        tables.exports.lingering[export] = None
    else:
        tables.happened.append(ExportEnded(export, "dropped"))


def homes_in(references: Iterable[Reference]) -> list[Export]:
    """The exports that have come home among what has arrived."""
    return [
        reference.subject for reference in references if type(reference) is CapRef and type(reference.subject) is Export
    ]
