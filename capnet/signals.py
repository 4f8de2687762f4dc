"""Ctrl-C (SIGINT) and SIGTERM as something to wait for."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType
from typing import Any, Final

__all__ = ["told_to_stop"]

_STOP: Final = (signal.SIGINT, signal.SIGTERM)
_waiting: list[Callable[[], object]] = []
"""All that wait now: one signal is for all hosts of a process."""
_before: dict[signal.Signals, Any] = {}
"""What handled each signal before the first of them waited, and will when the last has ended."""


@contextmanager
def told_to_stop(wake: Callable[[], object]) -> Generator[None]:
    """Call `wake` whenever the process is told to stop, for the length of a block.

    Only the main thread may handle signals: in another one nothing is called. A signal that is ignored, as Ctrl-C is in
    what a shell runs in the background, stays ignored.

    Args:
        wake: called by the handler of a signal, between any two steps of the program; for `call_soon_threadsafe`.
    """
    if current_thread() is not main_thread():
        yield
        return
    if not _waiting:
        _begin()
    _waiting.append(wake)
    try:
        yield
    finally:
        _waiting.remove(wake)
        if not _waiting:
            _end()


def _begin() -> None:
    for number in _STOP:
        before = signal.getsignal(number)
        if before is not None and before is not signal.SIG_IGN:  # None: not set by Python, so we could not put it back
            _before[number] = before
            signal.signal(number, _told)


def _end() -> None:
    for number, before in _before.items():
        if signal.getsignal(number) is _told:  # else somebody has taken it over
            signal.signal(number, before)
    _before.clear()


def _told(_: int, __: FrameType | None) -> None:
    for wake in tuple(_waiting):
        wake()
