"""How a command runs, once its words are understood."""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

from capnet.cli.exits import Exit, failure_of, report

__all__ = ["called"]


def called(name: str, command: Callable[[], Any], *, as_json: bool = False) -> int:
    """Run a command that has its arguments; returns the exit code.

    Args:
        as_json: tell of what goes wrong in JSON.
    """
    try:
        if iscoroutinefunction(command):
            import anyio

            ended = anyio.run(command)
        else:
            ended = command()
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            raise
        report(f"capnet {name}", failure, as_json=as_json)
        return failure.exit_code
    return Exit.OK if ended is None else int(ended)
