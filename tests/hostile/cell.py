"""The program in the jail: a host with little memory and time, that measures itself while it is attacked.

It serves what a function of `bait.py` makes on a unix socket. Its standard input asks, a word a line: `begin` measures
anew, `figures` tells what has been measured; the answers are lines of JSON. Who starts it is `jail.py`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import signal
import sys
import time
import tracemalloc
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import anyio

from benchmarks.reference import factor
from capnet import HostLimits, Limits
from capnet.observe import ConnectionClosed, LimitHit, ViolationSeen
from tests.cost import BARS
from tests.hostile import bait as baits
from tests.hostile import foreign

__all__ = ["BAR", "Figures"]

_ADDRESSES: Final = 1024 * 1024 * 1024
"""Address space in bytes; how much of it may be occupied is for the test to judge."""
BAR: Final = 0.05
"""Seconds of the reference machine's processor that a step of the loop is to take at most."""
_PROCESSOR: Final = 600
"""Seconds of processor time after which the system ends it."""


@dataclass
class Figures:
    """What the host knows of itself, since it was last asked to begin anew.

    Attributes:
        most: bytes at most, more than when it was first asked to begin: of Python objects where these are counted, of
            memory that it occupies otherwise.
        step, where: seconds that the longest step of its loop would take on the reference machine, and what ran. A
            step is what runs between two looks at sockets and timers; its time is the processor's. Of a step that is
            short on any machine they are those that it took.
        steps: of its loop.
        processor: seconds of the processor in all.
        violations, ends: clause of each, and how each connection ended, by the peer's name, in their order.
        limits: how often each limit was hit.
        connections, descriptors, observer_failures: how many there are.
        tables: `Connection.stats` of each, by the peer's name.
        bait: the counters of `MemBait`.
    """

    most: int
    step: float
    where: str
    steps: int
    processor: float
    violations: list[list[str]] = field(default_factory=list[list[str]])
    ends: list[list[str]] = field(default_factory=list[list[str]])
    limits: dict[str, int] = field(default_factory=dict[str, int])
    connections: int = 0
    observer_failures: int = 0
    descriptors: int = 0
    tables: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    bait: dict[str, int] = field(default_factory=dict[str, int])

    def clause(self, peer: str = "raw") -> str:
        """The clause that a peer has broken; empty when it has broken none."""
        found = [clause for name, clause in self.violations if name == peer]
        assert len(found) <= 1, found
        return found[0] if found else ""


class _Meter:
    """Memory, and the longest step of the loop."""

    def __init__(self, *, trace: bool) -> None:
        self.trace = trace
        self.slowness = 0.0
        self.steps = 0
        self.longest = 0.0
        self.where = ""
        self.collecting = 0.0
        self.longest_collection = 0.0
        gc.callbacks.append(self.collected)
        self.began = 0.0
        self.base = 0

    def begin(self) -> None:
        gc.collect()
        gc.freeze()  # to look through the program itself takes tens of milliseconds, whatever peers do
        with suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as peak:
            peak.write("5")  # what was most before does not count
        if self.trace:
            tracemalloc.start()
            tracemalloc.reset_peak()
        self.base = self.base or _memory()["VmRSS"]
        self.longest = self.longest_collection = 0.0
        self.began = time.thread_time()  # nor is this a step

    def step(self) -> float:
        """The longest step; how fast the machine is need not be known of one that is far within `TO_SPARE` bars."""
        if not BARS and self.longest < BAR:
            return self.longest
        self.slowness = self.slowness or factor()
        return self.longest / self.slowness

    def most(self) -> int:
        return tracemalloc.get_traced_memory()[1] if self.trace else _memory()["VmHWM"] - self.base

    def enter(self) -> None:
        self.steps += 1
        self.began = time.thread_time()

    def collected(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self.collecting = time.thread_time()
        else:
            self.longest_collection = max(self.longest_collection, time.thread_time() - self.collecting)

    def leave(self, what: object) -> None:
        took = time.thread_time() - self.began
        if took > self.longest:
            self.longest = took
            self.where = repr(what)


def _memory() -> dict[str, int]:
    """`VmRSS` and `VmHWM`, in bytes."""
    with open("/proc/self/status", encoding="ascii") as status:
        return {
            name: int(value.split()[0]) * 1024
            for name, value in (line.split(":", 1) for line in status)
            if name in ("VmRSS", "VmHWM")
        }


def _measure_steps(meter: _Meter, loop: str) -> list[Any]:
    """Have each step of the loop measured; what trio needs for that."""
    if loop == "trio":
        import trio

        class Steps(trio.abc.Instrument):
            def before_task_step(self, task: trio.lowlevel.Task) -> None:
                meter.enter()

            def after_task_step(self, task: trio.lowlevel.Task) -> None:
                meter.leave(task)

        return [Steps()]
    run = asyncio.Handle._run

    def measured_run(handle: asyncio.Handle) -> None:
        meter.enter()
        run(handle)
        meter.leave(handle)

    vars(asyncio)["Handle"]._run = measured_run
    return []


async def _serve(path: str, order: dict[str, Any], meter: _Meter) -> None:
    made: baits.Made = getattr(baits, order["make"])(Limits(**order["limits"]), HostLimits(**order["host_limits"]))
    host, bait = made.host, made.bait
    violations: list[list[str]] = []
    ends: list[list[str]] = []
    limits: Counter[str] = Counter()

    def count(event: LimitHit) -> None:
        limits[event.limit] += 1

    host.on(ViolationSeen, lambda event: violations.append([event.peer, event.clause]))
    host.on(ConnectionClosed, lambda event: ends.append([event.peer, event.cause, event.clause or "", event.message]))
    host.on(LimitHit, count)

    def figures() -> Figures:
        return Figures(
            most=meter.most(),
            step=meter.step(),
            where=f"{meter.where}, collector {meter.longest_collection * 1000:.1f} ms at most",
            steps=meter.steps,
            processor=time.process_time(),
            violations=violations,
            ends=ends,
            limits=dict(limits),
            connections=len(host.connections),
            observer_failures=host.stats()["observer_failures"],
            descriptors=len(os.listdir("/proc/self/fd")),
            tables={one.peer_name: one.stats() for one in host.connections},
            bait={key: value for key, value in vars(bait).items() if type(value) is int},
        )

    async with host, AsyncExitStack() as stack:
        await host.listen(f"unix:{path}")
        if order["gateway"]:
            await foreign.serve(host, order["gateway"], path, stack)
        _tell({})
        while True:
            await anyio.wait_readable(sys.stdin.fileno())
            asked = sys.stdin.readline().strip()
            if asked == "begin":
                for told in (violations, ends, limits):
                    told.clear()
                meter.begin()
                _tell({})
            elif asked == "figures":
                _tell(asdict(figures()))
                meter.began = time.thread_time()
            else:
                os._exit(0)  # nobody asks any more; what peers have left here may not keep us


def _tell(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main(path: str, order: dict[str, Any]) -> None:
    """The program."""
    modules: dict[str, Any] = sys.modules
    modules["rich"] = None  # structlog would import it where it is there: a fifth of the time in which this starts
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CPU, (_PROCESSOR, _PROCESSOR))
    meter = _Meter(trace=order["trace"])
    instruments = _measure_steps(meter, order["loop"])
    options = {"instruments": instruments} if instruments else {}
    anyio.run(_serve, path, order, meter, backend=order["loop"], backend_options=options)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
