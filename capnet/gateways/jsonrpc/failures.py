"""Errors, both ways: the numbers of JSON-RPC, and the codes of capnet that are told beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from capnet import (
    AlreadyExists,
    CallCancelled,
    CapnetError,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from capnet.gateways.values import details_of

from .dialect import Dialect

__all__ = ["CANCELLED", "INTERNAL", "INVALID", "METHOD", "PARAMS", "PARSE", "as_error", "as_failure"]

PARSE, INVALID, METHOD, PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603
UNAUTHENTICATED, CANCELLED = -32000, -32800
MAX_TEXT: Final = 4096
"""Characters that are kept of what a client says of an error."""
MAX_REASON: Final = 256

_NUMBERS: Final[Mapping[str, int]] = {
    "invalid_argument": PARAMS,
    "unimplemented": METHOD,
    "unauthenticated": UNAUTHENTICATED,
    "cancelled": CANCELLED,
}
_KINDS: Final[Mapping[str, type[CapnetError]]] = {
    kind.code: kind
    for kind in (
        AlreadyExists,
        CallCancelled,
        DeadlineExceeded,
        FailedPrecondition,
        Internal,
        InvalidArgument,
        NotFound,
        PermissionDenied,
        ResourceExhausted,
        Unauthenticated,
        Unavailable,
        Unimplemented,
    )
}
_MEANT: Final[Mapping[int, type[CapnetError]]] = {
    INVALID: InvalidArgument,
    PARAMS: InvalidArgument,
    METHOD: Unimplemented,
    UNAUTHENTICATED: Unauthenticated,
    CANCELLED: CallCancelled,
    -32001: NotFound,
    -32002: NotFound,
}


def as_failure(error: CapnetError, dialect: Dialect, details: Any = None) -> dict[str, Any]:
    """An error as the client is told of it. Nothing is lost: its code is in the data.

    Args:
        details: of the error, as JSON has them.
    """
    number = dialect.not_found if error.code == "not_found" else _NUMBERS.get(error.code, INTERNAL)
    told: dict[str, Any] = {"code": error.code, "reason": error.reason, "details": details or {}}
    return {"code": dialect.numbers.get(error.code, number), "message": error.message or error.code, "data": told}


def as_error(failure: object) -> CapnetError:
    """What a client has told as an error.

    What capnet does not know is in its `details`: the `number`, and the `data` if there are some.
    """
    told = cast("dict[str, Any]", failure) if isinstance(failure, dict) else {}
    number, message, data = told.get("code"), told.get("message"), told.get("data")
    text = message[:MAX_TEXT] if isinstance(message, str) else ""
    known = cast("dict[str, Any]", data) if isinstance(data, dict) else {}
    code, reason, details = known.get("code"), known.get("reason"), known.get("details")
    if isinstance(code, str) and code in _KINDS:
        reason = reason[:MAX_REASON] if isinstance(reason, str) else None
        return _KINDS[code](text, reason=reason, details=details_of(details))
    kind = _MEANT.get(number, Internal) if type(number) is int else Internal
    rest: dict[str, Any] = {"number": number if type(number) is int else None, "data": data}
    told = {word: value for word, value in rest.items() if value is not None}
    return kind(text, reason="jsonrpc", details=details_of(told))
