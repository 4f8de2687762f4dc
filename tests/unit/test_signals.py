"""Who is told to stop, and what handles the signals afterwards."""

from __future__ import annotations

import signal
from contextlib import ExitStack

from capnet.signals import told_to_stop


def test_all_that_wait_are_told_and_what_was_there_comes_back() -> None:
    told: list[str] = []
    before = signal.getsignal(signal.SIGTERM)
    first, second = ExitStack(), ExitStack()
    first.enter_context(told_to_stop(lambda: told.append("first")))
    second.enter_context(told_to_stop(lambda: told.append("second")))
    signal.raise_signal(signal.SIGTERM)
    assert told == ["first", "second"]
    first.close()
    signal.raise_signal(signal.SIGTERM)
    assert told == ["first", "second", "second"]
    second.close()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_handler_that_somebody_sets_meanwhile_stays() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        with told_to_stop(lambda: None):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
