"""How fast a machine runs Python: by what factor one fixed loop takes longer than it did on the reference machine.

A bound in seconds says something on one machine only. Tests divide theirs by the factor, as it is in the same process
just before; `make bench` and `make soak` print it beside their figures.
"""

from __future__ import annotations

from time import thread_time

__all__ = ["REFERENCE", "factor"]

REFERENCE = 0.0095
"""Seconds of the processor that the loop took on the machine of docs/contributing/benchmarks.md when it was quiet."""
_STEPS = 50_000


class _Place:
    """Something to be made, called and let go."""

    __slots__ = ("name", "value")

    def __init__(self, name: str, value: int) -> None:
        self.name = name
        self.value = value

    def moved(self, by: int) -> int:
        return self.value + by


def factor(tries: int = 5) -> float:
    """How many times as long as on the reference machine the loop takes this thread now; above 1 is slower.

    The best of some tries counts, since noise only adds.
    """
    return min(_timed() for _ in range(tries)) / REFERENCE


def _timed() -> float:
    start = thread_time()
    _work()
    return thread_time() - start


def _work() -> int:
    """What a program does that is written in Python: it makes objects, calls methods, looks up and compares."""
    places: dict[str, _Place] = {}
    total = 0
    for number in range(_STEPS):
        key = f"{number & 255}"
        place = places.get(key)
        if place is None or not number & 7:
            place = places[key] = _Place(key, number)
        total += place.moved(number) if place.name == key else 0
    return total
