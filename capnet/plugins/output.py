"""What a plugin writes to its standard output and error, line by line: into the log, to whoever follows, into errors.

A line is data from a stranger: it is cut, it moves no cursor, and what a plugin says in JSON can take the place of no
word of the host's. What it writes faster than `max_output` waits in its pipe, so it holds up the plugin and not us; the
log has so many entries of it in ten seconds, and those that are left out are counted.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

import anyio
import msgspec

from capnet.fanout.broadcast import Broadcast
from capnet.fanout.subscription import Subscription
from capnet.observe.log import Account, logger

__all__ = ["LEVELS", "LINES_PER_WINDOW", "LONGEST", "Line", "Output", "read_line"]

LONGEST: Final = 8192
"""Bytes of a line; what is longer becomes several."""
LINES_PER_WINDOW: Final = 1000
"""Entries that one plugin has in ten seconds of the log."""
_KEPT: Final = 200
"""Lines that are kept for who comes later."""
_FOLLOWED: Final = 1000
"""Lines that wait for each who follows."""
_FIELDS: Final = 20
_CHUNK: Final = 16384
_LINE_COST: Final = 100
"""Bytes that an end of a line counts for, so that empty lines do not come for nothing."""
_TOLD: Final = 20
_WIDTH: Final = 300
"""Of an error's text: so many last lines, and characters of each."""

Level = Literal["debug", "info", "warning", "error", "critical"]
Channel = Literal["stdout", "stderr"]
LEVELS: Final[Mapping[str, Level]] = {
    "trace": "debug",
    "debug": "debug",
    "info": "info",
    "notice": "info",
    "warn": "warning",
    "warning": "warning",
    "error": "error",
    "exception": "error",
    "critical": "critical",
    "fatal": "critical",
}
_TEXTS: Final = ("event", "message", "msg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a plugin's output.

    Attributes:
        plugin: whose.
        generation: of which of its processes.
        channel: `stdout` or `stderr`.
        level: `debug`, `info`, `warning`, `error` or `critical`; what is no JSON is `info` from standard output and
            `warning` from standard error.
        text: the line, or what a line in JSON has as `event`, `message` or `msg`.
        fields: what else a line in JSON has.
    """

    plugin: str
    generation: int
    channel: Channel
    level: Level
    text: str
    fields: dict[str, Any] = field(default_factory=dict[str, Any])


class Output:
    """The output of one plugin, over all its processes.

    Args:
        plugin: its name.
    """

    def __init__(self, plugin: str) -> None:
        self._plugin = plugin
        self._lines: deque[Line] = deque(maxlen=_KEPT)
        self._followers = Broadcast[Line](buffer=_FOLLOWED, policy="drop-oldest")
        self._account = Account(LINES_PER_WINDOW)
        self._left_out = 0

    @property
    def lines(self) -> tuple[Line, ...]:
        """The last ones, oldest first."""
        return tuple(self._lines)

    def follow(self) -> Subscription[Line]:
        """A stream of all from now on; who is slow misses the oldest."""
        return self._followers.subscribe()

    def last(self, generation: int) -> str:
        """The last lines of one process, for the end of an error's text; empty when there are none."""
        lines = [line.text[:_WIDTH] for line in self._lines if line.generation == generation][-_TOLD:]
        return "".join(["; the last it wrote:", *(f"\n    {line}" for line in lines)]) if lines else ""

    def close(self) -> None:
        """Nothing comes any more."""
        self._followers.close()

    def take(self, generation: int, channel: Channel, raw: bytes) -> None:
        """A line has come."""
        level, text, fields = read_line(raw, "info" if channel == "stdout" else "warning")
        line = Line(plugin=self._plugin, generation=generation, channel=channel, level=level, text=text, fields=fields)
        self._lines.append(line)
        self._followers.send_nowait(line)
        self._log(line)

    async def read(self, generation: int, channel: Channel, descriptor: int, max_output: int) -> None:
        """Read a pipe until its end, and close it."""
        rest = b""
        try:
            os.set_blocking(descriptor, False)
            while True:
                await anyio.wait_readable(descriptor)
                try:
                    data = os.read(descriptor, _CHUNK)
                except BlockingIOError:
                    continue
                if not data:
                    break
                *lines, rest = _split(rest + data)
                for line in lines:
                    self.take(generation, channel, line)
                await anyio.sleep((len(data) + _LINE_COST * len(lines)) / max_output)
        finally:
            if rest:
                self.take(generation, channel, rest)
            anyio.notify_closing(descriptor)
            os.close(descriptor)

    def _log(self, line: Line) -> None:
        if not self._account.take(time.monotonic()):
            self._left_out += 1
            return
        more: dict[str, Any] = {"said": line.fields} if line.fields else {}
        if self._left_out:
            more["left_out_before"], self._left_out = self._left_out, 0
        with suppress(Exception):  # there is nowhere to write to; the plugin is none the worse for that
            getattr(logger(), line.level)(line.text, plugin=self._plugin, channel=line.channel, **more)


def read_line(raw: bytes, level: Level) -> tuple[Level, str, dict[str, Any]]:
    """Level, text and fields of a line; those of one in JSON, such as structlog and others write, are its own.

    Args:
        raw: without its end.
        level: when it says none.
    """
    if raw.startswith(b"{"):
        try:
            said: object = msgspec.json.decode(raw)
        except (msgspec.DecodeError, RecursionError, ValueError):
            said = None
        if isinstance(said, dict):
            return _of_json(cast("dict[str, Any]", said), level)
    return level, _printable(raw.decode("utf-8", "replace")), {}


def _of_json(said: dict[str, Any], level: Level) -> tuple[Level, str, dict[str, Any]]:
    named = said.pop("level", None)
    if isinstance(named, str):
        level = LEVELS.get(named.lower(), level)
    found = next((name for name in _TEXTS if isinstance(said.get(name), str)), None)
    text = "" if found is None else said.pop(found)
    fields = {_printable(name)[:_WIDTH]: _plain(value) for name, value in list(said.items())[:_FIELDS]}
    return level, _printable(text), fields


def _plain(value: object) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    return _printable(value if isinstance(value, str) else repr(value))


def _split(data: bytes) -> list[bytes]:
    """Lines without their ends, the last of which has not come to its own; none of them is too long."""
    parts: list[bytes] = []
    for line in data.split(b"\n"):
        parts += [line[start : start + LONGEST] for start in range(0, len(line), LONGEST)] or [b""]
    return [*(part.removesuffix(b"\r") for part in parts[:-1]), parts[-1]]


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\t" else ascii(c)[1:-1] for c in text)
