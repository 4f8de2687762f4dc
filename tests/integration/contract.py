"""What the host and the plugin of these tests agree on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from capnet import Cap, call

__all__ = ["Watcher", "Worker"]


class Watcher(Cap, name="tests.Watcher"):
    """The host's: serves the plugin something to call."""

    @call
    async def square(self, number: int) -> int: ...


class Worker(Cap, name="tests.Worker"):
    """The plugin's."""

    @call
    async def pid(self) -> int: ...

    @call
    async def sum_of_squares(self, count: int) -> int:
        """Asks the host's `Watcher` for each square."""
        ...

    @call
    async def hang(self, started: Callable[[int], Awaitable[None]]) -> None:
        """Tell the process id, then never return."""
        ...

    @call
    async def shout(self, count: int) -> None:
        """Write that many lines of garbage to standard output."""
        ...

    @call
    async def exit(self, code: int) -> None:
        """End the process without a word."""
        ...
