"""What a child process runs: `serve` or `relay` until standard input ends, or `drive` a row and say how long it took.

`both` is server and client in one process, for whoever counts what it does. Standard output is for the parent alone. A
server or relay writes that it listens, and where; a server also writes its profile, if one was asked for, after the
end. A client writes one line of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager
from time import perf_counter, process_time

from benchmarks import core, loops, relay
from benchmarks.hotspots import ROOMS, Profile, Profiler, Rooms
from benchmarks.job import READY, Job
from benchmarks.memory import open_many_files, resident
from benchmarks.subject import Unit, subject_named
from benchmarks.workload import Timing, checked

__all__ = ["main"]

WARM_UP = 0.25
"""Share of the measured time that is spent before it, unmeasured."""
WARM_CONNECTIONS = 10
"""Idle connections that are opened before the server's memory is looked at."""


def main(argv: list[str] | None = None) -> None:
    """Run as one side of a measurement: the one argument is the job that `benchmarks.process` gives."""
    job = Job.from_json((argv or sys.argv[1:])[0])
    # An interrupt from the keyboard reaches the whole group; the parent decides how its children end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if job.core is not None:
        os.sched_setaffinity(0, {job.core})
    open_many_files()
    profile = Rooms() if job.profile == ROOMS else Profile(job.profile) if job.profile else None
    match job.role:
        case "serve":
            loops.run(lambda: _serve(job, profile), job.loop)
        case "relay":
            relay.run(lambda: _relay(job))
        case "drive":
            loops.run(lambda: _drive(job, profile), job.loop)
        case "both":
            loops.run(lambda: _both(job, profile), job.loop)


async def _serve(job: Job, profile: Profiler | None) -> None:
    async with subject_named(job.subject).serving(job.address, job.row) as address:
        print(READY, address, flush=True)
        with _profiled(profile):
            await loops.end_of_input(job.loop)
    if profile:
        print(profile.text(), flush=True)


async def _relay(job: Job) -> None:
    async with relay.relaying(job.address, job.target, job.row.latency) as address:
        print(READY, address, flush=True)
        await loops.end_of_input("asyncio")


async def _drive(job: Job, profile: Profiler | None) -> None:
    subject, row = subject_named(job.subject), job.row
    opening = subject.openings[row.shape]
    async with AsyncExitStack() as opened:
        if row.shape == "idle":
            unit = await opened.enter_async_context(opening(job.address, row))
            timing = await _idle(job, unit)
        else:
            in_flight = 1 if subject.windows else row.in_flight
            units: list[Unit] = []
            begin = perf_counter()
            # Each is used before the next is opened, or the server's backlog would fill: asyncio then waits for good.
            for _ in range(row.connections):
                units.append(await opened.enter_async_context(opening(job.address, row)))
                checked(await units[-1](), row)
            warm = job.seconds * WARM_UP - (perf_counter() - begin)
            if warm > 0:  # a unit that takes longer than the warm-up was one
                await loops.drive(units, in_flight=in_flight, seconds=warm, loop=job.loop)
            with _profiled(profile):
                timing = await loops.drive(units, in_flight=in_flight, seconds=job.seconds, loop=job.loop)
        answer = {
            "units": timing.units,
            "seconds": timing.seconds,
            "bytes_each": timing.bytes_each,
            "core": core.running() if job.subject == "capnet" else None,
            "profile": profile.text() if profile else "",
        }
    print(json.dumps(answer), flush=True)


async def _both(job: Job, profile: Profiler | None) -> None:
    subject, row = subject_named(job.subject), job.row
    async with subject.serving(job.address, row) as address, subject.openings[row.shape](address, row) as unit:
        checked(await unit(), row)
        answer: dict[str, object] = {"core": core.running() if job.subject == "capnet" else None}
        if profile is None:
            await loops.repeat(unit, units=job.units, in_flight=row.in_flight, loop=job.loop)
        else:
            await loops.drive([unit], in_flight=row.in_flight, seconds=job.seconds * WARM_UP, loop=job.loop)
            with profile.running():
                begin = process_time()
                timing = await loops.drive([unit], in_flight=row.in_flight, seconds=job.seconds, loop=job.loop)
                microseconds = 1e6 * (process_time() - begin) / timing.units
            answer |= {"profile": profile.text(microseconds), "microseconds": microseconds}
    print(json.dumps(answer), flush=True)


async def _idle(job: Job, unit: Unit) -> Timing:
    """Open the row's connections, and see what that adds to the memory of the server."""
    for _ in range(WARM_CONNECTIONS):
        checked(await unit(), job.row)
    before, begin = resident(job.server), perf_counter()
    for _ in range(job.row.connections):
        await unit()
    seconds, added = perf_counter() - begin, resident(job.server) - before
    return Timing(job.row.connections, seconds, added / job.row.connections)


@contextmanager
def _profiled(profile: Profiler | None) -> Generator[None]:
    if profile is None:
        yield
        return
    with profile.running():
        yield


if __name__ == "__main__":
    main()
