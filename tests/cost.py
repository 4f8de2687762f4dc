"""What something costs, told so that it is the same on every machine: in calls of functions, or in reference seconds.

Calls are counted exactly, and growth with them; what is done inside of one call of C is not seen. For that there is
the processor's time, as the reference machine would take it (`benchmarks/reference.py`): a bound for it has `TO_SPARE`
times what it should take, since a busy machine is slower at everything, but not to the same degree.
"""

from __future__ import annotations

import os
import sys
import tracemalloc
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import thread_time
from types import FrameType
from typing import TypeVar

from benchmarks.reference import factor

__all__ = [
    "BARS",
    "HANGS",
    "TO_SPARE",
    "Counted",
    "Traced",
    "assert_steady",
    "calls",
    "counting_calls",
    "reference_seconds",
    "tracing",
]

T = TypeVar("T")

BARS = bool(os.environ.get("CAPNET_BARS"))
"""Whether the machine is quiet enough to hold the bars to the millisecond and the page, as `make soak` does."""
HANGS = 60.0
"""Seconds after which what does not come is taken not to come at all."""
TO_SPARE = 5
"""How many times the bar, or what was measured, something may take: what is of the wrong order takes more."""
_PART = 20
"""The first and the last of so many parts are compared; the functions called between them are not counted."""
_GROWTH, _SLACK = 1.5, 100


def calls(work: Callable[[], object]) -> int:
    """How many functions are called, of Python and of C."""
    with counting_calls() as counted:
        work()
    return counted.count


@dataclass
class Counted:
    """How many calls were made in a block."""

    count: int = 0


@contextmanager
def counting_calls() -> Generator[Counted]:
    """The same for what this thread does in a block, a loop that turns there included."""
    counted = Counted()

    def profile(frame: FrameType, event: str, arg: object) -> None:
        if event in ("call", "c_call"):
            counted.count += 1

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield counted
    finally:
        sys.setprofile(before)


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
    early = calls(lambda: part(0, size))
    part(size, len(things) - size)
    late = calls(lambda: part(len(things) - size, len(things)))
    assert late <= _GROWTH * early + _SLACK, f"{early} calls at the beginning, {late} at the end"


def reference_seconds(work: Callable[[], object], slowness: float | None = None, *, tries: int = 1) -> float:
    """Seconds of the processor that it takes, as the reference machine would; the best of some tries.

    Args:
        slowness: the factor of this machine, where it was found out just before.
    """
    slowness = slowness or factor()
    return min(_timed(work) for _ in range(tries)) / slowness


def _timed(work: Callable[[], object]) -> float:
    start = thread_time()
    work()
    return thread_time() - start
