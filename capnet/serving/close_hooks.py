"""Close hooks: what an implementation does when nobody uses it any more, each in a task of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from anyio import CancelScope, move_on_after
from anyio import Event as Signal

from capnet.loop import Loop

__all__ = ["HOOKS_TIMEOUT", "CloseHooks"]

HOOKS_PER_TURN: Final = 2000
"""Close hooks that are started until others have their turn; of very many that are due a part, so that none pile up."""
HOOKS_TIMEOUT = 5.0
"""Seconds that close hooks have to end when their owner closes; then they are cancelled."""


class CloseHooks:
    """The close hooks that run now, of one owner and of the connections it has."""

    __slots__ = ("_due", "_idle", "_left", "_running")

    def __init__(self) -> None:
        self._running = 0
        self._idle: Signal | None = None
        self._left = HOOKS_PER_TURN
        self._due: deque[Callable[[], None]] | None = None

    def start(self, loop: Loop, start: Callable[[], None]) -> None:
        """Start one now; of very many that are due at once the rest when others have had their turn."""
        self.begin()
        if self._left == HOOKS_PER_TURN:
            loop.call_soon(partial(self._next_turn, loop))
        if self._left:
            self._left -= 1
            start()
        else:
            self._due = deque() if self._due is None else self._due
            self._due.append(start)

    def _next_turn(self, loop: Loop) -> None:
        self._left = HOOKS_PER_TURN
        if self._due is not None:
            for _ in range(max(len(self._due) // 4, min(len(self._due), HOOKS_PER_TURN))):
                self._due.popleft()()
            self._left = 0
            loop.call_soon(partial(self._next_turn, loop))
            if not self._due:
                self._due = None

    def begin(self) -> None:
        """One more is due."""
        self._running += 1

    def end(self) -> None:
        """One has ended."""
        self._running -= 1
        if not self._running and self._idle is not None:
            self._idle.set()
            self._idle = None

    async def ended(self) -> None:
        """Wait until none is left, within `HOOKS_TIMEOUT` and also when we are cancelled: a hook frees what is dear."""
        if not self._running:
            return
        with CancelScope(shield=True), move_on_after(HOOKS_TIMEOUT):
            while self._running:
                self._idle = self._idle or Signal()  # several may wait
                await self._idle.wait()
