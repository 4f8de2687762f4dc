"""References as the two sides of a pair write them."""

from __future__ import annotations

from typing import Any

from capnet.engine.answers import Answer
from capnet.engine.calls import Call, Pipelined
from capnet.engine.imports import Import
from capnet.wire.references import AnswerRef, CapRef, StreamRef

__all__ = ["capability", "homeward", "stream_out", "stream_in", "promised", "made_on"]


def capability(subject: object, interface: str = "test.Thing", version: int = 1) -> CapRef:
    """A reference that exports `subject` with the frame it stands in."""
    return CapRef(interface, version, subject)


def homeward(imported: Import) -> CapRef:
    """A reference that sends a capability of the peer's back to it."""
    return CapRef(imported.interface, imported.version, imported, -imported.id)


def stream_out(token: object = None) -> StreamRef:
    """A reference that opens a stream whose items come from the sender; `token` is its producer."""
    return StreamRef("out", token)


def stream_in(token: object = None) -> StreamRef:
    """A reference that opens a stream whose items come from the receiver; `token` is the sender's consumer."""
    return StreamRef("in", token)


def promised(call: Call, *path: str | int) -> AnswerRef:
    """A reference to what will stand at a path in the result of a call that is kept."""
    return AnswerRef(call.id, path, Pipelined(call, path, "test.Thing", 1))


def made_on(answer: Answer) -> Any:
    """The subject that a call was made on; None for one that goes on elsewhere."""
    return None if answer.export is None else answer.export.subject
