"""The rows of the table, and the loop that is timed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

from benchmarks.subject import VALUE, LoopName, Opening, Subject, Unit

__all__ = ["ROWS", "Row", "Timing", "check", "drive", "opening_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One workload on one placement of its two processes, with the ratio it should reach."""

    workload: str
    title: str
    shape: Literal["echo", "callback", "connect"]
    aim: float
    """Wanted ratio of capnet's rate to the floor's."""
    uvloop_aim: float | None = None
    """The same with capnet on uvloop, where it differs; the floor stays on asyncio."""
    in_flight: int = 1
    """Calls that wait for their answer at any time, all on one connection."""
    pinned: bool = True
    """Server and client share one core; otherwise the system places them."""

    def aim_on(self, loop: LoopName) -> float:
        """The ratio to reach with capnet on that event loop."""
        return self.uvloop_aim if loop == "uvloop" and self.uvloop_aim is not None else self.aim


ROWS: tuple[Row, ...] = (
    Row(workload="W1", title="one call at a time", shape="echo", aim=1.5, uvloop_aim=2.3),
    Row(workload="W2", title="64 calls in flight", shape="echo", aim=1.0, in_flight=64),
    Row(workload="W2", title="64 calls in flight", shape="echo", aim=0.6, in_flight=64, pinned=False),
    Row(workload="W5", title="callback during a call", shape="callback", aim=1.2),
    Row(workload="W6", title="connect, one call, close", shape="connect", aim=0.9),
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


async def check(unit: Unit) -> None:
    """Do one unit and compare its answer; a subject that is fast but wrong raises `ValueError`."""
    answer = await unit()
    if answer != VALUE:
        raise ValueError(f"the unit of work answered {answer!r} instead of {VALUE!r}")


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
