"""What a person or a program sees of the demo: coloured lines, plain lines, or JSON.

All that comes from the plugin, and file names too, may be hostile to a terminal: nothing is printed before `clean` has
seen it.
"""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from importlib.util import find_spec
from time import monotonic
from typing import Any, Final

from capnet.cli.demo.report import Report
from capnet.cli.events import BAD
from capnet.cli.text import clean

__all__ = ["JsonShow", "PlainShow", "RichShow", "Show", "pick_show"]

DETAILS: Final = 2
"""Lines that a step tells before a result, unless all are wanted."""


class Show(ABC):
    """Where the demo tells what happens."""

    @abstractmethod
    def step(self, text: str, code: str) -> None:
        """Something begins, and this is how one writes it."""

    @abstractmethod
    def event(self, report: Report) -> None:
        """An event of the host."""

    @abstractmethod
    def result(self, text: str) -> None:
        """Something came out as it should."""

    @abstractmethod
    def detail(self, text: str) -> None:
        """More about it."""

    @abstractmethod
    def problem(self, text: str) -> None:
        """Something did not."""

    @abstractmethod
    def summary(self, facts: Mapping[str, Any], lines: Mapping[str, str]) -> None:
        """The end: what was done, for programs and in words."""


class PlainShow(Show):
    """Lines of text.

    Args:
        verbose: show every event, and every detail of a step instead of the first few.
    """

    def __init__(self, *, verbose: bool = False) -> None:
        self._verbose = verbose
        self._began = monotonic()
        self._steps = 0
        self._details = 0

    def step(self, text: str, code: str) -> None:
        """See `Show`."""
        self._close_details()
        self._steps += 1
        self._line(f"\n{self._steps}. {text}", "bold")
        for line in code.splitlines():
            self._line(f"     {line}", "blue")

    def event(self, report: Report) -> None:
        """See `Show`; with the seconds since the beginning at which we heard of it."""
        if self._verbose:
            where = f"#{report.connection}" if report.connection else ""
            style = "red" if report.kind in BAD else "magenta" if report.plugin else "cyan"
            who = report.plugin or "host"
            self._line(f"   {monotonic() - self._began:7.3f} {who:6} {where:3} {report.text}", style)

    def result(self, text: str) -> None:
        """See `Show`."""
        self._close_details()
        self._line(f"   ✓ {text}", "green")

    def detail(self, text: str) -> None:
        """See `Show`; of many only the first."""
        self._details += 1
        if self._verbose or self._details <= DETAILS:
            self._line(f"     {text}", "")

    def _close_details(self) -> None:
        if not self._verbose and self._details > DETAILS:
            self._line(f"     … {self._details - DETAILS} more, with -v", "")
        self._details = 0

    def problem(self, text: str) -> None:
        """See `Show`."""
        self._close_details()
        self._line(f"   ✗ {text}", "bold red")

    def summary(self, facts: Mapping[str, Any], lines: Mapping[str, str]) -> None:
        """See `Show`."""
        self._close_details()
        ok = bool(facts["ok"])
        self._line(
            "\nAll of it went as it should." if ok else "\nSomething went wrong.", "bold green" if ok else "bold red"
        )
        for name, text in lines.items():
            self._line(f"   {name:9} {text}", "")

    def _line(self, text: str, style: str) -> None:
        print(clean(text), flush=True)


class RichShow(PlainShow):
    """The same lines in colour."""

    def __init__(self, *, verbose: bool = False) -> None:
        super().__init__(verbose=verbose)
        from rich.console import Console

        self._console = Console(highlight=False)

    def _line(self, text: str, style: str) -> None:
        from rich.text import Text

        self._console.print(Text(clean(text), style), soft_wrap=True)


class JsonShow(Show):
    """One JSON object a line; the field `type` says which."""

    def step(self, text: str, code: str) -> None:
        """See `Show`."""
        self._line("step", text=text, code=code)

    def event(self, report: Report) -> None:
        """See `Show`."""
        self._line("event", **asdict(report))

    def result(self, text: str) -> None:
        """See `Show`."""
        self._line("result", text=text)

    def detail(self, text: str) -> None:
        """See `Show`."""
        self._line("detail", text=text)

    def problem(self, text: str) -> None:
        """See `Show`."""
        self._line("problem", text=text)

    def summary(self, facts: Mapping[str, Any], lines: Mapping[str, str]) -> None:
        """See `Show`."""
        self._line("summary", **facts)

    def _line(self, type_: str, /, **fields: Any) -> None:
        print(json.dumps({"type": type_, **fields}), flush=True)


def pick_show(*, as_json: bool, verbose: bool) -> Show:
    """What suits standard output: JSON when asked for, colour on a terminal if `rich` is there, else plain lines."""
    if as_json:
        return JsonShow()
    if sys.stdout.isatty() and find_spec("rich") is not None:
        return RichShow(verbose=verbose)
    return PlainShow(verbose=verbose)
