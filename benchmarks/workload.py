"""The rows of the table, and the loop that is timed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from reprlib import repr as short
from time import perf_counter
from typing import Literal

from benchmarks.subject import ANSWERS, ITEMS, PAYLOAD, LoopName, Opening, Shape, Subject, Unit

__all__ = ["ROWS", "Row", "Timing", "check", "drive", "opening_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One workload on one placement of its two processes, what its figure is, and the aim."""

    workload: str
    title: str
    shape: Shape
    aim: float
    """Wanted of capnet, as `figure` says: at least this ratio of its rate to the floor's, or at most this time."""
    uvloop_aim: float | None = None
    """The same with capnet on uvloop, where it differs; the floor stays on asyncio."""
    in_flight: int = 1
    """Calls that wait for their answer at any time, all on one connection."""
    pinned: bool = True
    """Server and client share one core; otherwise the system places them."""
    latency: float = 0.0
    """Seconds that everything between client and server takes, each way."""
    figure: Literal["rate", "milliseconds"] = "rate"
    """What is shown: how much is done in a second, where more is better, or how long one unit takes, where less is."""
    counts: str = "calls"
    """What a rate counts."""
    per_unit: float = 1
    """How many of those one unit of work holds."""

    @property
    def measured_in(self) -> str:
        """What the figures of this row are."""
        return "ms" if self.figure == "milliseconds" else f"{self.counts}/s"

    def figure_of(self, timing: Timing) -> float:
        """The figure that a timing gives."""
        if self.figure == "milliseconds":
            return 1000 * timing.seconds / timing.units
        return self.per_unit * timing.units / timing.seconds

    def ratio(self, capnet: float, floor: float) -> float:
        """How many times as fast as the floor capnet is, by their figures."""
        return floor / capnet if self.figure == "milliseconds" else capnet / floor

    def aim_on(self, loop: LoopName) -> float:
        """What to reach with capnet on that event loop."""
        return self.uvloop_aim if loop == "uvloop" and self.uvloop_aim is not None else self.aim


ROWS: tuple[Row, ...] = (
    Row(workload="W1", title="one call at a time", shape="echo", aim=1.5, uvloop_aim=2.3),
    Row(workload="W2", title="64 calls in flight", shape="echo", aim=1.0, in_flight=64),
    Row(workload="W2", title="64 calls in flight", shape="echo", aim=0.6, in_flight=64, pinned=False),
    Row(
        workload="W3",
        title="stream of 100 000 items",
        shape="numbers",
        aim=1.5,
        pinned=False,
        counts="items",
        per_unit=ITEMS,
    ),
    Row(
        workload="W4",
        title="1 MiB echoed",
        shape="blob",
        aim=3.0,
        pinned=False,
        counts="MB",
        per_unit=len(PAYLOAD) / 1e6,
    ),
    Row(workload="W5", title="callback during a call", shape="callback", aim=1.2),
    Row(workload="W6", title="connect, one call, close", shape="connect", aim=0.9),
    Row(
        workload="W8",
        title="chain of 8 calls, 1 ms each way",
        shape="chain",
        aim=3.5,
        pinned=False,
        latency=0.001,
        figure="milliseconds",
    ),
)


@dataclass(frozen=True, slots=True)
class Timing:
    """Units done and the seconds they took."""

    units: int
    seconds: float


def opening_of(subject: Subject, row: Row) -> Opening:
    """The unit of work that a row repeats."""
    match row.shape:
        case "echo":
            return subject.echo
        case "callback":
            return subject.callback
        case "connect":
            return subject.connect
        case "numbers":
            return subject.numbers
        case "blob":
            return subject.blob
        case "chain":
            return subject.chain


async def check(unit: Unit, row: Row) -> None:
    """Do one unit and compare its answer; a subject that is fast but wrong raises `ValueError`."""
    answer, wanted = await unit(), ANSWERS[row.shape]
    if answer != wanted:
        raise ValueError(f"the unit of work answered {short(answer)} instead of {short(wanted)}")


async def drive(unit: Unit, *, in_flight: int, seconds: float) -> Timing:
    """Repeat `unit` for `seconds` in `in_flight` tasks; at least once in each.

    The time ends when the last answer is in, so that nothing in flight is counted without being waited for.
    """
    begin = perf_counter()
    if in_flight == 1:
        units = await _repeat(unit, begin + seconds)
    else:
        units = sum(await asyncio.gather(*_loops(unit, in_flight, begin + seconds)))
    return Timing(units, perf_counter() - begin)


def _loops(unit: Unit, in_flight: int, end: float) -> Iterator[asyncio.Task[int]]:
    return (asyncio.create_task(_repeat(unit, end)) for _ in range(in_flight))


async def _repeat(unit: Unit, end: float) -> int:
    units = 0
    while True:
        await unit()
        units += 1
        if perf_counter() >= end:
            return units
