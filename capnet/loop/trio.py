"""trio: tasks in a nursery, waiting by rescheduling, and one task that sleeps until the next of all timers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import copy_context
from heapq import heapify, heappop, heappush
from math import inf
from os import getpid
from types import TracebackType
from typing import Any, cast

import trio

from capnet.errors import elsewhere

from .protocol import LEAVE_TIMEOUT

__all__ = ["TrioLoop", "TrioScope", "TrioTimer", "TrioWaiter", "spawn_detached"]


class TrioLoop:
    """The services on trio."""

    __slots__ = ("_context", "_nursery", "_process", "_timers", "_token", "idle", "in_callback")

    cancelled: type[BaseException] = trio.Cancelled

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._token = trio.lowlevel.current_trio_token()
        self._context = copy_context()
        self._timers: _Timers | None = None
        self._process = getpid()  # trio in a forked child takes itself for the one that runs
        self.in_callback = False
        self.idle: list[Any] | None = []

    def check(self) -> None:
        if not trio.lowlevel.in_trio_run() or trio.lowlevel.current_trio_token() is not self._token:
            raise elsewhere("connection")
        if getpid() != self._process:
            raise elsewhere("connection")

    def now(self) -> float:
        return trio.current_time()

    def call_soon(self, callback: Callable[[], object]) -> None:
        self._token.run_sync_soon(callback)

    def waiter(self) -> TrioWaiter:
        self.check()
        return TrioWaiter()

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> None:
        if getpid() != self._process:  # where a finaliser runs in a forked child: nobody frees a lock of trio's there
            return
        try:
            self._token.run_sync_soon(callback)
        except trio.RunFinishedError:
            return

    def call_at(self, when: float, callback: Callable[[], None]) -> TrioTimer:
        timers = self._timers
        if timers is None or timers.ended:
            timers = self._timers = _Timers()
            # In the context of the connection: during a call it must not keep that call's, and all that hangs on it.
            self._context.run(self._nursery.start_soon, timers.run)
        return timers.add(when, callback)

    def spawn(self, function: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        try:
            self._nursery.start_soon(function, *args)
        except RuntimeError:  # the nursery has ended, and with it everything the task was for
            return

    @property
    def ending(self) -> bool:
        return self._nursery.cancel_scope.cancel_called

    def wake(self, waiter: TrioWaiter) -> None:
        waiter.wake()

    def run_woken(self) -> None:
        """trio resumes tasks itself, and in an order of its own."""
        self.in_callback = False

    def time_left(self) -> float | None:
        self.check()
        deadline = trio.current_effective_deadline()
        return None if deadline == inf else deadline - trio.current_time()


class TrioScope:
    """The nursery around a `TrioLoop`.

    A nursery cannot be left before its last task has ended, and a handler of the user's may never end. So it is open in
    a task of its own, which outlives the block then. What a task lets out cancels the block, and comes out of it.
    """

    def __init__(self) -> None:
        self._block = trio.CancelScope()
        self._held = trio.CancelScope()
        self._opened = trio.Event()
        self._left = trio.Event()
        self._ended = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._loop: TrioLoop | None = None
        self._error: BaseException | None = None

    async def __aenter__(self) -> TrioLoop:
        trio.lowlevel.spawn_system_task(self._hold, name="capnet", context=copy_context())
        try:
            with trio.CancelScope(shield=True):
                await self._opened.wait()
        except BaseException:  # nobody will leave what has not been entered
            self._leave()
            raise
        assert self._nursery is not None
        self._block.__enter__()
        self._loop = TrioLoop(self._nursery)
        return self._loop

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()
        try:
            with trio.CancelScope(shield=True), trio.move_on_after(LEAVE_TIMEOUT):
                await self._ended.wait()
        finally:
            self._block.__exit__(None, None, None)
        if self._error is not None:
            raise self._error

    def _leave(self) -> None:
        if self._loop is not None:
            self._loop.idle = None
        self._left.set()
        self._held.cancel()

    async def _hold(self) -> None:
        try:
            with self._held:
                async with trio.open_nursery() as self._nursery:
                    self._opened.set()
                    await self._until_left(self._nursery)
        except trio.Cancelled:  # the program ends
            raise
        except BaseException as error:
            self._error = _alone(error)
            self._block.cancel()
        finally:
            self._ended.set()

    async def _until_left(self, nursery: trio.Nursery) -> None:
        """Keep the nursery open: also when a task has failed, what the block begins while it is left must begin."""
        try:
            await trio.sleep_forever()
        finally:
            if not self._left.is_set():
                nursery.cancel_scope.cancel()
                self._block.cancel()
                trio.lowlevel.spawn_system_task(self._leave_with_program)
                with trio.CancelScope(shield=True):
                    await self._left.wait()

    async def _leave_with_program(self) -> None:
        """A program that ends without leaving the block is not held up."""
        try:
            await self._left.wait()
        finally:
            self._left.set()


def spawn_detached(function: Callable[[], Awaitable[None]]) -> None:
    """See the package."""
    trio.lowlevel.spawn_system_task(function, name="capnet", context=copy_context())


def _alone(error: BaseException) -> BaseException:
    """What a nursery has made a group of, if it is one exception: an exit code is seen in no group."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    only, *others = group.exceptions
    return group if others else _alone(only)


class TrioTimer:
    """One callback at one time."""

    __slots__ = ("_timers", "callback")

    def __init__(self, timers: _Timers, callback: Callable[[], None]) -> None:
        self._timers = timers
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Do not call back."""
        if self.callback is not None:
            self.callback = None
            self._timers.one_less()


class _Timers:
    """The timers of one loop; its task sleeps until the first of them, and ends when it finds none.

    One that is cancelled stays where it is until its time, or until more than half of all are such.
    """

    __slots__ = ("_alarm", "_heap", "_live", "_serial", "ended")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, TrioTimer]] = []
        self._serial = 0
        self._live = 0
        self._alarm = trio.CancelScope()
        self.ended = False

    def add(self, when: float, callback: Callable[[], None]) -> TrioTimer:
        """One more."""
        timer = TrioTimer(self, callback)
        self._serial += 1
        self._live += 1
        heappush(self._heap, (when, self._serial, timer))
        self._alarm.deadline = min(self._alarm.deadline, when)
        return timer

    def one_less(self) -> None:
        """One was cancelled."""
        self._live -= 1
        if self._live * 2 < len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].callback is not None]
            heapify(self._heap)

    async def run(self) -> None:
        """Call back whose time has come, until there are none."""
        try:
            while self._heap:
                with trio.CancelScope(deadline=self._heap[0][0]) as self._alarm:
                    await trio.sleep_forever()
                now = trio.current_time()
                while self._heap and self._heap[0][0] <= now:
                    self._ring(heappop(self._heap)[2])
        finally:
            self.ended = True

    def _ring(self, timer: TrioTimer) -> None:
        callback, timer.callback = timer.callback, None
        if callback is not None:
            self._live -= 1
            callback()


class TrioWaiter:
    """One task's wait; a wake that comes before it is remembered."""

    __slots__ = ("_task", "_woken")

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None
        self._woken = False

    def wake(self) -> None:
        """Let the task go on."""
        if not self._woken:
            self._woken = True
            if self._task is not None:
                trio.lowlevel.reschedule(self._task)
                self._task = None

    def __await__(self) -> Generator[Any, Any, None]:
        if self._woken:
            yield from trio.lowlevel.checkpoint().__await__()  # noqa: ASYNC105 - awaited by hand
            return
        self._task = trio.lowlevel.current_task()
        yield from trio.lowlevel.wait_task_rescheduled(self._abort).__await__()  # noqa: ASYNC105 - awaited by hand

    def _abort(self, _: Any) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
