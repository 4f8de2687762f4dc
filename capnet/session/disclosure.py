"""Disclosure: what a peer is told of an error that user code has raised (P-ERR-2, P-ERR-4). User code is not trusted.

Its class may have a constructor, fields and properties of its own, which say anything or raise; that is the matter of
one call. What leaves is an error of ours with fields of the right types, and with those details that can travel.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

from capnet.contract import Cap
from capnet.contract.plain import plain
from capnet.engine.error_fields import MAX_ERROR_DETAILS, MAX_TRACEBACK, TRACEBACK
from capnet.errors import (
    EXITS,
    CallCancelled,
    CapnetError,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    Unavailable,
    told,
)
from capnet.loop import Loop
from capnet.observe.failure import beyond_ours, failure_of
from capnet.transport import Attestation
from capnet.wire.values import OfAnotherType, Unencodable, lower

from .session import Session

__all__ = ["cancelled", "cannot_travel", "goes_on", "holds", "is_ours", "tellable", "told_of"]

_exceptions_in: Final[Callable[[Any], tuple[BaseException, ...]]] = vars(BaseExceptionGroup)["exceptions"].__get__
_AROUND: Final = 2
"""The frame, and the map of the details."""
_MARGIN: Final = 1024
"""Bytes of details that are left for reason and retry hint, which always travel."""


def told_of(session: Session, where: str, raised: BaseException) -> CapnetError | None:
    """What a peer is told of what a handler or producer has raised; None when it was cancelled.

    Args:
        where: what has raised it, for the log.
    """
    leaves = list(_leaves(raised))
    if len(leaves) == 1 and issubclass(type(leaves[0]), CapnetError):  # a handler may fan out in a task group
        error = tellable(session, cast("CapnetError", leaves[0]), where)
    elif holds(raised, EXITS):
        return _ending()
    elif all(issubclass(type(leaf), session.loop.cancelled) for leaf in leaves):
        return None
    else:
        error = session.faults.unexpected(where, raised)
    return _traced(session, error, raised) if session.confides else error


def is_ours(attestation: Attestation) -> bool:
    """Whether the peer runs as the user that we run as, on this machine: it may read our files, and our memory."""
    if attestation.transport == "memory":
        return True
    own = os.geteuid() if hasattr(os, "geteuid") else None
    return attestation.transport in ("unix", "exec") and own is not None and attestation.uid == own


def _traced(session: Session, error: CapnetError, raised: BaseException) -> CapnetError:
    """The same error, with where it was raised as far as there is room for it; only for who is confided in."""
    failure = failure_of(raised)
    beyond = beyond_ours(failure)
    if TRACEBACK in error.details or (beyond is None and type(error) is not Internal):
        return error  # capnet has raised it, and it says why
    where = str(failure) if beyond is None else beyond.traceback.rstrip("\n")
    text = "\n".join((where, *_notes_of(raised))).encode("utf-8", "replace")
    taken = len(session.engine.codec.encode(error.details)) if error.details else 0
    room = min(MAX_TRACEBACK, MAX_ERROR_DETAILS - _MARGIN - taken)
    error = error.again()
    if room > 0:
        error.details = {**error.details, TRACEBACK: text[-room:].decode("utf-8", "ignore")}
    return error


def _notes_of(raised: BaseException) -> list[str]:
    """What was noted on it, also by us where it came from another peer."""
    try:
        return [str(note) for note in raised.__notes__]
    except EXITS:
        raise
    except BaseException:  # there are none, or its class has failed
        return []


def cancelled(session: Session, what: str) -> CapnetError:
    """What a peer is told when what runs for it was cancelled, and neither by the peer nor by the connection.

    Args:
        what: was cancelled.
    """
    return _ending() if session.loop.ending else CallCancelled(f"the {what} was cancelled")


def _ending() -> Unavailable:
    return Unavailable("the program that answers is ending", reason="peer_closing")


def cannot_travel(session: Session, what: str, where: str, error: InvalidArgument, reason: str) -> CapnetError:
    """What is told of a result or an item that did not leave: whoever asked for it has no part in that.

    Of one that is of another type than declared it is told no more than of any other fault.

    Args:
        what: it is, for the peer.
        where: it comes from, for the log.
        reason: unless a limit is one.
    """
    internal = session.faults.unexpected(where, error)
    if isinstance(error, Unencodable) and error.refusal is OfAnotherType:
        return _traced(session, internal, error) if session.confides else internal
    details = internal.details
    why = told(error) or Internal("its class has failed")
    text = f"the {what} cannot travel: {why.message}; {details['correlation']} finds it in the callee's log"
    return FailedPrecondition(text, reason=why.reason or reason, details=details)


def holds(raised: BaseException, kinds: Any) -> bool:
    """Whether it is of one of these kinds, or a group of exceptions that has one."""
    return any(issubclass(type(leaf), kinds) for leaf in _leaves(raised))


def goes_on(loop: Loop, raised: BaseException) -> bool:
    """Whether what user code has raised is for more than that code: the program ends, or its task is cancelled.

    All else is its own fault, whatever class it is of.
    """
    return holds(raised, (*EXITS, loop.cancelled))


def _leaves(raised: BaseException) -> Iterator[BaseException]:
    """It, or what is in it if it is a group of exceptions, however deep. No code of its class is run."""
    waiting = [raised]
    while waiting:
        error = waiting.pop()
        if issubclass(type(error), BaseExceptionGroup):
            waiting += _exceptions_in(error)
        else:
            yield error


def tellable(session: Session, error: CapnetError, where: str = "end of a stream") -> CapnetError:
    """The same, as it may leave. Details take what results take; what cannot travel is left out alone, and logged.

    What user code could not send, and has let pass, is its own fault; of a limit in the way the peer is told which.
    """
    if type(error) is Unencodable:
        if error.reason is not None:
            return cannot_travel(session, "value", where, error, error.reason)
        return session.faults.unexpected(where, error)
    plainer = told(error)
    if plainer is None:
        return session.faults.unexpected("class of an error", error)
    if plainer.details:
        plainer = plainer.again()
        plainer.details = _lowered(session, plainer.details)
    return plainer


def _lowered(session: Session, details: dict[str, Any]) -> dict[str, Any]:
    fitting: dict[str, Any] = {}
    room = MAX_ERROR_DETAILS - _MARGIN
    for name, value in details.items():
        try:
            if type(name) is not str:
                raise TypeError(f"a detail has a name, and not a key of type {type(name).__qualname__}")
            plainer = lower(value, _data, session.engine.outbox.bounds, _AROUND)[0]
            size = len(session.engine.codec.encode([name, plainer]))
            if size > room:
                raise ValueError(f"{size} bytes are more than is left of {MAX_ERROR_DETAILS} for details")
        except EXITS:
            raise
        except BaseException as unfit:  # also what the user's own classes raise when they are taken apart
            word = repr(name) if type(name) is str else "without a name"
            session.faults.unexpected(f"detail {word} of an error, which is left out", unfit)
        else:
            fitting[name] = plainer
            room -= size
    return fitting


def _data(value: Any, place: object) -> Any:
    if isinstance(value, Cap):
        raise TypeError("a capability does not travel in an error")
    return plain(value)
