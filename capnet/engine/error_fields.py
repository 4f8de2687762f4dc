"""How errors stand in frames: code, message and details, within the bounds that hold for all of them (P-ERR-1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from capnet.errors import MAX_REASON, CapnetError, InvalidArgument, cut_text, from_wire
from capnet.wire.values import lower, only_data

from .outbox import Outbox

__all__ = ["MAX_ERROR_DETAILS", "MAX_TRACEBACK", "TRACEBACK", "as_sent", "error_fields", "read_error"]

MAX_ERROR_DETAILS: Final = 16 * 1024
"""Longest encoded details of an error; longer ones are left out, whether they come or go."""
TRACEBACK: Final = "capnet.traceback"
"""The detail that has the callee's traceback, where it tells that (P-ERR-4)."""
MAX_TRACEBACK: Final = 8 * 1024
"""Bytes of it that are sent, and characters that are kept: the last, which are the nearest to where it was raised."""


def error_fields(outbox: Outbox, error: CapnetError) -> list[Any]:
    """Code, message and details as they stand in frames."""
    code, message, details = error.to_wire()
    return [code, message] if details is None else [code, message, _bounded(outbox, details)]


def as_sent(outbox: Outbox, error: CapnetError) -> CapnetError:
    """A new error that says what the peer is told, and leads to nothing of the call that has raised it."""
    code, message, *details = error_fields(outbox, error)
    return from_wire(code, message, details[0] if details else None)


def read_error(outbox: Outbox, frame: list[Any], size: int) -> CapnetError:
    """The error at the end of a frame of so many bytes."""
    _, _, code, message, *rest = frame
    details = rest[0] if rest else None
    if details and size > MAX_ERROR_DETAILS:
        details = _bounded(outbox, details)
    error = from_wire(code, message, details)
    if TRACEBACK in error.details:
        _note(error, error.details.pop(TRACEBACK))
    return error


def _note(error: CapnetError, traceback: object) -> None:
    """What is told of the callee's side goes no further: a note does not travel. Nothing in it speaks to a terminal."""
    if isinstance(traceback, str):
        lines = traceback[-MAX_TRACEBACK:].rstrip("\n").split("\n")
        shown = ("".join(char if char.isprintable() else ascii(char)[1:-1] for char in line) for line in lines)
        error.add_note("\n  | ".join(("traceback at the callee:", *shown)))


def _bounded(outbox: Outbox, details: Mapping[str, Any]) -> dict[str, Any]:
    """The details as they may travel: whole, or only what a caller must know to react."""
    try:
        plain: dict[str, Any]
        plain, references = lower(details, only_data, outbox.bounds)
        if not references and len(outbox.encode([plain], ())) <= MAX_ERROR_DETAILS:
            return plain
    except InvalidArgument:
        pass
    return {key: cut_text(str(details[key]), MAX_REASON) for key in ("reason", "retry") if key in details}
