"""The command where the extra `cli` is not installed: it says so, and what there is."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import capnet
from capnet.cli.commands import COMMANDS, INSTALL
from capnet.cli.exits import Exit

__all__ = ["run"]


def run(words: Sequence[str]) -> int:
    """Print the version, or the commands; anything else needs more.

    Args:
        words: after the command's name.

    Returns the exit code.
    """
    word = words[0] if words else "--help"
    if word == "--version":
        print(f"capnet {capnet.__version__}")
        return Exit.OK
    if word == "--help":
        width = max(map(len, COMMANDS))
        print("usage: capnet COMMAND …\n")
        for name, summary in COMMANDS.items():
            print(f"  {name:{width}}  {summary}")
        print(f"\nAll but the demo need more: {INSTALL}")
        return Exit.OK
    print(f"capnet: all but the demo needs more than the library\n  hint: {INSTALL}", file=sys.stderr)
    return Exit.USAGE
