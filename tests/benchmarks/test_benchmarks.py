"""The harness works: children start, measure and end, and the table says what was measured. No figure is judged."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.__main__ import main
from benchmarks.comparison import Comparison
from benchmarks.micro import OPERATIONS
from benchmarks.process import ChildFailed, Measurement, measure
from benchmarks.subject import SubjectName
from benchmarks.workload import ROWS, Row, Timing, check

SHORT = 0.02
CHAIN = ROWS[-1]
"""The row whose aim is a time."""


def comparison(row: Row = ROWS[0], *, floor: Sequence[float], capnet: Sequence[float] = ()) -> Comparison:
    return Comparison(row=row, loop="asyncio", floor=floor, capnet=capnet)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.workload}-{'pinned' if row.pinned else 'unpinned'}")
@pytest.mark.parametrize("subject", ["floor", "capnet"])
def test_every_row_runs_on_every_subject(subject: SubjectName, row: Row) -> None:
    timing = measure(Measurement(subject=subject, row=row, seconds=SHORT))
    assert timing.units >= row.in_flight
    assert timing.seconds >= SHORT


def test_the_command_prints_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "W1", "--repeats", "1", "--seconds", str(SHORT)]) == 0
    head, rule, row, blank, machine = capsys.readouterr().out.splitlines()
    assert len({len(head), len(rule), len(row)}) == 1
    assert row.startswith("| W1 |")
    assert not blank
    assert "Python" in machine


def test_the_command_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "w2", "--repeats", "2", "--seconds", str(SHORT), "--floor-only", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["workload"], row["pinned"], len(row["floor"]), row["ratio"]) for row in rows] == [
        ("W2", True, 2, None),
        ("W2", False, 2, None),
    ]


def test_a_profile_shows_both_processes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "W1", "--subject", "floor", "--seconds", str(SHORT), "--top", "20"]) == 0
    client, server = capsys.readouterr().out.split("\nserver\n")
    assert "Ordered by: internal time" in client
    assert "data_received" in server


def test_a_row_with_latency_can_be_profiled(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "W8", "--subject", "floor", "--seconds", str(SHORT), "--top", "20"]) == 0
    client, server = capsys.readouterr().out.split("\nserver\n")
    assert "data_received" in client
    assert "data_received" in server


def test_options_may_stand_before_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seconds", "0.01", "--repeats", "1", "micro"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert len([line for line in table if line.startswith("|")]) == len(OPERATIONS) + 2


@pytest.mark.parametrize("argument", [["--only", "W9"], ["--repeats", "0"], ["--seconds", "nan"]])
def test_bad_arguments_are_refused(argument: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(argument)
    assert refused.value.code == 2


def test_a_server_that_cannot_start_is_an_error_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(ChildFailed, match="code 1"):
        measure(Measurement(subject="floor", row=ROWS[0], seconds=SHORT))
    assert not list(tmp_path.iterdir())


async def test_a_wrong_answer_is_refused() -> None:
    async def wrong() -> object:
        return {"n": 0}

    with pytest.raises(ValueError, match="instead of"):
        await check(wrong, ROWS[0])


def test_ratios_are_taken_pair_by_pair() -> None:
    drifting = comparison(floor=[100.0, 50.0, 200.0], capnet=[200.0, 75.0, 200.0])
    assert drifting.ratios == [2.0, 1.5, 1.0]
    assert drifting.ratio == drifting.aim == 1.5
    assert drifting.reached


def test_uvloop_has_its_own_aim_where_one_is_set() -> None:
    assert ROWS[0].aim_on("uvloop") > ROWS[0].aim_on("asyncio")
    assert ROWS[1].aim_on("uvloop") == ROWS[1].aim_on("asyncio")


def test_the_table_shows_medians_and_the_spread() -> None:
    missed = comparison(floor=[1000.0, 3000.0, 2000.0], capnet=[900.0, 3000.0, 1000.0])
    row = report.as_table([missed], "here").splitlines()[2]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        "W1",
        "one call at a time, one core",
        "calls/s",
        "2,000",
        "1,000",
        "0.90",
        "0.50–1.00",
        "1.5",
        "no",
    ]


def test_a_rate_counts_what_the_unit_holds() -> None:
    items, megabytes = (next(row for row in ROWS if row.workload == workload) for workload in ("W3", "W4"))
    assert (items.measured_in, items.figure_of(Timing(units=3, seconds=2.0))) == ("items/s", 150_000)
    assert megabytes.measured_in == "MB/s"
    assert megabytes.figure_of(Timing(units=100, seconds=1.0)) == pytest.approx(104.8576)


def test_where_a_time_is_wanted_less_is_better() -> None:
    assert CHAIN.figure_of(Timing(units=50, seconds=1.0)) == 20.0
    fast = comparison(CHAIN, floor=[20.0, 18.0, 21.0], capnet=[4.0, 3.0, 3.5])
    assert fast.ratios == [5.0, 6.0, 6.0]
    assert fast.reached
    assert not comparison(CHAIN, floor=[20.0], capnet=[3.6]).reached


def test_the_table_tells_a_time_from_a_ratio() -> None:
    row = report.as_table([comparison(CHAIN, floor=[20.0], capnet=[4.0])], "here").splitlines()[2]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2:] == ["ms", "20.00", "4.00", "5.00", "5.00–5.00", "≤ 3.5 ms", "no"]


def test_json_tells_a_time_from_a_ratio() -> None:
    both = [comparison(floor=[100.0], capnet=[200.0]), comparison(CHAIN, floor=[20.0], capnet=[4.0])]
    rows = json.loads(report.as_json(both, "here"))["rows"]
    assert [(row["measured_in"], row["aim_in"], row["reached"]) for row in rows] == [
        ("calls/s", "ratio", True),
        ("ms", "ms", False),
    ]
