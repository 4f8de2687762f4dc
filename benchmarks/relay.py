"""A line between client and server that takes time: what comes in leaves at the other end a fixed time later.

It does nothing else: bytes keep their order, and however many are under way at once, none waits for another. It holds
no bounds, so it is for benchmarks only. It needs a loop whose timers are finer than its latency, `new_event_loop`:
those of epoll and of uvloop count whole milliseconds, which would make 1 ms up to 2.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from selectors import SelectSelector
from typing import Any, cast

from benchmarks.address import dial, listen

__all__ = ["new_event_loop", "relaying", "run"]


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A loop whose timers count in microseconds; it can watch few files, which is enough here."""
    return asyncio.SelectorEventLoop(SelectSelector())


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a program on such a loop."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main())


@asynccontextmanager
async def relaying(path: str, target: str, latency: float) -> AsyncGenerator[str]:
    """Relay each connection to the address `target` inside the block, in `latency` seconds each way.

    Gives the address it listens on: a unix socket at `path`, or a TCP port where the target is one.
    """
    server, address = await listen(lambda: _Near(latency, target), path if target.startswith("unix:") else None)
    async with server:
        yield address


class _End(asyncio.Protocol):
    """One end of the line. It learns of the other before it reads."""

    def __init__(self, latency: float, other: _End | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._latency = latency
        self._other = other
        self._under_way: deque[bytes] = deque()
        """What came in, in order; empty bytes are the end of the stream."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, data: bytes) -> None:
        """Pass on what came in at the other end; empty bytes end the stream."""
        if data:
            self._transport.write(data)
        else:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        # Each timer delivers what is oldest, not what it was set for: two that fall due together cannot swap chunks.
        self._under_way.append(data)
        self._loop.call_later(self._latency, self._deliver)

    def connection_lost(self, exc: Exception | None) -> None:
        self.data_received(b"")

    def _deliver(self) -> None:
        data = self._under_way.popleft()
        if self._other:
            self._other.send(data)


class _Near(_End):
    """The client's end, which opens the server's."""

    def __init__(self, latency: float, target: str) -> None:
        super().__init__(latency)
        self._target = target

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._transport.pause_reading()
        self._opening = self._loop.create_task(self._open())

    async def _open(self) -> None:
        try:
            self._other = await dial(lambda: _End(self._latency, self), self._target)
        except OSError:
            self._transport.close()
        else:
            self._transport.resume_reading()
