"""Telling: what a peer is told of an error that user code has raised (P-ERR-2). User code is not trusted here.

Its class may have a constructor, fields and properties of its own, which say anything or raise; that is the matter of
one call. What leaves is an error of ours with fields of the right types, and with those details that can travel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from capnet.contract import Cap
from capnet.contract.plain import plain
from capnet.engine.answering import MAX_ERROR_DETAILS
from capnet.errors import CapnetError, Unavailable, told
from capnet.wire.values import lower

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["EXITS", "holds", "tellable", "told_of"]

EXITS: Final = (SystemExit, KeyboardInterrupt)
"""What ends the program, and not only what has raised it."""

_AROUND: Final = 2
"""The frame, and the map of the details."""
_MARGIN: Final = 1024
"""Bytes of details that are left for reason and retry hint, which always travel."""


def told_of(connection: Connection, where: str, raised: BaseException) -> CapnetError | None:
    """What a peer is told of what a handler or producer has raised; None when it was cancelled.

    Args:
        where: what has raised it, for the log.
    """
    meant = _only_one_in(raised)
    if isinstance(meant, CapnetError):
        return tellable(connection, meant)
    if holds(raised, EXITS):
        return Unavailable("the program that answers is ending", reason="peer_closing")
    if isinstance(meant, connection.loop.cancelled):
        return None
    return connection.unexpected(where, raised)


def holds(raised: BaseException, kinds: Any) -> bool:
    """Whether it is of one of these kinds, or a group of exceptions that has one."""
    if isinstance(raised, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", raised).subgroup(kinds) is not None
    return isinstance(raised, kinds)


def _only_one_in(raised: BaseException) -> BaseException:
    """What a group of exceptions means that holds no more than one: a handler may fan out in a task group."""
    if not isinstance(raised, BaseExceptionGroup):
        return raised
    group = cast("BaseExceptionGroup[BaseException]", raised)
    return _only_one_in(group.exceptions[0]) if len(group.exceptions) == 1 else group


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
