"""Time that something takes, told so that it means the same on every machine; `tests/counting.py` has what needs none.

It is the processor's, as the reference machine would take it (`benchmarks/reference.py`). A bound for it is `TO_SPARE`
times what it should take: a busy machine is slower at everything, but not to the same degree.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import thread_time

from benchmarks.reference import factor

__all__ = ["BARS", "HANGS", "TO_SPARE", "reference_seconds"]

BARS = bool(os.environ.get("CAPNET_BARS"))
"""Whether the machine is quiet enough to hold the bars to the millisecond and the page, as `make soak` does."""
HANGS = 240.0
"""Seconds after which what does not come is taken not to come at all."""
TO_SPARE = 5
"""How many times the bar, or what was measured, something may take: what is of the wrong order takes more."""


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
