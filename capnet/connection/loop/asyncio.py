"""asyncio: plain tasks and futures. A future is a waiter as it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from . import scope_time_left

__all__ = ["AsyncioLoop"]


class AsyncioLoop:
    """The services on asyncio and on loops that behave like it, such as uvloop."""

    __slots__ = ("_tasks", "call_at", "call_soon", "cancelled", "loop", "now", "waiter")

    def __init__(self, cancelled: type[BaseException]) -> None:
        self.loop = loop = asyncio.get_running_loop()
        self.cancelled = cancelled
        self.now = loop.time
        self.call_soon = loop.call_soon
        self.call_at = loop.call_at
        self.waiter = loop.create_future
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def open(cls, cancelled: type[BaseException]) -> AsyncIterator[AsyncioLoop]:
        """See `open_loop`."""
        loop = cls(cancelled)
        try:
            yield loop
        finally:
            await loop._end_tasks()

    def call_soon_threadsafe(self, callback: Callable[[], None]) -> None:
        try:
            self.loop.call_soon_threadsafe(callback)
        except RuntimeError:  # the loop is closed: there is nobody left to tell
            return

    def spawn(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        task = self.loop.create_task(_run(function, args))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def wake(self, waiter: asyncio.Future[None]) -> None:
        if not waiter.done():
            waiter.set_result(None)

    def time_left(self) -> float | None:
        return scope_time_left(self.loop.time())

    async def _end_tasks(self) -> None:
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)


async def _run(function: Callable[..., Awaitable[None]], args: tuple[Any, ...]) -> None:
    await function(*args)
