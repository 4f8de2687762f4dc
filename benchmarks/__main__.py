"""`python -m benchmarks`: the table; `… profile W1`: where the time goes; `… micro`: the pure rooms alone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from benchmarks import machine, report
from benchmarks.comparison import compare
from benchmarks.process import ChildFailed, Measurement, profile
from benchmarks.subject import LOOPS, SUBJECTS
from benchmarks.workload import ROWS, Row

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line asks for. Returns the exit code: 1 when a child failed, whatever the ratios are."""
    arguments = _parser().parse_args(argv)
    try:
        COMMANDS[arguments.command](arguments)
    except ChildFailed as failure:
        print(f"benchmarks: {failure}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="capnet against hand-written floors")
    parser.set_defaults(command="table", repeats=3, seconds=1.0, loop="asyncio")
    parser.add_argument("--only", type=_rows, default=ROWS, metavar="W1,W5", help="these workloads only")
    parser.add_argument("--floor-only", action="store_true", help="leave capnet out")
    parser.add_argument("--json", action="store_true", help="everything measured, as JSON")
    _add_repeats(parser)
    _add_seconds(parser)
    _add_loop(parser)
    commands = parser.add_subparsers()
    hot = commands.add_parser("profile", help="list the functions with the most own time, in both processes")
    hot.set_defaults(command="profile")
    hot.add_argument("rows", type=_rows, metavar="W1", help="the workload")
    hot.add_argument("--subject", choices=SUBJECTS, default="capnet")
    hot.add_argument("--top", type=_count, default=25, help="functions to list (25)")
    _add_seconds(hot)
    _add_loop(hot)
    micro = commands.add_parser("micro", help="time framing, codec and a pair of engines, without I/O")
    micro.set_defaults(command="micro")
    _add_repeats(micro)
    _add_seconds(micro)
    return parser


# What a command shares with the table keeps its default there alone: a second one would undo what stands before the
# command's name.


def _add_repeats(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=_count, default=argparse.SUPPRESS, help="measurements of everything (3)")


def _add_seconds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=_seconds, default=argparse.SUPPRESS, help="time of each measurement (1.0)")


def _add_loop(parser: argparse.ArgumentParser) -> None:
    words = "capnet's event loop; the floor keeps asyncio"
    parser.add_argument("--loop", choices=LOOPS, default=argparse.SUPPRESS, help=words)


def _table(arguments: argparse.Namespace) -> None:
    where = machine.describe()
    comparisons = [
        compare(
            row,
            subjects=("floor",) if arguments.floor_only else SUBJECTS,
            repeats=arguments.repeats,
            seconds=arguments.seconds,
            loop=arguments.loop,
            progress=_progress,
        )
        for row in arguments.only
    ]
    _progress("")
    render = report.as_json if arguments.json else report.as_table
    print(render(comparisons, where))


def _profile(arguments: argparse.Namespace) -> None:
    row: Row = arguments.rows[0]
    measurement = Measurement(subject=arguments.subject, row=row, seconds=arguments.seconds, loop=arguments.loop)
    client, server = profile(measurement, arguments.top)
    print(f"{arguments.subject}, {row.workload} {row.title}: client\n{client}\n\nserver\n{server}")


def _micro(arguments: argparse.Namespace) -> None:
    # Imported here: the other commands must run when the library's inner names have moved.
    from benchmarks import micro

    where = machine.describe()
    costs = micro.time_all(micro.OPERATIONS, repeats=arguments.repeats, seconds=arguments.seconds, progress=_progress)
    _progress("")
    print(micro.as_table(costs, where))


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {"table": _table, "profile": _profile, "micro": _micro}


def _progress(text: str) -> None:
    """Show what is running on a line that the next one replaces; a log or a pipe gets nothing."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _rows(text: str) -> tuple[Row, ...]:
    wanted = {name.strip().upper() for name in text.split(",")}
    unknown = wanted - {row.workload for row in ROWS}
    if unknown:
        known = ", ".join(sorted({row.workload for row in ROWS}))
        raise argparse.ArgumentTypeError(f"no workload {', '.join(sorted(unknown))}; there are {known}")
    return tuple(row for row in ROWS if row.workload in wanted)


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


if __name__ == "__main__":
    sys.exit(main())
