"""A loop on a clock of its own: when nothing can run now, it is at once as late as the next timer says."""

from __future__ import annotations

import asyncio  # noqa: TID251 - this is a loop
from selectors import DefaultSelector, SelectorKey

__all__ = ["VirtualLoop"]


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop in which an hour of waiting takes no time.

    It begins at 1, since 0 is nothing. What other threads do is not waited for while there is a timer.
    """

    def __init__(self) -> None:
        self._clock = _JumpingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        """Seconds; 1 at the beginning."""
        return self._clock.now


class _JumpingSelector(DefaultSelector):  # pyright: ignore[reportUntypedBaseClass]
    """Instead of waiting it lets the time pass."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1.0

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """What is ready; if nothing is, the time has passed. Without any time to wait for it waits in earnest."""
        if timeout is None:
            return super().select(None)
        ready = super().select(0)
        if not ready and timeout > 0:
            self.now += timeout
        return ready
