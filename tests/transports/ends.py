"""What tests of single transports share: one that is started, run and ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from capnet.testing.transports import Recorder
from capnet.transport import Transport


@asynccontextmanager
async def started(transport: Transport) -> AsyncGenerator[Recorder]:
    """A transport and what it brings, for the length of a block; aborted after it."""
    recorder = Recorder()
    transport.start(recorder)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pump, transport)
        try:
            yield recorder
        finally:
            transport.abort()
        await recorder.until(lambda: recorder.ends, "abort ends it")
        assert not recorder.faults


async def pump(transport: Transport) -> None:
    """Run the transport's pump, if it has one."""
    if transport.pump is not None:
        await transport.pump()
