"""Who takes part in a run: a subject, on a loop, with an interpreter and an environment."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.workload import LoopName

__all__ = ["BUFFERED", "FLOOR", "Contender", "capnets"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A column of a comparison, or a line of the table."""

    name: str
    """What the table calls it."""
    subject: str
    loop: LoopName = "asyncio"
    python: str = sys.executable
    """The interpreter of both its processes."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables that its processes have beside ours."""


FLOOR = Contender(name="F2", subject="F2")
"""What every ratio refers to; always on asyncio's own loop, so that ratios of all loops can be compared."""
BUFFERED = Contender(name="f2-buffered", subject="f2-buffered")
"""How hard a floor F2 is."""


def capnets(loops: Sequence[LoopName], environments: Sequence[Mapping[str, str]]) -> Sequence[Contender]:
    """capnet once on each loop in each environment."""
    return [
        Contender(name=" ".join([loop, *_words(variables)]), subject="capnet", loop=loop, environment=variables)
        for variables in environments
        for loop in loops
    ]


def _words(variables: Mapping[str, str]) -> Sequence[str]:
    return [f"{name}={value}" for name, value in variables.items()]
