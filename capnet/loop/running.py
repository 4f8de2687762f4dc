"""Which loop runs: its services, and its tasks that no block waits for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

from .protocol import Loop

__all__ = ["open_loop", "spawn_detached"]


def open_loop() -> AbstractAsyncContextManager[Loop]:
    """The services of the running loop, for the length of a block.

    At its end the tasks left are cancelled, and waited for, but no longer than `LEAVE_TIMEOUT`.
    """
    if _in_trio():
        from .trio import TrioScope

        return TrioScope()
    from .asyncio import AsyncioLoop

    return AsyncioLoop()


def spawn_detached(function: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine function in a task that no block waits for; it is cancelled when the loop ends.

    It runs in a copy of the caller's context, and must not raise.
    """
    if _in_trio():
        from .trio import spawn_detached as spawn_in_trio

        return spawn_in_trio(function)
    from .asyncio import spawn_detached as spawn_in_asyncio

    return spawn_in_asyncio(function)


def _in_trio() -> bool:
    trio = sys.modules.get("trio")  # who runs under trio has imported it; nobody else has to have it
    return trio is not None and bool(trio.lowlevel.in_trio_run())
