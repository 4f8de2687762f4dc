"""`capnet demo`: a host and three plugins.

    examples.py     two of them: those of `docs/examples`, a linter and an index
    guest.py        the third, which wants more than it may have; `contract.py` has what it agrees on with the host
    host.py         the host: the steps, each of them checked
    under_load.py   … callers of a plugin that is swapped
    lending.py      what the host lends; `folder.py` is a directory from which nobody gets out
    policy.py       what each plugin may have
    sample.py       a few notes and programs, for who names no folder
    checks.py, summary.py, report.py, show.py: what came of it, events in words, and how all of that is shown

Start with the plugins, then read `host.py`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from anyio import run

from capnet.cli.demo.folder import DirectoryFolder
from capnet.cli.demo.host import Demo
from capnet.cli.demo.sample import sample_folder
from capnet.cli.demo.show import Show, pick_show

__all__ = ["command", "demo", "parser"]


def command(words: Sequence[str]) -> int:
    """`capnet demo`, which needs nothing that is not installed with the library.

    Args:
        words: those behind the command's name.

    Returns its exit code.
    """
    try:
        options = parser().parse_args(words)
    except SystemExit as end:  # argparse has said what is wrong, or has printed the help
        return end.code if isinstance(end.code, int) else 0
    return demo(options.path, options.query, as_json=options.json, verbose=options.verbose)


def parser() -> argparse.ArgumentParser:
    """What it takes."""
    words = argparse.ArgumentParser(
        prog="capnet demo",
        description="See capnet work: a host lends a folder to plugins, which lint and search it. One is killed, "
        "one is swapped in use, and one wants more than it was given.",
    )
    words.add_argument(
        "path", metavar="PATH", nargs="?", help="the folder to lend; one made for the demo when none is named"
    )
    words.add_argument(
        "query", metavar="QUERY", nargs="?", default="capability", help="the word to look for: %(default)s"
    )
    words.add_argument("-v", "--verbose", action="store_true", help="show every event of the host")
    words.add_argument("--json", action="store_true", help="print one JSON object a line, the summary last")
    return words


def demo(path: str | None, query: str, *, as_json: bool = False, verbose: bool = False) -> int:
    """Run the demo and show it on standard output.

    Args:
        path: the folder to lend; one that is made for the demo when None.
        query: the word to look for.
        as_json: show it as lines of JSON.
        verbose: show every event, and all that the steps tell.

    Returns the exit code of the command (see `capnet.cli`).
    """
    if not query.strip():
        return _usage("the query is empty")
    show = pick_show(as_json=as_json, verbose=verbose)
    try:
        with sample_folder() if path is None else nullcontext(Path(path)) as chosen:
            return _demo(chosen, "notes" if path is None else path, query, show)
    except KeyboardInterrupt:
        show.problem("interrupted")
        return 130
    except BrokenPipeError:  # whoever read our lines has gone; there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _demo(chosen: Path, called: str, query: str, show: Show) -> int:
    try:
        folder = DirectoryFolder(chosen)
    except (OSError, ValueError) as error:
        return _usage(f"{str(chosen)!r} is no folder that can be read: {getattr(error, 'strerror', None) or error}")
    return 0 if run(Demo(called, folder, query, show).run) else 1


def _usage(text: str) -> int:
    print(f"capnet demo: {text}", file=sys.stderr)
    return 2
