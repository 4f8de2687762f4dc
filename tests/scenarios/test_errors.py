"""Errors: stable codes and reasons cross the wire, and nothing else does (P-ERR-1, P-ERR-2)."""

from __future__ import annotations

import pytest

from capnet.errors import (
    AlreadyExists,
    CallCancelled,
    CapnetError,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Released,
    Replaced,
    ResourceExhausted,
    Revoked,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    VersionMismatch,
)
from capnet.testing.engines import EnginePair, capability

KINDS = [
    AlreadyExists, CallCancelled, DeadlineExceeded, FailedPrecondition, Internal, InvalidArgument, NotFound,
    PermissionDenied, Released, Replaced, ResourceExhausted, Revoked, Unauthenticated, Unavailable, Unimplemented,
    VersionMismatch,
]  # fmt: skip


def told(pair: EnginePair, error: CapnetError) -> CapnetError:
    """What the caller gets when the handler fails with `error`."""
    pair.left.call("fail")
    pair.flush()
    pair.right.engine.fail(pair.right.arrived(), error)
    pair.flush()
    return pair.left.failed()


@pytest.mark.parametrize("kind", KINDS)
def test_a_deliberate_error_travels_whole(pair: EnginePair, kind: type[CapnetError]) -> None:
    """P-ERR-1, P-ERR-2: class by code and reason, text, details and the hint about trying again."""
    sent = kind("in words", details={"items": [1, {"x": None}]}, retry="after-cooldown")
    error = told(pair, sent)
    assert type(error) is kind
    assert (error.code, error.reason, error.message) == (sent.code, sent.reason, "in words")
    assert (error.details, error.retry) == ({"items": [1, {"x": None}]}, "after-cooldown")


def test_a_plain_error_has_no_details(pair: EnginePair) -> None:
    """P-ERR-1: no reason, no details: nothing is made up."""
    error = told(pair, NotFound("gone"))
    assert (error.reason, error.details, error.retry) == (None, {}, None)


@pytest.mark.parametrize(
    "details",
    [{"blob": "x" * 20_000}, {"bad": object()}, {"bad": "\ud800"}, {"cap": capability("smuggled")}],
    ids=["too long", "no data", "surrogate", "reference"],
)
def test_details_that_cannot_travel_leave_reason_and_retry(pair: EnginePair, details: dict[str, object]) -> None:
    """P-CALL-1, P-ERR-1: the error is told whatever its details are, with what a program needs to react."""
    error = told(pair, VersionMismatch("differs", details=details, retry="never"))
    assert type(error) is VersionMismatch
    assert (error.reason, error.retry, error.details) == ("version_mismatch", "never", {})
    assert len(pair.right.engine.exports) == 0


def test_a_reason_that_cannot_travel_is_cut(pair: EnginePair) -> None:
    """P-CALL-1: not even an absurd reason keeps the caller waiting."""
    error = told(pair, NotFound("no", reason="\ud800" * 20_000))
    assert error.reason == "?" * 256


def test_long_text_is_cut(pair: EnginePair) -> None:
    """P-ERR-1: at most 4096 bytes of text travel."""
    assert len(told(pair, NotFound("é" * 5000)).message.encode()) == 4096
