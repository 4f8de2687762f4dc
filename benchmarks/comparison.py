"""Floor and capnet in turns, and the ratios between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.process import Measurement, measure
from benchmarks.subject import LoopName, SubjectName
from benchmarks.workload import Row

__all__ = ["Comparison", "compare"]

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The figures of one row, repeat by repeat. `capnet` is empty when only the floor was run."""

    row: Row
    loop: LoopName
    """What capnet ran on."""
    floor: Sequence[float]
    capnet: Sequence[float]

    @property
    def ratios(self) -> Sequence[float]:
        """How many times as fast as the floor capnet was within each repeat.

        The two ran next to each other, so drift of the machine cancels out.
        """
        return [self.row.ratio(ours, theirs) for ours, theirs in zip(self.capnet, self.floor, strict=False)]

    @property
    def ratio(self) -> float | None:
        """The median of `ratios`."""
        return median(self.ratios) if self.capnet else None

    @property
    def aim(self) -> float:
        """The ratio to reach, or the milliseconds."""
        return self.row.aim_on(self.loop)

    @property
    def reached(self) -> bool | None:
        """Whether the median is at the aim; None when nothing was compared."""
        if self.ratio is None:
            return None
        return median(self.capnet) <= self.aim if self.row.figure == "milliseconds" else self.ratio >= self.aim


def compare(
    row: Row, *, subjects: Sequence[SubjectName], repeats: int, seconds: float, loop: LoopName, progress: Progress
) -> Comparison:
    """Measure `row` on each of `subjects` in turn, `repeats` times.

    The floor always runs on asyncio's own loop; `loop` is capnet's. Raises `ChildFailed`.
    """
    figures: dict[SubjectName, list[float]] = {"floor": [], "capnet": []}
    for repeat in range(1, repeats + 1):
        for name in subjects:
            progress(f"{row.workload} {row.title}: {name}, {repeat} of {repeats}")
            chosen: LoopName = loop if name == "capnet" else "asyncio"
            timing = measure(Measurement(subject=name, row=row, seconds=seconds, loop=chosen))
            figures[name].append(row.figure_of(timing))
    return Comparison(row=row, loop=loop, floor=figures["floor"], capnet=figures["capnet"])
