"""The life of a toolbox: from its first use to its end its sources are open, in a task of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from anyio import CancelScope, create_task_group
from anyio import Event as Signal
from anyio.abc import TaskGroup

from capnet.errors import CapnetError, Unavailable
from capnet.loop import open_loop, spawn_detached
from capnet.observe import Bus
from capnet.observe.log import Log

from .source import Source

__all__ = ["Life"]

_log: Final = Log()


class Life:
    """Opens sources, and closes them when it ends.

    Args:
        bus: gets the loop.
        changed: is called when there may be other tools.

    Attributes:
        failure: why it has ended by itself.
    """

    def __init__(self, sources: Sequence[Source], bus: Bus, changed: Callable[[], None]) -> None:
        self.failure: CapnetError | None = None
        self._sources = sources
        self._bus = bus
        self._changed = changed
        self._tasks: TaskGroup | None = None
        self._ready, self._closing, self._ended = Signal(), Signal(), Signal()
        spawn_detached(self._live)

    async def tasks(self) -> TaskGroup:
        """Where tasks can be started, once all is open.

        Raises:
            Unavailable: it has ended. What a source cannot be opened for.
        """
        await self._ready.wait()
        if self.failure is not None:
            raise self.failure
        if self._tasks is None:
            raise Unavailable("the toolbox is closed")
        return self._tasks

    async def end(self) -> None:
        """Close what is open; returns when that is done."""
        self._closing.set()
        await self._ended.wait()

    async def _live(self) -> None:
        try:
            async with open_loop() as loop:
                self._bus.attach(loop)
                try:
                    async with create_task_group() as tasks:
                        await self._work(tasks)
                finally:
                    self._bus.attach(None)
        except Exception as error:
            self._fail(error)
        finally:
            self._tasks = None
            self._ready.set()
            self._ended.set()

    async def _work(self, tasks: TaskGroup) -> None:
        opened: list[Source] = []
        try:
            for source in self._sources:
                opened.append(source)
                await source.open(tasks, self._changed)
            self._tasks = tasks
            self._ready.set()
            await self._closing.wait()
        except CapnetError as error:
            self._fail(error)
        finally:
            self._tasks = None
            tasks.cancel_scope.cancel()
            with CancelScope(shield=True):
                for source in reversed(opened):
                    await source.close()

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, CapnetError):
            _log.unexpected("a toolbox", "", error)
            error = Unavailable("the toolbox could not be opened")
        self.failure = self.failure or error
