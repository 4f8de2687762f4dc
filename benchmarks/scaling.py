"""How cost grows: one circumstance of a row is varied, all else stays. What should be flat and is not is a bug."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, get_args

from benchmarks.carriers import there
from benchmarks.contender import FLOOR, Contender
from benchmarks.machine import Machine
from benchmarks.process import Measurement, measure
from benchmarks.report import markdown
from benchmarks.workload import ROWS, Carrier, Row

__all__ = ["CARRIERS", "CURVES", "Curve", "Point", "as_records", "as_table", "measure_curve"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One row at several points."""

    name: str
    title: str
    rows: Sequence[tuple[str, Row]]
    """The label of each point, and the row there."""
    floor: bool
    """Whether F2 can do the same. Then capnet's ratio to it is what should be flat, since the work itself grows;
    otherwise capnet's own rate is."""


@dataclass(slots=True, kw_only=True)
class Point:
    """What was measured at one point, repeat by repeat."""

    label: str
    row: Row
    capnet: list[float] = field(default_factory=list[float])
    """Units a second."""
    floor: list[float] = field(default_factory=list[float])

    @property
    def level(self) -> Sequence[float]:
        """What should be the same at all points."""
        return (
            [ours / theirs for ours, theirs in zip(self.capnet, self.floor, strict=True)] if self.floor else self.capnet
        )


def _varied(base: Row, circumstance: str, values: Sequence[int]) -> Sequence[tuple[str, Row]]:
    points: list[tuple[str, Row]] = []
    for value in values:
        changed: dict[str, Any] = {circumstance: value}
        points.append((_label(circumstance, value), replace(base, **changed)))
    return points


def _label(circumstance: str, value: int) -> str:
    if circumstance == "size":
        return f"{value >> 20} MiB" if value >> 20 else f"{value >> 10} KiB" if value >> 10 else f"{value} B"
    if circumstance == "guard":
        return "on" if value else "off"
    return f"{value:,}".replace(",", " ")


_SINGLE = next(row for row in ROWS if row.workload == "W1")
_MANY = replace(_SINGLE, in_flight=64)
_OWN = replace(_SINGLE, trusted=True)
_BYTES = replace(_OWN, shape="blob")

CURVES: Sequence[Curve] = (
    Curve(
        name="exports",
        title="capabilities that the client holds, 64 calls in flight",
        rows=_varied(replace(_MANY, trusted=True), "exports", (10, 1_000, 10_000)),
        floor=False,
    ),
    Curve(
        name="connections",
        title="connections that calls take in turns, one at a time",
        rows=_varied(_SINGLE, "connections", (1, 100, 1_000)),
        floor=True,
    ),
    Curve(
        name="in-flight",
        title="calls in flight on one connection",
        rows=_varied(_OWN, "in_flight", (1, 64, 1_024)),
        floor=True,
    ),
    Curve(
        name="size",
        title="bytes that a call brings there and back",
        rows=_varied(_BYTES, "size", (16, 1 << 10, 16 << 10, 256 << 10, 1 << 20, 16 << 20)),
        floor=True,
    ),
    Curve(
        name="values",
        title="small integers that a call brings there and back",
        rows=_varied(_OWN, "values", (1, 10, 100, 1_000, 10_000)),
        floor=True,
    ),
    Curve(
        name="observers",
        title="observers of finished calls on the host, 64 calls in flight",
        rows=_varied(_MANY, "observers", (0, 1, 10)),
        floor=False,
    ),
    Curve(
        name="guard",
        title="a policy that is asked about each call, 64 calls in flight",
        rows=_varied(_MANY, "guard", (False, True)),
        floor=False,
    ),
)


def _by_carrier(workload: str, title: str) -> Curve:
    row = next(row for row in ROWS if row.workload == workload)
    names = [name for name in get_args(Carrier) if there(name)]
    return Curve(name=workload, title=title, rows=[(name, replace(row, carrier=name)) for name in names], floor=True)


CARRIERS: Sequence[Curve] = tuple(
    _by_carrier(workload, f"{title}, by each carrier")
    for workload, title in (
        ("W1", "one call at a time"),
        ("W2", "64 calls in flight"),
        ("W3", "stream of 100 000 items"),
        ("W4", "1 MiB echoed"),
    )
)
"""Of these the floor is F2 by the same carrier, as its own library does it."""


def measure_curve(
    curve: Curve, contender: Contender, *, repeats: int, seconds: float, step: Callable[[str], None]
) -> Sequence[Point]:
    """Measure all points in turns, `repeats` times, so that drift hits them alike. Raises `ChildFailed`."""
    points = [Point(label=label, row=row) for label, row in curve.rows]
    for repeat in range(1, repeats + 1):
        for point in points:
            step(f"{curve.name} {point.label}, {repeat} of {repeats}")
            if curve.floor:
                point.floor.append(_rate(FLOOR, point.row, seconds))
            point.capnet.append(_rate(contender, point.row, seconds))
    return points


def _rate(contender: Contender, row: Row, seconds: float) -> float:
    timing = measure(Measurement(contender=contender, row=row, seconds=seconds)).timing
    return timing.units / timing.seconds


def against_first(points: Sequence[Point]) -> Sequence[float]:
    """The level of each point as a multiple of the first one's, the median over the repeats: 1 everywhere is flat."""
    return [median(here / first for here, first in zip(point.level, points[0].level, strict=True)) for point in points]


def as_table(curves: Sequence[tuple[Curve, Sequence[Point]]], machine: Machine) -> str:
    """A line for each point, and the machine."""
    head = ("curve", "at", "F2 /s", "capnet /s", "capnet µs", "ratio", "against the first")
    rows = [
        (
            curve.name,
            point.label,
            f"{median(point.floor):,.0f}" if point.floor else "–",
            f"{median(point.capnet):,.0f}",
            f"{1e6 / median(point.capnet):,.0f}",
            f"{median(point.level):.2f}" if point.floor else "–",
            f"{multiple:.2f}",
        )
        for curve, points in curves
        for point, multiple in zip(points, against_first(points), strict=True)
    ]
    return "\n".join([markdown(head, rows, "llrrrrr"), "", str(machine)])


def as_records(curves: Sequence[tuple[Curve, Sequence[Point]]]) -> list[dict[str, object]]:
    """Everything that was measured, rates in units a second."""
    return [
        {
            "curve": curve.name,
            "title": curve.title,
            "points": [
                {"at": point.label, "floor": point.floor, "capnet": point.capnet, "against_first": multiple}
                for point, multiple in zip(points, against_first(points), strict=True)
            ],
        }
        for curve, points in curves
    ]
