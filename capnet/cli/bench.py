"""`capnet bench`: how long small calls on a peer take, and how many of them there are in a second."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import quantiles
from time import perf_counter
from typing import Annotated, Final

import typer
from anyio import create_task_group

from capnet import Runtime
from capnet.cli.output import Output
from capnet.cli.peer import Peer

__all__ = ["bench"]

WARM_UP: Final = 50
"""Calls that are not counted: the first ones of a connection take longer."""


@dataclass(frozen=True)
class Measured:
    """What came out, with so many calls in flight.

    Attributes:
        in_flight: calls that are on their way at a time.
        calls: that were made.
        seconds: that all of them took.
        rate: calls a second.
        p50_ms, p90_ms, p99_ms: half, nine tenths, … of the calls took no longer, in milliseconds.
        most_ms: the longest one.
    """

    in_flight: int
    calls: int
    seconds: float
    rate: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    most_ms: float


async def bench(
    peer: Peer,
    out: Output,
    *,
    in_flight: Annotated[
        list[int],
        typer.Option(metavar="N", min=1, max=4096, help="Calls on their way at a time; may be repeated."),
    ] = [1, 32],  # noqa: B006 - typer copies it
    calls: Annotated[int, typer.Option(metavar="N", min=1, help="Make so many.")] = 2000,
    seconds: Annotated[float, typer.Option(metavar="SECONDS", min=0.01, help="Take no longer, each time.")] = 5.0,
) -> None:
    """Time small calls on a peer that runs: its capnet.Runtime.ping, which every peer has.

    A call goes all the way to a handler and back, and carries nothing. What other callers do meanwhile is in the
    figures too.
    """
    async with peer.open() as connection:
        runtime = connection.runtime()
        await _measure(runtime, 1, WARM_UP, seconds)
        measured = [await _measure(runtime, number, calls, seconds) for number in in_flight]
    if out.json:
        for one in measured:
            out.value({name: round(value, 4) for name, value in asdict(one).items()})
        return
    heads = ("in flight", "calls", "seconds", "calls/s", "50 % ms", "90 % ms", "99 % ms", "most ms")
    rows = [
        (
            str(one.in_flight),
            str(one.calls),
            f"{one.seconds:.2f}",
            f"{one.rate:.0f}",
            *(f"{each:.3f}" for each in (one.p50_ms, one.p90_ms, one.p99_ms, one.most_ms)),
        )
        for one in measured
    ]
    out.table(heads, rows, right=heads)


async def _measure(runtime: Runtime, in_flight: int, calls: int, seconds: float) -> Measured:
    took: list[float] = []
    left = calls
    began = perf_counter()

    async def caller() -> None:
        nonlocal left
        while left > 0 and perf_counter() - began < seconds:
            left -= 1
            since = perf_counter()
            await runtime.ping()
            took.append(perf_counter() - since)

    async with create_task_group() as tasks:
        for _ in range(in_flight):
            tasks.start_soon(caller)
    whole = perf_counter() - began
    cuts = quantiles((1000 * one for one in took), n=100, method="inclusive") if len(took) > 1 else took * 99
    return Measured(in_flight, len(took), whole, len(took) / whole, cuts[49], cuts[89], cuts[98], 1000 * max(took))
