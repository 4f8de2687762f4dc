"""What can be measured: a server, and units of work a client repeats against it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["LOOPS", "SUBJECTS", "VALUE", "LoopName", "Subject", "SubjectName", "Unit", "subject_named"]

LoopName = Literal["asyncio", "uvloop"]
SubjectName = Literal["floor", "capnet"]
LOOPS: tuple[LoopName, ...] = ("asyncio", "uvloop")
SUBJECTS: tuple[SubjectName, ...] = ("floor", "capnet")

VALUE: dict[str, Any] = {"n": 123_456, "s": "abcdefghijklmnopqrstuvwxyz012345"}
"""The argument of every call and its expected answer: an int and a text of 32 characters."""

Unit = Callable[[], Awaitable[object]]
"""One repetition of a workload; what it returns must equal `VALUE`."""
Opening = Callable[[str], AbstractAsyncContextManager[Unit]]
"""Takes the path of the server's socket and prepares what a unit needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One way to do the workloads. Paths are those of a unix socket."""

    serving: Callable[[str], AbstractAsyncContextManager[None]]
    """Listens inside the block."""
    echo: Opening
    """One call that brings its argument back."""
    callback: Opening
    """One call during which the server calls the client back."""
    connect: Opening
    """A new connection, one call on it, and its orderly close."""


def subject_named(name: SubjectName) -> Subject:
    """The subject of that name, imported only now: a floor's process never loads capnet."""
    if name == "floor":
        from benchmarks.floors import FLOOR

        return FLOOR
    from benchmarks.macro import CAPNET

    return CAPNET
