"""How an operation is timed and counted, and the table of costs."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from timeit import Timer

from benchmarks.micro.operations import Operation
from benchmarks.report import markdown

__all__ = ["Cost", "as_records", "as_table", "time_all"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one frame or call of an operation costs."""

    operation: Operation
    seconds: float
    calls: float
    """Python functions that are called; no machine changes that."""
    peak: float
    """Bytes that are taken at most while it runs and what it returns is held."""

    @property
    def rate(self) -> float:
        """Frames or calls a second."""
        return 1 / self.seconds


def time_all(
    operations: Sequence[Operation], *, repeats: int, seconds: float, step: Callable[[str], None]
) -> Sequence[Cost]:
    """Time each operation `repeats` times for about `seconds` and keep its best: noise only ever adds.

    The operations take turns, so that a slow spell of the machine does not hit one of them alone.
    """
    runs = [operation.prepare() for operation in operations]
    timers = [Timer(run) for run in runs]
    loops = [_loops(timer, seconds) for timer in timers]
    best = [float("inf")] * len(operations)
    for repeat in range(1, repeats + 1):
        for at, (operation, timer) in enumerate(zip(operations, timers, strict=True)):
            step(f"{operation.name}: {repeat} of {repeats}")
            best[at] = min(best[at], timer.timeit(loops[at]) / loops[at] / operation.things)
    return [
        Cost(operation, cost, _calls(run) / operation.things, _peak(run) / operation.things)
        for operation, run, cost in zip(operations, runs, best, strict=True)
    ]


def _loops(timer: Timer, seconds: float) -> int:
    """How often to run it so that this takes about `seconds`; finding out warms it up."""
    loops = 1
    while (taken := timer.timeit(loops)) < seconds / 4:
        loops *= 2
    return max(1, round(loops * seconds / taken))


def _calls(run: Callable[[], object]) -> int:
    """Python functions that one run calls, generators that are resumed among them."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        run()
    finally:
        sys.setprofile(before)
    return calls


def _peak(run: Callable[[], object]) -> int:
    """Bytes that one run takes at most."""
    tracemalloc.start()
    try:
        kept = run()
        _, peak = tracemalloc.get_traced_memory()
        del kept
    finally:
        tracemalloc.stop()
    return peak


def as_table(costs: Sequence[Cost], machine: str) -> str:
    """Markdown, with the machine below."""
    head = ("operation", "/s", "µs each", "Python calls", "bytes at most")
    rows = [
        (
            cost.operation.name,
            f"{cost.rate:,.0f}",
            f"{cost.seconds * 1e6:.2f}",
            f"{cost.calls:.1f}",
            f"{cost.peak:,.0f}",
        )
        for cost in costs
    ]
    return "\n".join([markdown(head, rows, "lrrrr"), "", machine])


def as_records(costs: Sequence[Cost]) -> list[dict[str, object]]:
    """For JSON, seconds and counts for one frame or call."""
    return [
        {"operation": cost.operation.name, "seconds": cost.seconds, "calls": cost.calls, "peak_bytes": cost.peak}
        for cost in costs
    ]
