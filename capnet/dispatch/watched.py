"""Handlers in development mode: it is known which one runs, and told which took long."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from types import CoroutineType, coroutine
from typing import Any, Final

from capnet.contract import Handler
from capnet.engine.answers import Answer
from capnet.engine.exports import Export
from capnet.forwarding.forwarder import Forwarder
from capnet.policy.guard import Guard
from capnet.references.payload import Payloads
from capnet.registry import Hosted
from capnet.revocation.lineage import Lineage
from capnet.session.session import Session
from capnet.session.watchdog import Watchdog
from capnet.wire.references import kind_of

from .handlers import Handlers
from .operations import Operations

__all__ = ["SLOW", "WatchedHandlers"]

SLOW: Final = 1.0
"""Seconds that a handler may take until that is told."""


class WatchedHandlers(Handlers):
    """As `Handlers`; the others do not pay for it.

    Args:
        watchdog: of the thread that they run in.
    """

    __slots__ = ("_watchdog",)

    def __init__(
        self,
        session: Session,
        payloads: Payloads,
        lineage: Lineage,
        guard: Guard | None,
        operations: Operations | None,
        watchdog: Watchdog,
    ) -> None:
        super().__init__(session, payloads, lineage, guard, operations)
        self._watchdog = watchdog

    def start(self, hosted: Hosted, export: Export, answer: Answer) -> tuple[Handler, Any, bool, Context]:
        """See `Handlers`."""
        handler, running, waits, context = super().start(hosted, export, answer)
        if kind_of(running) is CoroutineType and type(hosted) is not Forwarder:  # a call passed on is slow elsewhere
            running = self._watched(f"{answer.interface}.{answer.method}", running)
        return handler, running, waits, context

    async def _watched(self, name: str, running: Coroutine[Any, Any, Any]) -> Any:
        session = self._session
        began = session.loop.now()
        try:
            return await self._steps(name, running)
        finally:
            seconds = session.loop.now() - began
            if seconds >= SLOW:
                session.publisher.tell("warning", "slow handler", handler=name, seconds=round(seconds, 1))

    @coroutine
    def _steps(self, name: str, running: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Run it, and have the watchdog know of each of its steps."""
        step: Callable[[Any], Any] = running.send
        argument: Any = None
        watchdog = self._watchdog
        while True:
            around, watchdog.handler = watchdog.handler, name
            try:
                paused = step(argument)
            except StopIteration as stop:
                return stop.value
            finally:
                watchdog.handler = around
                argument = None
            step = running.send
            try:
                argument = yield paused
            except BaseException as raised:
                step, argument = running.throw, raised
