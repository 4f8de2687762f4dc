"""How far a long run is: a line that the next one replaces on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
from time import monotonic

__all__ = ["Progress"]

SILENCE = 20.0
"""Seconds between two lines in a log."""


class Progress:
    """Counts steps towards `total` and tells standard error of them."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._begin = self._told = monotonic()
        self._terminal = sys.stderr.isatty()

    def step(self, text: str) -> None:
        """The step that `text` names begins; all before it are done."""
        now = monotonic()
        line = f"[{self._done + 1}/{self._total}] {text}{self._left(now)}"
        self._done += 1
        if self._terminal:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        elif now - self._told >= SILENCE:
            self._told = now
            print(line, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave no half line on a terminal."""
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _left(self, now: float) -> str:
        """How long it will take, if the rest goes like what is done."""
        if self._done < 3:
            return ""
        left = (now - self._begin) / self._done * (self._total - self._done)
        return f" (about {left:.0f} s left)" if left < 90 else f" (about {left / 60:.0f} min left)"
