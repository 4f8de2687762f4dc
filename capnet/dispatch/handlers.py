"""Handlers: one call of the peer, from its arguments to its reply (P-CALL-9, P-ERR-2)."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Sequence
from contextvars import Context, copy_context
from functools import partial
from inspect import CO_ITERABLE_COROUTINE
from itertools import count
from math import inf
from types import GeneratorType
from typing import Any, Final
from uuid import uuid4

from capnet.calls.metadata import going_along
from capnet.contract import CallContext, Handler
from capnet.engine.answers import Answer, AnswerState
from capnet.engine.exports import Export
from capnet.errors import (
    EXITS,
    CallCancelled,
    CapnetError,
    DeadlineExceeded,
    InvalidArgument,
    Unimplemented,
)
from capnet.forwarding.forwarder import Forwarder
from capnet.policy.guard import Guard
from capnet.references.payload import Payloads
from capnet.registry import Hosted, Turns
from capnet.revocation.lineage import Granted, Lineage, handling
from capnet.session.disclosure import cancelled, cannot_travel, holds, told_of
from capnet.session.session import Session
from capnet.streams.windows import keep_within
from capnet.wire.charge import measured
from capnet.wire.frames import CHAIN, OPERATION, WINDOW
from capnet.wire.references import CapRef, kind_of
from capnet.wire.references import Reference as WireReference
from capnet.wire.values import Unencodable, is_plain, unencodable_text

from .operations import Operations, expired
from .runner import Runner, handled

__all__ = ["Handlers", "name_of"]

MAX_CHAIN: Final = 2048
"""Characters of the calls above one that travel with it; of longer chains the nearest."""
_PROCESS: Final = uuid4().hex
_serial: Final = count(1)


class Handlers:
    """Runs the handlers of one connection.

    Args:
        guard: asks the policy about each call, if the policy wants that.
        operations: keep the answers of calls with an id, where that is wanted.
    """

    __slots__ = ("_context", "_guard", "_lineage", "_operations", "_payloads", "_session", "stopping")

    def __init__(
        self,
        session: Session,
        payloads: Payloads,
        lineage: Lineage,
        guard: Guard | None,
        operations: Operations | None,
    ) -> None:
        self._session = session
        self._payloads = payloads
        self._lineage = lineage
        self._guard = guard
        self._operations = operations
        self._context = copy_context()
        if going_along.get() is not None:  # what whoever has made the connection sends along is not ours
            self._context.run(going_along.set, None)
        self.stopping = False
        """The connection is over: whatever is cancelled now is cancelled for that."""

    def start(self, hosted: Hosted, export: Export, answer: Answer) -> tuple[Handler, Any, bool, Context]:
        """The handler of a call, what it has given with the arguments in it, whether that is to be awaited, and where.

        Raises:
            CapnetError: there is no such method, or the arguments do not fit.
        """
        try:
            handler = hosted.handler(export.interface, export.contract, answer.method)
        except CapnetError:
            self._session.engine.release_all(answer.references)
            raise
        if handler is None:
            self._session.engine.release_all(answer.references)
            raise Unimplemented(f"{export.interface} has no method {answer.method!r} that can be called")
        arguments = answer.arguments
        if answer.references:
            references, answer.references = answer.references, ()
            arguments = self._payloads.lift(arguments, references)
        answer.arguments = {}  # what the handler is given lives as long as it keeps it
        guard, verdict = self._guard, None
        if type(hosted) is Forwarder:
            if answer.context.get(OPERATION, "").count(" ") > 1:
                raise expired(f"{answer.interface}.{answer.method}")  # it is not this program that would know
            if guard is not None and (verdict := guard.ask(export, answer, arguments)) is not None:
                relay = partial(hosted.relay, self._session, answer, arguments)
                running = guard.begin(answer, verdict, relay, waits=True)
            else:
                running = hosted.relay(self._session, answer, arguments)
            return handler, running, True, self._context_for(hosted, export, answer)
        if handler.spec.growth:
            self._session.engine.answering.rebuilt(answer, handler.spec.growth)
        try:
            positional, named = handler.spec.receive_arguments(arguments)
        except InvalidArgument as error:
            self._session.faults.refused(f"arguments of {answer.interface}.{answer.method}", error)
            raise
        if guard is not None:
            verdict = guard.ask(export, answer, handler.spec.arguments_by_name(positional, named))
        function, context_parameter = handler.on(hosted.implementation)
        if context_parameter is not None:
            named[context_parameter] = self._call_context(answer)
        context, waits = self._context_for(hosted, export, answer), handler.spec.kind != "stream"
        if self._operations is not None and waits and OPERATION in answer.context:
            operation, begins = self._operations.find(self._session, answer)
            if begins:
                answer.handler.operation = operation
            else:
                function, positional, named = operation.outcome, [], {}
        if guard is not None and verdict is not None:
            start = partial(function, *positional, **named)
            return handler, guard.begin(answer, verdict, start, waits=waits), True, context
        # In its context from the first: what is no coroutine function makes calls before it is awaited.
        return handler, context.run(function, *positional, **named), waits, context

    def returned(self, answer: Answer, handler: Handler, value: Any) -> None:
        """The handler has returned: reply with its value, or with why that cannot travel."""
        session = self._session
        references: Sequence[WireReference] = ()
        result, leaving = value, handler.spec.leaving
        try:
            if handler.spec.checks_result or not is_plain(value, session.engine.outbox.bounds):
                if answer.state is not AnswerState.RUNNING:
                    self._keep_unsent(answer, handler, result)
                    value = None  # the caller has been answered already
                else:
                    value, references = self._payloads.lower_result(value, handler.spec)
                    if references and WINDOW in answer.context:
                        keep_within(references, answer.context[WINDOW])
                    leaving.check(value)
            elif kind_of(value) is not leaving.exact and answer.state is AnswerState.RUNNING:
                leaving.check(value)
            session.engine.reply(answer, value, references)
        except BaseException as raised:  # also what the user's own classes raise when they are taken apart
            ends = self.failed(answer, self._unfit(raised, handler, value))
            self._payloads.dispose(result)
            if ends:
                raise
            return
        runner: Runner = answer.handler
        if references:
            self._payloads.queued(references, self._parent(runner.hosted, answer.export), runner.hosted)
        if runner.operation is not None:
            self._seal(runner, result, value, references)
        self._end(answer, None)

    def _keep_unsent(self, answer: Answer, handler: Handler, result: Any) -> None:
        """Nobody gets a result now; one with an id may come back for it."""
        if answer.handler.operation is None:
            self._payloads.dispose(result)
        else:
            value, references = self._payloads.lower_result(result, handler.spec)
            handler.spec.leaving.check(value)
            self._seal(answer.handler, result, value, references)

    def _seal(self, runner: Runner, result: Any, value: Any, references: Sequence[WireReference]) -> None:
        """Keep a result, by what it is here: on another connection its capabilities are handed out anew."""
        operation, runner.operation = runner.operation, None
        assert operation is not None and self._operations is not None
        _, length, charge = measured(value)
        held = [one.subject for one in references if isinstance(one.subject, Hosted)]
        handed_out = self._lineage.granted
        granted = [handed_out[one.id] for one in references if type(one) is CapRef and one.id in handed_out]
        self._operations.seal(self._session, operation, result, None, held, granted, length + charge)

    def _unfit(self, error: BaseException, handler: Handler, value: Any) -> BaseException:
        """What is said of a result that cannot travel: no argument of the caller's is at fault."""
        if not isinstance(error, InvalidArgument):
            return error
        spec = handler.spec
        if type(error) is InvalidArgument:
            error = unencodable_text(value) or error  # the codec knows no place
        refused = error.refusal if isinstance(error, Unencodable) else None
        reason = "unregistered_cap_return" if refused is not None and spec.result_contracts else "unencodable_result"
        return cannot_travel(self._session, "result", f"result of {spec.contract}.{spec.name}", error, reason)

    def failed(self, answer: Answer, raised: BaseException) -> bool:
        """The handler has raised: reply with what the caller may know (P-ERR-2). Whether it must be raised on."""
        session = self._session
        runner: Runner = answer.handler
        ours = self.stopping or runner.used_up
        error = told_of(session, name_of(answer), raised)
        if error is None and answer.deadline is not None and session.loop.now() >= answer.deadline:
            error = DeadlineExceeded("the deadline that came with the call has passed")
        error = error or (CallCancelled("the handler was cancelled") if ours else cancelled(session, "handler"))
        assert runner.hosted is not None
        error = runner.hosted.seen(error)
        operation, runner.operation = runner.operation, None
        if operation is not None and self._operations is not None:
            self._operations.seal(session, operation, None, error)
        with session.must_succeed:
            session.engine.fail(answer, error)
        self._end(answer, error)
        return holds(raised, EXITS) or (ours and holds(raised, session.loop.cancelled))

    def _end(self, answer: Answer, error: CapnetError | None) -> None:
        """The reply is on its way: let go of what ran."""
        session = self._session
        runner: Runner = answer.handler
        answer.handler = runner.answer = None
        hosted, runner.hosted = runner.hosted, None
        assert hosted is not None
        if answer.deadline is not None:
            runner.expire_at(inf)
        if hosted.turns is not None:
            hosted.turns.leave(answer)
        hosted.call_ends(session.close_hosted)
        if runner.started is not None:
            self.report_end(runner, answer, error)
        if session.engine.tables.happened:
            session.driver.handle_events()

    def report_end(self, runner: Runner, answer: Answer, error: CapnetError | None) -> None:
        started, runner.started = runner.started, None
        if started is not None:
            session = self._session
            session.publisher.handler_finished(answer, error, session.loop.now() - started)

    def _call_context(self, answer: Answer) -> CallContext:
        session = self._session
        left = None if answer.deadline is None else answer.deadline - session.loop.now()
        return CallContext(
            session.peer_name, session.attestation, left, answer.id, answer.method, answer.context, session.owner
        )

    def _context_for(self, hosted: Hosted, export: Export, answer: Answer) -> Context:
        """A context of the handler's own, which knows what the calls and exports it makes come of."""
        context = self._context.copy()
        context.run(handled.set, answer)
        granted = self._lineage.granted.get(export.id)  # `_parent`, without another step
        if granted is None and type(hosted) is Forwarder:
            granted = hosted.parent
        if granted is not None:
            context.run(handling.set, granted)
        if hosted.turns is not None or CHAIN in answer.context:
            context.run(_note_above, hosted.turns, answer)
        return context

    def _parent(self, hosted: Hosted | None, export: Export | None) -> Granted | None:
        """What the exports come of that a call hands out, or makes calls with."""
        granted = None if export is None else self._lineage.granted.get(export.id)
        return hosted.parent if granted is None and type(hosted) is Forwarder else granted


def _note_above(turns: Turns | None, answer: Answer) -> None:
    """In the handler's context: the calls that it makes lead back to its own."""
    above = answer.context.get(CHAIN, "")
    if turns is not None:
        turns.token = f"{next(_serial)}-{_PROCESS}"
        above = f"{above} {turns.token}"
    going_along.set({CHAIN: above[-MAX_CHAIN:]})


def checked(given: Any, waits: bool) -> Any:
    """What a handler has given: a stream, or a coroutine that awaits the task, future or what else can be awaited.

    Raises:
        TypeError: it is something else.
    """
    if not waits and hasattr(kind_of(given), "__aiter__"):
        return given
    if waits and _can_be_awaited(given):
        return _await(given)
    if isinstance(given, Coroutine):
        given.close()
    expected = "an awaitable" if waits else "a stream"
    raise TypeError(f"it has returned `{kind_of(given).__qualname__}`, and {expected} is declared")


def _can_be_awaited(given: Any) -> bool:
    """Whether `await` takes it: by its class, or because `types.coroutine` has made it of a generator."""
    if type(given) is GeneratorType:
        return bool(given.gi_code.co_flags & CO_ITERABLE_COROUTINE)
    return hasattr(kind_of(given), "__await__")


async def _await(given: Awaitable[Any]) -> Any:
    return await given


def name_of(answer: Answer) -> str:
    return f"handler of {answer.interface}.{answer.method}"
