"""Dispatch: calls of the peer become running handlers, in the order they arrived (P-CALL-2).

Calls wait in one inbox and runner tasks take them out, oldest first. A runner that finishes a handler without a pause
takes the next call itself; when a handler waits for something, another runner is woken for the calls behind it. So
calls start in the order they came by construction, on every loop, and a task is made only when a handler really waits.
Each handler sees a real task and a context of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextvars import Context, ContextVar, copy_context
from functools import partial
from itertools import count
from math import inf
from types import CoroutineType, coroutine
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from anyio import CancelScope
from anyio.lowlevel import checkpoint

from capnet.calls.outgoing import calls_above
from capnet.contract import CallContext, Handler
from capnet.engine.answers import Answer, AnswerState
from capnet.engine.exports import Export
from capnet.errors import (
    EXITS,
    CallCancelled,
    CapnetError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    Unimplemented,
)
from capnet.forwarding.forwarder import Forwarder, onward
from capnet.policy.guard import Guarding
from capnet.registry import Hosted, Turns
from capnet.revocation.lineage import handling
from capnet.session.disclosure import holds, told_of
from capnet.session.driver import FLUSH_CHUNKS
from capnet.wire.frames import CHAIN, HOPS
from capnet.wire.references import Reference as WireReference
from capnet.wire.references import kind_of
from capnet.wire.values import Unencodable, is_plain

if TYPE_CHECKING:
    from capnet.connection.connection import Connection

__all__ = ["Dispatcher"]

IDLE_RUNNERS: Final = 4
"""Runners that are kept for later when there is nothing to do; the others end."""
LONGEST_TURN: Final = 0.005
"""Seconds in which handlers are begun one after the other until others have their turn."""
MAX_CHAIN: Final = 2048
"""Characters of the calls above one that travel with it; of longer chains the nearest."""
_handled: Final[ContextVar[Answer | None]] = ContextVar("capnet.handled", default=None)
"""The call whose handler runs."""
_PROCESS: Final = uuid4().hex
_serial: Final = count(1)


class Dispatcher:
    """The inbox of one connection and its runners.

    Args:
        guarding: asks the policy about each call, if the policy wants that.
    """

    __slots__ = (
        "_connection",
        "_context",
        "_guarding",
        "_held",
        "_idle",
        "_in_line",
        "_inbox",
        "_runners",
        "_waking",
        "stopping",
    )

    def __init__(self, connection: Connection, guarding: Guarding | None) -> None:
        self._connection = connection
        self._guarding = guarding
        self._held = False
        self._context = copy_context()
        self._inbox: deque[tuple[Answer, Hosted]] = deque()
        self._in_line: dict[Answer, tuple[Turns, Hosted]] = {}
        """Calls that wait for their turn on an ordered object, or behind one that is guarded, until they begin."""
        self._idle: list[_Runner] = []
        self._runners: set[_Runner] = set()
        self._waking = False
        self.stopping = False

    def put(self, answer: Answer) -> None:
        """A call is to be handled; it starts after those that came before it. What it is made on stays open for it."""
        export = answer.export
        if export is None:
            export = answer.export = onward(self._connection, answer)
        hosted: Hosted = export.subject
        hosted.hold()
        self._inbox.append((answer, hosted))
        if not self._waking:
            self._wake_one()

    def hold(self) -> None:
        """Begin no call until `let_go`."""
        self._held = True

    def let_go(self) -> None:
        """Begin those that have arrived meanwhile."""
        self._held = False
        if self._inbox and not self._waking:
            self._wake_one()

    def end(self, answer: Answer) -> None:
        """Its caller has been answered: stop the handler. One that has not started will not."""
        runner: _Runner | None = answer.handler
        if runner is not None and runner.scope is not None:
            runner.scope.cancel()

    def hosted_of(self, answer: Answer) -> Hosted | None:
        """The implementation that runs for an answer, None when its handler has not started."""
        runner: _Runner | None = answer.handler
        return None if runner is None else runner.hosted

    def stop(self) -> None:
        """Cancel every handler and end every runner; `stopped` follows. Calls that have not started never will."""
        self.stopping = True
        while self._inbox:
            answer, arrived_for = self._inbox.popleft()
            if answer not in self._in_line:
                arrived_for.release(self._connection.close_hosted)
        in_line, self._in_line = self._in_line, {}
        for answer, (turns, arrived_for) in in_line.items():
            arrived_for.release(self._connection.close_hosted)
            turns.leave(answer)
        for runner in tuple(self._runners):
            if runner.scope is not None:
                runner.scope.cancel()

    def leave_behind(self) -> list[str]:
        """Wait no longer for runners whose handlers do not end; gives what these are."""
        runners, self._runners = self._runners, set()
        left: list[str] = []
        for runner in runners:
            if runner.answer is not None:
                self._report_end(runner, runner.answer, CallCancelled("the handler was left behind"))
                left.append(_name(runner.answer))
        return left

    @property
    def guarded(self) -> bool:
        """Whether the policy is asked about each call."""
        return self._guarding is not None

    @property
    def running_here(self) -> _Runner | None:
        """The runner of the handler that asks, also from a task that it has started and while it has not returned."""
        answer = _handled.get()
        runner: _Runner | None = None if answer is None else answer.handler
        return runner if runner in self._runners else None

    @property
    def stopped(self) -> bool:
        """Whether no runner is left."""
        return not self._runners

    def _wake_one(self) -> None:
        """Have one runner look at the inbox. One at a time: so the oldest call starts first whatever the loop does."""
        if self.stopping or self._held:
            return
        self._waking = True
        loop = self._connection.loop
        if self._idle:
            runner = self._idle.pop()
            assert runner.waiter is not None
            loop.wake(runner.waiter)
        else:
            runner = _Runner()
            self._runners.add(runner)
            loop.spawn(self._run, runner)

    async def _run(self, runner: _Runner) -> None:
        handling.set(None)  # whoever has woken us
        calls_above.set(None)
        _handled.set(None)
        try:
            while not self.stopping:
                # The scope is used up when a handler is cancelled in it; otherwise it serves many calls.
                with CancelScope() as runner.scope:
                    if not await self._work(runner, runner.scope):
                        break
        except Exception as error:
            self._connection.crash(error)
        finally:
            runner.scope = None
            self._runners.discard(runner)
            if runner in self._idle:
                self._idle.remove(runner)
            self._connection.finish_if_over()

    async def _work(self, runner: _Runner, scope: CancelScope) -> bool:
        """Take calls until the scope is used up; False when the runner is not needed any more."""
        inbox = self._inbox
        driver, now = self._connection.driver, self._connection.loop.now
        while not _used_up(scope):
            self._waking = False
            began, first = driver.began if driver.receiving else now(), True
            while inbox:
                if not first and now() > began + LONGEST_TURN:
                    driver.worked(began)
                    driver.flush_soon()
                    await checkpoint()  # others have their turn
                    began, first = now(), True
                    if _used_up(scope):
                        break
                    continue
                first = False
                rest = self._begin(*inbox.popleft(), runner)
                if len(driver.engine.outbox.chunks) >= FLUSH_CHUNKS:
                    driver.flush()
                if rest is not None:
                    driver.worked(began)
                    driver.flush_soon()  # replies of the handlers before it do not wait for this one
                    await rest
                    began, first = now(), True
                if _used_up(scope):
                    driver.worked(began)
                    break
            else:
                driver.worked(began)
                if driver.engine.pending and not driver.receiving:
                    driver.flush()
                if len(self._idle) >= IDLE_RUNNERS:
                    return False
                self._idle.append(runner)
                runner.waiter = self._connection.loop.waiter()
                await runner.waiter
        if inbox and not self._waking:
            self._wake_one()
        return True

    def _begin(self, answer: Answer, arrived_for: Hosted, runner: _Runner) -> Coroutine[Any, Any, None] | None:
        """Run a call up to its end, or to where its handler waits; then the rest is to be awaited.

        Most handlers never wait, and for those nothing but their own coroutine is made.
        """
        connection, guarding = self._connection, self._guarding
        waited_for = self._in_line.pop(answer, None) if self._in_line else None
        if answer.deadline is not None and answer.deadline <= connection.loop.now():
            error = DeadlineExceeded("the deadline that came with the call passed before it could start")
            connection.engine.answering.end_answer(answer, error)
        if answer.state is not AnswerState.RUNNING:  # its caller was answered before it could start
            self._pass_over(answer, arrived_for, waited_for)
            return None
        export = answer.export
        assert export is not None
        hosted: Hosted = export.subject  # another one than it arrived for, when that was replaced meanwhile
        turns = hosted.turns
        if (turns is not None or guarding is not None) and self._must_wait(turns, export, answer, arrived_for):
            return None
        hosted.call_begins()
        arrived_for.release(connection.close_hosted)
        answer.handler = runner
        runner.answer, runner.hosted = answer, hosted
        if answer.deadline is not None and runner.scope is not None:
            runner.scope.deadline = answer.deadline  # so nested calls inherit what is left (P-CALL-5)
        runner.started = None
        if connection.bus.observed:
            runner.started = connection.loop.now()
            connection.reports.handler_started(answer)
        try:
            if turns is not None and turns.holder is not answer:
                connection.engine.release_all(answer.references)
                raise _waits_for_ever(answer)
            handler, running, waits, context = self._start(hosted, export, answer)
            if kind_of(running) is not CoroutineType or not waits:
                running = _checked(running, waits)
        except BaseException as raised:
            if guarding is not None:
                guarding.decided(answer)
            if self._fail(answer, raised):
                raise
            # Who passes calls on makes them for many, and has chosen neither method nor arguments.
            if isinstance(raised, (Unimplemented, InvalidArgument)) and HOPS not in answer.context:
                connection.engine.refused()
                connection.driver.handle_events()
            return None
        if not waits:
            self._return(answer, handler, running)
            return None
        try:
            paused = context.run(running.send, None)
        except StopIteration as stop:
            self._return(answer, handler, stop.value)
        except BaseException as raised:
            if self._fail(answer, raised):
                raise
        else:
            if self._inbox and not self._waking:
                self._wake_one()
            return self._finish(answer, handler, _resume(context, running, paused))
        return None

    def _pass_over(self, answer: Answer, arrived_for: Hosted, waited_for: tuple[Turns, Hosted] | None) -> None:
        """A call will not start: let go of what was held for it."""
        connection = self._connection
        if waited_for is not None:
            waited_for[0].leave(answer)
            if self._guarding is not None:
                self._guarding.decided(answer)
        connection.engine.release_all(answer.references)
        connection.engine.reply(answer, None)
        arrived_for.release(connection.close_hosted)
        connection.driver.handle_events()

    def _must_wait(self, turns: Turns | None, export: Export, answer: Answer, arrived_for: Hosted) -> bool:
        """Whether a call waits for its turn on an ordered object, or behind one that the guard thinks about."""
        line = None if self._guarding is None else self._guarding.line(export)
        if turns is not None and not turns.take(answer) and not _waits_for_itself(turns, answer):
            line = turns
        elif line is None or line.take(answer):
            return False
        self._in_line[answer] = line, arrived_for
        line.wait(answer, partial(self._turn_has_come, answer, arrived_for))
        return True

    def _context_for(self, hosted: Hosted, export: Export, answer: Answer) -> Context:
        """A context of the handler's own, which knows what the calls and exports it makes come of."""
        context = self._context.copy()
        context.run(_handled.set, answer)
        granted = self._connection.payloads.granted.get(export.id)
        if granted is None and type(hosted) is Forwarder:
            granted = hosted.parent
        if granted is not None:
            context.run(handling.set, granted)
        if hosted.turns is not None or CHAIN in answer.context:
            context.run(_note_above, hosted.turns, answer)
        return context

    def _turn_has_come(self, answer: Answer, arrived_for: Hosted) -> None:
        """A call that was in line may begin; its slot is taken already, so it goes before the others."""
        self._inbox.appendleft((answer, arrived_for))
        if not self._waking:
            self._wake_one()

    async def _finish(self, answer: Answer, handler: Handler, rest: Awaitable[Any]) -> None:
        """The rest of a handler that waits."""
        try:
            value = await rest
        except BaseException as raised:
            if self._fail(answer, raised):
                raise
        else:
            self._return(answer, handler, value)
        finally:
            self._connection.driver.flush_soon()

    def _start(self, hosted: Hosted, export: Export, answer: Answer) -> tuple[Handler, Any, bool, Context]:
        """The handler of a call, what it has given with the arguments in it, whether that is to be awaited, and where.

        Raises:
            CapnetError: there is no such method, or the arguments do not fit.
        """
        handler = hosted.handler(export.interface, export.contract, answer.method)
        if handler is None:
            self._connection.engine.release_all(answer.references)
            raise Unimplemented(f"{export.interface} has no method {answer.method!r} that can be called")
        arguments = answer.arguments
        if answer.references:
            references, answer.references = answer.references, ()
            arguments = self._connection.payloads.lift(arguments, references)
        answer.arguments = {}  # what the handler is given lives as long as it keeps it
        guarding, verdict = self._guarding, None
        if type(hosted) is Forwarder:
            if guarding is not None and (verdict := guarding.ask(export, answer, arguments)) is not None:
                relay = partial(hosted.relay, self._connection, answer, arguments)
                running = guarding.begin(answer, verdict, relay, waits=True)
            else:
                running = hosted.relay(self._connection, answer, arguments)
            return handler, running, True, self._context_for(hosted, export, answer)
        if handler.spec.growth:
            self._connection.engine.answering.rebuilt(answer, handler.spec.growth)
        try:
            positional, named = handler.spec.receive_arguments(arguments)
        except InvalidArgument as error:
            self._connection.refused(f"arguments of {answer.interface}.{answer.method}", error)
            raise
        if guarding is not None:
            verdict = guarding.ask(export, answer, handler.spec.arguments_by_name(positional, named))
        function, context_parameter = handler.on(hosted.implementation)
        if context_parameter is not None:
            named[context_parameter] = self._call_context(answer)
        context, waits = self._context_for(hosted, export, answer), handler.spec.kind != "stream"
        if guarding is not None and verdict is not None:
            start = partial(function, *positional, **named)
            return handler, guarding.begin(answer, verdict, start, waits=waits), True, context
        # In its context from the first: what is no coroutine function makes calls before it is awaited.
        return handler, context.run(function, *positional, **named), waits, context

    def _return(self, answer: Answer, handler: Handler, value: Any) -> None:
        """The handler has returned: reply with its value, or with why that cannot travel."""
        connection = self._connection
        references: Sequence[WireReference] = ()
        result, leaving = value, handler.spec.leaving
        try:
            if handler.spec.checks_result or not is_plain(value, connection.engine.bounds):
                if answer.state is not AnswerState.RUNNING:
                    connection.payloads.dispose(result)
                    value = None  # the caller has been answered already
                else:
                    value, references = connection.payloads.lower_result(value, handler.spec)
                    leaving.check(value)
            elif kind_of(value) is not leaving.exact and answer.state is AnswerState.RUNNING:
                leaving.check(value)
            connection.engine.reply(answer, value, references)
        except BaseException as raised:  # also what the user's own classes raise when they are taken apart
            ends = self._fail(answer, self._unfit(raised, handler))
            connection.payloads.dispose(result)
            if ends:
                raise
            return
        if references:
            runner: _Runner = answer.handler
            parent = None if answer.export is None else connection.payloads.granted.get(answer.export.id)
            if parent is None and type(runner.hosted) is Forwarder:
                parent = runner.hosted.parent
            connection.results_queued(references, runner.hosted, parent)
        self._end(answer, None)

    def _unfit(self, error: BaseException, handler: Handler) -> BaseException:
        """What is said of a result that cannot travel: no argument of the caller's is at fault."""
        if not isinstance(error, InvalidArgument):
            return error
        object_in_it = isinstance(error, Unencodable) and bool(handler.spec.result_contracts)
        reason = error.reason or ("unregistered_cap_return" if object_in_it else "unencodable_result")
        details = self._connection.unexpected(f"result of {handler.spec.contract}.{handler.spec.name}", error).details
        text = f"the result cannot travel: {error}; {details['correlation']} finds it in the callee's log"
        return FailedPrecondition(text, reason=reason, details=details)

    def _fail(self, answer: Answer, raised: BaseException) -> bool:
        """The handler has raised: reply with what the caller may know (P-ERR-2). Whether it must be raised on."""
        connection = self._connection
        runner: _Runner = answer.handler
        ours = self.stopping or (runner.scope is not None and runner.scope.cancel_called)
        error = told_of(connection, _name(answer), raised)
        if error is None and answer.deadline is not None and connection.loop.now() >= answer.deadline:
            error = DeadlineExceeded("the deadline that came with the call has passed")
        error = error or CallCancelled("the handler was cancelled")
        with connection.contained:
            connection.engine.fail(answer, error)
        self._end(answer, error)
        return holds(raised, EXITS) or (ours and holds(raised, connection.loop.cancelled))

    def _end(self, answer: Answer, error: CapnetError | None) -> None:
        """The reply is on its way: let go of what ran."""
        connection = self._connection
        runner: _Runner = answer.handler
        answer.handler = runner.answer = None
        hosted, runner.hosted = runner.hosted, None
        assert hosted is not None
        if answer.deadline is not None and runner.scope is not None:
            runner.scope.deadline = inf
        if hosted.turns is not None:
            hosted.turns.leave(answer)
        hosted.call_ends(connection.close_hosted)
        if runner.started is not None:
            self._report_end(runner, answer, error)
        if connection.engine.happened:
            connection.driver.handle_events()

    def _report_end(self, runner: _Runner, answer: Answer, error: CapnetError | None) -> None:
        started, runner.started = runner.started, None
        if started is not None:
            connection = self._connection
            connection.reports.handler_finished(answer, error, connection.loop.now() - started)

    def _call_context(self, answer: Answer) -> CallContext:
        connection = self._connection
        left = None if answer.deadline is None else answer.deadline - connection.loop.now()
        return CallContext(
            connection.peer_name, connection.attestation, left, answer.id, answer.method, answer.context, connection
        )


def _waits_for_itself(turns: Turns, answer: Answer) -> bool:
    """Whether the call whose turn it is has led to this one, and waits for it."""
    # Every token has a space before it; the first of a chain that was cut has not, and may be a part of one.
    return answer.id > 0 and turns.token != "" and f" {turns.token} " in f"{answer.context.get(CHAIN, '')} "


def _waits_for_ever(answer: Answer) -> FailedPrecondition:
    return FailedPrecondition(
        f"{answer.interface} is ordered: calling {answer.method!r} from within one of its calls waits for itself",
        reason="reentrant_call",
        hint="call the implementation directly, or use notify() to have it run afterwards",
    )


def _note_above(turns: Turns | None, answer: Answer) -> None:
    """In the handler's context: the calls that it makes lead back to its own."""
    above = answer.context.get(CHAIN, "")
    if turns is not None:
        turns.token = f"{next(_serial)}-{_PROCESS}"
        above = f"{above} {turns.token}"
    calls_above.set(above[-MAX_CHAIN:])


def _checked(given: Any, waits: bool) -> Any:
    """What a handler has given: a stream, or a coroutine that awaits the task, future or what else can be awaited.

    Raises:
        TypeError: it is something else.
    """
    if not waits and hasattr(kind_of(given), "__aiter__"):
        return given
    if waits and hasattr(kind_of(given), "__await__"):
        return _await(given)
    if isinstance(given, Coroutine):
        given.close()
    expected = "an awaitable" if waits else "a stream"
    raise TypeError(f"it has returned `{kind_of(given).__qualname__}`, and {expected} is declared")


async def _await(given: Awaitable[Any]) -> Any:
    return await given


def _name(answer: Answer) -> str:
    return f"handler of {answer.interface}.{answer.method}"


def _used_up(scope: CancelScope) -> bool:
    """A function, because a checker takes a property that it has seen for one that stays."""
    return scope.cancel_called


class _Runner:
    """One task that runs handlers, one after the other."""

    __slots__ = ("answer", "hosted", "scope", "started", "waiter")

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.hosted: Hosted | None = None
        self.started: float | None = None
        self.scope: CancelScope | None = None
        self.waiter: Any = None


@coroutine
def _resume(context: Context, running: Coroutine[Any, Any, Any], paused: Any) -> Generator[Any, Any, Any]:
    """Go on with a coroutine that has paused, each of its steps in its own context."""
    while True:
        step: Callable[[Any], Any] = running.send
        try:
            argument = yield paused
        except BaseException as raised:
            step, argument = running.throw, raised
        try:
            paused = context.run(step, argument)
        except StopIteration as stop:
            return stop.value
        finally:
            argument = None  # an error that goes through here would keep this frame, and so itself
