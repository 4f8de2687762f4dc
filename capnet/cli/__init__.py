"""The room of the `capnet` command.

It owns the command line: words in, lines and an exit code out. It uses the library as any program would, through
`import capnet`, and knows nothing of engines or frames. Read `main` first.

    commands.py      the list of commands
    application.py   help, completion, and how a command is loaded and run
    running.py       … and run, also without them
    options.py       options that several commands have, as dataclasses
    peer.py          … those of a connection
    output.py        … and how things are printed
    exits.py         exit codes, and errors as lines

Each command is a function in a module of its name, which is imported when the command runs, so that the help stays
quick. The demo, and `capnet mcp URL` without options, need the library only; all others need the extra `cli`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from capnet.cli.exits import Exit

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the words after the command's name; those of this process when None.

    Returns its exit code (see `capnet.cli.exits`).
    """
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        return _run(words)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def _run(words: Sequence[str]) -> int:
    if words[:1] == ["demo"]:
        from capnet.cli.demo import command

        return command(words[1:])
    if words[:1] == ["mcp"] and len(words) == 2 and not words[1].startswith("-"):  # agents wait for it to start
        from capnet.cli.mcp import command as serve

        return serve(words[1])
    try:
        from capnet.cli.application import run
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] not in ("rich", "typer"):
            raise
        from capnet.cli.bare import run
    return run(words)
