"""The log: what the owner of a program must be able to find again, also when nobody observed.

structlog is imported with the first entry, not with capnet: that takes longer than all the rest. capnet configures
nothing; where the program has not configured structlog either, entries go to standard error, because standard output
may be somebody's protocol. A peer that provokes failures can neither fill the log nor keep the failures of others out
of it: each connection gets `ENTRIES` in `WINDOW` seconds, and those that have just begun no more than `NEWCOMERS`
together, so that to connect anew brings nothing. What was left out is counted in the next entry.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from traceback import format_exception
from typing import Any, Final, TextIO

__all__ = ["ENTRIES", "NEWCOMERS", "WINDOW", "Account", "Log", "logger", "prepare"]

ENTRIES: Final = 20
NEWCOMERS: Final = 200
WINDOW: Final = 10.0
"""Seconds in which no more are written than that; who has been there for longer is no newcomer."""


class Account:
    """How many entries were written lately.

    Args:
        most: so many may be written in one window.
    """

    __slots__ = ("_most", "_since", "_written", "left_out")

    def __init__(self, most: int) -> None:
        self._most = most
        self._since = 0.0
        self._written = 0
        self.left_out = 0
        """Entries that were not written since the last one that was, of all that are counted here."""

    def take(self, now: float) -> bool:
        """Whether there is room for another entry, which is counted then."""
        if not 0 <= now - self._since <= WINDOW:
            self._since, self._written = now, 0
        self._written += 1
        return self._written <= self._most


class Log:
    """Writes the entries of one connection, or of whatever else may fail; not too many.

    Args:
        common: counts what those write that have just begun, and what all have left out.
    """

    __slots__ = ("_born", "_common", "_own")

    def __init__(self, common: Account | None = None) -> None:
        self._common = common or _common
        self._own = Account(ENTRIES)
        self._born = time.monotonic()

    def unexpected(self, where: str, correlation: str, error: BaseException) -> None:
        """Write that our own code failed, with its traceback. It raises nothing: what failed is to be told besides.

        Args:
            where: what failed, such as `handler of chat.Room.post`.
            correlation: what the peer was told instead (P-ERR-2), empty where it was told nothing.
        """
        now, common = time.monotonic(), self._common
        new = now - self._born <= WINDOW
        if not self._own.take(now) or (new and not common.take(now)):
            common.left_out += 1
            return
        left_out, common.left_out = common.left_out, 0
        more: dict[str, object] = {"correlation": correlation} if correlation else {}
        if left_out:
            more["left_out_before"] = left_out
        try:
            logger().error("unexpected", where=where, exc_info=error, **more)
        except Exception:  # the error is of a class that raises when it is shown, or there is nowhere to write to
            with suppress(Exception):
                logger().error("unexpected", where=where, error="an exception that cannot be shown", **more)


_common: Final = Account(NEWCOMERS)


def prepare() -> None:
    """Have what the first entry needs: to load it then would hold up a loop when a peer likes."""
    logger()


def logger() -> Any:
    """What writes an entry, by the name of its level: the program's own structlog, or ours to standard error."""
    import structlog

    if structlog.is_configured():
        return structlog.get_logger("capnet")
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=_write_traceback),
        ],
    )


def _write_traceback(file: TextIO, exc_info: Any) -> None:
    """As Python does, but nothing in it passes for an entry or speaks to a terminal: an error may quote a peer."""
    lines = "".join(format_exception(*exc_info)).rstrip("\n").split("\n")
    file.writelines("    " + "".join(map(_shown, line)) + "\n" for line in lines)


def _shown(char: str) -> str:
    return char if char.isprintable() else ascii(char)[1:-1]
