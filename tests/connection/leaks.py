"""What every test of live connections ends with: no task, file descriptor or unclosed resource is left (fault of tests
that pass and leak). Imported by the conftest of each folder that runs connections."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncGenerator
from contextlib import suppress

import anyio
import pytest
import trio
from anyio.lowlevel import checkpoint
from sniffio import current_async_library

from capnet import Limits
from tests.cost import HANGS

CANCELLED_TIMERS = 1100
"""More than trio keeps, and more than asyncio does beside a few that will ring."""


@pytest.fixture(autouse=True)
def no_ping_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stuck stays so: where a test sets no limits, no connection is brought to life by its ping of silence."""
    defaults = Limits.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "keepalive", 0.0)


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncGenerator[None]:
    """Fails when a test leaves tasks running or descriptors open; collecting brings out ResourceWarnings."""
    tasks, descriptors = running_tasks(), open_descriptors()
    yield
    gc.collect(1)
    with anyio.move_on_after(HANGS):
        while running_tasks() > tasks or open_descriptors() > descriptors:
            await checkpoint()
    assert running_tasks() <= tasks, "tasks are left running"
    assert open_descriptors() <= descriptors, "file descriptors are left open"


def running_tasks() -> int:
    """Tasks of the running loop that have not ended, whoever started them."""
    if current_async_library() == "trio":
        return trio.lowlevel.current_statistics().tasks_living
    return len(asyncio.all_tasks())


def open_descriptors() -> int:
    """How many sockets and pipes this process has open."""
    found: list[str] = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return sum(target.startswith(("socket:", "pipe:")) for target in found)


def forget_timers() -> None:
    """Loops keep timers that were cancelled, with what they refer to, until they are many: make them many."""
    if current_async_library() == "trio":
        for _ in range(CANCELLED_TIMERS):
            with trio.move_on_after(60):  # noqa: ASYNC100 - that it ends before its time is what it is for
                pass
    else:
        loop = asyncio.get_running_loop()
        for _ in range(CANCELLED_TIMERS):
            loop.call_later(60, int).cancel()
