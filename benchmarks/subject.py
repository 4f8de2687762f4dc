"""What can be measured: a server, and units of work a client repeats against it."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal

__all__ = [
    "ANSWERS",
    "CHAIN",
    "ITEMS",
    "LOOPS",
    "PAYLOAD",
    "SUBJECTS",
    "TEXT",
    "VALUE",
    "LoopName",
    "Opening",
    "Shape",
    "Subject",
    "SubjectName",
    "Unit",
    "consume",
    "subject_named",
]

LoopName = Literal["asyncio", "uvloop"]
SubjectName = Literal["floor", "capnet"]
Shape = Literal["echo", "callback", "connect", "numbers", "blob", "chain"]
LOOPS: tuple[LoopName, ...] = ("asyncio", "uvloop")
SUBJECTS: tuple[SubjectName, ...] = ("floor", "capnet")

VALUE: dict[str, Any] = {"n": 123_456, "s": "abcdefghijklmnopqrstuvwxyz012345"}
"""The argument of a small call and its expected answer: an int and a text of 32 characters."""
PAYLOAD = bytes(range(256)) * 4096
"""The argument of a large call and its expected answer: 1 MiB."""
ITEMS = 100_000
"""Length of a stream; its items are `(0, TEXT)`, `(1, TEXT)`, …"""
TEXT = "text"
CHAIN = 8
"""Calls in a chain: each but the last answers with what the next one is made on."""

ANSWERS: Mapping[Shape, object] = {
    "echo": VALUE,
    "callback": VALUE,
    "connect": VALUE,
    "numbers": (sum(range(ITEMS)), ITEMS * len(TEXT)),
    "blob": PAYLOAD,
    "chain": CHAIN - 1,
}
"""What one unit of work of each shape must return."""

Unit = Callable[[], Awaitable[object]]
"""One repetition of a workload; what it returns must equal the answer of its shape."""
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
    numbers: Opening
    """One stream from the server, consumed to its end."""
    blob: Opening
    """One call that brings 1 MiB back."""
    chain: Opening
    """Calls that each need the result of the one before; the answer is how many came before the last."""


async def consume(items: AsyncIterable[tuple[int, str]]) -> tuple[int, int]:
    """Take every item of a stream. What they add up to shows that all came, each whole."""
    numbers = letters = 0
    async for number, text in items:
        numbers += number
        letters += len(text)
    return numbers, letters


def subject_named(name: SubjectName) -> Subject:
    """The subject of that name, imported only now: a floor's process never loads capnet."""
    if name == "floor":
        from benchmarks.floors import FLOOR

        return FLOOR
    from benchmarks.macro import CAPNET

    return CAPNET
