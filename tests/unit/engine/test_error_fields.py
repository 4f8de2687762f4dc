"""Errors in frames: the bounds that hold for them, and what is a note and no detail."""

from __future__ import annotations

from typing import Any

import pytest

from capnet.engine.error_fields import MAX_TRACEBACK, TRACEBACK, as_sent, error_fields, read_error
from capnet.engine.exports import CapTable
from capnet.engine.outbox import Outbox
from capnet.engine.streams import Streams
from capnet.errors import CapnetError, Internal
from capnet.limits import Limits
from capnet.wire.codec import Codec

TEXT = "Traceback (most recent call last):\nKeyError: 'a'\n"


@pytest.fixture
def outbox() -> Outbox:
    """As one of a connection that has just begun."""
    return Outbox(Codec(Limits()), CapTable(None, None), Streams(Limits()))


def came(outbox: Outbox, details: dict[str, Any]) -> CapnetError:
    """The error that a peer has sent."""
    return read_error(outbox, [4, 1, "internal", "failed", details], 0)


def test_a_traceback_is_a_note_that_goes_no_further(outbox: Outbox) -> None:
    """P-ERR-4: whoever passes the error on says nothing of it."""
    error = came(outbox, {TRACEBACK: TEXT, "correlation": "word"})
    assert error.details == {"correlation": "word"}
    assert error.__notes__ == ["traceback at the callee:\n  | Traceback (most recent call last):\n  | KeyError: 'a'"]
    assert error_fields(outbox, error) == ["internal", "failed", {"correlation": "word"}]


def test_it_is_bounded_and_escaped(outbox: Outbox) -> None:
    """P-ERR-4: it is the peer's word, and may be anything."""
    (note,) = came(outbox, {TRACEBACK: "a" * 10_000 + "\x1b[2J\r\u202e"}).__notes__
    assert len(note) < MAX_TRACEBACK + 100 and note.endswith("a\\x1b[2J\\r\\u202e")


@pytest.mark.parametrize("said", [1, None, ["lines"], b"bytes"], ids=["number", "null", "list", "bytes"])
def test_what_is_no_text_is_nothing(outbox: Outbox, said: object) -> None:
    """P-ERR-4: and breaks nothing."""
    error = came(outbox, {TRACEBACK: said})
    assert not hasattr(error, "__notes__") and not error.details


def test_those_that_wait_for_the_call_are_told_as_well(outbox: Outbox) -> None:
    """P-ERR-4: an error that is kept for the calls that need the result keeps it."""
    kept = as_sent(outbox, Internal("failed", details={TRACEBACK: TEXT}))
    assert error_fields(outbox, kept) == ["internal", "failed", {TRACEBACK: TEXT}]
