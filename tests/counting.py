"""Work in counts: how many calls of Python functions something takes, the same on every machine."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any

__all__ = ["calls_of", "lines_of"]


def calls_of(run: Callable[[], object], *names: str) -> int:
    """How many Python functions are called while `run` runs.

    Args:
        names: only of functions with these names.
    """
    calls: Counter[str] = Counter()

    def count(frame: FrameType, what: str, _: object) -> None:
        if what == "call":
            calls[frame.f_code.co_name] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        run()
    finally:
        sys.setprofile(before)
    return sum(calls[name] for name in names) if names else calls.total()


def lines_of(run: Callable[[], object], module: ModuleType) -> int:
    """How many lines of a module are gone through while `run` runs, each time they are."""
    lines = 0

    def count(frame: FrameType, what: str, _: object) -> Any:
        nonlocal lines
        if frame.f_code.co_filename != module.__file__:
            return None
        lines += what == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        run()
    finally:
        sys.settrace(before)
    return lines
