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
    │   ├── Indeterminate              reason indeterminate
    │   ├── NotRun                     (never crosses the wire)
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
from enum import Enum
from types import NoneType
from typing import Any, ClassVar, Final, Self, cast

__all__ = [
    "AlreadyExists",
    "CallCancelled",
    "CapnetError",
    "ContractError",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Indeterminate",
    "Internal",
    "InvalidArgument",
    "MissingExtra",
    "NotFound",
    "NotRun",
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
    "elsewhere",
    "from_wire",
    "told",
]

MAX_MESSAGE_BYTES: Final = 4096
"""Longest error text that is sent or kept, in UTF-8 bytes; longer ones are cut on a character boundary."""
EXITS: Final = (SystemExit, KeyboardInterrupt)
"""What ends the program, and not only what has raised it."""
MAX_REASON: Final = 256
"""Longest reason or retry hint, in bytes, that is sent or kept, and longest code of a peer's that we do not know."""


class CapnetError(Exception):
    """An error with a stable `code`, raised by a call or carried to the caller.

    Raise one (or a subclass) in a handler to tell the caller: it travels whole. Any other exception becomes
    `Internal` with a correlation id and no text.

    Args:
        message: text for people, cut at 4096 bytes when it travels.
        reason: stable word that says what happened within the code, such as `name_collision`.
        details: more data for programs, of any type that results may have; `reason` and `retry` are no keys of it.
        retry: `never`, `transparent`, `after-cooldown` or `after-resync`, or None when nothing is known.
        hint: what to do about it; added as a note (PEP 678), local only.
    """

    code: ClassVar[str] = "internal"
    default_reason: ClassVar[str | None] = None
    message: str
    reason: str | None
    details: dict[str, Any]
    retry: str | None

    def __new__(cls, *args: Any, **_: Any) -> Self:
        # A subclass may forget to call our `__init__`: what we read is there all the same.
        error = super().__new__(cls, *args)
        error.__dict__.update(message="", reason=cls.default_reason, details={}, retry=None)
        return error

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
        # Not by assignment: a subclass may have a property of the same name.
        self.__dict__.update(
            message=str(message),
            reason=reason if reason is not None else self.default_reason,
            details=_checked(details) if details else {},
            retry=retry,
        )
        if hint:
            self.add_note(f"hint: {hint}")

    def __str__(self) -> str:
        label = f"{self.code}/{self.reason}" if self.reason else self.code
        return f"{label}: {self.message}" if self.message else label

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def again(self) -> CapnetError:
        """A new error that says the same. One instance must not be raised twice: it would collect tracebacks.

        No code of a subclass is run: its constructor may want anything.
        """
        kind = type(self)
        native = next(base for base in kind.__mro__ if base.__module__ == "builtins")
        error: CapnetError = native.__new__(kind, *_arguments(self))
        error.__dict__.update(self.__dict__)
        notes = error.__dict__.get("__notes__")
        if type(notes) is list:  # what is added to one is not added to all
            error.__dict__["__notes__"] = notes.copy()
        return error

    def to_wire(self) -> tuple[str, str, dict[str, Any] | None]:
        """Code, text cut to size, and details (with reason and retry folded in) as they travel."""
        error = told(self) or Internal()
        details = error.details
        words = {word: cut_text(said, MAX_REASON) for word in _WORDS if (said := getattr(error, word)) is not None}
        if words or details.keys() & _WORDS:
            details = {**{name: value for name, value in details.items() if name not in _WORDS}, **words}
        return type(error).code, cut_text(error.message), details or None


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
    """The connection is closing, lost, or could not be made; or nothing is behind a name or slot now."""

    code = "unavailable"


class Indeterminate(Unavailable):
    """Whether the call has run is not known: it left, and what was to answer it ended before it did."""

    default_reason = "indeterminate"


class NotRun(Unavailable):
    """The call has not run, and will not: it never left, or the peer went away and said that it had not seen it.

    This side knows that itself; no peer can have it raised.
    """


class Replaced(Unavailable):
    """The implementation was replaced while the call ran; the call may be made again."""

    default_reason = "replaced"


class Internal(CapnetError):
    """The handler failed with an error that is not capnet's; `details["correlation"]` finds it in the callee's log."""

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
    """What an honest peer can never send; the connection ends with it as its cause.

    Args:
        clause: the id that what was broken has in the description of the protocol.
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


def elsewhere(what: str) -> FailedPrecondition:
    """What is said where something is used that belongs to another event loop."""
    return FailedPrecondition(
        f"this {what} belongs to another thread or event loop, or to the process that this one was forked from",
        reason="another_loop",
        hint="from a thread use anyio.from_thread.run(…), or conn.call(proxy.method, …) with capnet.blocking; a loop "
        "or process of its own needs a connection of its own",
    )


def told(error: CapnetError) -> CapnetError | None:
    """The same error as one of the classes above, with fields of the right types, whatever its own class makes of them.

    Where a field cannot be read, or is of another type, it says nothing; the text is then that of the exception. None
    when not even its class can be asked what it is.
    """
    try:
        return _told(error)
    except EXITS:
        raise
    except BaseException:  # of a metaclass of the user's
        return None


def _told(error: CapnetError) -> CapnetError:
    kind = type(error)
    if (
        kind in _TOLD
        and "code" not in (fields := error.__dict__)
        and tuple(map(type, map(fields.get, _FIELDS))) in _TYPES
    ):
        return error
    own = next(base for base in kind.__mro__ if base in _TOLD)
    message, reason, retry, details = (_field(error, name) for name in _FIELDS)
    if issubclass(type(reason), Enum):
        reason = cast("Enum", reason).value
    plain: CapnetError = own(_word(message) or _text(error), reason=_word(reason), retry=_word(retry))
    try:
        plain.details.update((name, value) for name, value in dict(cast("Any", details)).items() if name not in _WORDS)
    except EXITS:
        raise
    except BaseException:  # it is no map, or one that raises
        plain.details.clear()
    return plain


def _field(error: CapnetError, name: str) -> object:
    try:
        return getattr(error, name)
    except EXITS:
        raise
    except BaseException:  # a property of the user's class
        return None


def _word(field: object) -> str | None:
    """A text that is nothing but that: a class of the user's own may have other methods."""
    return str.__str__(cast("str", field)) if issubclass(type(field), str) else None


def _text(error: CapnetError) -> str:
    try:
        return _word(BaseException.__str__(error)) or ""
    except EXITS:
        raise
    except BaseException:  # arguments that cannot be shown
        return ""


def _checked(details: Mapping[str, Any]) -> dict[str, Any]:
    for word in _WORDS:
        if word in details:
            raise ValueError(f"{word!r} is no key of an error's details: pass {word}=")
    return dict(details)


def cut_text(text: str, limit: int = MAX_MESSAGE_BYTES) -> str:
    """`text` with at most `limit` UTF-8 bytes, cut between characters; characters that cannot travel become `?`."""
    if len(text) <= limit and text.isascii():
        return text
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")


def from_wire(code: str, message: str, details: Mapping[str, Any] | None) -> CapnetError:
    """The error that a peer reported.

    An unknown code is kept in `details["code"]` of an `Internal` error, so that newer peers can be understood. Code,
    message, reason and retry are cut to the bounds of P-ERR-1, whatever came; to bound `details` is the caller's part.
    """
    rest = dict(details) if details else {}
    reason, retry = rest.pop("reason", None), rest.pop("retry", None)
    kind = _BY_REASON.get((code, reason)) if isinstance(reason, str) else None
    if kind is None:
        kind = _BY_CODE.get(code)
    if kind is None:
        kind = Internal
        rest["code"] = cut_text(code, MAX_REASON)
    return kind(
        cut_text(message),
        reason=cut_text(reason, MAX_REASON) if isinstance(reason, str) else None,
        details=rest,
        retry=cut_text(retry, MAX_REASON) if isinstance(retry, str) else None,
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
_arguments: Final[Any] = BaseException.__dict__["args"].__get__
"""The arguments of an error, whatever its class has under that name."""
_WORDS: Final = ("reason", "retry")
_FIELDS: Final = ("message", "reason", "retry", "details")
_TYPES: Final = frozenset((str, reason, retry, dict) for reason in (str, NoneType) for retry in (str, NoneType))
_BY_REASON: Final[dict[tuple[str, str | None], type[CapnetError]]] = {
    (kind.code, kind.default_reason): kind
    for kind in (StreamStopped, VersionMismatch, Revoked, Released, Indeterminate, Replaced)
}
_TOLD: Final = frozenset((CapnetError, *_BY_CODE.values(), *_BY_REASON.values()))
