"""A task of a scope: a function that runs until the scope ends, and is waited for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from anyio import CancelScope, move_on_after
from anyio import Event as Signal

from capnet.observe.failure import name_of

__all__ = ["Task"]


class Task:
    """A function that runs until its scope ends."""

    __slots__ = ("_args", "_cancelled", "_function", "_running", "ended")

    def __init__(self, function: Callable[..., Awaitable[object]], args: tuple[Any, ...]) -> None:
        self._function = function
        self._args = args
        self._cancelled = False
        self._running: CancelScope | None = None
        self.ended = Signal()

    @property
    def name(self) -> str:
        """Of the function."""
        return name_of(self._function)

    def cancel(self) -> None:
        """Cancel it, also before it runs."""
        self._cancelled = True
        if self._running is not None:
            self._running.cancel()

    async def run(self) -> None:
        """Run it, unless it was cancelled before."""
        with CancelScope() as self._running:
            if self._cancelled:
                self._running.cancel()
            await self._function(*self._args)

    async def end(self, prefix: str, grace: float) -> None:
        """Cancel it, and wait until it has ended.

        Args:
            prefix: of its scope.
            grace: seconds.

        Raises:
            TimeoutError: it goes on.
        """
        self.cancel()
        with move_on_after(grace):
            await self.ended.wait()
            return
        raise TimeoutError(f"{self.name} of the scope {prefix!r} goes on {grace:g} seconds after its end")
