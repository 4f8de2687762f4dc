"""Where a process spends its own time: a profile of the measured part only, as text."""

from __future__ import annotations

import cProfile
import os
import pstats
import sysconfig
from collections.abc import Generator
from contextlib import contextmanager
from io import StringIO

__all__ = ["Profile"]


class Profile:
    """A profiler that prints its first `top` functions by own time.

    It slows every Python call down and leaves C code alone, so it says where to look, not how much would be gained.
    """

    def __init__(self, top: int) -> None:
        self._top = top
        self._profile = cProfile.Profile()

    @contextmanager
    def running(self) -> Generator[None]:
        """Profile what this thread does inside the block, other tasks of its loop included."""
        self._profile.enable()
        try:
            yield
        finally:
            self._profile.disable()

    def text(self) -> str:
        """The table, with paths shortened to what tells files apart."""
        out = StringIO()
        pstats.Stats(self._profile, stream=out).sort_stats("tottime").print_stats(self._top)
        text = out.getvalue()
        for folder in (os.getcwd(), sysconfig.get_path("purelib"), sysconfig.get_path("stdlib")):
            text = text.replace(folder + os.sep, "")
        return text.strip()
