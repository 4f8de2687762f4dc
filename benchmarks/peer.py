"""What a child process runs: `serve` or `relay` until standard input ends, or `drive` a row and say how long it took.

Standard output is for the parent alone. A server or relay writes `READY` once it listens; a server also writes its
profile, if one was asked for, after the end. A client writes one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from functools import partial

from benchmarks import relay
from benchmarks.hotspots import Profile
from benchmarks.subject import LOOPS, SUBJECTS, LoopName, subject_named
from benchmarks.workload import ROWS, Row, check, drive, opening_of

__all__ = ["READY", "main"]

READY = "ready"
WARM_UP = 0.25
"""Share of the measured time that is spent before it, unmeasured."""


def main(argv: list[str] | None = None) -> None:
    """Run as one side of a measurement, with the arguments that `benchmarks.process` gives."""
    arguments = _parser().parse_args(argv)
    # An interrupt from the keyboard reaches the whole group; the parent decides how its children end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    profile = Profile(arguments.profile) if arguments.profile else None
    row = ROWS[int(arguments.row)]
    match arguments.role:
        case "serve":
            _run(_serve(arguments, profile), partial(_new_event_loop, arguments.loop))
        case "relay":
            _run(_relay(arguments, row), relay.new_event_loop)
        case _:
            _run(_drive(arguments, row, profile), partial(_new_event_loop, arguments.loop))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peer")
    parser.add_argument("role", choices=("serve", "relay", "drive"))
    parser.add_argument("--subject", choices=SUBJECTS, required=True)
    parser.add_argument("--path", required=True, help="of the unix socket")
    parser.add_argument("--target", help="of the relay: the server's unix socket")
    parser.add_argument("--loop", choices=LOOPS, default="asyncio")
    parser.add_argument("--core", type=int, help="run on this core only")
    parser.add_argument("--profile", type=int, default=0, help="functions to list; 0 profiles nothing")
    parser.add_argument("--row", type=int, default=0, help="index of the row")
    parser.add_argument("--seconds", type=float, default=1.0)
    return parser


def _new_event_loop(name: LoopName) -> asyncio.AbstractEventLoop:
    if name == "asyncio":
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()


def _run(main: Coroutine[None, None, None], new_event_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main)


async def _serve(arguments: argparse.Namespace, profile: Profile | None) -> None:
    async with subject_named(arguments.subject).serving(arguments.path):
        print(READY, flush=True)
        with _profiled(profile):
            await _end_of_input()
    if profile:
        print(profile.text(), flush=True)


async def _relay(arguments: argparse.Namespace, row: Row) -> None:
    async with relay.relaying(arguments.path, arguments.target, row.latency):
        print(READY, flush=True)
        await _end_of_input()


async def _drive(arguments: argparse.Namespace, row: Row, profile: Profile | None) -> None:
    async with opening_of(subject_named(arguments.subject), row)(arguments.path) as unit:
        await check(unit, row)
        await drive(unit, in_flight=row.in_flight, seconds=arguments.seconds * WARM_UP)
        with _profiled(profile):
            timing = await drive(unit, in_flight=row.in_flight, seconds=arguments.seconds)
    text = profile.text() if profile else ""
    print(json.dumps({"units": timing.units, "seconds": timing.seconds, "profile": text}), flush=True)


@contextmanager
def _profiled(profile: Profile | None) -> Generator[None]:
    if profile is None:
        yield
        return
    with profile.running():
        yield


async def _end_of_input() -> None:
    """Wait until the parent closes our standard input, or has gone."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(sys.stdin.fileno())


if __name__ == "__main__":
    main()
