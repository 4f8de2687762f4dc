"""Where a process spends its own time: a profile of the measured part only, as text, by function or by room."""

from __future__ import annotations

import cProfile
import os
import pstats
import signal
import sysconfig
from collections import Counter
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from io import StringIO
from pathlib import Path
from types import FrameType
from typing import Final, Protocol

__all__ = ["ROOMS", "Profile", "Profiler", "Rooms"]

ROOMS: Final = -1
"""In the place of a number of functions: by room."""
SAMPLE: Final = 0.001
"""Seconds of the processor between two samples."""


class Profiler(Protocol):
    """Says where the time of a block went."""

    def running(self) -> AbstractContextManager[None]:
        """Watch what this thread does inside the block, other tasks of its loop included."""
        ...

    def text(self, microseconds: float = 0.0) -> str:
        """What was seen.

        Args:
            microseconds: of a unit, for who can tell the shares of that.
        """
        ...


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

    def text(self, microseconds: float = 0.0) -> str:
        """The table, with paths shortened to what tells files apart."""
        out = StringIO()
        pstats.Stats(self._profile, stream=out).sort_stats("tottime").print_stats(self._top)
        text = out.getvalue()
        for folder in (os.getcwd(), sysconfig.get_path("purelib"), sysconfig.get_path("stdlib")):
            text = text.replace(folder + os.sep, "")
        return text.strip()


class Rooms:
    """Samples the processor's time by the room of the package that runs, the kernel's time with it.

    What a room has the interpreter or the kernel do is its own: `socket.send` is the transport's. Code in C that calls
    nothing is its caller's.
    """

    def __init__(self) -> None:
        self._seen = Counter[str]()

    @contextmanager
    def running(self) -> Generator[None]:
        """See `Profiler`."""
        before = signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, SAMPLE, SAMPLE)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)

    def text(self, microseconds: float = 0.0) -> str:
        """A line for each room, those with the most time first: its part of a unit, percent and name."""
        total = sum(self._seen.values()) or 1
        return "\n".join(
            f"{microseconds * seen / total:8.2f} us {100 * seen / total:5.1f} %  {room}"
            for room, seen in self._seen.most_common()
        )

    def _sample(self, _: int, frame: FrameType | None) -> None:
        if frame is not None:
            self._seen[_room(frame.f_code.co_filename)] += 1


def _room(file: str) -> str:
    """Such as `capnet/engine`; of other packages the first name."""
    parts = Path(file).with_suffix("").parts
    for package in ("capnet", "capnet_transports", "benchmarks"):
        if package in parts:
            return "/".join(parts[parts.index(package) :][: 2 if package == "capnet" else 1])
    for folder in ("site-packages", f"python{sysconfig.get_python_version()}"):
        if folder in parts:
            return parts[parts.index(folder) + 1]
    return "other"
