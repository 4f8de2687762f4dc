"""`Loop`: what a connection needs of its event loop, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

__all__ = ["LEAVE_TIMEOUT", "Loop", "TimerHandle", "Waiter"]


class TimerHandle(Protocol):
    """A callback that has not run yet."""

    def cancel(self) -> object:
        """Do not run it."""


class Waiter(Protocol):
    """One task's wait for one thing: awaited by the task, woken once by somebody else."""

    def __await__(self) -> Any: ...


class Loop(Protocol):
    """The services."""

    idle: list[Any] | None
    """Runners with nothing to do, which all connections share (`capnet/dispatch/runner.py`); None once this is left."""
    cancelled: type[BaseException]
    """What a cancelled task sees."""

    def check(self) -> None:
        """Nothing, in the loop that this belongs to; costs one comparison, and stands where something begins.

        Raises:
            FailedPrecondition: `another_loop`, this is another thread, another event loop, or a forked process.
        """
        ...

    def now(self) -> float:
        """Seconds of the loop's clock, the one that anyio's deadlines use."""
        ...

    def call_soon(self, callback: Callable[[], object]) -> object:
        """Run a callback in the next turn of the loop. Only from the loop's own thread."""
        ...

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> None:
        """The same from any thread, and from a finaliser; after the loop's end it does nothing."""
        ...

    def call_at(self, when: float, callback: Callable[[], None]) -> TimerHandle:
        """Run a callback at a time of `now`'s clock."""
        ...

    def spawn(self, function: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        """Run a coroutine function in a task of its own; it must not raise."""
        ...

    @property
    def ending(self) -> bool:
        """Whether all tasks are being cancelled, as when the program ends; for who sees a cancellation not of ours."""
        ...

    def waiter(self) -> Waiter:
        """Something to wait for.

        Raises:
            FailedPrecondition: `another_loop`, see `check`.
        """
        ...

    def wake(self, waiter: Any) -> None:
        """Let the task that waits go on, in the next turn. A second time, or when it waits no more, it does nothing."""
        ...

    in_callback: bool
    """Set at the start of a callback of the loop that calls `run_woken` at its end; woken tasks wait for that."""

    def run_woken(self) -> None:
        """Let woken tasks go on now, where the loop can do that; no task may be running."""
        ...

    def time_left(self) -> float | None:
        """Seconds until the innermost deadline around the running task, None when there is none.

        Raises:
            FailedPrecondition: `another_loop`, see `check`.
        """
        ...


LEAVE_TIMEOUT: Final = 5.0
"""Seconds that the tasks which are left at the end have to end, once they are cancelled."""
