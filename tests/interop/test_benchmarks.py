"""The workloads by way of a NATS server: capnet, and the floor that it is measured against."""

from __future__ import annotations

import tempfile
from dataclasses import replace

import pytest

from benchmarks.subject import subject_named
from benchmarks.workload import ROWS, checked
from tests.interop.counterparts import program
from tests.loops import ONE_LOOP


@pytest.mark.parametrize("subject", ["F2", "capnet"])
@ONE_LOOP
async def test_nats_carries_the_workloads(subject: str) -> None:
    program("nats-server")
    work = subject_named(subject)
    for row in ROWS:
        if row.shape in ("echo", "numbers", "blob"):
            smaller = replace(row, carrier="nats", items=700)
            with tempfile.TemporaryDirectory(prefix="capnet-bench-") as folder:
                async with (
                    work.serving(f"{folder}/bench.sock", smaller) as address,
                    work.openings[row.shape](address, smaller) as unit,
                ):
                    for _ in range(3):
                        checked(await unit(), smaller)
