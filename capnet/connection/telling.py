"""Telling: what a peer is told of an error that user code has raised (P-ERR-2). User code is not trusted here.

Its class may have a constructor, fields and properties of its own, which say anything or raise; that is the matter of
one call. What leaves is an error of ours with fields of the right types, and with those details that can travel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from capnet.contract import Cap
from capnet.contract.plain import plain
from capnet.engine.answering import MAX_ERROR_DETAILS
from capnet.errors import CapnetError, told
from capnet.wire.values import lower

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["meant_error", "tellable"]

_AROUND: Final = 2
"""The frame, and the map of the details."""
_MARGIN: Final = 1024
"""Bytes of details that are left for reason and retry hint, which always travel."""


def meant_error(raised: BaseException) -> CapnetError | None:
    """The error that was meant for the caller, also where it is all that a group of exceptions holds; else None."""
    if isinstance(raised, BaseExceptionGroup):
        inside = cast("BaseExceptionGroup[BaseException]", raised).exceptions
        return meant_error(inside[0]) if len(inside) == 1 else None
    return raised if isinstance(raised, CapnetError) else None


def tellable(connection: Connection, error: CapnetError) -> CapnetError:
    """The same, as it may leave. Details take what results take; what cannot travel is left out alone, and logged."""
    error = told(error)
    if error.details:
        error = error.again()
        error.details = _lowered(connection, error.details)
    return error


def _lowered(connection: Connection, details: dict[str, Any]) -> dict[str, Any]:
    fitting: dict[str, Any] = {}
    room = MAX_ERROR_DETAILS - _MARGIN
    for name, value in details.items():
        try:
            if type(name) is not str:
                raise TypeError(f"a detail has a name, and not a key of type {type(name).__qualname__}")
            plainer = lower(value, _data, connection.limits, _AROUND)[0]
            size = len(connection.engine.codec.encode([name, plainer]))
            if size > room:
                raise ValueError(f"{size} bytes are more than is left of {MAX_ERROR_DETAILS} for details")
        except Exception as unfit:  # also what the user's own classes raise when they are taken apart
            connection.unexpected(f"detail {name!r} of an error, which is left out", unfit)
        else:
            fitting[name] = plainer
            room -= size
    return fitting


def _data(value: Any, place: object) -> Any:
    if isinstance(value, Cap):
        raise TypeError("a capability does not travel in an error")
    return plain(value)
