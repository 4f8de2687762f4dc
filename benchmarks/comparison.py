"""Everyone in turns on one row, and the ratios to the floor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.contender import FLOOR, Contender
from benchmarks.process import ChildFailed, Measurement, measure
from benchmarks.workload import Core, Row

__all__ = ["Comparison", "Result", "compare"]


@dataclass(slots=True, kw_only=True)
class Result:
    """What one contender did on one row, repeat by repeat."""

    contender: Contender
    figures: list[float] = field(default_factory=list[float])
    ratios: list[float] = field(default_factory=list[float])
    """How many times as fast as the floor it was within each repeat. The two ran next to each other, so drift of the
    machine cancels out."""
    core: Core | None = None
    """Which core of capnet ran; None for others."""
    transport: str = ""
    """`unix` or `tcp`."""
    reason: str = ""
    """Why there are no figures."""

    @property
    def figure(self) -> float | None:
        """The median of the figures."""
        return median(self.figures) if self.figures else None

    @property
    def ratio(self) -> float | None:
        """The median of the ratios."""
        return median(self.ratios) if self.ratios else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The results of one row; the floor's is the first."""

    row: Row
    results: Sequence[Result]

    @property
    def floor(self) -> Result:
        """What all ratios refer to."""
        return self.results[0]

    def of(self, contender: Contender) -> Result:
        """What that one did."""
        return next(result for result in self.results if result.contender == contender)

    def aim(self, result: Result) -> float | None:
        """What is wanted of it, as the row's `aim_in` says; None when nothing is."""
        return self.row.aim(result.core, result.contender.loop) if result.core else None

    def reached(self, result: Result) -> bool | None:
        """Whether its median is at the aim; None when there is no aim, or nothing to hold to it."""
        aim = self.aim(result)
        if aim is None or result.figure is None or result.ratio is None:
            return None
        return self.row.reached(aim, figure=result.figure, ratio=result.ratio)


def compare(
    row: Row,
    contenders: Sequence[Contender],
    *,
    repeats: int,
    seconds: float,
    step: Callable[[str], None],
    unable: Callable[[Contender, Row], str] = lambda _contender, _row: "",
) -> Comparison:
    """Measure `row` on the floor and on each of `contenders` in turns, `repeats` times.

    `step` is told of each measurement before it begins; `unable` says why someone does not take part. A peer that fails
    has a reason in place of figures. Raises `ChildFailed` when the floor or capnet does.
    """
    results = [Result(contender=FLOOR)]
    results += [Result(contender=contender, reason=unable(contender, row)) for contender in contenders]
    for repeat in range(1, repeats + 1):
        for result in results:
            step(f"{row.workload} {row.title}: {result.contender.name}, {repeat} of {repeats}")
            if not result.reason:
                _measure(result, row, seconds, results[0])
    return Comparison(row=row, results=results)


def _measure(result: Result, row: Row, seconds: float, floor: Result) -> None:
    try:
        measured = measure(Measurement(contender=result.contender, row=row, seconds=seconds))
    except ChildFailed as failure:
        if result is floor or result.contender.subject == "capnet":
            raise
        result.reason = str(failure)
        result.figures, result.ratios = [], []
        return
    figure = row.figure_of(measured.timing)
    result.figures.append(figure)
    result.ratios.append(row.ratio(figure, floor.figures[-1]))
    result.core, result.transport = measured.core, measured.address.partition(":")[0]
