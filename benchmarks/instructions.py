"""How many instructions a unit of work takes, both sides together, by callgrind: no load of the machine moves that.

Server and client run in one process on one loop, once for some units and once for twice as many; the difference is what
the units cost, without the start of Python and the imports. It is the processor's work in user space, without the
kernel's, and says nothing of caches and branches.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from benchmarks.contender import FLOOR, Contender
from benchmarks.job import Job
from benchmarks.machine import Machine
from benchmarks.process import ROOT, ChildFailed
from benchmarks.report import markdown
from benchmarks.workload import Core, Row

__all__ = ["Count", "as_records", "as_table", "count", "units_of"]

CALLGRIND = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
COLLECTED = re.compile(r"Collected : (\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Instructions for one unit of a row."""

    row: Row
    contender: Contender
    core: Core | None
    floor: float
    """F2's."""
    ours: float

    @property
    def ratio(self) -> float:
        """F2's over capnet's: as with times, more is better."""
        return self.floor / self.ours


def units_of(row: Row) -> int:
    """How many units tell what one costs: those that open a connection are long, and calls in flight come together."""
    return 32 if row.shape == "connect" else 8 * row.in_flight if row.in_flight > 1 else 256


def count(rows: Sequence[Row], contenders: Sequence[Contender], *, step: Callable[[str], None]) -> Sequence[Count]:
    """Count each row on the floor and on each of `contenders`. Raises `ChildFailed`, as without valgrind."""
    if shutil.which(CALLGRIND[0]) is None:
        raise ChildFailed("instructions are counted by valgrind, which is not installed here")
    counts: list[Count] = []
    for row in rows:
        step(f"{row.workload} {row.title}: {FLOOR.name}")
        floor, _ = _of_a_unit(FLOOR, row)
        for contender in contenders:
            step(f"{row.workload} {row.title}: {contender.name}")
            ours, core = _of_a_unit(contender, row)
            counts.append(Count(row=row, contender=contender, core=core, floor=floor, ours=ours))
    return counts


def _of_a_unit(contender: Contender, row: Row) -> tuple[float, Core | None]:
    units = units_of(row)
    with tempfile.TemporaryDirectory(prefix="capnet-bench-") as folder:
        job = Job(role="both", subject=contender.subject, row=row, address="", loop=contender.loop)
        few = _start(replace(job, units=units, address=f"{folder}/few.sock"), contender)
        try:
            many = _start(replace(job, units=2 * units, address=f"{folder}/many.sock"), contender)
            try:
                first, core = _counted(few, contender)
                second, _ = _counted(many, contender)
            finally:
                _end(many)
        finally:
            _end(few)
    return (second - first) / units, core


def _start(job: Job, contender: Contender) -> subprocess.Popen[str]:
    # Where a set of texts has its members must be the same in both runs.
    environment = {**os.environ, **contender.environment, "PYTHONHASHSEED": "0"}
    return subprocess.Popen(
        [*CALLGRIND, contender.python, "-m", "benchmarks.child", job.to_json()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    )


def _counted(child: subprocess.Popen[str], contender: Contender) -> tuple[int, Core | None]:
    answer, errors = child.communicate()
    found = COLLECTED.search(errors)
    if child.returncode != 0 or found is None:
        raise ChildFailed(f"{contender.name}: ended with code {child.returncode} under callgrind: {errors[-500:]}")
    return int(found[1]), json.loads(answer)["core"]


def _end(child: subprocess.Popen[str]) -> None:
    if child.poll() is None:
        child.kill()
    child.communicate()


def as_table(counts: Sequence[Count], machine: Machine) -> str:
    """A line for each row and contender, in thousands of instructions."""
    head = ("id", "workload", "capnet on", "F2, k", "capnet, k", "F2's over capnet's", "aim")
    rows = [
        (
            found.row.workload,
            found.row.title,
            f"{found.contender.name}, {found.core}",
            f"{found.floor / 1000:,.0f}",
            f"{found.ours / 1000:,.0f}",
            f"{found.ratio:.2f}",
            f"{found.row.instructions:.1f}" if found.core == "native" else "–",
        )
        for found in counts
    ]
    return "\n".join([markdown(head, rows, "lllrrrr"), "", str(machine)])


def as_records(counts: Sequence[Count]) -> list[dict[str, object]]:
    """For JSON, in instructions."""
    return [
        {
            "workload": found.row.workload,
            "contender": found.contender.name,
            "core": found.core,
            "floor": found.floor,
            "capnet": found.ours,
            "ratio": found.ratio,
        }
        for found in counts
    ]
