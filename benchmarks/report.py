"""Comparisons as tables, which are Markdown so that documents can show them as they are, or as records for JSON."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.comparison import Comparison, Result
from benchmarks.contender import BUFFERED, FLOOR
from benchmarks.machine import Machine
from benchmarks.workload import Row

__all__ = ["as_matrix", "as_records", "as_table", "markdown"]

NOTHING = "–"


def as_table(comparisons: Sequence[Comparison], machine: Machine) -> str:
    """A line for each row and each way capnet ran, beside both floors; then whoever failed, and the machine."""
    head = ("id", "workload", "in", "F2", "f2-buffered", "capnet on", "capnet", "ratio", "min–max", "aim", "reached")
    rows = [line for comparison in comparisons for line in _lines(comparison)]
    return "\n".join([markdown(head, rows, "lllrrlrrrrl"), "", *_failures(comparisons), str(machine)])


def as_matrix(comparisons: Sequence[Comparison], machine: Machine) -> str:
    """A line for each row and a column of ratios for everyone; the best of each row is bold."""
    names = [result.contender.name for result in comparisons[0].results]
    head = ("id", "workload", "in", *names)
    rows = [_matrix_line(comparison) for comparison in comparisons]
    over_tcp = sorted({r.contender.name for c in comparisons for r in c.results if r.transport == "tcp"})
    notes = [f"Over TCP on this machine, others over unix sockets: {', '.join(over_tcp)}."] if over_tcp else []
    return "\n".join(
        [markdown(head, rows, "lll" + "r" * len(names)), "", *notes, *_failures(comparisons), str(machine)]
    )


def as_records(comparisons: Sequence[Comparison]) -> list[dict[str, object]]:
    """Everything that was measured, figures in what `measured_in` says."""
    return [_record(comparison, result) for comparison in comparisons for result in comparison.results]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> str:
    """A table whose columns are aligned left (`l`) or right (`r`)."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    rule = "|".join(
        "-" * (width + 1) + (":" if side == "r" else "-") for width, side in zip(widths, align, strict=True)
    )
    lines = [_line(cells, widths, align) for cells in (head, *rows)]
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def _lines(comparison: Comparison) -> list[tuple[str, ...]]:
    row = comparison.row
    buffered = next((r for r in comparison.results if r.contender == BUFFERED), None)
    results = [result for result in comparison.results if result.contender.subject == "capnet"]
    ours: Sequence[Result | None] = results or [None]
    return [
        (
            row.workload,
            f"{row.title}, {row.where}",
            row.measured_in,
            _figure(row, comparison.floor.figure),
            NOTHING if buffered is None else _ratio(buffered.ratio),
            *_cells(comparison, result),
        )
        for result in ours
    ]


def _cells(comparison: Comparison, result: Result | None) -> tuple[str, ...]:
    if result is None:  # the floors alone
        return (NOTHING,) * 6
    aim = comparison.aim(result)
    return (
        f"{result.contender.name}, {result.core or NOTHING}",
        _figure(comparison.row, result.figure),
        _ratio(result.ratio),
        f"{min(result.ratios):.2f}–{max(result.ratios):.2f}" if result.ratios else NOTHING,
        NOTHING if aim is None else f"≤ {aim:.0f} KiB" if comparison.row.aim_in == "KiB" else f"{aim:.2f}",
        {True: "yes", False: "no", None: NOTHING}[comparison.reached(result)],
    )


def _matrix_line(comparison: Comparison) -> tuple[str, ...]:
    row = comparison.row
    rivals = [result for result in comparison.results if result.contender not in (FLOOR, BUFFERED)]
    best = max((result.ratio for result in rivals if result.ratio is not None), default=None)
    cells = [_figure(row, comparison.floor.figure)]
    for result in comparison.results[1:]:
        bold = "**" if result in rivals and result.ratio is not None and result.ratio == best else ""
        cells.append(f"{bold}{_ratio(result.ratio)}{bold}")
    return (row.workload, f"{row.title}, {row.where}", row.measured_in, *cells)


def _failures(comparisons: Sequence[Comparison]) -> list[str]:
    """Why a cell is empty; what holds for all rows of someone is said once."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for comparison in comparisons:
        for result in comparison.results:
            if result.reason:
                rows = reasons.setdefault((result.contender.name, result.reason), [])
                rows.append(f"{comparison.row.workload} ({comparison.row.where})")
    lines = [f"{name}, {', '.join(rows)}: {reason}" for (name, reason), rows in reasons.items()]
    return [*lines, ""] if lines else []


def _record(comparison: Comparison, result: Result) -> dict[str, object]:
    row, contender = comparison.row, result.contender
    return {
        "workload": row.workload,
        "title": row.title,
        "pinned": row.pinned,
        "measured_in": row.measured_in,
        "contender": contender.name,
        "subject": contender.subject,
        "loop": contender.loop,
        "environment": dict(contender.environment),
        "core": result.core,
        "transport": result.transport,
        "figures": result.figures,
        "ratios": result.ratios,
        "figure": result.figure,
        "ratio": result.ratio,
        "aim": comparison.aim(result),
        "aim_in": row.aim_in,
        "reached": comparison.reached(result),
        "reason": result.reason,
    }


def _figure(row: Row, figure: float | None) -> str:
    if figure is None:
        return NOTHING
    return f"{figure:,.0f}" if row.figure == "rate" else f"{figure:,.2f}"


def _ratio(ratio: float | None) -> str:
    return NOTHING if ratio is None else f"{ratio:.2f}"


def _line(cells: Sequence[str], widths: Sequence[int], align: str) -> str:
    padded = [
        cell.rjust(width) if side == "r" else cell.ljust(width)
        for cell, width, side in zip(cells, widths, align, strict=True)
    ]
    return f"| {' | '.join(padded)} |"
