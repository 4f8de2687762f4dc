"""Disclosure: what a peer is told of an error that user code has raised (P-ERR-2). User code is not trusted here.

Its class may have a constructor, fields and properties of its own, which say anything or raise; that is the matter of
one call. What leaves is an error of ours with fields of the right types, and with those details that can travel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, cast

from capnet.contract import Cap
from capnet.contract.plain import plain
from capnet.engine.answering import MAX_ERROR_DETAILS
from capnet.errors import EXITS, CallCancelled, CapnetError, FailedPrecondition, Unavailable, told
from capnet.loop import Loop
from capnet.wire.values import Unencodable, lower

from .session import Session

__all__ = ["cancelled", "goes_on", "holds", "tellable", "told_of"]

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
        if type(leaves[0]) is Unencodable:
            return _not_sent(session, where, leaves[0])
        return tellable(session, cast("CapnetError", leaves[0]))
    if holds(raised, EXITS):
        return _ending()
    if all(issubclass(type(leaf), session.loop.cancelled) for leaf in leaves):
        return None
    return session.faults.unexpected(where, raised)


def cancelled(session: Session, what: str) -> CapnetError:
    """What a peer is told when what runs for it was cancelled, and neither by the peer nor by the connection.

    Args:
        what: was cancelled.
    """
    return _ending() if session.loop.ending else CallCancelled(f"the {what} was cancelled")


def _ending() -> Unavailable:
    return Unavailable("the program that answers is ending", reason="peer_closing")


def _not_sent(session: Session, where: str, error: Unencodable) -> CapnetError:
    """What could not leave here is no fault of the peer's; at a limit it may know which."""
    internal = session.faults.unexpected(where, error)
    if error.reason is None:
        return internal
    return FailedPrecondition(
        f"what was to be sent cannot travel: {error}; {internal.details['correlation']} finds it in the callee's log",
        reason=error.reason,
        details=internal.details,
    )


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


def tellable(session: Session, error: CapnetError) -> CapnetError:
    """The same, as it may leave. Details take what results take; what cannot travel is left out alone, and logged."""
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
            plainer = lower(value, _data, session.engine.bounds, _AROUND)[0]
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
