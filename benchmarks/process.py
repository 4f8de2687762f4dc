"""One measurement: a server child, a client child, on some rows a relay between them, and their certain end."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peer import READY
from benchmarks.subject import LoopName, SubjectName
from benchmarks.workload import ROWS, Row, Timing

__all__ = ["ChildFailed", "Measurement", "can_pin", "measure", "profile"]

START_SECONDS = 30.0
"""Until a server or relay must listen; also what a client may take beyond its measured time."""
END_SECONDS = 10.0
"""Until it must have ended once its input is closed; then it is killed."""
ROOT = Path(__file__).resolve().parent.parent


class ChildFailed(RuntimeError):
    """A server or client ended, or hung, before its work was done. What it wrote to standard error stands above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What to run and how long."""

    subject: SubjectName
    row: Row
    seconds: float
    """Time that is measured; the warm-up comes on top."""
    loop: LoopName = "asyncio"


def can_pin() -> bool:
    """Whether this system lets a process choose its core."""
    return hasattr(os, "sched_setaffinity")


def measure(measurement: Measurement) -> Timing:
    """Run it in two fresh processes. Raises `ChildFailed`; no process and no file is left in any case."""
    with _server(measurement) as (path, _):
        answer = _drive(measurement, path)
    return Timing(int(answer["units"]), float(answer["seconds"]))


def profile(measurement: Measurement, top: int) -> tuple[str, str]:
    """Run it with both processes profiled; returns the `top` functions of the client and of the server, as text."""
    with _server(measurement, top) as (path, server):
        answer = _drive(measurement, path, top)
        text, _ = server.communicate(timeout=END_SECONDS)
    return str(answer["profile"]), text.strip()


@contextmanager
def _server(measurement: Measurement, top: int = 0) -> Generator[tuple[str, subprocess.Popen[str]]]:
    """The path to connect to, which is a relay's where the row asks for latency, and the server's process."""
    with tempfile.TemporaryDirectory(prefix="capnet-bench-") as folder, ExitStack() as children:
        path = f"{folder}/bench.sock"
        command = _command("serve", measurement, path, top)
        server = children.enter_context(_listening(command, f"{measurement.subject} server"))
        if measurement.row.latency:
            target, path = path, f"{folder}/relay.sock"
            command = [*_command("relay", measurement, path), "--target", target]
            children.enter_context(_listening(command, "relay"))
        yield path, server


@contextmanager
def _listening(command: Sequence[str], name: str) -> Generator[subprocess.Popen[str]]:
    """A child that listens inside the block."""
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        _wait_until_ready(child, name)
        yield child
    finally:
        _end(child)


def _wait_until_ready(child: subprocess.Popen[str], name: str) -> None:
    assert child.stdout is not None
    ready, _, _ = select.select([child.stdout], [], [], START_SECONDS)
    if not ready:
        raise ChildFailed(f"the {name} did not listen within {START_SECONDS:g} s")
    if child.stdout.readline().strip() != READY:
        raise ChildFailed(f"the {name} ended with code {child.wait()} before it listened")


def _end(child: subprocess.Popen[str]) -> None:
    """Close its input, which asks it to end; kill it if it does not."""
    assert child.stdin is not None and child.stdout is not None
    child.stdin.close()
    try:
        child.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    child.stdout.close()


def _drive(measurement: Measurement, path: str, top: int = 0) -> dict[str, int | float | str]:
    command = _command("drive", measurement, path, top)
    patience = 2 * measurement.seconds + START_SECONDS
    try:
        client = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, cwd=ROOT, timeout=patience
        )
    except subprocess.TimeoutExpired as expired:
        raise ChildFailed(f"the {measurement.subject} client hung and was killed after {patience:g} s") from expired
    if client.returncode != 0:
        raise ChildFailed(f"the {measurement.subject} client ended with code {client.returncode}")
    answer: dict[str, int | float | str] = json.loads(client.stdout)
    return answer


def _command(role: str, measurement: Measurement, path: str, top: int = 0) -> Sequence[str]:
    command = [sys.executable, "-m", "benchmarks.peer", role, "--subject", measurement.subject, "--path", path]
    command += ["--loop", measurement.loop, "--row", str(ROWS.index(measurement.row))]
    command += ["--seconds", str(measurement.seconds), "--profile", str(top)]
    if measurement.row.pinned and can_pin():
        command += ["--core", str(max(os.sched_getaffinity(0)))]
    return command
