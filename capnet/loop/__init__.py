"""What a connection needs of its event loop, once for asyncio and once for trio, and nothing more.

Owns: the only code that knows which loop runs. Both classes have the same methods (`Loop`); the asyncio one is built
for speed and owns no task group, the trio one runs its tasks in a nursery. `open_loop` picks the one that is running.
Must not know: connections.

Open `protocol.py` first, then `running.py`.
"""

from __future__ import annotations

from .protocol import LEAVE_TIMEOUT, Loop, TimerHandle, Waiter
from .running import open_loop, spawn_detached

__all__ = ["LEAVE_TIMEOUT", "Loop", "TimerHandle", "Waiter", "open_loop", "spawn_detached"]
