"""The error tree: one class per code, a few per reason.

    CapnetError
    ├── CallCancelled                cancelled
    │   └── StreamStopped              reason stopped
    ├── InvalidArgument              invalid_argument   (also a ValueError)
    ├── DeadlineExceeded             deadline_exceeded  (also a TimeoutError)
    ├── NotFound                     not_found          (also a LookupError)
    ├── AlreadyExists                already_exists
    ├── PermissionDenied             permission_denied
    ├── Unauthenticated              unauthenticated
    ├── ResourceExhausted            resource_exhausted
    ├── FailedPrecondition           failed_precondition
    │   ├── VersionMismatch            reason version_mismatch
    │   ├── Revoked                    reason revoked
    │   └── Released                   reason released
    ├── Unimplemented                unimplemented
    ├── Unavailable                  unavailable        (also a ConnectionError)
    │   └── Replaced                   reason replaced
    └── Internal                     internal
    ContractError                    a contract or implementation is declared wrongly (a TypeError)
    ProtocolViolation                the peer broke a clause; never raised to callers, it is a close cause
    MissingExtra                     an optional dependency is not installed (an ImportError)

A code says what the caller can do about it, a reason says what happened; both are stable and cross the wire (P-ERR-1).
The text is for people and may change. Only the table at the end of this file turns wire codes into classes: a peer
cannot choose which class is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

__all__ = [
    "AlreadyExists",
    "CallCancelled",
    "CapnetError",
    "ContractError",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Internal",
    "InvalidArgument",
    "MissingExtra",
    "NotFound",
    "PermissionDenied",
    "ProtocolViolation",
    "Released",
    "Replaced",
    "ResourceExhausted",
    "Revoked",
    "StreamStopped",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "VersionMismatch",
    "from_wire",
]

MAX_MESSAGE_BYTES: Final = 4096
"""Longest error text that is sent or kept, in UTF-8 bytes; longer ones are cut on a character boundary."""


class CapnetError(Exception):
    """An error with a stable `code`, raised by a call or carried to the caller.

    Raise one (or a subclass) in a handler to tell the caller: it travels whole. Any other exception becomes
    `Internal` with a correlation id and no text (P-ERR-2).

    Args:
        message: text for people, cut at 4096 bytes when it travels.
        reason: stable word that says what happened within the code, such as `name_collision`.
        details: more plain data for programs; must be encodable.
        retry: `never`, `transparent`, `after-cooldown` or `after-resync`, or None when nothing is known.
        hint: what to do about it; added as a note (PEP 678), local only.
    """

    code: ClassVar[str] = "internal"
    default_reason: ClassVar[str | None] = None

    def __init__(
        self,
        message: str = "",
        *,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
        retry: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = str(message)
        self.reason = reason if reason is not None else self.default_reason
        self.details: dict[str, Any] = dict(details) if details else {}
        self.retry = retry
        if hint:
            self.add_note(f"hint: {hint}")

    def __str__(self) -> str:
        label = f"{self.code}/{self.reason}" if self.reason else self.code
        return f"{label}: {self.message}" if self.message else label

    def again(self) -> CapnetError:
        """A new error that says the same. One instance must not be raised twice: it would collect tracebacks."""
        return type(self)(self.message, reason=self.reason, details=self.details, retry=self.retry)

    def to_wire(self) -> tuple[str, str, dict[str, Any] | None]:
        """Code, text cut to size, and details (with reason and retry folded in) as they travel."""
        details = dict(self.details)
        if self.reason is not None:
            details["reason"] = self.reason
        if self.retry is not None:
            details["retry"] = self.retry
        return self.code, cut_text(self.message), details or None


class CallCancelled(CapnetError):
    """The call was cancelled by its caller, or its handler ended itself by cancellation."""

    code = "cancelled"


class StreamStopped(CallCancelled):
    """The reader of a stream wants no more of it."""

    default_reason = "stopped"


class InvalidArgument(CapnetError, ValueError):
    """Arguments (or a name, or a result) do not have the declared shape; the text names the path."""

    code = "invalid_argument"


class DeadlineExceeded(CapnetError, TimeoutError):
    """The call's deadline passed before it ended."""

    code = "deadline_exceeded"


class NotFound(CapnetError, LookupError):
    """Nothing with that name or id, or nothing that you may see."""

    code = "not_found"


class AlreadyExists(CapnetError):
    """The name is taken (`name_collision`) or reserved (`reserved_namespace`)."""

    code = "already_exists"


class PermissionDenied(CapnetError):
    """A policy said no; `details` say what was required and what was granted."""

    code = "permission_denied"


class Unauthenticated(CapnetError):
    """The peer has not shown who it is."""

    code = "unauthenticated"


class ResourceExhausted(CapnetError):
    """A limit was reached; `reason` names it."""

    code = "resource_exhausted"


class FailedPrecondition(CapnetError):
    """The state of the target does not allow this call."""

    code = "failed_precondition"


class VersionMismatch(FailedPrecondition):
    """The served contract lacks what the client declares; `details["differences"]` lists it precisely."""

    default_reason = "version_mismatch"


class Revoked(FailedPrecondition):
    """The capability was revoked by the side that hosts it."""

    default_reason = "revoked"


class Released(FailedPrecondition):
    """The proxy was used after it was given back."""

    default_reason = "released"


class Unimplemented(CapnetError):
    """The method is not declared by the target's contract, or the peer's version does not have it."""

    code = "unimplemented"


class Unavailable(CapnetError, ConnectionError):
    """The connection is closing, lost, or could not be made."""

    code = "unavailable"


class Replaced(Unavailable):
    """The implementation was replaced while the call ran; the call may be made again."""

    default_reason = "replaced"


class Internal(CapnetError):
    """The handler failed in a way it did not mean to tell; `details["correlation"]` finds it in the callee's log."""

    code = "internal"


class ContractError(TypeError):
    """A contract, implementation or call does not fit the rules for declaring them.

    Args:
        message: what is wrong and where.
        hint: what to write instead; added as a note.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint:
            self.add_note(f"hint: {hint}")


class ProtocolViolation(Exception):
    """What an honest peer can never send (P-ERR-3); the connection ends with it as its cause.

    Args:
        clause: id of the clause that was broken, such as `P-FRAME-2`.
        message: what was seen, without any of the peer's data that could be long.
    """

    def __init__(self, clause: str, message: str) -> None:
        super().__init__(clause, message)
        self.clause = clause
        self.message = message

    def __str__(self) -> str:
        return f"{self.clause}: {self.message}"


class MissingExtra(ImportError):
    """An optional part of capnet is not installed; the text says which `pip install` brings it."""


def cut_text(text: str, limit: int = MAX_MESSAGE_BYTES) -> str:
    """`text` with at most `limit` UTF-8 bytes, cut between characters; characters that cannot travel become `?`."""
    if len(text) * 4 <= limit and text.isascii():
        return text
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")


def from_wire(code: str, message: str, details: Mapping[str, Any] | None) -> CapnetError:
    """The error that a peer reported.

    An unknown code is kept in `details["code"]` of an `Internal` error, so that newer peers can be understood.
    """
    rest = dict(details) if details else {}
    reason, retry = rest.pop("reason", None), rest.pop("retry", None)
    kind = _BY_REASON.get((code, reason)) if isinstance(reason, str) else None
    if kind is None:
        kind = _BY_CODE.get(code)
    if kind is None:
        kind = Internal
        rest["code"] = code
    return kind(
        message,
        reason=reason if isinstance(reason, str) else None,
        details=rest,
        retry=retry if isinstance(retry, str) else None,
    )


_BY_CODE: Final[dict[str, type[CapnetError]]] = {
    kind.code: kind
    for kind in (
        CallCancelled,
        InvalidArgument,
        DeadlineExceeded,
        NotFound,
        AlreadyExists,
        PermissionDenied,
        Unauthenticated,
        ResourceExhausted,
        FailedPrecondition,
        Unimplemented,
        Unavailable,
        Internal,
    )
}
_BY_REASON: Final[dict[tuple[str, str | None], type[CapnetError]]] = {
    (kind.code, kind.default_reason): kind for kind in (StreamStopped, VersionMismatch, Revoked, Released, Replaced)
}
