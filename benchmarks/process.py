"""One measurement: a server child, a client child, on some rows a relay between them, and their certain end."""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.contender import Contender
from benchmarks.hotspots import ROOMS
from benchmarks.job import READY, Job, Role
from benchmarks.workload import Core, Row, Timing

__all__ = ["ChildFailed", "Measured", "Measurement", "can_pin", "measure", "profile", "rooms"]

START_SECONDS = 30.0
"""Until a server or relay must listen."""
CLIENT_SECONDS = 120.0
"""What a client may take beyond its measured time: the slowest peers stream W3's items for half a minute."""
END_SECONDS = 10.0
"""Until it must have ended once its input is closed; then it is killed."""
CONNECTING_SECONDS = 0.05
"""What a client may take for each connection beyond the first."""
ROOT = Path(__file__).resolve().parent.parent


class ChildFailed(RuntimeError):
    """A server or client ended, or hung, before its work was done; what it wrote last says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What to run and how long."""

    contender: Contender
    row: Row
    seconds: float
    """Time that is measured; the warm-up comes on top."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a client says of its run."""

    timing: Timing
    core: Core | None
    """Which core of capnet ran; None for others."""
    address: str
    """Where its server listened."""


def can_pin() -> bool:
    """Whether this system lets a process choose its core."""
    return hasattr(os, "sched_setaffinity")


def measure(measurement: Measurement) -> Measured:
    """Run it in two fresh processes. Raises `ChildFailed`; no process and no file is left in any case."""
    with _server(measurement) as (address, server, errors):
        answer = _drive(measurement, address, server.pid, errors)
    timing = Timing(answer["units"], answer["seconds"], answer["bytes_each"])
    return Measured(timing, answer["core"], address)


def profile(measurement: Measurement, top: int) -> tuple[str, str]:
    """Run it with both processes profiled; returns the `top` functions of the client and of the server, as text."""
    with _server(measurement, top) as (address, server, errors):
        answer = _drive(measurement, address, server.pid, errors, top)
        text, _ = server.communicate(timeout=END_SECONDS)
    return str(answer["profile"]), text.strip()


def rooms(measurement: Measurement) -> tuple[str, float]:
    """Run both sides in one process; returns where the time of a unit goes, as text, and how much that is in µs."""
    with tempfile.TemporaryDirectory() as folder:
        job = replace(_job("both", measurement, f"{folder}/socket", ROOMS), seconds=measurement.seconds)
        answer = _answer(job, measurement, Path(folder) / "errors")
    return str(answer["profile"]), float(answer["microseconds"])


@contextmanager
def _server(measurement: Measurement, top: int = 0) -> Generator[tuple[str, subprocess.Popen[str], Path]]:
    """The address to connect to, which is a relay's where the row asks for latency, the server, and its errors."""
    with tempfile.TemporaryDirectory(prefix="capnet-bench-") as name, ExitStack() as children:
        folder = Path(name)
        errors = folder / "errors"
        job = _job("serve", measurement, f"{folder}/bench.sock", top)
        server, address = children.enter_context(_listening(job, measurement.contender, errors))
        if measurement.row.latency:
            job = replace(_job("relay", measurement, f"{folder}/relay.sock"), target=address)
            _, address = children.enter_context(_listening(job, measurement.contender, errors))
        yield address, server, errors


@contextmanager
def _listening(job: Job, contender: Contender, errors: Path) -> Generator[tuple[subprocess.Popen[str], str]]:
    """A child that listens inside the block, and where."""
    with errors.open("a") as file:
        child = subprocess.Popen(
            _command(job, contender),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            cwd=ROOT,
            env={**os.environ, **contender.environment},
        )
    try:
        yield child, _address(child, f"{contender.name} {job.role}", errors)
    finally:
        _end(child)


def _address(child: subprocess.Popen[str], name: str, errors: Path) -> str:
    """Wait until it listens."""
    assert child.stdout is not None
    ready, _, _ = select.select([child.stdout], [], [], START_SECONDS)
    if not ready:
        raise ChildFailed(f"{name}: did not listen within {START_SECONDS:g} s{_last_of(errors)}")
    word, _, address = child.stdout.readline().strip().partition(" ")
    if word != READY:
        raise ChildFailed(f"{name}: ended with code {child.wait()} before it listened{_last_of(errors)}")
    return address


def _end(child: subprocess.Popen[str]) -> None:
    """Close its input, which asks it to end; kill it if it does not."""
    assert child.stdin is not None and child.stdout is not None
    child.stdin.close()
    try:
        child.wait(END_SECONDS)
    except BaseException:  # what hangs, and who is interrupted once more while waiting for it
        child.kill()
        child.wait()
    child.stdout.close()


def _drive(measurement: Measurement, address: str, server: int, errors: Path, top: int = 0) -> dict[str, Any]:
    job = replace(_job("drive", measurement, address, top), server=server)
    return _answer(job, measurement, errors)


def _answer(job: Job, measurement: Measurement, errors: Path) -> dict[str, Any]:
    """Run a child to its end; gives the line that it writes."""
    contender = measurement.contender
    patience = 2 * measurement.seconds + CLIENT_SECONDS + CONNECTING_SECONDS * measurement.row.connections
    with errors.open("a") as file:
        try:
            child = subprocess.run(
                _command(job, contender),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                cwd=ROOT,
                env={**os.environ, **contender.environment},
                timeout=patience,
            )
        except subprocess.TimeoutExpired as expired:
            words = f"{contender.name} {job.role}: hung and was killed after {patience:g} s{_last_of(errors)}"
            raise ChildFailed(words) from expired
    if child.returncode != 0:
        raise ChildFailed(f"{contender.name} {job.role}: ended with code {child.returncode}{_last_of(errors)}")
    answer: dict[str, Any] = json.loads(child.stdout)
    return answer


def _last_of(errors: Path) -> str:
    """The last that was written to standard error, which is where Python says what went wrong."""
    lines = errors.read_text(errors="replace").strip().splitlines()
    return f": {lines[-1].strip()}" if lines else ""


def _command(job: Job, contender: Contender) -> list[str]:
    return [contender.python, "-m", "benchmarks.child", job.to_json()]


def _job(role: Role, measurement: Measurement, address: str, top: int = 0) -> Job:
    row = measurement.row
    return Job(
        role=role,
        subject=measurement.contender.subject,
        row=row,
        address=address,
        loop=measurement.contender.loop,
        core=max(os.sched_getaffinity(0)) if row.pinned and can_pin() else None,
        profile=top,
        seconds=measurement.seconds,
    )
