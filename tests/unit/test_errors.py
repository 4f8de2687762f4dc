"""The error tree, and errors as they cross the wire (P-ERR-1)."""

from __future__ import annotations

from typing import Any

import pytest

from capnet import errors
from capnet.errors import (
    MAX_MESSAGE_BYTES,
    CapnetError,
    ContractError,
    DeadlineExceeded,
    Internal,
    MissingExtra,
    NotFound,
    ProtocolViolation,
    ResourceExhausted,
    Unavailable,
    cut_text,
    from_wire,
    told,
)

BY_CODE = {
    "cancelled": errors.CallCancelled,
    "invalid_argument": errors.InvalidArgument,
    "deadline_exceeded": errors.DeadlineExceeded,
    "not_found": errors.NotFound,
    "already_exists": errors.AlreadyExists,
    "permission_denied": errors.PermissionDenied,
    "unauthenticated": errors.Unauthenticated,
    "resource_exhausted": errors.ResourceExhausted,
    "failed_precondition": errors.FailedPrecondition,
    "unimplemented": errors.Unimplemented,
    "unavailable": errors.Unavailable,
    "internal": errors.Internal,
}
BY_REASON = {
    ("cancelled", "stopped"): errors.StreamStopped,
    ("failed_precondition", "version_mismatch"): errors.VersionMismatch,
    ("failed_precondition", "revoked"): errors.Revoked,
    ("failed_precondition", "released"): errors.Released,
    ("unavailable", "indeterminate"): errors.Indeterminate,
    ("unavailable", "replaced"): errors.Replaced,
}


@pytest.mark.parametrize(("code", "kind"), BY_CODE.items())
def test_every_code_has_its_class(code: str, kind: type[CapnetError]) -> None:
    """P-ERR-1: the twelve codes, both ways."""
    error = from_wire(code, "text", None)
    assert type(error) is kind
    assert error.to_wire() == (code, "text", None)


@pytest.mark.parametrize(("key", "kind"), BY_REASON.items())
def test_some_reasons_have_a_class_of_their_own(key: tuple[str, str], kind: type[CapnetError]) -> None:
    """P-ERR-1: the reason comes with the class, and the class with the reason."""
    code, reason = key
    assert type(from_wire(code, "", {"reason": reason})) is kind
    assert kind("x").to_wire() == (code, "x", {"reason": reason})


def test_a_reason_belongs_to_its_code() -> None:
    """P-ERR-1: the same word under another code is another thing."""
    error = from_wire("not_found", "", {"reason": "released"})
    assert type(error) is NotFound
    assert error.reason == "released"


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (errors.InvalidArgument, ValueError),
        (errors.DeadlineExceeded, TimeoutError),
        (errors.NotFound, LookupError),
        (errors.Unavailable, ConnectionError),
        (errors.Indeterminate, errors.Unavailable),
        (errors.NotRun, errors.Unavailable),
        (errors.Replaced, errors.Unavailable),
        (errors.Revoked, errors.FailedPrecondition),
        (errors.StreamStopped, errors.CallCancelled),
    ],
)
def test_errors_are_also_the_builtin_ones_of_their_kind(kind: type[CapnetError], base: type[Exception]) -> None:
    """P-ERR-1: code that knows nothing of capnet can catch them."""
    assert issubclass(kind, base)


def test_an_unknown_code_is_kept() -> None:
    """P-ERR-1: a newer peer can still be understood; it cannot choose a class."""
    error = from_wire("teapot", "short and stout", {"a": 1})
    assert type(error) is Internal
    assert (error.message, error.details) == ("short and stout", {"a": 1, "code": "teapot"})


def test_an_error_travels_whole() -> None:
    """P-ERR-2: code, text, reason, retry and details arrive as they were raised."""
    raised = ResourceExhausted("full", reason="max_items", details={"limit": 3}, retry="after-cooldown")
    code, message, details = raised.to_wire()
    assert details == {"limit": 3, "reason": "max_items", "retry": "after-cooldown"}
    arrived = from_wire(code, message, details)
    assert (arrived.message, arrived.reason, arrived.details, arrived.retry) == (
        "full",
        "max_items",
        {"limit": 3},
        "after-cooldown",
    )


@pytest.mark.parametrize("word", [1, None, ["revoked"], {}])
def test_a_reason_that_is_no_text_is_no_reason(word: object) -> None:
    """P-ERR-1: details are the peer's; what has another type than it should is left out."""
    error = from_wire("failed_precondition", "", {"reason": word, "retry": word})
    assert type(error) is errors.FailedPrecondition
    assert (error.reason, error.retry, error.details) == (None, None, {})


def test_making_an_error_leaves_what_it_is_made_of_alone() -> None:
    """P-ERR-1: details are copied, in both directions."""
    details = {"reason": "revoked", "a": 1}
    error = from_wire("failed_precondition", "", details)
    error.details["b"] = 2
    error.to_wire()
    assert details == {"reason": "revoked", "a": 1}
    assert error.details == {"a": 1, "b": 2}


def test_again_is_a_new_error_that_says_the_same() -> None:
    """P-CONN-6: one cause ends many calls, and each gets an error of its own."""
    error = errors.Replaced("gone", details={"a": 1}, retry="transparent")
    other = error.again()
    assert other is not error
    assert type(other) is errors.Replaced
    assert other.to_wire() == error.to_wire()


def test_the_text_begins_with_code_and_reason() -> None:
    """P-ERR-1: what a person reads first is what a program can rely on."""
    assert str(Unavailable()) == "unavailable"
    assert str(Unavailable("closing")) == "unavailable: closing"
    assert str(Unavailable("closing", reason="goaway")) == "unavailable/goaway: closing"
    assert str(errors.Revoked()) == "failed_precondition/revoked"


def test_a_hint_is_a_local_note() -> None:
    """P-ERR-2: hints do not travel."""
    error = NotFound("no", hint="serve it first")
    assert error.__notes__ == ["hint: serve it first"]
    assert error.to_wire() == ("not_found", "no", None)
    assert not hasattr(NotFound("no"), "__notes__")


def test_contract_errors_are_type_errors() -> None:
    """Mistakes of a declaration never reach a peer; their hint is a note."""
    error = ContractError("no", hint="like this")
    assert isinstance(error, TypeError)
    assert error.__notes__ == ["hint: like this"]
    assert not hasattr(ContractError("no"), "__notes__")


def test_a_violation_names_its_clause() -> None:
    """P-ERR-3: it is a close cause, not an error that a call could raise."""
    violation = ProtocolViolation("P-FRAME-2", "too long")
    assert (violation.clause, violation.message, str(violation)) == ("P-FRAME-2", "too long", "P-FRAME-2: too long")
    assert not issubclass(ProtocolViolation, CapnetError)


def test_a_missing_extra_is_an_import_error() -> None:
    """Code that tries an optional import can catch it."""
    assert issubclass(MissingExtra, ImportError)


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("", ""),
        ("abcd", "abcd"),
        ("abcdefgh", "abcdefgh"),
        ("abcdefghi", "abcdefgh"),
        ("ééééé", "éééé"),
        ("abcdefgé", "abcdefg"),
        ("abcde€", "abcde€"),
        ("abcdef€", "abcdef"),
        ("\U0001f600\U0001f600\U0001f600", "\U0001f600\U0001f600"),
        ("a\ud800b", "a?b"),
    ],
)
def test_text_is_cut_between_characters(text: str, cut: str) -> None:
    """P-ERR-1: what is left is UTF-8 of at most so many bytes."""
    assert cut_text(text, 8) == cut


def test_long_texts_are_cut_when_they_travel() -> None:
    """P-ERR-1: to 4096 bytes; the local error keeps all of it."""
    error = NotFound("é" * MAX_MESSAGE_BYTES)
    assert len(error.to_wire()[1].encode()) == MAX_MESSAGE_BYTES
    assert len(error.message) == MAX_MESSAGE_BYTES


def test_every_public_name_exists() -> None:
    """The list of the module is complete and sorted the way it is read."""
    assert all(hasattr(errors, name) for name in errors.__all__)
    assert set(BY_CODE.values()) | set(BY_REASON.values()) <= {getattr(errors, name) for name in errors.__all__}


class OverQuota(NotFound):
    def __init__(self, used: int, limit: int) -> None:
        super().__init__(f"{used} of {limit}", reason="quota")


@pytest.mark.parametrize("word", ["reason", "retry"])
def test_a_detail_cannot_shadow_a_word_of_ours(word: str) -> None:
    """It would be lost, or taken for what it is not."""
    with pytest.raises(ValueError, match=f"pass {word}="):
        NotFound("x", details={word: 1})
    error = NotFound("x")
    error.details[word] = "later"
    assert error.to_wire() == ("not_found", "x", None)


def test_a_copy_runs_no_code_of_its_class() -> None:
    """And says the same."""
    error = OverQuota(5, 4)
    error.add_note("a note")
    copy = error.again()
    assert type(copy) is OverQuota and copy is not error and copy.args == error.args
    assert (copy.message, copy.reason, copy.__notes__) == ("5 of 4", "quota", ["a note"])
    assert copy.__traceback__ is None and copy.__cause__ is None
    plain = told(error)
    assert plain is not None and plain.details == {} and type(plain) is NotFound
    for kind in (DeadlineExceeded, Unavailable):  # an OSError has a constructor of its own
        assert type(kind("x").again()) is kind and kind("x").again().message == "x"


def test_a_copy_is_made_whatever_its_class_says_of_its_arguments() -> None:
    class Shy(NotFound):
        args: Any = property(lambda self: 1 / 0)

    copy = Shy("x").again()
    assert type(copy) is Shy and copy.message == "x"


def test_what_is_told_is_of_a_class_of_ours_with_the_right_types() -> None:
    """Whatever was set on it; one that is in order is told as it is."""
    fine = NotFound("x", reason="empty")
    assert told(fine) is fine
    wrong: list[tuple[str, object]] = [("code", 404), ("message", 1), ("details", None), ("reason", 7), ("retry", 5)]
    for name, value in wrong:
        error = NotFound("x")
        setattr(error, name, value)
        plain = told(error)
        assert plain is not None and (type(plain), plain.code, plain.message) == (NotFound, "not_found", "x")
        assert (plain.details, plain.reason, plain.retry) == ({}, None, None)


def test_an_error_shows_code_and_reason() -> None:
    """In its text and its representation."""
    assert repr(NotFound("no tea", reason="empty")) == "<NotFound not_found/empty: no tea>"
