"""Comparisons as one table, which is Markdown so that the README can show it as it is, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import median

from benchmarks.comparison import Comparison
from benchmarks.workload import Row

__all__ = ["as_json", "as_table"]

HEAD = ("id", "workload", "in", "F2", "capnet", "ratio", "min–max", "aim", "reached")
ALIGN = "lllrrrrrl"
NOTHING = "–"


def as_table(comparisons: Sequence[Comparison], machine: str) -> str:
    """The table, then the machine."""
    rows = [HEAD, *(_cells(comparison) for comparison in comparisons)]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = [_line(row, widths) for row in rows]
    lines.insert(1, _rule(widths))
    return "\n".join([*lines, "", machine])


def as_json(comparisons: Sequence[Comparison], machine: str) -> str:
    """Everything that was measured, figures in what `measured_in` says."""
    return json.dumps({"machine": machine, "rows": [_record(comparison) for comparison in comparisons]}, indent=2)


def _cells(comparison: Comparison) -> tuple[str, ...]:
    row, ratios = comparison.row, comparison.ratios
    return (
        row.workload,
        f"{row.title}, {'one core' if row.pinned else 'unpinned'}",
        row.measured_in,
        _middle(row, comparison.floor),
        _middle(row, comparison.capnet),
        NOTHING if comparison.ratio is None else f"{comparison.ratio:.2f}",
        f"{min(ratios):.2f}–{max(ratios):.2f}" if ratios else NOTHING,
        f"≤ {comparison.aim:.1f} ms" if row.figure == "milliseconds" else f"{comparison.aim:.1f}",
        {True: "yes", False: "no", None: NOTHING}[comparison.reached],
    )


def _record(comparison: Comparison) -> dict[str, object]:
    row = comparison.row
    return {
        "workload": row.workload,
        "title": row.title,
        "pinned": row.pinned,
        "loop": comparison.loop,
        "measured_in": row.measured_in,
        "floor": list(comparison.floor),
        "capnet": list(comparison.capnet),
        "ratios": list(comparison.ratios),
        "ratio": comparison.ratio,
        "aim": comparison.aim,
        "aim_in": row.measured_in if row.figure == "milliseconds" else "ratio",
        "reached": comparison.reached,
    }


def _middle(row: Row, figures: Sequence[float]) -> str:
    digits = 2 if row.figure == "milliseconds" else 0
    return f"{median(figures):,.{digits}f}" if figures else NOTHING


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.rjust(width) if align == "r" else cell.ljust(width)
        for cell, width, align in zip(cells, widths, ALIGN, strict=True)
    ]
    return f"| {' | '.join(padded)} |"


def _rule(widths: Sequence[int]) -> str:
    marks = ["-" * (width + 1) + (":" if align == "r" else "-") for width, align in zip(widths, ALIGN, strict=True)]
    return f"|{'|'.join(marks)}|"
