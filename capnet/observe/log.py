"""The log: what the owner of a program must be able to find again, also when nobody observed.

structlog is imported with the first entry, not with capnet: that takes longer than all the rest. capnet configures
nothing; where the program has not configured structlog either, entries go to standard error, because standard output
may be somebody's protocol. A peer that provokes failures cannot fill the log: it gets `ENTRIES` in `WINDOW` seconds,
and what was left out is counted in the next entry.
"""

from __future__ import annotations

import sys
import time
from traceback import format_exception
from typing import Any, Final, TextIO

__all__ = ["ENTRIES", "WINDOW", "Log", "prepare"]

ENTRIES: Final = 20
WINDOW: Final = 10.0
"""Seconds in which no more than `ENTRIES` are written."""


class Log:
    """Writes entries, not too many."""

    __slots__ = ("_left_out", "_since", "_written")

    def __init__(self) -> None:
        self._since = 0.0
        self._written = 0
        self._left_out = 0

    def unexpected(self, where: str, correlation: str, error: BaseException) -> None:
        """Write that our own code failed, with its traceback.

        Args:
            where: what failed, such as `handler of chat.Room.post`.
            correlation: what the peer was told instead (P-ERR-2), empty where it was told nothing.
        """
        now = time.monotonic()
        if now - self._since > WINDOW:
            self._since, self._written = now, 0
        if self._written >= ENTRIES:
            self._left_out += 1
            return
        self._written += 1
        left_out, self._left_out = self._left_out, 0
        more: dict[str, object] = {"correlation": correlation} if correlation else {}
        if left_out:
            more["left_out_before"] = left_out
        _logger().error("unexpected", where=where, exc_info=error, **more)


def prepare() -> None:
    """Have what the first entry needs: to load it then would hold up a loop when a peer likes."""
    _logger()


def _logger() -> Any:
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
