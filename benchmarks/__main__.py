"""`python -m benchmarks`: the table; `… compare`: beside other libraries; `… scaling`: how cost grows; and more."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import core, instructions, machine, plot, report, scaling
from benchmarks.comparison import compare
from benchmarks.contender import BUFFERED, Contender, capnets
from benchmarks.hotspots import ROOMS
from benchmarks.loops import installed
from benchmarks.peers.environment import Installed, install
from benchmarks.peers.roster import PEERS, Peer
from benchmarks.process import ChildFailed, Measurement, profile, rooms
from benchmarks.progress import Progress
from benchmarks.scaling import CARRIERS, CURVES, Curve
from benchmarks.workload import ROWS, LoopName, Row

__all__ = ["main"]

INTERRUPTED = 130
"""What a shell expects of a program that Ctrl-C ended."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line asks for. Returns the exit code: 1 when a child failed, whatever the ratios are."""
    arguments = _parser().parse_args(argv)
    if arguments.environments is None:
        arguments.environments = core.environments()
    try:
        COMMANDS[arguments.command](arguments)
    except ChildFailed as failure:
        print(f"benchmarks: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # the children have ended on the way here
        return INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="capnet against hand-written floors")
    loops = installed()
    parser.set_defaults(command="table", repeats=3, seconds=1.0, loops=loops, environments=None, json=None)
    _add(parser, "only", "repeats", "seconds", "loop", "with", "json")
    parser.add_argument("--floor-only", action="store_true", help="leave capnet out")
    commands = parser.add_subparsers()

    beside = commands.add_parser("compare", help="the same workloads on other libraries, installed for this")
    beside.set_defaults(command="compare")
    _add(beside, "only", "repeats", "seconds", "loop", "with", "json")
    beside.add_argument("--peers", type=_peers, default=PEERS, metavar="RPyC,Pyro5", help="these libraries only")
    words = "where they are installed (build/compare-venv)"
    beside.add_argument("--environments", dest="folder", type=Path, default=Path("build/compare-venv"), help=words)

    curves = commands.add_parser("scaling", help="how cost grows with exports, connections, sizes, …")
    curves.set_defaults(command="scaling")
    names = ", ".join(curve.name for curve in CURVES)
    curves.add_argument("--only", type=_curves, default=CURVES, metavar="exports,size", help=f"these of: {names}")
    _add(curves, "repeats", "seconds", "with", "json")

    carried = commands.add_parser("carriers", help="W1 to W4 by unix, tcp, tls, ws and nats, against F2 by the same")
    carried.set_defaults(command="scaling")
    carried.add_argument("--only", type=_carried, default=CARRIERS, metavar="W1,W2", help="these workloads only")
    _add(carried, "repeats", "seconds", "with", "json")

    counting = commands.add_parser("instructions", help="count them by callgrind, which no load moves; needs valgrind")
    counting.set_defaults(command="instructions")
    _add(counting, "only", "with", "json")

    hot = commands.add_parser("profile", help="list the functions with the most own time, in both processes")
    hot.set_defaults(command="profile")
    hot.add_argument("rows", type=_rows, metavar="W1", help="the workload")
    hot.add_argument("--subject", choices=("F2", "f2-buffered", "capnet"), default="capnet")
    hot.add_argument("--top", type=_count, default=25, help="functions to list (25)")
    hot.add_argument("--rooms", action="store_const", dest="top", const=ROOMS, help="each room's share in their place")
    _add(hot, "seconds", "loop", "with")

    micro = commands.add_parser("micro", help="time framing, codec and a pair of engines, without I/O")
    micro.set_defaults(command="micro")
    _add(micro, "repeats", "seconds", "json")

    drawing = commands.add_parser("plot", help="draw what --json has kept, as SVG")
    drawing.set_defaults(command="plot")
    drawing.add_argument("kept", type=Path, nargs="+", metavar="FILE")
    drawing.add_argument("--into", type=Path, required=True, metavar="FOLDER")
    return parser


# What a command shares with the table keeps its default there alone: a second one would undo what stands before the
# command's name.


def _add(parser: argparse.ArgumentParser, *names: str) -> None:
    for name in names:
        parser.add_argument(f"--{name}", default=argparse.SUPPRESS, **OPTIONS[name])


def _table(arguments: argparse.Namespace) -> None:
    where = machine.describe()
    contenders = [BUFFERED]
    if not arguments.floor_only:
        contenders += capnets(arguments.loops, arguments.environments)
    rows: Sequence[Row] = getattr(arguments, "only", ROWS)
    progress = Progress(len(rows) * arguments.repeats * (1 + len(contenders)))
    comparisons = [
        compare(row, contenders, repeats=arguments.repeats, seconds=arguments.seconds, step=progress.step)
        for row in rows
    ]
    progress.end()
    print(report.as_table(comparisons, where))
    _keep(arguments, "table", where, rows=report.as_records(comparisons))


def _compare(arguments: argparse.Namespace) -> None:
    peers: dict[str, Peer] = {peer.name: peer for peer in arguments.peers}
    rows: Sequence[Row] = getattr(arguments, "only", ROWS)
    there = _install(arguments.peers, arguments.folder)
    where = machine.describe()
    loops: Sequence[LoopName] = [loop for loop in arguments.loops if loop != "trio"]  # no peer runs on it
    ours = [_named_capnet(contender) for contender in capnets(loops, arguments.environments)]
    theirs = [Contender(name=name, subject=name, python=there[name].python) for name in peers]
    contenders = [BUFFERED, *ours, *theirs]

    def unable(contender: Contender, row: Row) -> str:
        peer = peers.get(contender.name)
        return (there[peer.name].reason or peer.unable(row)) if peer else ""

    progress = Progress(len(rows) * arguments.repeats * (1 + len(contenders)))
    comparisons = [
        compare(
            row, contenders, repeats=arguments.repeats, seconds=arguments.seconds, step=progress.step, unable=unable
        )
        for row in rows
    ]
    progress.end()
    print(report.as_matrix(comparisons, where))
    print(_versions(there))
    versions = {name: dict(found.versions) for name, found in there.items()}
    _keep(arguments, "compare", where, rows=report.as_records(comparisons), peers=versions)


def _install(peers: Sequence[Peer], folder: Path) -> Mapping[str, Installed]:
    progress = Progress(len(peers))
    found: dict[str, Installed] = {}
    for peer in peers:
        progress.step(f"{peer.name}: an environment in {folder / peer.name}")
        found[peer.name] = install(peer, folder)
    progress.end()
    return found


def _named_capnet(contender: Contender) -> Contender:
    return Contender(
        name=f"capnet {contender.name}", subject="capnet", loop=contender.loop, environment=contender.environment
    )


def _versions(there: Mapping[str, Installed]) -> str:
    """Of each peer and what it brings, in one line."""
    return "; ".join(
        f"{name}: " + (found.reason or ", ".join(f"{package} {number}" for package, number in found.versions.items()))
        for name, found in there.items()
    )


def _scaling(arguments: argparse.Namespace) -> None:
    where = machine.describe()
    (contender, *_) = capnets(("asyncio",), arguments.environments)
    curves: Sequence[Curve] = arguments.only
    progress = Progress(arguments.repeats * sum(len(curve.rows) for curve in curves))
    measured = [
        (
            curve,
            scaling.measure_curve(
                curve, contender, repeats=arguments.repeats, seconds=arguments.seconds, step=progress.step
            ),
        )
        for curve in curves
    ]
    progress.end()
    print(scaling.as_table(measured, where))
    _keep(arguments, "scaling", where, curves=scaling.as_records(measured))


def _instructions(arguments: argparse.Namespace) -> None:
    where = machine.describe()
    # One row of each workload: where its processes run is nothing here, for there is one.
    rows = [row for row in getattr(arguments, "only", ROWS) if row.instructions]
    contenders = capnets(("asyncio",), arguments.environments)
    progress = Progress(len(rows) * (1 + len(contenders)))
    counts = instructions.count(rows, contenders, step=progress.step)
    progress.end()
    print(instructions.as_table(counts, where))
    _keep(arguments, "instructions", where, counts=instructions.as_records(counts))


def _profile(arguments: argparse.Namespace) -> None:
    row: Row = arguments.rows[0]
    name = arguments.subject
    (ours, *_) = capnets(arguments.loops, arguments.environments)
    contender = Contender(name=name, subject=name, loop=ours.loop, environment=ours.environment)
    measurement = Measurement(contender=contender, row=row, seconds=arguments.seconds)
    if arguments.top == ROOMS:
        text, microseconds = rooms(measurement)
        print(f"{name}, {row.workload} {row.title}: {microseconds:.1f} us a unit, both sides in one process\n{text}")
        return
    client, server = profile(measurement, arguments.top)
    print(f"{name}, {row.workload} {row.title}: client\n{client}\n\nserver\n{server}")


def _micro(arguments: argparse.Namespace) -> None:
    # Imported here: the other commands must run when the library's inner names have moved.
    from benchmarks import micro

    where = machine.describe()
    progress = Progress(len(micro.OPERATIONS) * arguments.repeats)
    costs = micro.time_all(micro.OPERATIONS, repeats=arguments.repeats, seconds=arguments.seconds, step=progress.step)
    progress.end()
    print(micro.as_table(costs, str(where)))
    _keep(arguments, "micro", where, operations=micro.as_records(costs))


def _plot(arguments: argparse.Namespace) -> None:
    for kept in arguments.kept:
        for path in plot.draw(json.loads(kept.read_text()), arguments.into):
            print(path)


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "table": _table,
    "compare": _compare,
    "scaling": _scaling,
    "instructions": _instructions,
    "profile": _profile,
    "micro": _micro,
    "plot": _plot,
}


def _keep(arguments: argparse.Namespace, command: str, where: machine.Machine, **measured: object) -> None:
    """Write everything that was measured to the file that was asked for."""
    if arguments.json is not None:
        kept = {"command": command, "machine": where.as_record(), **measured}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(kept, indent=1) + "\n")


def _rows(text: str) -> tuple[Row, ...]:
    wanted = set(_chosen(text.upper(), {row.workload for row in ROWS}, "workload"))
    return tuple(row for row in ROWS if row.workload in wanted)


def _curves(text: str) -> tuple[Curve, ...]:
    wanted = _chosen(text, {curve.name for curve in CURVES}, "curve")
    return tuple(curve for curve in CURVES if curve.name in wanted)


def _carried(text: str) -> tuple[Curve, ...]:
    wanted = _chosen(text.upper(), {curve.name for curve in CARRIERS}, "workload")
    return tuple(curve for curve in CARRIERS if curve.name in wanted)


def _peers(text: str) -> tuple[Peer, ...]:
    wanted = _chosen(text, {peer.name for peer in PEERS}, "peer")
    return tuple(peer for peer in PEERS if peer.name in wanted)


def _loops(text: str) -> list[str]:
    return _chosen(text, set(installed()), "loop")


def _chosen(text: str, known: set[str], what: str) -> list[str]:
    wanted = [name.strip() for name in text.split(",")]
    unknown = sorted(set(wanted) - known)
    if unknown:
        raise argparse.ArgumentTypeError(f"no {what} {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return wanted


def _variables(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair]
    if not all(name and sign for name, sign, _ in pairs):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, several with commas between them, got {text!r}")
    return {name: value for name, _, value in pairs}


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.01 <= seconds <= 600:
        raise argparse.ArgumentTypeError(f"expected seconds from 0.01 to 600, got {text!r}")
    return seconds


OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "only": {"type": _rows, "metavar": "W1,W5", "help": "these workloads only"},
    "repeats": {"type": _count, "help": "measurements of everything (3)"},
    "seconds": {"type": _seconds, "help": "time of each measurement (1.0)"},
    "loop": {
        "type": _loops,
        "dest": "loops",
        "metavar": "asyncio,trio",
        "help": "capnet's event loops (all that are installed); floors keep asyncio",
    },
    "with": {
        "type": _variables,
        "action": "append",
        "dest": "environments",
        "metavar": "NAME=VALUE,…",
        "help": "run capnet with these variables, each further --with is one more line (each core that is there)",
    },
    "json": {"type": Path, "metavar": "FILE", "help": "also write everything measured to this file"},
}


if __name__ == "__main__":
    sys.exit(main())
