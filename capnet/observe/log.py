"""The log: what the owner of a program must be able to find again, also when nobody observed.

structlog is imported with the first failure, not with capnet: that takes longer than all the rest. capnet configures
nothing. Entries go to structlog where the program has configured that, else to `logging` where something takes what the
logger `NAME` is given, else to standard error, because standard output may be somebody's protocol: failures always,
and what is no failure in development mode only. A peer that provokes entries can neither fill the log nor keep those of
others out of it: each connection gets `ENTRIES` in `WINDOW` seconds, and those that have just begun no more than
`NEWCOMERS` together, so that to connect anew brings nothing. What was left out is counted in the next entry.
"""

from __future__ import annotations

import logging
import sys
import time
from contextlib import suppress
from traceback import format_exception
from typing import Any, Final, Literal, TextIO

__all__ = ["ENTRIES", "NAME", "NEWCOMERS", "NEWS", "WINDOW", "Account", "Level", "Log", "logger", "prepare", "wanted"]

Level = Literal["debug", "info", "warning"]
NAME: Final = "capnet.connections"
"""What `logging` knows it as; the transports have a logger of their own beside it."""

ENTRIES: Final = 20
NEWCOMERS: Final = 200
MAX_SHOWN: Final = 8192
"""Characters of a text in an entry."""
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
        development: where nothing is configured, standard error gets also what is no failure.
        born: since when there is what it writes for, by the monotonic clock; by default since now.
    """

    __slots__ = ("_born", "_common", "_development", "_own")

    def __init__(self, common: Account | None = None, *, development: bool = False, born: float | None = None) -> None:
        self._common = common or _common
        self._development = development
        self._own = Account(ENTRIES)
        self._born = time.monotonic() if born is None else born

    def unexpected(self, where: str, correlation: str, error: BaseException) -> None:
        """Write that our own code failed, with its traceback. It raises nothing: what failed is to be told besides.

        Args:
            where: what failed, such as `handler of chat.Room.post`.
            correlation: what the peer was told instead (P-ERR-2), empty where it was told nothing.
        """
        more = self._room()
        if more is None:
            return
        if correlation:
            more = {"correlation": correlation, **more}
        try:
            logger().error("unexpected", where=where, exc_info=error, **more)
        except Exception:  # the error is of a class that raises when it is shown, or there is nowhere to write to
            with suppress(Exception):
                logger().error("unexpected", where=where, error="an exception that cannot be shown", **more)

    def tell(self, level: Level, event: str, **fields: object) -> None:
        """Write what has happened that is no failure, if somebody wants to know. It raises nothing.

        Args:
            fields: texts of them are shown without what would speak to a terminal; None is left out.
        """
        if not wanted(level, development=self._development):
            return
        more = self._room()
        if more is None:
            return
        shown = {name: _plain(value) for name, value in fields.items() if value is not None}
        with suppress(Exception):
            getattr(logger(), level)(event, **shown, **more)

    def _room(self) -> dict[str, object] | None:
        """What another entry says beside, None when there is no room for one."""
        now, common = time.monotonic(), self._common
        new = now - self._born <= WINDOW
        if not self._own.take(now) or (new and not common.take(now)):
            common.left_out += 1
            return None
        left_out, common.left_out = common.left_out, 0
        return {"left_out_before": left_out} if left_out else {}


_MOST_FRAMES: Final = 100
"""Of each error in a traceback on standard error, the innermost: a stack that overflows has a thousand, and to tell of
them all would hold up the loop for a tenth of a second."""
_logging: Final = logging.getLogger(NAME)
NEWS: Final = Account(NEWCOMERS)
"""Counts what is no failure: so that keeps no failure out."""
_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}
_common: Final = Account(NEWCOMERS)


def prepare() -> None:
    """Have what the first entry needs: to load it then would hold up a loop when a peer likes."""
    logger()


def wanted(level: Level, *, development: bool = False) -> bool:
    """Whether somebody wants to know what is told at a level."""
    configured = sys.modules.get("structlog")  # who has configured it has imported it
    if configured is not None and configured.is_configured():
        asked = configured.get_logger("capnet").bind()
        enabled = getattr(asked, "isEnabledFor", None) or getattr(asked, "is_enabled_for", None)
        return enabled is None or bool(enabled(_LEVELS[level]))
    if _logging.hasHandlers():
        return _logging.isEnabledFor(_LEVELS[level])
    return development and level != "debug"


def logger() -> Any:
    """What writes an entry, by the name of its level: the program's own, or ours to standard error."""
    configured = sys.modules.get("structlog")
    if configured is not None and configured.is_configured():
        return configured.get_logger("capnet")
    if _logging.hasHandlers():
        return _Logging()
    import structlog

    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=_write_traceback),
        ],
    )


class _Logging:
    """`logging`, by the words of structlog."""

    def error(self, event: str, *, exc_info: BaseException | None = None, **fields: object) -> None:
        self._log(logging.ERROR, event, exc_info, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._log(logging.WARNING, event, None, fields)

    def info(self, event: str, **fields: object) -> None:
        self._log(logging.INFO, event, None, fields)

    def debug(self, event: str, **fields: object) -> None:
        self._log(logging.DEBUG, event, None, fields)

    def _log(self, level: int, event: str, error: BaseException | None, fields: dict[str, object]) -> None:
        text = " ".join((event, *(f"{name}={value!r}" for name, value in fields.items())))
        _logging.log(level, "%s", text, exc_info=error)


def _plain(value: object) -> object:
    return "".join(map(_shown, value[:MAX_SHOWN])) if isinstance(value, str) else value


def _write_traceback(file: TextIO, exc_info: Any) -> None:
    """As Python does, but nothing in it passes for an entry or speaks to a terminal: an error may quote a peer."""
    lines = "".join(format_exception(*exc_info, limit=-_MOST_FRAMES)).rstrip("\n").split("\n")
    file.writelines("    " + "".join(map(_shown, line)) + "\n" for line in lines)


def _shown(char: str) -> str:
    return char if char.isprintable() else ascii(char)[1:-1]
