"""Work in counts, which are the same on every machine: calls of Python functions, lines, bytes of objects.

What is done inside of one call of C is not seen by the first two; `tests/cost.py` has the time for that.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Any, TypeVar

__all__ = ["Traced", "assert_steady", "calls_of", "counting_calls", "lines_of", "tracing"]

T = TypeVar("T")

_PART = 20
"""The first and the last of so many parts are compared; what is done between them is not counted."""
_GROWTH, _SLACK = 1.5, 100


@contextmanager
def counting_calls() -> Generator[Counter[str]]:
    """How many Python functions are called in a block by this thread, a loop that turns there included; by name."""
    calls: Counter[str] = Counter()

    def count(frame: FrameType, what: str, _: object) -> None:
        if what == "call":
            calls[frame.f_code.co_name] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(before)


def calls_of(run: Callable[[], object], *names: str) -> int:
    """How many Python functions are called while `run` runs.

    Args:
        names: only of functions with these names.
    """
    with counting_calls() as calls:
        run()
    return sum(calls[name] for name in names) if names else calls.total()


def assert_steady(do: Callable[[T], object], things: Sequence[T]) -> None:
    """Do it for each; what was done before makes it no dearer.

    Raises:
        AssertionError: it takes more calls at the end than at the beginning.
    """

    def part(begin: int, end: int) -> None:
        for thing in things[begin:end]:
            do(thing)

    size = len(things) // _PART
    assert size, "too few to tell"
    early = calls_of(lambda: part(0, size))
    part(size, len(things) - size)
    late = calls_of(lambda: part(len(things) - size, len(things)))
    assert late <= _GROWTH * early + _SLACK, f"{early} calls at the beginning, {late} at the end"


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


class Traced:
    """What a block makes of Python objects, so far."""

    def __init__(self) -> None:
        self._before = tracemalloc.get_traced_memory()[0]

    @property
    def most(self) -> int:
        """Bytes at most."""
        return tracemalloc.get_traced_memory()[1] - self._before


@contextmanager
def tracing() -> Generator[Traced]:
    """Count the bytes of the objects that are made in a block."""
    tracemalloc.start()
    try:
        yield Traced()
    finally:
        tracemalloc.stop()
