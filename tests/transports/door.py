"""What tests of listeners share: somebody who waits at the door."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from capnet.transport import Listener, Transport


class Door:
    """Takes what a listener accepts, for a test to await."""

    def __init__(self) -> None:
        self.arrived: deque[Transport] = deque()
        self._news = anyio.Event()

    def accept(self, transport: Transport) -> None:
        self.arrived.append(transport)
        self._news.set()

    async def next(self) -> Transport:
        """The transport that came first and was not taken yet."""
        await self.until(1)
        return self.arrived.popleft()

    async def until(self, count: int) -> None:
        """Wait until `count` transports are there."""
        with anyio.fail_after(60):
            while len(self.arrived) < count:
                self._news = anyio.Event()
                await self._news.wait()

    @asynccontextmanager
    async def open(self, listener: Listener) -> AsyncGenerator[str]:
        """Serve `listener` for the length of a block that gets its URL; what nobody took is aborted."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve)
            try:
                yield listener.url
            finally:
                await listener.aclose()
                for transport in self.arrived:
                    transport.abort()
