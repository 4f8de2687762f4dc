"""Dispatch: calls of the peer become running handlers, in the order they arrived (P-CALL-2).

Calls wait in one inbox and runner tasks take them out, oldest first. A runner that finishes a handler without a pause
takes the next call itself; when a handler waits for something, another runner is woken for the calls behind it. So
calls start in the order they came by construction, on every loop, and a task is made only when a handler really waits.
Each handler sees a real task and a context of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from functools import partial
from types import CoroutineType
from typing import Any, Final, Protocol

from anyio.lowlevel import checkpoint

from capnet.contract import Handler
from capnet.engine.answers import Answer, AnswerState
from capnet.engine.events import CallArrived
from capnet.engine.exports import Export
from capnet.errors import CallCancelled, DeadlineExceeded, FailedPrecondition, InvalidArgument, Unimplemented
from capnet.forwarding.forwarder import Forwarders
from capnet.policy.guard import Guard
from capnet.registry import Hosted, Turns
from capnet.session.driver import FLUSH_CHUNKS
from capnet.session.session import Session
from capnet.wire.frames import CHAIN, HOPS
from capnet.wire.references import kind_of

from .handlers import Handlers, checked, name_of
from .runner import Runner, handled, resume, run

__all__ = ["Dispatcher"]

LONGEST_TURN: Final = 0.005
"""Seconds in which handlers are begun one after the other until others have their turn."""


class _Target(Protocol):
    """What has a dispatcher."""

    dispatcher: Dispatcher


class Dispatcher:
    """The inbox of one connection and its runners.

    Args:
        handlers: runs what is taken out.
        forwarders: know what a call is made on that goes on to another peer.
        guard: asks the policy about each call, if the policy wants that.
    """

    __slots__ = (
        "_forwarders",
        "_guard",
        "_handlers",
        "_held",
        "_in_line",
        "_inbox",
        "_runners",
        "_session",
        "_waking",
    )

    def __init__(self, session: Session, handlers: Handlers, forwarders: Forwarders, guard: Guard | None) -> None:
        self._session = session
        self._handlers = handlers
        self._forwarders = forwarders
        self._guard = guard
        self._held = False
        self._inbox: list[tuple[Answer, Hosted]] = []  # short, and a deque takes 760 bytes without any in it
        self._in_line: dict[Answer, tuple[Turns, Hosted]] = {}
        """Calls that wait for their turn on an ordered object, or behind one that is guarded, until they begin."""
        self._runners: set[Runner] = set()
        """Those that take calls of this connection now."""
        self._waking = False

    @staticmethod
    def arrived(target: _Target, event: CallArrived) -> None:
        """A call is to be handled; it starts after those that came before it. What it is made on stays open for it."""
        self, answer = target.dispatcher, event.answer
        export = answer.export
        if export is None:
            export = answer.export = self._forwarders.onward(answer)
        hosted: Hosted = export.subject
        if type(hosted) is Hosted:
            hosted.holders += 1  # `hold`, without another step
        else:
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
        runner: Runner | None = answer.handler
        if runner is not None:
            self._stop(runner)

    def hosted_of(self, answer: Answer) -> Hosted | None:
        """The implementation that runs for an answer, None when its handler has not started."""
        runner: Runner | None = answer.handler
        return None if runner is None else runner.hosted

    def stop(self) -> None:
        """Cancel every handler and end every runner; `stopped` follows. Calls that have not started never will."""
        self._handlers.stopping = True
        while self._inbox:
            answer, arrived_for = self._inbox.pop(0)
            if answer not in self._in_line:
                arrived_for.release(self._session.close_hosted)
        in_line, self._in_line = self._in_line, {}
        for answer, (turns, arrived_for) in in_line.items():
            arrived_for.release(self._session.close_hosted)
            turns.leave(answer)
        for runner in tuple(self._runners):
            self._stop(runner)

    def _stop(self, runner: Runner) -> None:
        """Cancel what it runs; but a call with an id goes on when its line is lost."""
        operation = runner.operation
        if operation is None or not self._session.engine.lifecycle.closed or not operation.run_on(runner.cancel):
            runner.cancel()
        else:
            self._runners.discard(runner)

    def leave_behind(self) -> list[str]:
        """Wait no longer for runners whose handlers do not end; gives what these are."""
        runners, self._runners = self._runners, set()
        left: list[str] = []
        for runner in runners:
            if runner.answer is not None:
                self._handlers.report_end(runner, runner.answer, CallCancelled("the handler was left behind"))
                left.append(name_of(runner.answer))
        return left

    def crash(self, error: Exception) -> None:
        """See `Session.crash`."""
        self._session.crash(error)

    @property
    def running_here(self) -> Runner | None:
        """The runner of the handler that asks, also from a task that it has started and while it has not returned."""
        answer = handled.get()
        runner: Runner | None = None if answer is None else answer.handler
        return runner if runner in self._runners else None

    @property
    def stopped(self) -> bool:
        """Whether no runner is left."""
        return not self._runners

    def _wake_one(self) -> None:
        """Have one runner look at the inbox. One at a time: so the oldest call starts first whatever the loop does."""
        if self._handlers.stopping or self._held:
            return
        self._waking = True
        loop = self._session.loop
        if loop.idle:
            runner: Runner = loop.idle.pop()
            runner.work = self
            loop.wake(runner.waiter)
        else:
            loop.spawn(run, loop, Runner(self))

    async def work(self, runner: Runner) -> None:
        """Take calls until there is none, or the runner's scope is used up."""
        inbox = self._inbox
        driver, now = self._session.driver, self._session.loop.now
        self._runners.add(runner)
        self._waking = False
        began, first = driver.began if driver.receiving else now(), True
        try:
            while inbox and not (runner.in_doubt and runner.used_up):
                if not first and now() > began + LONGEST_TURN:
                    driver.worked(began)
                    driver.flush_soon()
                    await checkpoint()  # others have their turn
                    began, first = now(), True
                    continue
                first = False
                rest = self._begin(*inbox.pop(0), runner)
                if len(driver.engine.outbox.chunks) >= FLUSH_CHUNKS:
                    driver.flush()
                if rest is not None:
                    if not driver.receiving:
                        driver.worked(began)
                        driver.flush_soon()  # replies of the handlers before it do not wait for this one
                    await rest
                    began, first = now(), True
            if not driver.receiving:
                driver.worked(began)
                if driver.engine.pending:
                    driver.flush()
        finally:
            self._runners.discard(runner)
            if inbox and not self._waking:
                self._wake_one()
            if self._handlers.stopping:
                self._session.part_ended()

    def _begin(self, answer: Answer, arrived_for: Hosted, runner: Runner) -> Coroutine[Any, Any, None] | None:
        """Run a call up to its end, or to where its handler waits; then the rest is to be awaited.

        Most handlers never wait, and for those nothing but their own coroutine is made.
        """
        session, handlers, guard = self._session, self._handlers, self._guard
        waited_for = self._in_line.pop(answer, None) if self._in_line else None
        if answer.deadline is not None and answer.deadline <= session.loop.now():
            error = DeadlineExceeded("the deadline that came with the call passed before it could start")
            session.engine.answering.end_answer(answer, error)
        if answer.state is not AnswerState.RUNNING:  # its caller was answered before it could start
            self._pass_over(answer, arrived_for, waited_for)
            return None
        export = answer.export
        assert export is not None
        hosted: Hosted = export.subject  # another one than it arrived for, when that was replaced meanwhile
        turns = hosted.turns
        guarded = guard is not None and guard.lines
        if (turns is not None or guarded) and self._must_wait(turns, export, answer, arrived_for):
            return None
        if hosted is arrived_for:
            hosted.running += 1  # what has held it open until now does so for the call
        else:
            hosted.call_begins()
            arrived_for.release(session.close_hosted)
        answer.handler = runner
        runner.answer, runner.hosted = answer, hosted
        if answer.deadline is not None:
            runner.expire_at(answer.deadline)
        runner.started = None
        if session.bus.observed:
            runner.started = session.loop.now()
            session.publisher.handler_started(answer)
        try:
            if turns is not None and turns.holder is not answer:
                session.engine.release_all(answer.references)
                raise _waits_for_ever(answer)
            handler, running, waits, context = handlers.start(hosted, export, answer)
            if kind_of(running) is not CoroutineType or not waits:
                running = checked(running, waits)
        except BaseException as raised:
            if guard is not None:
                guard.decided(answer)
            if handlers.failed(answer, raised):
                raise
            # Who passes calls on makes them for many, and has chosen neither method nor arguments.
            if isinstance(raised, (Unimplemented, InvalidArgument)) and HOPS not in answer.context:
                session.engine.refused()
                session.driver.handle_events()
            return None
        if not waits:
            handlers.returned(answer, handler, running)
            return None
        try:
            paused = context.run(running.send, None)
        except StopIteration as stop:
            value = stop.value  # and no more in here: what is raised over the result would be told with all of it
        except BaseException as raised:
            if handlers.failed(answer, raised):
                raise
            return None
        else:
            if self._inbox and not self._waking:
                self._wake_one()
            return self._finish(answer, handler, resume(context, running, paused))
        handlers.returned(answer, handler, value)
        return None

    def _pass_over(self, answer: Answer, arrived_for: Hosted, waited_for: tuple[Turns, Hosted] | None) -> None:
        """A call will not start: let go of what was held for it."""
        session = self._session
        if waited_for is not None:
            waited_for[0].leave(answer)
            if self._guard is not None:
                self._guard.decided(answer)
        session.engine.release_all(answer.references)
        session.engine.reply(answer, None)
        arrived_for.release(session.close_hosted)
        session.driver.handle_events()

    def _must_wait(self, turns: Turns | None, export: Export, answer: Answer, arrived_for: Hosted) -> bool:
        """Whether a call waits for its turn on an ordered object, or behind one that the guard thinks about."""
        line = None if self._guard is None else self._guard.line(export)
        if turns is not None and not turns.take(answer) and not _waits_for_itself(turns, answer):
            line = turns
        elif line is None or line.take(answer):
            return False
        self._in_line[answer] = line, arrived_for
        line.wait(answer, partial(self._turn_has_come, answer, arrived_for))
        return True

    def _turn_has_come(self, answer: Answer, arrived_for: Hosted) -> None:
        """A call that was in line may begin; its slot is taken already, so it goes before the others."""
        self._inbox.insert(0, (answer, arrived_for))
        if not self._waking:
            self._wake_one()

    async def _finish(self, answer: Answer, handler: Handler, rest: Awaitable[Any]) -> None:
        """The rest of a handler that waits."""
        try:
            value = await rest
        except BaseException as raised:
            if self._handlers.failed(answer, raised):
                raise
        else:
            self._handlers.returned(answer, handler, value)
        finally:
            driver = self._session.driver
            if not driver.receiving or len(driver.engine.outbox.chunks) >= FLUSH_CHUNKS:
                driver.flush_soon()


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
