"""How a command ends: its exit code, and what it says on standard error when something is wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, cast

from capnet.cli.text import clean
from capnet.errors import CapnetError, ContractError, DeadlineExceeded, MissingExtra, VersionMismatch

__all__ = ["Exit", "Failure", "Stop", "failure_of", "report"]


class Exit(IntEnum):
    """The exit codes of the command."""

    OK = 0
    FAILED = 1
    """The peer says no, or something did not go as it should."""
    USAGE = 2
    """The command line makes no sense, or something that it needs is not installed."""
    UNREACHABLE = 3
    """The peer cannot be reached, does not let us in, or has gone."""
    TIMEOUT = 4
    """It took too long."""
    MISMATCH = 5
    """Two versions of a contract do not fit."""
    INTERRUPTED = 130
    """Ctrl-C."""


@dataclass(frozen=True)
class Failure:
    """What is told of an error.

    Attributes:
        exit_code: of the command.
        code: the stable code, such as `unavailable`; empty where the command line is what is wrong.
        reason: the stable reason within it, if there is one.
        message: text for people.
        hints: what to do about it.
    """

    exit_code: Exit
    code: str
    reason: str | None
    message: str
    hints: Sequence[str] = ()

    def __str__(self) -> str:
        label = f"{self.code}/{self.reason}" if self.reason else self.code
        return ": ".join(filter(None, (label, self.message)))


class Stop(Exception):
    """A command cannot go on.

    Args:
        message: what is wrong.
        exit_code: of the command.
        hint: what to do about it; that of the cause when None.
        cause: the error of the library that it is about, whose code and text are told.
    """

    def __init__(
        self,
        message: str = "",
        *,
        exit_code: Exit = Exit.USAGE,
        hint: str | None = None,
        cause: CapnetError | None = None,
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.hints = (hint,) if hint else ()
        self.cause = cause


def failure_of(error: BaseException) -> Failure | None:
    """What is told of an error; None of one that nobody expects, which is a fault of capnet's or of a user's code."""
    while isinstance(error, BaseExceptionGroup):
        members: Sequence[BaseException] = cast("Any", error).exceptions
        if len(members) != 1:
            return None
        error = members[0]
    match error:
        case Stop(cause=CapnetError() as cause):
            return Failure(error.exit_code, cause.code, cause.reason, cause.message, error.hints or _hints(cause))
        case Stop():
            return Failure(error.exit_code, "", None, str(error), error.hints)
        case CapnetError():
            return Failure(_exit(error), error.code, error.reason, error.message, _hints(error))
        case TimeoutError():
            return Failure(Exit.TIMEOUT, "deadline_exceeded", None, "it took too long", ("--timeout gives it longer",))
        case MissingExtra() | ContractError():
            return Failure(Exit.USAGE, "", None, str(error), _hints(error))
        case _:
            return None


def report(command: str, failure: Failure, *, as_json: bool) -> None:
    """Tell of it on standard error: in a line, and what to do about it below; or as a line of JSON.

    Args:
        command: as it was called, such as `capnet ls`.
    """
    if as_json:
        fields = {"exit": int(failure.exit_code), "code": failure.code, "reason": failure.reason}
        error = {**fields, "message": failure.message, "hints": list(failure.hints)}
        print(json.dumps({"error": error}), file=sys.stderr)
        return
    text = f"{command}: {failure}".replace("\n", " ")
    print("\n  hint: ".join(map(clean, (text, *failure.hints))), file=sys.stderr)


def _exit(error: CapnetError) -> Exit:
    match error:
        case DeadlineExceeded():
            return Exit.TIMEOUT
        case VersionMismatch():
            return Exit.MISMATCH
        case _:
            return Exit.FAILED


def _hints(error: BaseException) -> tuple[str, ...]:
    notes: Sequence[str] = getattr(error, "__notes__", ())
    return tuple(note.removeprefix("hint: ") for note in notes if note.startswith("hint: "))
