"""Those who call, each on a link of its own, and what they were answered."""

from __future__ import annotations

from collections import Counter
from typing import Any

import anyio
from anyio.abc import TaskGroup
from capnet import link
from contracts import Greeter


class Callers:
    """They go on until their tasks are cancelled; a call that fails would end them all."""

    def __init__(self, tasks: TaskGroup, url: str, **user: Any) -> None:
        self._tasks = tasks
        self._url = url
        self._user = user
        self.answers: Counter[tuple[str, int]] = Counter()
        """How many calls each version of each host has answered."""
        self._news = anyio.Event()

    async def more_until(self, *wanted: tuple[str, int]) -> None:
        """Start more callers until all of these have answered some of them. NATS says which host a caller gets."""
        before = self.answers.copy()
        while not all(self.answers[one] > before[one] for one in wanted):
            self._tasks.start_soon(self._call)
            await anyio.sleep(0.1)

    async def go_on(self) -> None:
        """Wait until a thousand calls more were answered."""
        wanted = self.answers.total() + 1000
        while self.answers.total() < wanted:
            self._news = anyio.Event()
            await self._news.wait()

    async def _call(self) -> None:
        async with link(self._url, wait=30, **self._user) as fleet:
            greeter = await fleet.bootstrap(Greeter)
            while True:
                answer = await greeter.greet("anna")
                self.answers[answer.host, answer.version] += 1
                self._news.set()
