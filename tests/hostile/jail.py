"""The jail: a host in a process of its own, with little memory and time, that is measured while it is attacked.

`jailed()` starts `cell.py` as a program. It serves what a function of `bait.py` makes, on a unix socket, and tells on
request what has become of it. The attacker is the test, on the other side of the socket, so nothing that it does
is measured. At the end of the block an honest client, there from the beginning, must still be served, and the host must
have kept within bounds that are the same on every machine: 96 MiB of Python objects, and `TO_SPARE` times 50 ms for a
step of its loop, in the time of the reference machine (`benchmarks/reference.py`).

With CAPNET_BARS=1, as in `make soak`, the bars themselves are held, and said: 96 MiB of memory that the process
occupies, 50 ms for a step.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from statistics import median
from typing import Any, Literal, ParamSpec

import anyio
import pytest

from capnet import Limits
from capnet.wire.frames import Op
from capnet.wire.hello import Hello
from tests.cost import BARS, HANGS, TO_SPARE
from tests.hostile.attack import Raw
from tests.hostile.cell import BAR, Figures

__all__ = [
    "GREEDY", "MIB", "MOST_LOOP", "MOST_MEMORY", "NOTHING", "Figures", "Jail", "TooSlow", "Watch",
    "anyio_backend", "errors_of", "fewer", "jailed", "measured", "prompt", "replies", "watching",
]  # fmt: skip

MIB = 1024 * 1024
MOST_MEMORY = 96 * MIB
"""Bytes that a hostile peer may make a host grow by."""
MOST_LOOP = BAR * (1 if BARS else TO_SPARE)
"""Seconds of the reference machine's processor that one step of the loop may take."""
PROMPT = 0.1
"""Seconds in which an honest call is answered while a peer misbehaves, in the median."""
PATIENT: dict[str, Any] = {"strike_window": 3600.0, "keepalive": 3600.0, "handshake_timeout": 600.0}
"""Limits of time that would let a slow host pass, or end the connections of a slow test."""
GREEDY = Limits(max_caps=200_000, stream_items=2**31 - 1, stream_bytes=16 * MIB)
"""What a peer announces that wants much."""
NOTHING: dict[str, Any] = {}
"""The arguments of a call that has none."""
_ROOT = Path(__file__).parents[2]
_KILL_AFTER = 120.0
"""Seconds after which it is killed, whatever it does, unless a test says otherwise."""

Watch = Literal["memory", "steps", "both"]
_watch: ContextVar[Watch] = ContextVar("watch", default="both")

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


@contextmanager
def watching(what: Watch) -> Generator[None]:
    """What hosts that are started in the block are held to. Counting objects makes the steps that make many slow."""
    token = _watch.set(what)
    try:
        yield
    finally:
        _watch.reset(token)


def measured(test: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
    """A test with large steps, or steps that make many objects: memory and steps are looked at one after the other.

    Where the bars are held, the best of three counts.
    """

    @functools.wraps(test)
    async def twice(*args: P.args, **kwargs: P.kwargs) -> None:
        for what in ("memory", "steps"):
            with watching(what):
                await test(*args, **kwargs)

    @functools.wraps(test)
    async def at_best(*args: P.args, **kwargs: P.kwargs) -> None:
        for last in (False, False, True):
            try:
                await test(*args, **kwargs)
            except TooSlow:
                if last:
                    raise
            else:
                return

    return at_best if BARS else twice


def fewer(count: int) -> int:
    """How often to do what a test does very often: all of it where the bars are held, otherwise a tenth."""
    return count if BARS else count // 10


def prompt(latencies: Sequence[float]) -> None:
    """Honest calls have been served while something else went on; where the bars are held, soon.

    Args:
        latencies: seconds that each took.
    """
    assert latencies, "nobody was served"
    if BARS:
        assert median(latencies) < PROMPT, latencies


class Jail:
    """A host that runs, and the honest client that it has. Made by `jailed`."""

    def __init__(self, child: subprocess.Popen[str], path: str, errors: str, watch: Watch) -> None:
        self.path = path
        self._watch = watch
        self.most_memory = MOST_MEMORY
        """Bytes that the host may grow by."""
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

    def foreigner(self) -> socket.socket:
        """A client of the gateway."""
        sock = socket.socket(socket.AF_UNIX)
        self._sockets.append(sock)
        sock.connect(f"{self.path}.gateway")
        sock.setblocking(False)
        return sock

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
        with anyio.fail_after(HANGS):
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
        """What it knows now, without what nobody watches; it is held to the bounds."""
        figures = Figures(**self._ask("figures"))
        if self._watch == "memory":
            figures.step = 0.0
        elif self._watch == "steps":
            figures.most = 0
        if check:
            assert figures.most <= self.most_memory, f"{figures.most / MIB:.1f} MiB: {figures}"
            if figures.step > MOST_LOOP:
                raise TooSlow(figures.step, figures.where)
        return figures

    async def when(self, condition: Callable[[Figures], object]) -> Figures:
        """Its figures when they are as they should be."""
        deadline = time.monotonic() + HANGS
        while not condition(figures := self.figures(check=False)):
            assert time.monotonic() < deadline, figures
            await anyio.sleep(0.01)
        return self.figures()

    async def ended(self, raw: Raw) -> Figures:
        """Its figures when a peer of that name is gone; what it has not read is read before, so that it may go."""
        with anyio.fail_after(HANGS):
            await raw.closed()
        return await self.when(lambda figures: figures.connections == 1 and figures.ends)

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
    gateway: str = "",
    limits: dict[str, Any] | None = None,
    host_limits: dict[str, Any] | None = None,
    loop: str = "asyncio",
    environment: dict[str, str] | None = None,
    kill_after: float = _KILL_AFTER,
) -> AsyncGenerator[Jail]:
    """A host in the jail.

    Args:
        make: function of `bait.py` that makes it.
        gateway: `jsonrpc`, `acp` or `capnweb`, which it has beside.
        limits: fields of `Limits` that differ from the default, or from `PATIENT`.
        host_limits: the same of `HostLimits`.
        loop: `asyncio` or `trio`.
        environment: variables that it has beside ours.
        kill_after: seconds after which it is killed.
    """
    watch = _watch.get()
    order = {
        "make": make,
        "gateway": gateway,
        "limits": PATIENT | (limits or {}),
        "host_limits": host_limits or {},
        "loop": loop,
        "trace": watch != "steps" and not BARS,
    }
    with _program(order, {**os.environ, **(environment or {})}, kill_after, watch) as jail:
        await jail.introduce()
        yield jail
        await jail.served()
        figures = jail.figures()
        if BARS:
            test = os.environ.get("PYTEST_CURRENT_TEST", "").split(" ")[0]
            print(f"\n{test}: {figures.most / MIB:.1f} MiB, a step of {figures.step * 1000:.1f} ms")  # noqa: T201


@contextmanager
def _program(order: dict[str, Any], environment: dict[str, str], kill_after: float, watch: Watch) -> Generator[Jail]:
    """The program, ready, with a peer that is connected to it."""
    with tempfile.TemporaryDirectory(prefix="cap", dir="/tmp") as folder:
        path, errors = os.path.join(folder, "s"), os.path.join(folder, "errors")
        with (
            open(errors, "w", encoding="utf-8") as log,
            subprocess.Popen(
                [sys.executable, "-m", "tests.hostile.cell", path, json.dumps(order)],
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
                jail = Jail(child, path, errors, watch)
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
