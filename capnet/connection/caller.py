"""Calls of ours: from bound arguments to a frame, and from the answer back to whoever waits (P-CALL-1, P-CALL-5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from capnet.contract import MethodSpec
from capnet.engine.events import CallFailed, CallReturned
from capnet.engine.imports import Import
from capnet.errors import CallCancelled, CapnetError, InvalidArgument, Replaced, Revoked
from capnet.wire.references import Reference as WireReference
from capnet.wire.values import is_plain

from .call import Call

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["call_failed", "call_returned", "cancel_call", "start_call"]


def start_call(connection: Connection, target: Import, method: MethodSpec, arguments: dict[str, Any]) -> Call[Any]:
    """Make a call; it leaves with whatever else becomes ready in this turn of the loop.

    Raises:
        CapnetError: it cannot leave (the connection closes, the capability is broken, the arguments cannot travel, a
        limit of the peer's); nothing has changed then.
    """
    timeout = connection.loop.time_left()
    call: Call[Any] = Call(connection, method)
    if method.timeout is not None and (timeout is None or method.timeout < timeout):
        timeout = method.timeout
        call.expire_at(connection.loop.now() + timeout)
    try:
        _send(connection, call, target, arguments, timeout)
    except BaseException:
        call.settle(None, None)
        raise
    if method.idempotent:
        call.again = (target, arguments, None if timeout is None else connection.loop.now() + timeout)
    return call


def _send(
    connection: Connection, call: Call[Any], target: Import, arguments: dict[str, Any], timeout: float | None
) -> None:
    engine, driver = connection.engine, connection.driver
    references: Sequence[WireReference] = ()
    if not is_plain(arguments, connection.limits):
        arguments, references = connection.payloads.lower_arguments(arguments, call.method)
    call.entry = engine.call(target, call.method.name, arguments, references, call, timeout=timeout)
    if references:
        connection.exports_queued(references)
    if len(engine.calls.by_id) == 1 and not driver.receiving:
        driver.flush()  # no company to wait for
    else:
        driver.flush_soon()
    if connection.bus.observed:
        call.started = connection.loop.now()
        connection.reports.call_left(call.entry, call.method.name)


def cancel_call(connection: Connection, call: Call[Any], reason: str, error: CapnetError | None = None) -> None:
    """Give up on a call: the peer is told, the call ends with `error`. Once it has ended this does nothing."""
    if call.entry is not None:
        connection.engine.cancel(call.entry, reason)
        _settle(connection, call, None, error or CallCancelled(reason or "cancelled here"))
        connection.driver.handle_events()
        connection.driver.flush_soon()


def call_returned(connection: Connection, event: CallReturned) -> None:
    """The peer has answered with a result."""
    call: Call[Any] = event.token
    value = event.value
    error: CapnetError | None = None
    try:
        if event.references:
            value = connection.payloads.lift(value, event.references)
        value = call.method.receive_result(value)
    except Revoked as revoked:
        value, error = None, revoked
    except Exception as unfit:  # also what the __post_init__ of the user's own class raises
        text = unfit.message if isinstance(unfit, CapnetError) else str(unfit)
        error = InvalidArgument(f"result of {call.method.contract}.{call.method.name}: {text}", reason="result_type")
        value = None
    if call.started:
        _settle(connection, call, value, error)
    else:
        call.settle(value, error)


def call_failed(connection: Connection, event: CallFailed) -> None:
    """The peer has answered with an error, or never will."""
    call: Call[Any] = event.token
    if call.again is None or type(event.error) is not Replaced or not _made_again(connection, call, event.error):
        _settle(connection, call, None, event.error)


def _made_again(connection: Connection, call: Call[Any], error: Replaced) -> bool:
    """Make an idempotent call once more, for the implementation that has replaced the one it was cut from."""
    if call.again is None or error.retry != "transparent":
        return False
    (target, arguments, until), call.again = call.again, None
    _report(connection, call, error)
    try:
        _send(connection, call, target, arguments, None if until is None else until - connection.loop.now())
    except Exception:  # what it needs is gone meanwhile: then the first error stands
        call.started = 0.0
        return False
    return True


def _settle(connection: Connection, call: Call[Any], value: Any, error: CapnetError | None) -> None:
    _report(connection, call, error)
    call.settle(value, error)


def _report(connection: Connection, call: Call[Any], error: CapnetError | None) -> None:
    if call.started and call.entry is not None:
        seconds = connection.loop.now() - call.started
        connection.reports.call_answered(call.entry, call.method.name, error, seconds)
