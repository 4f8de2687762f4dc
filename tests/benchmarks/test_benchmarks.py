"""The harness works: children start, measure and end, and the tables say what was measured. No figure is judged."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks import instructions, machine, plot, report, scaling
from benchmarks.__main__ import main
from benchmarks.comparison import Comparison, Result, compare
from benchmarks.contender import BUFFERED, FLOOR, Contender, capnets
from benchmarks.core import environments
from benchmarks.job import Job
from benchmarks.micro import OPERATIONS
from benchmarks.peers.roster import PEERS
from benchmarks.process import ChildFailed, Measurement, measure
from benchmarks.workload import ROWS, Core, Row, Timing

SHORT = 0.02
W1 = ROWS[0]
MEMORY = next(row for row in ROWS if row.figure == "memory")
CHAIN = next(row for row in ROWS if row.figure == "milliseconds")
OURS = Contender(name="asyncio", subject="capnet")
BROKEN = Contender(name="broken", subject="F2", python=shutil.which("false") or "false")
HERE = machine.Machine(
    processor="Some processor",
    cores=2,
    system="Linux",
    python="CPython 3.11.7",
    versions={"capnet": "0.1.0", "cbor2": "6.3.0"},
    core="pure",
    factor=1.5,
    load=0.25,
    pins=False,
    when="2026-01-31 12:00",
)
ROOT = Path(__file__).parents[2]


def comparison(
    row: Row, *, floor: Sequence[float], ours: Sequence[float], core: Core = "pure", contender: Contender = OURS
) -> Comparison:
    ratios = [row.ratio(mine, theirs) for mine, theirs in zip(ours, floor, strict=True)]
    return Comparison(
        row=row,
        results=[
            Result(contender=FLOOR, figures=list(floor), ratios=[1.0] * len(floor)),
            Result(contender=contender, figures=list(ours), ratios=ratios, core=core),
        ],
    )


def cells(table: str) -> list[str]:
    """Of the first line below the head."""
    return [cell.strip() for cell in table.splitlines()[2].strip("|").split("|")]


def test_memory_is_that_of_the_server_for_each_connection() -> None:
    measured = measure(Measurement(contender=FLOOR, row=replace(MEMORY, connections=100), seconds=SHORT))
    assert measured.timing.units == 100
    assert measured.timing.bytes_each > 0
    assert measured.core is None


def test_more_connections_than_a_server_keeps_waiting_are_opened() -> None:
    """Asyncio keeps 100, and a client for which there is no room waits for good."""
    measured = measure(Measurement(contender=FLOOR, row=replace(W1, connections=600), seconds=SHORT))
    assert measured.timing.units >= 1


def test_the_command_prints_the_table_and_keeps_everything(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    options = ["--loop", "asyncio", "--with", "CAPNET_A=2,CAPNET_B=3", "--json", str(kept)]
    assert main(["--only", "w1", "--repeats", "1", "--seconds", str(SHORT), *options]) == 0
    head, rule, row, blank, where, versions = capsys.readouterr().out.splitlines()
    assert len({len(line) for line in (head, rule, row)}) == 1
    assert row.split("|")[6].strip() in {f"asyncio CAPNET_A=2 CAPNET_B=3, {core}" for core in ("pure", "native")}
    assert not blank
    assert "reference loop" in where
    assert all(f"{package} " in versions for package in ("CPython", "cbor2", "msgspec", "anyio"))
    told = json.loads(kept.read_text())
    assert told["machine"]["versions"].keys() >= {"cbor2", "msgspec", "anyio"}
    assert [(row["contender"], len(row["figures"]), row["environment"]) for row in told["rows"]] == [
        ("F2", 1, {}),
        ("f2-buffered", 1, {}),
        ("asyncio CAPNET_A=2 CAPNET_B=3", 1, {"CAPNET_A": "2", "CAPNET_B": "3"}),
    ]
    assert main(["plot", str(kept), "--into", str(tmp_path / "plots")]) == 0
    (drawn,) = (tmp_path / "plots").iterdir()
    assert "CAPNET_B=3" in drawn.read_text()


def test_variables_reach_both_processes() -> None:
    """`PYTHONHOME` without a library below it lets no Python start: it is seen where it is set."""
    elsewhere = replace(FLOOR, environment={"PYTHONHOME": "/nowhere"})
    with pytest.raises(ChildFailed, match="serve: ended with code"):
        measure(Measurement(contender=elsewhere, row=W1, seconds=SHORT))


def test_a_row_with_latency_can_be_profiled(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "W8", "--subject", "F2", "--seconds", str(SHORT), "--top", "20"]) == 0
    client, server = capsys.readouterr().out.split("\nserver\n")
    assert "Ordered by: internal time" in client
    assert "data_received" in client
    assert "data_received" in server


def test_a_profile_tells_the_share_of_each_room(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "W1", "--rooms", "--seconds", "0.5"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    whole = float(re.findall(r"([0-9.]+) us a unit", head)[0])
    parts = {room: float(part) for part, room in re.findall(r"([0-9.]+) us +[0-9.]+ %  (\S+)", "\n".join(lines))}
    assert {"capnet/engine", "capnet_transports"} <= parts.keys()
    assert abs(sum(parts.values()) - whole) < whole / 100


def test_options_may_stand_before_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seconds", "0.01", "--repeats", "1", "micro"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert len([line for line in table if line.startswith("|")]) == len(OPERATIONS) + 2


def test_a_peer_that_cannot_be_installed_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    place = tmp_path / "taken"
    place.write_text("no folder")
    options = ["--peers", "RPyC", "--environments", str(place), "--only", "W1", "--repeats", "1", "--loop", "asyncio"]
    assert main(["compare", *options, "--seconds", str(SHORT)]) == 0
    head, _, row, blank, reason, *_ = capsys.readouterr().out.splitlines()
    ours = [" ".join(["capnet asyncio", *(f"{name}={word}" for name, word in here.items())]) for here in environments()]
    assert [cell.strip() for cell in head.split("|")][4:-1] == ["F2", "f2-buffered", *ours, "RPyC"]
    assert row.split("|")[-2].strip() == "–"
    assert not blank
    assert reason.startswith("RPyC, W1 (one core): it could not be installed: ")


def test_a_peer_that_fails_has_a_reason_and_capnet_must_not() -> None:
    told: list[str] = []
    compared = compare(W1, [BROKEN], repeats=1, seconds=SHORT, step=told.append)
    floor, broken = compared.results
    assert len(told) == 2
    assert (len(floor.figures), broken.figures) == (1, [])
    assert broken.reason == "broken serve: ended with code 1 before it listened"
    assert f"broken, W1 (one core): {broken.reason}" in report.as_matrix([compared], HERE)
    assert (floor.ratio, broken.ratio, compared.reached(broken)) == (1.0, None, None)
    with pytest.raises(ChildFailed, match="code 1"):
        compare(W1, [replace(OURS, python=BROKEN.python)], repeats=1, seconds=SHORT, step=lambda _: None)


def test_what_fails_leaves_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ChildFailed, match="code 1"):
        measure(Measurement(contender=BROKEN, row=W1, seconds=SHORT))
    assert not list(tmp_path.iterdir())


INTERRUPTED = """
import os, signal, sys
from benchmarks.__main__ import main
signal.signal(signal.SIGALRM, lambda *_: os.killpg(0, signal.SIGINT))
signal.setitimer(signal.ITIMER_REAL, 0.7)
sys.exit(main(["--only", "W1", "--seconds", "300", "--loop", "asyncio"]))
"""


def test_an_interrupt_ends_every_child(tmp_path: Path) -> None:
    """As Ctrl-C does, it reaches the whole group, wherever each of its processes is."""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", INTERRUPTED]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True
    ) as child:
        _, errors = child.communicate(timeout=120)
    assert (child.returncode, errors) == (130, "")
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "argument",
    [["--only", "W9"], ["--repeats", "0"], ["--seconds", "nan"], ["--loop", "gevent"], ["--with", "CAPNET_A"]],
)
def test_bad_arguments_are_refused(argument: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(argument)
    assert refused.value.code == 2


def test_every_loop_is_run_in_every_environment() -> None:
    assert [ours.name for ours in capnets(["asyncio", "trio"], [{}, {"A": "1"}])] == [
        "asyncio",
        "trio",
        "asyncio A=1",
        "trio A=1",
    ]


def test_ratios_are_taken_pair_by_pair() -> None:
    drifting = comparison(W1, floor=[100.0, 50.0, 200.0], ours=[200.0, 75.0, 200.0])
    ours = drifting.of(OURS)
    assert ours.ratios == [2.0, 1.5, 1.0]
    assert ours.ratio == 1.5
    assert drifting.reached(ours)
    assert drifting.reached(drifting.floor) is None


def test_aims_are_those_of_the_core_and_the_loop_that_ran() -> None:
    uvloop = Contender(name="uvloop", subject="capnet", loop="uvloop")
    aims = [
        run.aim(run.results[1])
        for run in (
            comparison(W1, floor=[1.0], ours=[1.0]),
            comparison(W1, floor=[1.0], ours=[1.0], core="native"),
            comparison(W1, floor=[1.0], ours=[1.0], core="native", contender=uvloop),
            comparison(W1, floor=[1.0], ours=[1.0], contender=uvloop),
        )
    ]
    assert aims == [W1.pure, W1.native, W1.native_uvloop, W1.pure]


def test_the_table_shows_medians_and_the_spread() -> None:
    missed = comparison(W1, floor=[1000.0, 3000.0, 2000.0], ours=[900.0, 3000.0, 1000.0])
    assert cells(report.as_table([missed], HERE)) == [
        "W1",
        "one call at a time, one core",
        "calls/s",
        "2,000",
        "–",
        "asyncio, pure",
        "1,000",
        "0.90",
        "0.50–1.00",
        "0.95",
        "no",
    ]


def test_the_table_stands_without_capnet() -> None:
    alone = Comparison(
        row=W1,
        results=[
            Result(contender=FLOOR, figures=[100.0], ratios=[1.0]),
            Result(contender=BUFFERED, figures=[150.0], ratios=[1.5]),
        ],
    )
    assert cells(report.as_table([alone], HERE))[3:] == ["100", "1.50", *["–"] * 6]


def test_the_matrix_marks_the_best_that_is_no_floor() -> None:
    both = Comparison(
        row=W1,
        results=[
            Result(contender=FLOOR, figures=[100.0], ratios=[1.0]),
            Result(contender=BUFFERED, figures=[150.0], ratios=[1.5]),
            Result(contender=OURS, figures=[90.0], ratios=[0.9], core="pure", transport="unix"),
            Result(contender=replace(BROKEN, name="other"), figures=[95.0], ratios=[0.95], transport="tcp"),
        ],
    )
    matrix = report.as_matrix([both], HERE)
    assert cells(matrix)[3:] == ["100", "1.50", "0.90", "**0.95**"]
    assert "Over TCP on this machine, others over unix sockets: other." in matrix


def test_a_rate_counts_what_the_unit_holds() -> None:
    items, megabytes = (next(row for row in ROWS if row.workload == workload) for workload in ("W3", "W4"))
    assert (items.measured_in, items.figure_of(Timing(units=3, seconds=2.0))) == ("items/s", 150_000)
    assert megabytes.measured_in == "MB/s"
    assert megabytes.figure_of(Timing(units=100, seconds=1.0)) == pytest.approx(104.8576)


def test_where_a_time_is_wanted_less_is_better() -> None:
    assert CHAIN.figure_of(Timing(units=50, seconds=1.0)) == 20.0
    fast = comparison(CHAIN, floor=[20.0, 18.0, 21.0], ours=[4.0, 2.0, 3.0])
    assert fast.results[1].ratios == [5.0, 9.0, 7.0]
    assert fast.reached(fast.results[1])
    slow = comparison(CHAIN, floor=[20.0], ours=[3.6])
    assert not slow.reached(slow.results[1])


def test_the_aim_for_memory_is_no_ratio() -> None:
    assert MEMORY.figure_of(Timing(units=10, seconds=1.0, bytes_each=2048.0)) == 2.0
    small = comparison(MEMORY, floor=[2.0], ours=[11.0])
    assert cells(report.as_table([small], HERE))[2:] == [
        "KiB",
        "2.00",
        "–",
        "asyncio, pure",
        "11.00",
        "0.18",
        "0.18–0.18",
        "≤ 12 KiB",
        "yes",
    ]


def test_a_curve_is_flat_when_its_level_is() -> None:
    (_, row), *_ = scaling.CURVES[0].rows
    rising = [
        scaling.Point(label="1", row=row, capnet=[100.0, 50.0]),
        scaling.Point(label="10", row=row, capnet=[80.0, 40.0]),
    ]
    assert scaling.against_first(rising) == [1.0, 0.8]
    beside_the_floor = [
        scaling.Point(label="1", row=row, capnet=[100.0], floor=[200.0]),
        scaling.Point(label="10", row=row, capnet=[10.0], floor=[20.0]),
    ]
    assert scaling.against_first(beside_the_floor) == [1.0, 1.0]


def test_a_curve_is_measured_at_every_point() -> None:
    exports = next(curve for curve in scaling.CURVES if curve.name == "exports")
    curve = replace(exports, rows=exports.rows[:1])
    points = scaling.measure_curve(curve, FLOOR, repeats=1, seconds=SHORT, step=lambda _: None)
    assert [(len(point.capnet), len(point.floor)) for point in points] == [(1, 0)]
    assert cells(scaling.as_table([(curve, points)], HERE))[:3] == ["exports", "10", "–"]


def test_instructions_are_those_of_both_sides() -> None:
    """What callgrind would count: a process in which server and client do so many units."""
    with tempfile.TemporaryDirectory(prefix="capnet-bench-") as folder:
        job = Job(role="both", subject="F2", row=ROWS[1], address=f"{folder}/bench.sock", units=128)
        command = [sys.executable, "-m", "benchmarks.child", job.to_json()]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"core": None}


def test_instructions_need_a_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ChildFailed, match="not installed"):
        instructions.count(ROWS[:1], [], step=lambda _: None)


def test_fewer_instructions_are_better() -> None:
    count = instructions.Count(row=W1, contender=OURS, core="native", floor=90_000.0, ours=100_000.0)
    assert cells(instructions.as_table([count], HERE))[2:] == ["asyncio, native", "90", "100", "0.90", "0.9"]


def test_plots_are_pictures() -> None:
    chart = ET.fromstring(plot.bars("a < b", "words", [("one", 1.0, "#123456"), ("half", 0.5, "#123456")]))
    _, whole, half = [float(each.get("width", "")) for each in chart.iter("{http://www.w3.org/2000/svg}rect")]
    assert whole == pytest.approx(2 * half, rel=0.01)
    line = ET.fromstring(plot.curve("title", "words", ["1", "10", "100"], [1.0, 0.9, 1.1]))
    assert len(list(line.iter("{http://www.w3.org/2000/svg}circle"))) == 3


def test_the_plots_of_the_documentation_are_those_of_the_history(tmp_path: Path) -> None:
    shown = {path.name: path.read_text() for path in (ROOT / "docs" / "explanation" / "plots").iterdir()}
    for kept in ("compare", "scaling"):
        plot.draw(json.loads((ROOT / "benchmarks" / "history" / f"{kept}.json").read_text()), tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == shown


def test_the_machine_is_told_in_two_lines() -> None:
    assert str(HERE).splitlines() == [
        "Some processor, 2 cores, Linux, 1.50 times the reference loop, load 0.2, 2026-01-31 12:00, this system cannot "
        "pin: every row ran unpinned",
        "CPython 3.11.7, capnet 0.1.0, cbor2 6.3.0, pure core",
    ]


def test_peers_say_why_they_do_not_take_part() -> None:
    unable = {(peer.name, row.workload) for peer in PEERS for row in ROWS if peer.unable(row)}
    assert ("Pyro5", "W2") in unable
    assert ("grpcio", "W5") in unable
    assert not {name for name, _ in unable} & {"RPyC", "pycapnp"}
