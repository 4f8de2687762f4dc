"""The jail: a host in a process of its own, with little memory and time, that is measured while it is attacked.

`jailed()` starts `cell.py` as a program. It serves what a function of `bait.py` makes, on a unix socket, and tells on
request what has become of it. The attacker is the test, on the other side of the socket, so nothing that it does
is measured. At the end of the block an honest client, there from the beginning, must still be served, and the bars of
the issue must have been held: 96 MiB of memory, and 50 ms of loop.

Time is the processor's: a step of the loop is what runs between two looks at its sockets and timers, such as one chunk
of a peer's, and nobody else is served meanwhile. What is measured once above the bar is measured twice more, and the
median counts (`measured`).
"""

from __future__ import annotations

import functools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, ParamSpec

import anyio
import pytest

from capnet import Limits
from capnet.wire.frames import Op
from capnet.wire.hello import Hello
from tests.hostile.attack import Raw
from tests.hostile.cell import Figures

__all__ = [
    "GREEDY", "MIB", "MOST_LOOP", "MOST_MEMORY", "NOTHING", "Figures", "Jail", "TooSlow", "anyio_backend", "errors_of",
    "jailed", "measured", "replies",
]  # fmt: skip

MIB = 1024 * 1024
MOST_MEMORY = 96 * MIB
"""Bytes that a hostile peer may make a host grow by."""
MOST_LOOP = 0.05
"""Seconds of processor time that one step of the loop may take."""
GREEDY = Limits(max_caps=200_000, stream_items=2**31 - 1, stream_bytes=16 * MIB)
"""What a peer announces that wants much."""
NOTHING: dict[str, Any] = {}
"""The arguments of a call that has none."""
_ROOT = Path(__file__).parents[2]
_KILL_AFTER = 45.0
"""Seconds after which it is killed, whatever it does, unless a test says otherwise."""

P = ParamSpec("P")


class TooSlow(AssertionError):
    """A step of the loop took longer than it may."""

    def __init__(self, seconds: float, where: str) -> None:
        super().__init__(f"one step of the loop took {seconds * 1000:.1f} ms: {where}")
        self.seconds = seconds


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """The attacker's loop: one will do. The host's is an argument of `jailed`."""
    return "asyncio"


def measured(test: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
    """A test whose loop time is the median of three, if the first is above the bar."""

    @functools.wraps(test)
    async def three_times(*args: P.args, **kwargs: P.kwargs) -> None:
        slow: list[float] = []
        for _ in range(3):
            try:
                await test(*args, **kwargs)
            except TooSlow as error:
                slow.append(error.seconds)
                if len(slow) == 2:
                    raise TooSlow(statistics.median(slow), str(error)) from None
            else:
                if not slow:
                    return
        return

    return three_times


class Jail:
    """A host that runs, and the honest client that it has. Made by `jailed`."""

    def __init__(self, child: subprocess.Popen[str], path: str, errors: str) -> None:
        self.path = path
        self._child = child
        self._errors = errors
        self._sockets: list[socket.socket] = []
        self.honest = self.stranger()
        self._calls = 1

    def stranger(self) -> Raw:
        """A peer that is connected and has said nothing yet."""
        sock = socket.socket(socket.AF_UNIX)
        self._sockets.append(sock)
        sock.connect(self.path)
        sock.setblocking(False)
        return Raw(sock)

    async def attacker(self, name: str = "raw", limits: Limits | None = None) -> Raw:
        """A peer that has said hello."""
        raw = self.stranger()
        await raw.send(Hello(name, limits or Limits()).to_frame())
        assert (await raw.frame())[0] == Op.HELLO
        return raw

    async def holder(self, name: str = "raw", limits: Limits | None = None) -> tuple[Raw, int]:
        """A peer that has said hello, and the id under which it has the bait."""
        raw = await self.attacker(name, limits)
        await raw.send([Op.CALL, 1, 0, "bootstrap", {"name": "test.Bait"}])
        reply = await raw.reply()
        assert reply[0] == Op.RESULT, reply
        return raw, reply[2].id

    async def call(self, method: str, arguments: dict[str, Any]) -> Any:
        """The honest client makes a call on the bait; its result."""
        self._calls += 1
        with anyio.fail_after(10):
            await self.honest.send([Op.CALL, self._calls, self._bait, method, arguments])
            op, id, value = await self.honest.reply()
        assert (op, id) == (Op.RESULT, self._calls)
        return value

    async def open_log(self) -> None:
        """Have a first entry written, before it is measured: it imports what writes it, for some 55 ms of the loop."""
        self._calls += 1
        await self.honest.send([Op.CALL, self._calls, self._bait, "fail", {"how": "raise"}])
        assert (await self.honest.reply())[0] == Op.ERROR
        self.begin_anew()

    async def served(self) -> float:
        """The honest client is served; how many seconds that took."""
        since = time.monotonic()
        assert await self.call("add", {"a": self._calls}) == self._calls - 1 + 10
        return time.monotonic() - since

    def figures(self, *, check: bool = True) -> Figures:
        """What it knows now; the bars are checked."""
        figures = Figures(**self._ask("figures"))
        if check:
            assert figures.most <= MOST_MEMORY, f"{figures.most / MIB:.1f} MiB: {figures}"
            if figures.step > MOST_LOOP:
                raise TooSlow(figures.step, figures.where)
        return figures

    async def when(self, condition: Callable[[Figures], object], seconds: float = 10, *, check: bool = True) -> Figures:
        """Its figures when they are as they should be."""
        deadline = time.monotonic() + seconds
        while not condition(figures := self.figures(check=False)):
            assert time.monotonic() < deadline, figures
            await anyio.sleep(0.01)
        return self.figures()

    async def ended(self, raw: Raw, seconds: float = 10) -> Figures:
        """Its figures when a peer of that name is gone; what it has not read is read before, so that it may go."""
        with anyio.fail_after(seconds):
            await raw.closed()
        return await self.when(lambda figures: figures.connections == 1 and figures.ends, seconds)

    def begin_anew(self) -> None:
        """Measure from here."""
        self._ask("begin")

    def log(self) -> str:
        """What it has written to standard error."""
        return Path(self._errors).read_text()

    async def introduce(self) -> None:
        """The honest client says hello and gets the bait."""
        await self.honest.send(Hello("honest").to_frame(), [Op.CALL, 1, 0, "bootstrap", {"name": "test.Bait"}])
        self._bait = (await self.honest.reply())[2].id
        for _ in range(50):
            await self.served()
        self.begin_anew()

    def close(self) -> None:
        """Hang up."""
        for sock in self._sockets:
            sock.close()

    def _ask(self, what: str) -> Any:
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.write(what + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        assert line, f"the host has died: {self._child.wait()}\n{self.log()}"
        return json.loads(line)


@asynccontextmanager
async def jailed(
    make: str = "plain",
    *,
    limits: dict[str, Any] | None = None,
    host_limits: dict[str, Any] | None = None,
    loop: str = "asyncio",
    trace: bool = False,
    environment: dict[str, str] | None = None,
    kill_after: float = _KILL_AFTER,
) -> AsyncGenerator[Jail]:
    """A host in the jail.

    Args:
        make: function of `bait.py` that makes it.
        limits: fields of `Limits` that differ from the default.
        host_limits: the same of `HostLimits`.
        loop: `asyncio` or `trio`.
        trace: count the bytes of Python objects too; it is slow then.
        environment: variables that it has beside ours.
        kill_after: seconds after which it is killed.
    """
    order = json.dumps(
        {"make": make, "limits": limits or {}, "host_limits": host_limits or {}, "loop": loop, "trace": trace}
    )
    with _program(order, {**os.environ, **(environment or {})}, kill_after) as jail:
        await jail.introduce()
        yield jail
        await jail.served()
        jail.figures()


@contextmanager
def _program(order: str, environment: dict[str, str], kill_after: float) -> Generator[Jail]:
    """The program, ready, with a peer that is connected to it."""
    with tempfile.TemporaryDirectory(prefix="cap", dir="/tmp") as folder:
        path, errors = os.path.join(folder, "s"), os.path.join(folder, "errors")
        with (
            open(errors, "w", encoding="utf-8") as log,
            subprocess.Popen(
                [sys.executable, "-m", "tests.hostile.cell", path, order],
                cwd=_ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
            ) as child,
        ):
            watchdog = threading.Timer(kill_after, child.kill)
            watchdog.start()
            jail = None
            try:
                assert child.stdout is not None
                ready = child.stdout.readline()
                assert ready, Path(errors).read_text()
                jail = Jail(child, path, errors)
                yield jail
            finally:
                watchdog.cancel()
                if jail is not None:
                    jail.close()
                child.kill()


def errors_of(frames: Iterable[list[Any]]) -> Counter[tuple[str, str]]:
    """Code and reason of the errors among frames."""
    return Counter(
        (frame[2], str(frame[4].get("reason", "")) if len(frame) > 4 else "")
        for frame in frames
        if frame[0] == Op.ERROR
    )


async def replies(raw: Raw, number: int) -> Counter[tuple[int, str, str]]:
    """Op, code and reason of so many answers, in whatever order."""
    found: Counter[tuple[int, str, str]] = Counter()
    for _ in range(number):
        frame = await raw.reply()
        reason = str(frame[4].get("reason", "")) if frame[0] == Op.ERROR and len(frame) > 4 else ""
        found[frame[0], frame[2] if frame[0] == Op.ERROR else "", reason] += 1
    return found
