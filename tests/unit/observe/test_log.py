"""The log: failures of our own code, found again by their correlation id."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs

from capnet.observe.log import ENTRIES, NEWCOMERS, WINDOW, Account, Log


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """structlog's configuration is the process's; what a test sets is gone after it."""
    yield
    structlog.reset_defaults()


def failure() -> Exception:
    """An exception with a traceback."""
    try:
        raise RuntimeError("secret of ours")
    except RuntimeError as error:
        return error


def test_an_entry_has_where_correlation_and_traceback() -> None:
    """P-ERR-2: our side keeps all that the peer is not told."""
    structlog.configure()
    with capture_logs() as entries:
        Log().unexpected("handler of a.B.c", "id", failure())
    (entry,) = entries
    assert entry["where"] == "handler of a.B.c" and entry["correlation"] == "id"
    assert isinstance(entry["exc_info"], RuntimeError)


def test_without_configuration_it_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output may be somebody's protocol."""
    Log().unexpected("handler of a.B.c", "the-id", failure())
    out, err = capsys.readouterr()
    assert not out and "the-id" in err and "secret of ours" in err and "Traceback" in err


def test_what_cannot_be_shown_has_an_entry_nevertheless(capsys: pytest.CaptureFixture[str]) -> None:
    """Its class may raise when it is shown."""

    def secret(_: object) -> None:
        raise RuntimeError("secret")

    Log().unexpected("handler of a.B.c", "the-id", type("Odd", (ValueError,), {"__notes__": property(secret)})())
    out, err = capsys.readouterr()
    assert not out and "the-id" in err and "handler of a.B.c" in err


def test_a_log_that_fails_is_no_fault_of_who_writes() -> None:
    """What the program has configured may raise."""

    def refuse(*_: object) -> str:
        raise RuntimeError("secret")

    structlog.configure(processors=[refuse])
    Log().unexpected("handler of a.B.c", "the-id", failure())


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What the log goes by."""
    clock = Clock()
    monkeypatch.setattr("capnet.observe.log.time.monotonic", clock)
    structlog.configure()
    return clock


def fail(log: Log, times: int = 1) -> None:
    for _ in range(times):
        log.unexpected("a", "b", failure())


def test_a_flood_is_cut_and_counted(clock: Clock) -> None:
    """Reliability T21: provoked failures do not fill the log."""
    log = Log(Account(NEWCOMERS))
    with capture_logs() as entries:
        fail(log, ENTRIES + 5)
        assert len(entries) == ENTRIES
        clock.now += WINDOW + 1
        fail(log)
    assert entries[-1]["left_out_before"] == 5


def test_the_flood_of_one_leaves_room_for_others(clock: Clock) -> None:
    """P-ERR-2: a correlation id is found in the log, whatever other peers provoke."""
    common = Account(NEWCOMERS)
    logs = [Log(common), Log(common)]
    for later in (0.0, WINDOW + 1):  # as newcomers, and when they have been there for a while
        clock.now += later
        with capture_logs() as entries:
            fail(logs[0], 1000)
            logs[1].unexpected("a", "the-id", failure())
            fail(logs[0])
        assert len(entries) == ENTRIES + 1
        assert (entries[-1]["correlation"], entries[-1]["left_out_before"]) == ("the-id", 1000 - ENTRIES)


def test_to_begin_anew_brings_nothing(clock: Clock) -> None:
    """Who connects again and again fills neither the log nor the room of those that were there before."""
    common = Account(NEWCOMERS)
    there_before = Log(common)
    clock.now += WINDOW + 1
    with capture_logs() as entries:
        for _ in range(NEWCOMERS):
            fail(Log(common), 3)
        assert len(entries) == NEWCOMERS
        fail(there_before)
        assert len(entries) == NEWCOMERS + 1
        clock.now += WINDOW + 1
        fail(Log(common))
        assert len(entries) == NEWCOMERS + 2


def test_structlog_comes_with_the_first_entry() -> None:
    """It takes longer to import than all the rest."""
    probe = "import sys, capnet.observe, capnet.host; sys.exit('structlog' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0
