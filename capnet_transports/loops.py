"""Which loop runs, and how to have a callback run in it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

__all__ = ["Schedule", "in_trio", "later", "running", "soon", "soon_from_thread"]

Schedule: TypeAlias = Callable[[Callable[[], object]], object]
"""Has a callback run in a loop, after those that were given to it before."""


def in_trio() -> bool:
    """Whether the caller runs under trio. Never imports it: who runs under trio has done so already."""
    trio = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_run())


def running() -> object:
    """What stands for the running loop: the same in every task and callback of it, and another in any other loop."""
    if in_trio():
        import trio

        return trio.lowlevel.current_trio_token()
    return asyncio.get_running_loop()


def soon() -> Schedule:
    """How the running loop's own thread has a callback run in its next turn."""
    if in_trio():
        import trio

        return trio.lowlevel.current_trio_token().run_sync_soon
    return asyncio.get_running_loop().call_soon


def soon_from_thread() -> Schedule:
    """How any thread has a callback run in the loop that runs now; once that has ended, callbacks are dropped."""
    if in_trio():
        import trio

        return _until(trio.RunFinishedError, trio.lowlevel.current_trio_token().run_sync_soon)
    return _until(RuntimeError, asyncio.get_running_loop().call_soon_threadsafe)


def later(seconds: float, callback: Callable[[], object]) -> Callable[[], object]:
    """Have a callback run in the running loop after so many seconds. Returns what prevents it."""
    if in_trio():
        import trio

        scope = trio.CancelScope()

        async def wait() -> None:
            with scope:
                await trio.sleep(seconds)
                callback()

        trio.lowlevel.spawn_system_task(wait)
        return scope.cancel
    return asyncio.get_running_loop().call_later(seconds, callback).cancel


def _until(ended: type[Exception], schedule: Schedule) -> Schedule:
    def attempt(callback: Callable[[], object]) -> None:
        with suppress(ended):  # nobody is left who could take it
            schedule(callback)

    return attempt
