"""The room of the `capnet` command.

It owns the command line: words in, lines and an exit code out. It uses the library as any program would, through
`import capnet`, and knows nothing of engines or frames. Each command imports its own parts when it runs, so that
`capnet --version` stays quick. Read `main` first, then `demo/`.

Exit codes: 0 all went as it should, 1 something did not, 2 the command line makes no sense, 130 interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import capnet

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the words after the command's name; those of this process when None.

    Returns its exit code.
    """
    parser = _parser()
    try:
        options = parser.parse_args(argv)
    except SystemExit as end:  # argparse has said what is wrong, or has printed the help
        return end.code if isinstance(end.code, int) else 0
    if options.command is None:
        parser.print_help()
        return 0
    from capnet.cli.demo import demo

    return demo(options.path, options.query, as_json=options.json, verbose=options.verbose)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="capnet", description="Two programs hand each other objects: typed, revocable, replaceable while in use."
    )
    parser.add_argument("--version", action="version", version=f"capnet {capnet.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    about = (
        "a host lends a folder to a plugin, which searches it; then the search is replaced and the folder taken back"
    )
    demo = commands.add_parser("demo", help="see it work", description=f"See capnet work: {about}.")
    demo.add_argument(
        "path", metavar="PATH", nargs="?", help="the folder to search; some notes made for the demo when none is named"
    )
    demo.add_argument("query", metavar="QUERY", nargs="?", default="capability", help="what to search for: %(default)s")
    demo.add_argument("-v", "--verbose", action="store_true", help="show every event, of host and plugin")
    demo.add_argument("--json", action="store_true", help="print one JSON object a line, the summary last")
    return parser
