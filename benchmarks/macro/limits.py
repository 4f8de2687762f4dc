"""The limits that both sides of a row have."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.workload import Row
from capnet import Limits

__all__ = ["limits_of"]


def limits_of(row: Row) -> Limits:
    """The defaults, or on rows that ask for it those for parts of one program, with room for many capabilities."""
    return replace(Limits.trusted(), max_caps=100_000) if row.trusted else Limits()
