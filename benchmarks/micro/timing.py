"""How an operation is timed, and the table of costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from timeit import Timer

from benchmarks.micro.operations import Operation

__all__ = ["Cost", "as_table", "time_all"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one frame or call of an operation costs."""

    operation: Operation
    seconds: float

    @property
    def rate(self) -> float:
        """Frames or calls a second."""
        return 1 / self.seconds


def time_all(
    operations: Sequence[Operation], *, repeats: int, seconds: float, progress: Callable[[str], None]
) -> Sequence[Cost]:
    """Time each operation `repeats` times for about `seconds` and keep its best: noise only ever adds.

    The operations take turns, so that a slow spell of the machine does not hit one of them alone.
    """
    timers = [Timer(operation.prepare()) for operation in operations]
    loops = [_loops(timer, seconds) for timer in timers]
    best = [float("inf")] * len(operations)
    for repeat in range(1, repeats + 1):
        for at, (operation, timer) in enumerate(zip(operations, timers, strict=True)):
            progress(f"{operation.name}: {repeat} of {repeats}")
            best[at] = min(best[at], timer.timeit(loops[at]) / loops[at] / operation.things)
    return [Cost(operation, cost) for operation, cost in zip(operations, best, strict=True)]


def _loops(timer: Timer, seconds: float) -> int:
    """How often to run it so that this takes about `seconds`; finding out warms it up."""
    loops = 1
    while (taken := timer.timeit(loops)) < seconds / 4:
        loops *= 2
    return max(1, round(loops * seconds / taken))


def as_table(costs: Sequence[Cost], machine: str) -> str:
    """Markdown, with the machine below."""
    width = max(len(cost.operation.name) for cost in costs)
    lines = [f"| {'operation':{width}} |         /s |   µs each |", f"|-{'-' * width}-|-----------:|----------:|"]
    lines += [f"| {cost.operation.name:{width}} | {cost.rate:10,.0f} | {cost.seconds * 1e6:9.2f} |" for cost in costs]
    return "\n".join([*lines, "", machine])
