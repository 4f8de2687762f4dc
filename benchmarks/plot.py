"""Plots as SVG, from what `--json` has kept: a bar for everyone on a row, a line for a curve."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

__all__ = ["bars", "curve", "draw"]

WIDTH = 640
BAR, GAP, LABEL = 18, 8, 170
"""Height of a bar, the room below it, and the width of what stands before it."""
OURS, THEIRS, FLOOR = "#2f6fb0", "#9aa7b4", "#c4553b"
HEAD = 46
"""Height of title and explanation."""


def draw(kept: Mapping[str, Any], folder: Path) -> Sequence[Path]:
    """Write one file for each row or curve that was measured; returns them."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [*_rows(kept.get("rows", ())), *_curves(kept.get("curves", ()))]
    paths: list[Path] = []
    for name, text in drawn:
        paths.append(folder / f"{name}.svg")
        paths[-1].write_text(text)
    return paths


def bars(title: str, words: str, values: Sequence[tuple[str, float, str]]) -> str:
    """Bars of (label, value, colour); the value 1 is a line through them all."""
    height = HEAD + len(values) * (BAR + GAP) + 8
    most = max([1.0, *(value for _, value, _ in values)])
    scale = (WIDTH - LABEL - 70) / most
    parts: list[str] = []
    for at, (label, value, colour) in enumerate(values):
        top = HEAD + at * (BAR + GAP)
        parts.append(_text(LABEL - 8, top + 13, label, anchor="end"))
        parts.append(
            f'<rect x="{LABEL}" y="{top}" width="{max(1.0, value * scale):.1f}" height="{BAR}" fill="{colour}"/>'
        )
        parts.append(_text(LABEL + value * scale + 6, top + 13, f"{value:.2f}"))
    one = LABEL + scale
    parts.append(f'<path d="M{one:.1f} {HEAD - 6}V{height - 8}" stroke="{FLOOR}" stroke-dasharray="3 3"/>')
    return _picture(height, title, words, parts)


def curve(title: str, words: str, labels: Sequence[str], values: Sequence[float]) -> str:
    """A line over points that stand at equal distances, from 0 up; the value 1 is a line across."""
    height, bottom, left, right = 260, 220, 60, WIDTH - 40
    most = max([1.0, *values]) * 1.2
    places = [left + (right - left) * at / max(1, len(values) - 1) for at in range(len(values))]

    def level(value: float) -> float:
        return bottom - (bottom - HEAD) * value / most

    parts = [
        f'<path d="M{left} {bottom}H{right}M{left} {HEAD}V{bottom}" stroke="#777" fill="none"/>',
        f'<path d="M{left} {level(1):.1f}H{right}" stroke="{FLOOR}" stroke-dasharray="3 3"/>',
        _text(left - 6, level(1) + 4, "1.0", anchor="end"),
        _text(left - 6, bottom + 4, "0", anchor="end"),
    ]
    line = " ".join(f"{x:.1f},{level(value):.1f}" for x, value in zip(places, values, strict=True))
    parts.append(f'<polyline points="{line}" stroke="{OURS}" stroke-width="2" fill="none"/>')
    for x, label, value in zip(places, labels, values, strict=True):
        parts.append(f'<circle cx="{x:.1f}" cy="{level(value):.1f}" r="3.5" fill="{OURS}"/>')
        parts.append(_text(x, level(value) - 9, f"{value:.2f}", anchor="middle"))
        parts.append(_text(x, bottom + 18, label, anchor="middle"))
    return _picture(height, title, words, parts)


def _rows(records: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    rows: dict[tuple[str, str, bool], list[Mapping[str, Any]]] = {}
    for record in records:
        rows.setdefault((record["workload"], record["title"], record["pinned"]), []).append(record)
    drawn: list[tuple[str, str]] = []
    for (workload, title, pinned), found in rows.items():
        values = [(_name(r), r["ratio"], _colour(r)) for r in found if r["ratio"] is not None]
        words = (
            "how little memory, as a multiple of F2's" if found[0]["measured_in"] == "KiB" else "times as fast as F2"
        )
        where = "one core" if pinned else "unpinned"
        drawn.append((_file(f"{workload} {where}"), bars(f"{workload}: {title}, {where}", words, values)))
    return drawn


def _curves(records: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    drawn: list[tuple[str, str]] = []
    for record in records:
        points = record["points"]
        what = "ratio to F2" if points[0]["floor"] else "rate"
        words = f"{what}, as a multiple of that at {points[0]['at']}"
        labels, values = [point["at"] for point in points], [point["against_first"] for point in points]
        drawn.append((_file(f"scaling {record['curve']}"), curve(record["title"], words, labels, values)))
    return drawn


def _name(record: Mapping[str, Any]) -> str:
    if record["subject"] != "capnet":
        return str(record["contender"])
    return f"capnet, {record['contender'].removeprefix('capnet ')}, {record['core']}"


def _colour(record: Mapping[str, Any]) -> str:
    subject = record["subject"]
    return OURS if subject == "capnet" else FLOOR if subject in {"F2", "f2-buffered"} else THEIRS


def _file(words: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", words.lower())


def _text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 12, weight: str = "normal") -> str:
    style = f'font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" fill="#222"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'


def _picture(height: int, title: str, words: str, parts: Sequence[str]) -> str:
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
    start = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">'
    heading = [_text(10, 18, title, size=14, weight="bold"), _text(10, 34, words, size=11)]
    background = f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>'
    return "\n".join([start, f"<title>{escape(title)}</title>", background, *heading, *parts, "</svg>", ""])
