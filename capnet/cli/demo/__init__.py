"""`capnet demo`: a host lends a folder to a plugin that searches it.

    contract.py   what the two agree on: Folder, Vault, Search, Console, Plugin
    policy.py     who the plugin is, and what it may have
    folder.py     a directory as a Folder, from which nobody gets out
    search.py     three searches, two of them to replace the first
    plugin.py     the plugin: a program of its own
    host.py       the host: the steps, each of them checked
    report.py     events in words
    show.py       coloured lines, plain lines or JSON

Start with `contract.py`, then read `host.py` and `plugin.py` side by side.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from anyio import run

import capnet
from capnet.cli.demo.folder import DirectoryFolder
from capnet.cli.demo.host import Demo
from capnet.cli.demo.show import pick_show

__all__ = ["default_folder", "demo"]


def demo(path: str | None, query: str, *, as_json: bool = False) -> int:
    """Run the demo and show it on standard output.

    Args:
        path: the folder to lend; the project's documentation when None.
        query: what to search for.
        as_json: show it as lines of JSON.

    Returns the exit code of the command (see `capnet.cli`).
    """
    chosen = Path(path) if path is not None else default_folder()
    if not query.strip():
        return _usage("the query is empty")
    try:
        folder = DirectoryFolder(chosen)
    except (OSError, ValueError) as error:
        return _usage(f"{str(chosen)!r} is no folder that can be read: {getattr(error, 'strerror', None) or error}")
    show = pick_show(as_json=as_json)
    try:
        return 0 if run(Demo(str(chosen), folder, query, show).run) else 1
    except KeyboardInterrupt:
        show.problem("interrupted")
        return 130
    except BrokenPipeError:  # whoever read our lines has gone; there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def default_folder() -> Path:
    """`docs/` of the checkout that capnet runs from, or the installed package when there is none."""
    package = Path(capnet.__file__).parent
    docs = package.parent / "docs"
    return docs if docs.is_dir() and (package.parent / "pyproject.toml").is_file() else package


def _usage(text: str) -> int:
    print(f"capnet demo: {text}", file=sys.stderr)
    return 2
