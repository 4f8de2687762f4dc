"""asyncio: plain tasks, and waiters that can be woken without a turn of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from functools import partial
from time import monotonic
from types import NoneType
from typing import Any, Final, NoReturn, Self

from anyio import current_effective_deadline
from anyio._backends import _asyncio

from capnet.errors import elsewhere

from .protocol import LEAVE_TIMEOUT

__all__ = ["AsyncioLoop", "AsyncioWaiter", "spawn_detached"]

# What anyio's function of this name comes to on asyncio: it asks each time anew which library runs.
_deadline: Final[Callable[[], float]] = getattr(
    getattr(_asyncio, "AsyncIOBackend", None), "current_effective_deadline", current_effective_deadline
)
_running = asyncio._get_running_loop  # noqa: SLF001 - documented; `get_running_loop` raises where there is none


class AsyncioLoop:
    """The services on asyncio and on loops that behave like it, such as uvloop."""

    __slots__ = (
        "_context",
        "_ending",
        "_tasks",
        "_woken",
        "call_at",
        "call_soon",
        "idle",
        "in_callback",
        "loop",
        "now",
        "waiter",
    )

    cancelled: type[BaseException] = asyncio.CancelledError

    def __init__(self) -> None:
        self.loop = loop = asyncio.get_running_loop()
        # asyncio's own loop answers with this clock, by way of a function in Python; other loops may have another.
        self.now = loop.time
        if getattr(loop.time, "__func__", None) is asyncio.BaseEventLoop.time:
            self.now = monotonic
        # Callbacks run in the context in which the connection was opened: one that was made during a call must not keep
        # that call's context, and all that hangs on it, until it runs.
        context = copy_context()
        self.call_soon = partial(loop.call_soon, context=context)
        self.call_at = partial(loop.call_at, context=context)
        self.waiter = partial(AsyncioWaiter, loop)
        self._context = context
        self._tasks: set[asyncio.Task[None]] = set()
        self._woken: list[AsyncioWaiter] = []
        self.in_callback = False
        self.idle: list[Any] | None = []
        self._ending = False

    async def __aenter__(self) -> Self:
        return self

    def check(self) -> None:
        if _running() is not self.loop:
            raise elsewhere("connection")

    async def __aexit__(self, *exc_info: object) -> None:
        until, self.idle = self.now() + LEAVE_TIMEOUT, None
        while self._tasks and (left := until - self.now()) > 0:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=left)

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> None:
        try:
            self.loop.call_soon_threadsafe(callback)
        except RuntimeError:  # the loop is closed: there is nobody left to tell
            return

    def spawn(self, function: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        task = self.loop.create_task(function(*args))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard, context=self._context)

    @property
    def ending(self) -> bool:
        # The end of a loop cancels every task, and says so nowhere; one that is cancelled alone is somebody's matter.
        if not self._ending and all(task.cancelling() or task.done() for task in self._tasks):
            others = asyncio.all_tasks() - self._tasks
            self._ending = not others or any(task.cancelling() for task in others)
        return self._ending

    def wake(self, waiter: AsyncioWaiter) -> None:
        if not waiter.woken:
            waiter.woken = True
            if waiter.callback is not None:
                if not self._woken and not self.in_callback:
                    self.loop.call_soon(self.run_woken)
                self._woken.append(waiter)

    def run_woken(self) -> None:
        if self.in_callback and hasattr(self.loop, "_nest_patched"):
            # By nest_asyncio a task may run the loop inside of itself. A callback of the loop that runs cannot be
            # entered again, and this one reads a socket: it would be called for ever.
            self.in_callback = False
            self.loop.call_soon(self.run_woken)
            return
        try:
            while self._woken:
                woken, self._woken = self._woken, []
                for waiter in woken:  # `resume`, without another step
                    callback, waiter.callback = waiter.callback, None
                    if callback is not None:
                        waiter.context.run(callback, waiter)
        finally:
            self.in_callback = False

    def time_left(self) -> float | None:
        if _running() is not self.loop:
            raise elsewhere("connection")
        deadline = _deadline()
        return None if deadline == _NEVER else deadline - self.now()


_NEVER: Final = float("inf")


class AsyncioWaiter:
    """One task's wait, by the protocol that asyncio's tasks speak with what they await.

    A task that awaits a future is resumed by `call_soon`, one turn of the loop after the future is done. What a
    connection waits for is done inside a callback of the loop that has nothing else to do, so it resumes the task at
    once: that saves the turn, a third of the time of a sequential call.
    """

    __slots__ = ("_asyncio_future_blocking", "_loop", "callback", "context", "result", "woken")

    context: Context
    """In which the task goes on; there while it waits."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        if _running() is not loop:
            raise elsewhere("connection")
        self._loop = loop  # by this name a task finds it where there is no `get_loop`: it must be the task's
        self._asyncio_future_blocking = False
        self.callback: Callable[[Any], object] | None = None
        self.woken = False
        self.result: Callable[[], None] = NoneType
        """What the task calls when it goes on; most of the time that does nothing, and takes no step of Python."""

    def __await__(self) -> Any:
        # An iterator of one, which costs less than a generator. For what it ends with the task asks `result`.
        if self.woken:
            return iter(())
        self._asyncio_future_blocking = True
        return iter((self,))

    def resume(self) -> None:
        """Run the task that waits until it waits again."""
        callback, self.callback = self.callback, None
        if callback is not None:
            self.context.run(callback, self)

    # What a task calls, and who looks at the tasks of a loop

    def done(self) -> bool:
        """Whether the task may go on."""
        return self.woken

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context) -> None:
        """The task says how it is resumed."""
        if self.woken:
            self._loop.call_soon(callback, self, context=context)
        else:
            self.callback, self.context = callback, context

    def cancel(self, msg: Any = None) -> bool:
        """The task is cancelled while it waits."""
        if self.woken:
            return False
        self.woken = True
        self.result = partial(_cancelled, msg)
        self._loop.call_soon(self.resume)
        return True


def _cancelled(message: object) -> NoReturn:
    # By this message a cancel scope knows its own cancellation.
    raise asyncio.CancelledError(message)


_detached: set[asyncio.Task[None]] = set()
"""Nobody else may have a reference to them."""


def spawn_detached(function: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """See the package."""
    task = asyncio.get_running_loop().create_task(function())
    _detached.add(task)
    task.add_done_callback(_detached.discard)
