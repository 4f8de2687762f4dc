"""What a process of the long programme knows of itself: memory, tasks, descriptors, and what is left in its tables."""

from __future__ import annotations

import gc
import os
import tracemalloc
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from anyio import run

from capnet import Connection
from capnet.testing.pair import entries
from tests.connection.leaks import forget_timers, open_descriptors, running_tasks

__all__ = ["LOOPS", "Figures", "on_loop", "resident", "take"]

T = TypeVar("T")
LOOPS = ("asyncio", "asyncio+uvloop", "trio")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Figures:
    """One process at one moment, after a collection.

    Attributes:
        resident: bytes of memory that it occupies.
        traced: bytes of Python objects made since tracing began and alive, 0 when nothing is traced.
        uncollectable: objects that the collector gave up on.
        tasks: running, the one that asks among them.
        descriptors: open sockets and pipes.
        connections: that are not closed, the one that asks among them.
        tables: entries in the tables of its connections, without those that are empty.
    """

    resident: int
    traced: int
    uncollectable: int
    tasks: int
    descriptors: int
    connections: int
    tables: dict[str, int] = field(default_factory=dict[str, int])


def take(connections: Iterable[Connection]) -> Figures:
    """Figures of this process.

    Args:
        connections: whose tables count.
    """
    forget_timers()
    gc.collect()
    alive = list(connections)
    return Figures(
        resident=resident(),
        traced=tracemalloc.get_traced_memory()[0],
        uncollectable=len(gc.garbage),
        tasks=running_tasks(),
        descriptors=open_descriptors(),
        connections=len(alive),
        tables=entries(alive),
    )


def resident() -> int:
    """Bytes of memory that this process occupies."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * _PAGE


def on_loop(loop: str, main: Callable[..., Awaitable[T]], *arguments: object) -> T:
    """Run a program on one of `LOOPS`; what it returns."""
    backend, _, variant = loop.partition("+")
    return run(main, *arguments, backend=backend, backend_options={"use_uvloop": True} if variant else {})
