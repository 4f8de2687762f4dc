"""Runners: tasks that run handlers, one after the other, each in a context of its own.

All connections of a loop share those with nothing to do: one that is idle has no task.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar
from types import coroutine
from typing import Any, Final, Protocol

from anyio import CancelScope

from capnet.calls.metadata import going_along
from capnet.engine.answers import Answer
from capnet.loop import Loop
from capnet.registry import Hosted
from capnet.revocation.lineage import handling

from .operations import Operation

__all__ = ["Runner", "Work", "handled", "resume", "run"]

IDLE_RUNNERS: Final = 8
"""Runners of a loop that are kept for later when there is nothing to do; the others end."""

handled: Final[ContextVar[Answer | None]] = ContextVar("capnet.handled", default=None)
"""The call whose handler runs."""


class Work(Protocol):
    """The calls of one connection."""

    async def work(self, runner: Runner) -> None:
        """Take them until there is none, or the runner's scope is used up."""
        ...

    def crash(self, error: Exception) -> None:
        """A fault of capnet itself has ended a runner that was to see to them."""
        ...


class Runner:
    """One task that runs handlers, one after the other.

    Attributes:
        work: whose calls it takes, None while it has nothing to do.
        answer: the call whose handler runs.
        hosted: the implementation that it runs on.
        operation: what its answer is kept for, if the call has an id.
        started: when it began, while somebody observes.
        scope: around the handlers; there while the task runs.
        in_doubt: the scope may have been cancelled: then, and only then, `used_up` is worth a look.
        waiter: what it waits for when there is nothing to do.
    """

    __slots__ = ("answer", "hosted", "in_doubt", "operation", "scope", "started", "waiter", "work")

    def __init__(self, work: Work) -> None:
        self.work: Work | None = work
        self.answer: Answer | None = None
        self.hosted: Hosted | None = None
        self.operation: Operation | None = None
        self.started: float | None = None
        self.scope: CancelScope | None = None
        self.in_doubt = False
        self.waiter: Any = None

    def begin_scope(self) -> CancelScope:
        """A new scope, for when there is none or the one before is used up."""
        self.in_doubt = False
        self.scope = CancelScope()
        return self.scope

    def cancel(self) -> None:
        """Cancel the handler that runs."""
        if self.scope is not None:
            self.in_doubt = True
            self.scope.cancel()

    def expire_at(self, when: float) -> None:
        """Cancel it at that time; calls that it makes inherit what is left (P-CALL-5). `inf` is never."""
        if self.scope is not None:
            self.in_doubt = True
            self.scope.deadline = when

    @property
    def used_up(self) -> bool:
        """Whether nothing more can run in the scope."""
        return self.scope is not None and self.scope.cancel_called


async def run(loop: Loop, runner: Runner) -> None:
    """See to the calls of a connection, then of whichever takes this one out of `loop.idle`."""
    handling.set(None)  # whoever has woken us
    going_along.set(None)
    handled.set(None)
    try:
        while runner.work is not None:
            # The scope is used up when a handler is cancelled in it; otherwise it serves many calls.
            with runner.begin_scope():
                while runner.work is not None:
                    await runner.work.work(runner)
                    if runner.in_doubt and runner.used_up:
                        break
                    if loop.idle is None or len(loop.idle) >= IDLE_RUNNERS:
                        return
                    runner.work = None
                    runner.waiter = loop.waiter()
                    loop.idle.append(runner)
                    await runner.waiter
    except Exception as error:
        if runner.work is not None:
            runner.work.crash(error)
    finally:
        runner.scope = None
        if loop.idle and runner in loop.idle:
            loop.idle.remove(runner)


@coroutine
def resume(context: Context, running: Coroutine[Any, Any, Any], paused: Any) -> Generator[Any, Any, Any]:
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
