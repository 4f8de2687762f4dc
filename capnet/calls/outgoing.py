"""Calls of ours: from bound arguments to a frame, and from the answer back to whoever waits (P-CALL-1, P-CALL-5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from capnet.calls.call import Call
from capnet.calls.dependent import Late, NotYet
from capnet.contract import MethodSpec
from capnet.contract.snapshot import snapshot
from capnet.engine.calls import PEER, Target
from capnet.engine.calls import Call as EngineCall
from capnet.engine.events import CallFailed, CallReturned
from capnet.errors import EXITS, CallCancelled, CapnetError, InvalidArgument, Replaced, Revoked
from capnet.revocation.lineage import handling
from capnet.wire.frames import CHAIN
from capnet.wire.references import Reference as WireReference
from capnet.wire.values import is_plain, unencodable_text

if TYPE_CHECKING:
    from capnet.connection.connection import Connection

__all__ = [
    "call_failed",
    "call_returned",
    "calls_above",
    "cancel_call",
    "notify_peer",
    "send_deferred",
    "start_call",
]

calls_above: Final[ContextVar[str | None]] = ContextVar(CHAIN, default=None)
"""What goes along as `CHAIN` with the calls that the running handler makes."""


def start_call(
    connection: Connection,
    target: Target | Late,
    method: MethodSpec,
    arguments: dict[str, Any],
    context: Mapping[str, str] | None = None,
) -> Call[Any]:
    """Make a call; it leaves with whatever else becomes ready in this turn of the loop.

    Args:
        context: text that goes along with it.

    Raises:
        CapnetError: it cannot leave (the connection closes, the capability is broken, the arguments cannot travel, a
        limit of the peer's); nothing has changed then.
    """
    connection.loop.check()
    timeout = connection.loop.time_left()
    call: Call[Any] = Call(connection, method)
    if method.timeout is not None and (timeout is None or method.timeout < timeout):
        timeout = method.timeout
        call.expire_at(connection.loop.now() + timeout)
    chain = calls_above.get()
    if chain is not None:
        context = {**(context or {}), CHAIN: chain}
    call.context = context
    try:
        if connection.deferring.lines and target in connection.deferring.lines:
            _defer(connection, call, target, arguments, timeout, None)
        else:
            try:
                _send(connection, call, target, arguments, timeout)
            except NotYet as needs:
                _defer(connection, call, target, arguments, timeout, needs.call)
    except BaseException:
        call.settle(None, None)
        raise
    if method.idempotent and call.again is None:
        until = None if timeout is None else connection.loop.now() + timeout
        call.again = (target, snapshot(arguments), until, handling.get())
    return call


def notify_peer(
    connection: Connection,
    target: Target | Late,
    method: MethodSpec,
    arguments: dict[str, Any],
    context: Mapping[str, str] | None = None,
) -> None:
    """Make a one-way call: nothing ever comes back (P-OP). Behind calls that wait for others it waits, too.

    Raises:
        CapnetError: it cannot leave; nothing has changed then.
    """
    connection.loop.check()
    call: Call[Any] = Call(connection, method)
    call.one_way = True
    call.context = context
    try:
        if connection.deferring.lines and target in connection.deferring.lines:
            connection.deferring.put(call, target, arguments, None)
        else:
            _send(connection, call, target, arguments, None)
    except NotYet as needs:
        connection.deferring.put(call, target, arguments, needs.call)


def send_deferred(call: Call[Any], target: Target | Late, arguments: dict[str, Any]) -> None:
    """A call that was deferred may leave.

    Raises:
        NotYet: not before another is answered. CapnetError: it cannot.
    """
    connection = call.connection
    until = call.until
    _send(connection, call, target, arguments, None if until is None else until - connection.loop.now())


def _defer(
    connection: Connection,
    call: Call[Any],
    target: Target | Late,
    arguments: dict[str, Any],
    timeout: float | None,
    needs: Call[Any] | None,
) -> None:
    call.entry = EngineCall(0, connection.engine.imports.bootstrap, None)  # it has not ended; the engine knows nothing
    call.until = None if timeout is None else connection.loop.now() + timeout
    connection.deferring.put(call, target, arguments, needs)


def _send(
    connection: Connection, call: Call[Any], target: Target | Late, arguments: dict[str, Any], timeout: float | None
) -> None:
    engine, driver = connection.engine, connection.driver
    method = call.method
    references: Sequence[WireReference] = ()
    if isinstance(target, Late):
        target = connection.payloads.target_of(target)
    if method.checks_arguments or not is_plain(arguments, engine.bounds):
        arguments, references = connection.payloads.lower_arguments(arguments, method)
    may_keep = bool(method.result_contracts)
    granted = handling.get()
    party: Any = None
    if granted is not None:
        party = PEER if granted.number == connection.number else granted.number
    try:
        entry = engine.call(
            target,
            method.name,
            arguments,
            references,
            call,
            timeout=timeout,
            context=call.context,
            one_way=call.one_way,
            may_keep=may_keep,
            party=party,
        )
    except InvalidArgument as error:
        raise unencodable_text(arguments) or error from None
    if references:
        connection.exports_queued(references)
    if call.one_way:
        driver.flush_soon()
        return
    call.entry = entry
    if len(engine.calls.by_id) == 1 and not driver.receiving and not may_keep:
        driver.flush()  # no company to wait for
    else:
        driver.flush_soon()
    if connection.bus.observed:
        call.started = connection.loop.now(), entry.id
        connection.reports.call_left(entry, method.name)


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
    except EXITS:
        raise
    except BaseException as unfit:  # also what a class of the user's own raises
        what = f"result of {call.method.contract}.{call.method.name}"
        value, error = None, connection.unfit(what, unfit, "result_type")
    if call.started is not None:
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
    (target, arguments, until, lineage), call.again = call.again, None
    _report(connection, call, error)
    ours = handling.set(lineage)
    try:
        _send(connection, call, target, arguments, None if until is None else until - connection.loop.now())
    except Exception:  # what it needs is gone meanwhile: then the first error stands
        call.started = None
        return False
    finally:
        handling.reset(ours)
    return True


def _settle(connection: Connection, call: Call[Any], value: Any, error: CapnetError | None) -> None:
    _report(connection, call, error)
    call.settle(value, error)


def _report(connection: Connection, call: Call[Any], error: CapnetError | None) -> None:
    if call.started is not None and call.entry is not None:
        began, number = call.started
        connection.reports.call_answered(call.entry, number, call.method.name, error, connection.loop.now() - began)
