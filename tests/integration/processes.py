"""What /proc knows of processes: which ones a test has caused, and whether any of them is left. Linux only."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio

from capnet import Limits
from tests.cost import HANGS
from tests.integration.programs import ROOT

__all__ = [
    "MARK",
    "PATIENT",
    "Program",
    "all_gone",
    "descriptors",
    "exited",
    "marked",
    "running",
    "stopped",
    "until",
    "zombies",
]

MARK = "CAPNET_MARK"
"""Variable that is handed down to all processes of a test, so that each can be found, whoever its parent is by now."""
PATIENT = Limits(handshake_timeout=600.0, keepalive=3600.0)
"""For connections to processes that take their time to start, and whose ends must be noticed by more than silence."""


async def until(condition: Callable[[], object], seconds: float = HANGS) -> None:
    """Wait for what comes of other processes, which run while this one sleeps; fails when it does not come in time."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 (nothing tells)
            await anyio.sleep(0.001)


def marked(mark: str) -> set[int]:
    """Processes that run and have that mark."""
    wanted = f"{MARK}={mark}".encode()
    found: set[int] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone meanwhile, or another user's
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
    return found


async def all_gone(mark: str, seconds: float) -> float:
    """Wait until no process has the mark; returns the seconds that took.

    Raises:
        AssertionError: with those that are left.
    """
    since = time.monotonic()
    while left := marked(mark):
        assert time.monotonic() - since < seconds, f"left after {seconds} s: {left}"
        await anyio.sleep(0.01)
    return time.monotonic() - since


def zombies() -> set[int]:
    """Children of this process that have ended and nobody has reaped."""
    return {pid for pid, (state, parent) in _states().items() if state == "Z" and parent == os.getpid()}


async def stopped(pid: int) -> None:
    """Wait until a process stands still after SIGSTOP."""
    await until(lambda: _states()[pid][0] == "T")


async def exited(pid: int, seconds: float) -> None:
    """Wait until a process has ended, whoever its parent is.

    Raises:
        TimeoutError: it has not, in so many seconds.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with anyio.fail_after(seconds):
            await anyio.wait_readable(handle)
    finally:
        os.close(handle)


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd")) - 1


class Program:
    """A process whose standard output is ours to read; whoever it starts may write there as well."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self.process = process
        self._output = process.stdout.fileno()
        self._read = b""

    async def line(self) -> str:
        """The next line; empty when nobody is left who could write."""
        while b"\n" not in self._read:
            await anyio.wait_readable(self._output)
            data = os.read(self._output, 65536)
            if not data:
                return ""
            self._read += data
        line, _, self._read = self._read.partition(b"\n")
        return line.decode()

    async def loaded(self) -> int:
        """Wait until a host is under load; returns the process of its plugin."""
        with anyio.fail_after(HANGS):
            word, pid = (await self.line()).split()
        assert word == "loaded"
        return int(pid)

    async def accounts(self) -> list[dict[str, Any]]:
        """What it, and its plugin, tell at their ends; when nobody is left who could tell more."""
        found: list[dict[str, Any]] = []
        with anyio.fail_after(HANGS):
            while line := await self.line():
                if line.startswith("{"):
                    found.append(json.loads(line))
        return found

    async def code(self) -> int:
        """How it exited; it is reaped."""
        await exited(self.process.pid, HANGS)
        return self.process.wait()


@asynccontextmanager
async def running(argv: Sequence[str], mark: str) -> AsyncGenerator[Program]:
    """Start a program in ROOT; it is killed at the end of the block, should it still run."""
    with subprocess.Popen(  # noqa: ASYNC220 (it starts at once)
        argv, cwd=ROOT, stdout=subprocess.PIPE, env=os.environ | {MARK: mark}
    ) as process:
        try:
            yield Program(process)
        finally:
            process.kill()


def _states() -> dict[int, tuple[str, int]]:
    """State and parent of every process."""
    found: dict[int, tuple[str, int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            _, _, rest = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")
            state, parent = rest.split()[:2]
            found[int(folder.name)] = (state, int(parent))
    return found
