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
    """One task that runs handlers, one after the other."""

    __slots__ = ("answer", "hosted", "scope", "started", "waiter")

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.hosted: Hosted | None = None
        self.started: float | None = None
        self.scope: CancelScope | None = None
        self.waiter: Any = None


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
