"""The command as typer has it: help, completion, and how a command is loaded and run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

import capnet
from capnet.cli.commands import COMMANDS
from capnet.cli.exits import Exit
from capnet.cli.options import flat
from capnet.cli.output import Output
from capnet.cli.running import called
from capnet.nearest import nearest

__all__ = ["load", "main_command", "run"]


class Commands(TyperGroup):
    """The list of commands. One of them is imported when it is about to run, or to be completed."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """What the list says of a command."""
        summary = COMMANDS.get(cmd_name)
        return None if summary is None else TyperCommand(cmd_name, help=summary, rich_markup_mode=None)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command itself."""
        name = args[0]
        if name not in COMMANDS:
            hint = nearest(name, COMMANDS)
            ctx.fail(f"there is no command {name!r}" + (f": {hint}" if hint else ""))
        return name, self.get_command(ctx, name) if name == "demo" else load(name), args[1:]


def load(name: str) -> Any:
    """A command, as typer has them.

    Args:
        name: any but the demo.
    """
    command = getattr(import_module(f"capnet.cli.{name}"), name)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name)(flat(command, partial(_call, name, command)))
    return get_command(alone)


def main_command() -> Any:
    """All of it, as typer has it."""
    application = typer.Typer(cls=Commands, rich_markup_mode=None, pretty_exceptions_enable=False)
    application.callback(invoke_without_command=True)(_without_command)
    return get_command(application)


def run(words: Sequence[str]) -> int:
    """Run the command.

    Args:
        words: after the command's name.

    Returns the exit code.
    """
    try:
        ended = main_command().main(list(words), prog_name="capnet", standalone_mode=False)
        sys.stdout.flush()
        return ended if isinstance(ended, int) else Exit.OK
    except typer.TyperException as error:
        context: typer.Context | None = getattr(error, "ctx", None)
        where = "capnet" if context is None else context.command_path
        text = error.format_message().rstrip(".").replace("\n", " ")
        print(f"{where}: {text}\n  hint: {where} --help", file=sys.stderr)
        return Exit.USAGE
    except typer.Abort:
        return Exit.INTERRUPTED
    except BrokenPipeError:  # whoever read our lines has gone; there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED


def _without_command(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Two programs hand each other objects: typed, revocable, replaceable while in use."""
    if version:
        print(f"capnet {capnet.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


def _call(name: str, command: Callable[..., Any], arguments: Mapping[str, Any]) -> int:
    """Run a command with its arguments; returns the exit code."""
    as_json = any(isinstance(argument, Output) and argument.json for argument in arguments.values())
    return called(name, partial(command, **arguments), as_json=as_json)
