"""Runners: tasks that run handlers, one after the other, each in a context of its own."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar
from types import coroutine
from typing import Any, Final

from anyio import CancelScope

from capnet.engine.answers import Answer
from capnet.registry import Hosted

__all__ = ["Runner", "handled", "resume"]

handled: Final[ContextVar[Answer | None]] = ContextVar("capnet.handled", default=None)
"""The call whose handler runs."""


class Runner:
    """One task that runs handlers, one after the other.

    Attributes:
        answer: the call whose handler runs.
        hosted: the implementation that it runs on.
        started: when it began, while somebody observes.
        scope: around the handlers; there while the task runs.
        in_doubt: the scope may have been cancelled: then, and only then, `used_up` is worth a look.
        waiter: what it waits for when there is nothing to do.
    """

    __slots__ = ("answer", "hosted", "in_doubt", "scope", "started", "waiter")

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.hosted: Hosted | None = None
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
