"""`capnet demo`: a host lends a folder to a plugin that searches it.

    contract.py   what the two agree on: Folder, Vault, Search, Console, Plugin
    policy.py     who the plugin is, and what it may have
    sample.py     a few notes, for who names no folder
    folder.py     a directory as a Folder, from which nobody gets out
    search.py     three searches, two of them to replace the first
    plugin.py     the plugin: a program of its own
    host.py       the host: the steps, each of them checked
    report.py     events in words
    show.py       coloured lines, plain lines or JSON

Start with `contract.py`, then read `host.py` and `plugin.py` side by side.
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
        description="See capnet work: a host lends a folder to a plugin, which searches it; then the search is "
        "replaced and the folder taken back.",
    )
    words.add_argument(
        "path", metavar="PATH", nargs="?", help="the folder to search; some notes made for the demo when none is named"
    )
    words.add_argument(
        "query", metavar="QUERY", nargs="?", default="capability", help="what to search for: %(default)s"
    )
    words.add_argument("-v", "--verbose", action="store_true", help="show every event, of host and plugin")
    words.add_argument("--json", action="store_true", help="print one JSON object a line, the summary last")
    return words


def demo(path: str | None, query: str, *, as_json: bool = False, verbose: bool = False) -> int:
    """Run the demo and show it on standard output.

    Args:
        path: the folder to lend; some notes that are made for the demo when None.
        query: what to search for.
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
