"""Several callers of one plugin, before, while and after another process takes its place."""

from __future__ import annotations

from typing import Final

from anyio import Event as Signal
from anyio import create_task_group, sleep

from capnet import CapnetError, PluginHost, VersionMismatch
from capnet.cli.demo.examples import Hit, Index
from capnet.plugins import PluginSwap

__all__ = ["CALLERS", "Load"]

CALLERS: Final = 4
PAUSE: Final = 0.01
"""Seconds between two calls of one of them."""
ROUNDS: Final = 3
"""Answers of the new process that each of them waits for."""


class Load:
    """What comes of the calls, and of two swaps meanwhile.

    Args:
        plugins: the host.
        index: the plugin's slot.
        query: what they look for.

    Attributes:
        calls, failed: how many there were, and how many of them failed.
        refused: what was wrong with the first swap; empty when it went on all the same.
        report: how the second one went.
    """

    def __init__(self, plugins: PluginHost, index: Index, query: str) -> None:
        self.calls = self.failed = 0
        self.refused = ""
        self.report: PluginSwap | None = None
        self._plugins = plugins
        self._index = index
        self._query = query
        self._warm = 0
        self._all_warm = Signal()

    async def run(self) -> None:
        """All of it."""
        async with create_task_group() as tasks:
            for _ in range(CALLERS):
                tasks.start_soon(self._call)
            tasks.start_soon(self._swap)

    async def _call(self) -> None:
        await self._find()
        self._warm += 1
        if self._warm == CALLERS:
            self._all_warm.set()
        after = 0
        while after < ROUNDS and not self.failed:
            swapped = self.report is not None
            await self._find()
            await sleep(PAUSE)
            after += swapped

    async def _swap(self) -> None:
        await self._all_warm.wait()
        try:
            try:
                await self._plugins.swap("index", run="linter.py")
            except VersionMismatch as error:
                self.refused = error.message
            self.report = await self._plugins.swap("index", settings={"order": "count"}, probation=0.1)
        except BaseException:
            self.failed += 1  # so that the callers end
            raise

    async def _find(self) -> list[Hit]:
        self.calls += 1
        try:
            return await self._index.find(self._query)
        except CapnetError:
            self.failed += 1
            return []
