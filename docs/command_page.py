"""The commands on docs/reference/command.md, made from capnet/cli: `python docs/command_page.py [--check]`.

What a command does is its docstring, its options are its parameters. With `--check` nothing is written, and the exit
code is 1 where the page says otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from importlib import import_module
from inspect import getdoc
from pathlib import Path
from typing import Any, cast, get_type_hints

from capnet.cli.application import load
from capnet.cli.commands import COMMANDS
from capnet.cli.demo import parser as demo_parser
from capnet.cli.output import Output
from capnet.cli.peer import Peer

PAGE = Path(__file__).parent / "reference" / "command.md"
BEGIN = "<!-- From here on the page is made by docs/command_page.py; do not edit. -->"
END = "<!-- Here the commands end. -->"
SHARED = {"--help", *(f"--{field.name.replace('_', '-')}" for field in fields(Output))}
"""Options that are not told of with each command."""
OF_PEERS = {f"--{field.name.replace('_', '-')}" for field in fields(Peer)}
"""Options that every command has that talks to a peer."""


def table(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Options or arguments, and what they are for."""
    return ["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows)]


def described(param: Any) -> tuple[str, str]:
    """An option or argument of a command."""
    names = ", ".join(param.opts) if param.param_type_name == "option" else param.metavar
    flag = param.param_type_name == "argument" or param.is_flag
    shown = f"`{names}`" if flag else f"`{names} {param.metavar}`".replace("|", "\\|")
    default = param.default
    if isinstance(default, list):
        default = ", ".join(map(str, cast("list[object]", default)))
    notes = [f"by default {default}"] if default not in (None, "", False) else []
    notes += [f"also the variable `{param.envvar}`"] if param.envvar else []
    notes += ["required"] if param.required and param.param_type_name == "option" else []
    return shown, " ".join((str(param.help), *(f"({note})" for note in notes))).replace("|", "\\|")


def talks_to_a_peer(name: str) -> bool:
    """Whether a command has the options of a connection."""
    hints = get_type_hints(getattr(import_module(f"capnet.cli.{name}"), name))
    return any(is_dataclass(kind) and issubclass(kind, Peer) for kind in hints.values() if isinstance(kind, type))


def command(name: str) -> list[str]:
    """What is told of a command."""
    if name == "demo":
        actions = [action for action in demo_parser()._actions if action.dest != "help"]  # noqa: SLF001 - no other way
        rows = [
            (f"`{', '.join(action.option_strings) or action.metavar}`", str(action.help) % vars(action))
            for action in actions
        ]
        return [
            f"## `capnet {name}`",
            "",
            f"{COMMANDS[name]} See [The demo, step by step](../tutorial/demo.md).",
            "",
            *table(rows),
        ]
    peer = talks_to_a_peer(name)
    params = [
        param
        for param in load(name).params
        if not SHARED.intersection(param.opts) and not (peer and OF_PEERS.intersection(param.opts))
    ]
    arguments = " ".join(
        param.metavar if param.required else f"[{param.metavar.strip('[]')}]" + ("…" if param.nargs == -1 else "")
        for param in params
        if param.param_type_name == "argument"
    )
    text = getdoc(getattr(import_module(f"capnet.cli.{name}"), name)) or ""
    more = ["", "It has the [options of a connection](#options-of-a-connection)."] if peer else []
    heading = " ".join(filter(None, ("capnet", name, arguments)))
    return [f"## `{heading}`", "", text, *more, "", *(table(map(described, params)) if params else [])]


def connection() -> list[str]:
    """The options of a connection."""
    params = [param for param in load("bench").params if OF_PEERS.intersection(param.opts)]
    return ["## Options of a connection", "", *table(map(described, params))]


def commands() -> str:
    """All that stands between the two markers."""
    parts = [*(command(name) for name in COMMANDS), connection()]
    return "\n\n".join("\n".join(part).rstrip() for part in parts)


def renewed(page: str) -> str:
    """A page with the commands as they should be."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"the page has not both of {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{commands()}\n\n{END}{after}"


def main(words: list[str], path: Path = PAGE) -> str | None:
    """Do what the command line says; returns what is wrong, or None."""
    if words not in ([], ["--check"]):
        return "usage: python docs/command_page.py [--check]"
    page = path.read_text(encoding="utf-8")
    if renewed(page) == page:
        return None
    if words:
        return f"{path.name} does not say what capnet/cli says: run `python docs/command_page.py`"
    path.write_text(renewed(page), encoding="utf-8")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
