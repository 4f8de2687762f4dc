"""What a connection needs of its event loop, once for asyncio and once for trio, and nothing more.

Owns: the only code that knows which loop runs. Both classes have the same methods (`Loop`); the asyncio one is built
for speed and owns no task group, the trio one runs its tasks in a nursery. `open_loop` picks the one that is running.
Must not know: connections.

Open `protocol.py` first.
"""

from __future__ import annotations

import sys
from contextlib import AbstractAsyncContextManager

from .protocol import LEAVE_TIMEOUT, Loop, TimerHandle, Waiter

__all__ = ["LEAVE_TIMEOUT", "Loop", "TimerHandle", "Waiter", "open_loop"]


def open_loop() -> AbstractAsyncContextManager[Loop]:
    """The services of the running loop, for the length of a block.

    At its end the tasks left are cancelled, and waited for, but no longer than `LEAVE_TIMEOUT`.
    """
    trio = sys.modules.get("trio")  # who runs under trio has imported it; nobody else has to have it
    if trio is not None and trio.lowlevel.in_trio_run():
        from .trio import TrioScope

        return TrioScope()
    from .asyncio import AsyncioLoop

    return AsyncioLoop()
