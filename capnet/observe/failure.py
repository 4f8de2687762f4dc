"""Failures: what is told of an exception, without keeping it.

An exception keeps its traceback, that the frames it went through, and those everything that a peer has sent for the
call. Events wait for their observers, so they have this instead: words of bounded length, and the lines, from which the
usual text is made when somebody asks for it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from itertools import dropwhile
from traceback import FrameSummary, StackSummary, walk_tb
from types import CodeType, TracebackType
from typing import Final

from capnet.errors import EXITS

__all__ = ["MAX_TEXT", "OWN", "Failure", "beyond_ours", "failure_of", "name_of"]

MAX_TEXT: Final = 1024
"""Characters of a text in an event; longer ones are cut."""
_MAX_LINES: Final = 20
"""Lines of a traceback that are kept, those nearest to where it was raised."""
_MAX_CAUSES: Final = 3
OWN: Final = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")
"""How the names of the files begin that capnet is in."""
_BYTES: Final = 400
_BYTES_PER_LINE: Final = 100


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception, as it is told: `str` gives its last line, `traceback` what Python prints.

    Attributes:
        kind: name of its class, with the module unless that is built in.
        text: what it says, at most 1024 characters.
        cause: the exception that it was raised from, or during the handling of which, at most three in a row.
    """

    kind: str
    text: str
    cause: Failure | None
    _explicit: bool
    _lines: tuple[tuple[CodeType, int], ...]

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}" if self.text else self.kind

    @property
    def traceback(self) -> str:
        """The text that Python prints of it, at most 20 lines of code each; made anew each time."""
        parts: list[str] = []
        if self.cause is not None:
            during = "The above exception was the direct cause of the following exception:"
            during = during if self._explicit else "During handling of the above exception, another exception occurred:"
            parts += [self.cause.traceback, f"\n{during}\n\n"]
        if self._lines:
            lines = [FrameSummary(code.co_filename, line, code.co_name) for code, line in self._lines]
            parts += ["Traceback (most recent call last):\n", *StackSummary.from_list(lines).format()]
        return "".join([*parts, f"{self}\n"])

    @property
    def size(self) -> int:
        """Bytes that it takes up, about."""
        size = _BYTES + self.text.__sizeof__() + _BYTES_PER_LINE * len(self._lines)
        return size if self.cause is None else size + self.cause.size


def failure_of(error: BaseException, causes: int = _MAX_CAUSES) -> Failure:
    """What is told of an exception, which may be of a user's class: whatever that does, this raises nothing."""
    try:
        return _failure_of(error, causes)
    except EXITS:
        raise
    except BaseException:
        return Failure("<its class cannot be read>", "", None, False, ())


def _failure_of(error: BaseException, causes: int) -> Failure:
    cls = type(error)
    kind = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    above = error.__cause__ if error.__cause__ is not None or error.__suppress_context__ else error.__context__
    return Failure(
        kind[:MAX_TEXT],
        _said_by(error),
        failure_of(above, causes - 1) if above is not None and causes else None,
        error.__cause__ is not None,
        _lines_of(error.__traceback__),
    )


def beyond_ours(failure: Failure) -> Failure | None:
    """The same from where capnet has called other code, None when it has not: then there is no line to look at."""
    lines = failure._lines  # noqa: SLF001
    theirs = tuple(dropwhile(lambda line: line[0].co_filename.startswith(OWN), lines))
    return replace(failure, _lines=theirs) if theirs else None


def name_of(called: object) -> str:
    """A word for a function, or for what else is called, whatever its class is."""
    try:
        return str(getattr(called, "__qualname__", None) or type(called).__qualname__)[:MAX_TEXT]
    except EXITS:
        raise
    except BaseException:
        return "<its name cannot be read>"


def _said_by(error: BaseException) -> str:
    try:
        return str(error)[:MAX_TEXT]
    except EXITS:
        raise
    except BaseException:
        return "<its text cannot be made>"


def _lines_of(traceback: TracebackType | None) -> tuple[tuple[CodeType, int], ...]:
    return tuple((frame.f_code, line) for frame, line in walk_tb(traceback))[-_MAX_LINES:]
