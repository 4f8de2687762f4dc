"""What a program writes to its standard error: passed on to ours, and its end kept to say why it failed."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Final

from capnet_transports.starting import STDERR, has_stderr, high

__all__ = ["Words", "printable"]

_KEPT: Final = 8192
"""Bytes of the end that are kept."""
_LINES: Final = 12
_WIDTH: Final = 300
"""How much of it stands in a text: so many last lines, and characters of each."""
_CHUNK: Final = 65536


class Words:
    """Reads one pipe in a thread, until its end. It goes on after the program's end while somebody holds the pipe."""

    def __init__(self) -> None:
        self._read, self.theirs = map(high, os.pipe())
        """`theirs` is for the program; whoever has handed it on closes it."""
        self._kept = b""
        self._thread = threading.Thread(target=self._pass_on, name="capnet-exec-stderr", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            os.close(self._read)
            os.close(self.theirs)
            raise

    def wait(self, seconds: float) -> None:
        """Wait until all has been read, for so long at most."""
        self._thread.join(seconds)

    def last(self) -> str:
        """The last lines, for the end of a text; empty when there are none."""
        lines = self._kept.decode("utf-8", "replace").splitlines()[-_LINES:]
        return (
            "".join(["; the last it wrote:", *(f"\n    {printable(line[:_WIDTH])}" for line in lines)]) if lines else ""
        )

    def _pass_on(self) -> None:
        try:
            while data := os.read(self._read, _CHUNK):
                self._kept = (self._kept + data)[-_KEPT:]
                with suppress(OSError):  # there is nobody who could read it
                    while data and has_stderr():
                        data = data[os.write(STDERR, data) :]
        finally:
            os.close(self._read)


def printable(text: str) -> str:
    """What can be shown in one line, and moves no cursor."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)
