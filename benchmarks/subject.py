"""What can be measured: a server, and units of work that a client repeats against it."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib import import_module

from benchmarks.workload import Row, Shape

__all__ = ["SUBJECTS", "Opening", "Subject", "Unit", "blocking", "consume", "subject_named"]

Unit = Callable[[], Awaitable[object]]
"""One repetition of a workload; what it returns must equal the answer of its row."""
Serving = Callable[[str, Row], AbstractAsyncContextManager[str]]
"""Listens inside the block. Takes the path that a unix socket may have; gives the address it listens on."""
Opening = Callable[[str, Row], AbstractAsyncContextManager[Unit]]
"""Takes the server's address and prepares what a unit needs."""


def blocking(call: Callable[[], object]) -> Unit:
    """A unit of a library that blocks: nothing else runs meanwhile, as in a program that uses it."""

    async def unit() -> object:
        return call()

    return unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One way to do the workloads. Addresses are `unix:<path>` or `tcp:<host>:<port>`."""

    serving: Serving
    openings: Mapping[Shape, Opening]
    """Units of work by shape: `echo`, one call that brings its argument back; `callback`, one call during which the
    server calls the client back; `connect`, a new connection, one call on it and its orderly close; `numbers`, one
    stream from the server, consumed to its end; `blob`, one call that brings bytes back; `chain`, calls that each need
    the result of the one before; `idle`, one more connection, on which one call is made and which then stays."""
    windows: bool = False
    """Its unit keeps the row's calls in flight by itself and waits for the oldest: a library that blocks can do no more
    in one thread. Units are then made one after another."""


SUBJECTS: Mapping[str, str] = {
    "F2": "benchmarks.floors.f2",
    "f2-buffered": "benchmarks.floors.f2_buffered",
    "capnet": "benchmarks.macro",
    "grpcio": "benchmarks.peers.grpc_aio",
    "pycapnp": "benchmarks.peers.pycapnp_kj",
    "RPyC": "benchmarks.peers.rpyc_bound",
    "Pyro5": "benchmarks.peers.pyro5_msgpack",
    "py-capnweb": "benchmarks.peers.capnweb_ws",
}
"""Where the `SUBJECT` of each name is. They are named and not imported: a floor's process never loads capnet, and each
peer is installed in an environment of its own."""


def subject_named(name: str) -> Subject:
    """The subject of that name, imported only now."""
    subject: Subject = import_module(SUBJECTS[name]).SUBJECT
    return subject


async def consume(items: AsyncIterable[tuple[int, str]]) -> tuple[int, int]:
    """Take every item of a stream. What they add up to shows that all came, each whole."""
    numbers = letters = 0
    async for number, text in items:
        numbers += number
        letters += len(text)
    return numbers, letters
