"""The watchdog of development mode: says which handler holds up a loop, and where, while it does.

It is a thread of its own, one for each thread that has a loop with such connections: what holds up the loop cannot be
told by the loop. Without development mode there is none.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from itertools import takewhile
from traceback import walk_stack
from types import FrameType
from typing import Final

from capnet.loop import Loop
from capnet.observe.failure import OWN
from capnet.observe.log import NEWS, Log

__all__ = ["PATIENCE", "Watchdog"]

PATIENCE: Final = 0.25
"""Seconds that a loop may take for one turn until it is told, and between two looks at it."""
_LINES: Final = 8
"""Lines of code that are told of where it is."""
_LOOPS: Final = re.compile(r"selectors\.py$|_io_\w+\.py$")
"""The files of asyncio and trio in which they wait."""


class Watchdog:
    """Watches one thread while it has connections.

    Attributes:
        handler: what runs there now, empty while no handler does; set by whoever runs it.
    """

    _of_threads: Final[dict[int, Watchdog]] = {}

    def __init__(self, thread: int) -> None:
        self.handler = ""
        self._thread = thread
        self._loops: dict[object, Loop] = {}
        self._ended = threading.Event()
        self._log = Log(NEWS, development=True)

    @classmethod
    def begin(cls, whose: object, loop: Loop) -> Watchdog:
        """The one of this thread, which watches at least until `end` is called for the same object."""
        thread = threading.get_ident()
        found = cls._of_threads.get(thread)
        if found is None:
            found = cls._of_threads[thread] = cls(thread)
            threading.Thread(target=found._watch, name="capnet watchdog", daemon=True).start()
        found._loops[whose] = loop
        return found

    def end(self, whose: object) -> None:
        """That one needs it no longer."""
        self._loops.pop(whose, None)
        if not self._loops:
            self._ended.set()
            if self._of_threads.get(self._thread) is self:
                del self._of_threads[self._thread]

    def _watch(self) -> None:
        while not self._ended.wait(PATIENCE):
            turn = threading.Event()
            loop = next(iter(tuple(self._loops.values())), None)
            if loop is None:
                return
            loop.call_soon_threadsafe(turn.set)
            if not turn.wait(PATIENCE) and not self._ended.is_set():
                self._tell(turn)

    def _tell(self, turn: threading.Event) -> None:
        """It has been held up: tell where, and in the end for how long."""
        began = time.monotonic() - PATIENCE
        frame = sys._current_frames().get(self._thread)  # noqa: SLF001 - documented
        if frame is None or _waits_for_work(frame):  # the thread has ended, or the loop has
            return
        handler = self.handler or None
        where = _place(frame)
        del frame
        self._log.tell("warning", "the loop is held up", handler=handler, at=where)
        while not turn.wait(PATIENCE) and not self._ended.is_set():
            pass
        self._log.tell("warning", "the loop goes on", handler=handler, seconds=round(time.monotonic() - began, 1))


def _place(frame: FrameType) -> str:
    """Lines of code from the one that runs outwards, those of others than capnet as far as there are any."""
    lines = [(each.f_code.co_filename, line, each.f_code.co_name) for each, line in walk_stack(frame)]
    others = list(takewhile(lambda line: not line[0].startswith(OWN), lines))
    return " < ".join(f"{file}:{line} in {name}" for file, line, name in (others or lines)[:_LINES])


def _waits_for_work(frame: FrameType) -> bool:
    """Whether a loop waits for something to do: it is not held up, but has no time to say so, or has ended."""
    return frame.f_code.co_name in ("select", "get_events") and _LOOPS.search(frame.f_code.co_filename) is not None
