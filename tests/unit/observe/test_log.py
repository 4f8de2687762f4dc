"""The log: failures of our own code, found again by their correlation id."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs

from capnet.observe.log import ENTRIES, NEWCOMERS, WINDOW, Account, Log, wanted


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


def test_what_cannot_be_shown_has_an_entry_where_logging_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second entry is without the exception."""
    taken: list[str] = []

    class Taker(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info:
                raise RuntimeError("secret")
            taken.append(record.getMessage())

    taker = logging.Logger("a logger")
    taker.addHandler(Taker())
    monkeypatch.setattr("capnet.observe.log._logging", taker)
    Log().unexpected("handler of a.B.c", "the-id", failure())
    assert len(taken) == 1 and "the-id" in taken[0] and "handler of a.B.c" in taken[0]


def test_a_log_that_fails_is_no_fault_of_who_writes() -> None:
    """What the program has configured may raise."""

    def refuse(*_: object) -> str:
        raise RuntimeError("secret")

    structlog.configure(processors=[refuse])
    Log().unexpected("handler of a.B.c", "the-id", failure())


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What `logging` writes, which the program has configured for level INFO."""
    text = io.StringIO()
    ours = logging.Logger("capnet.connections", logging.INFO)
    ours.addHandler(logging.StreamHandler(text))
    monkeypatch.setattr("capnet.observe.log._logging", ours)
    return text


def test_where_logging_is_configured_it_has_the_entries(
    written: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """Failures with their traceback, and what is no failure as far as the level goes."""
    log = Log(Account(NEWCOMERS))
    log.unexpected("handler of a.B.c", "the-id", failure())
    log.tell("info", "connected", peer="one\nERROR two\x1b[0m", principal=None)
    log.tell("warning", "slow handler", seconds=2.5)
    log.tell("debug", "was asked", name="a.B")
    failed, rest = written.getvalue().split("RuntimeError: secret of ours\n")
    assert "unexpected where='handler of a.B.c' correlation='the-id'" in failed and "Traceback" in failed
    assert rest == "connected peer='one\\\\nERROR two\\\\x1b[0m'\nslow handler seconds=2.5\n"
    assert wanted("info") and not wanted("debug") and not any(capsys.readouterr())


def test_where_nothing_is_configured_only_development_tells_more(capsys: pytest.CaptureFixture[str]) -> None:
    """A server does not speak of each connection without being asked."""
    Log(Account(NEWCOMERS)).tell("info", "connected")
    assert not any(capsys.readouterr())
    log = Log(Account(NEWCOMERS), development=True)
    log.tell("info", "connected", peer="me")
    log.tell("debug", "was asked", name="a.B")
    out, err = capsys.readouterr()
    assert not out and "connected" in err and "was asked" not in err


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.ERROR], ids=["debug", "info", "error"])
def test_where_structlog_is_configured_its_level_holds(level: int) -> None:
    """Nothing is built, and no room taken, for what it would leave out."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level), logger_factory=list)
    assert [wanted("debug"), wanted("info"), wanted("warning")] == [
        level <= logging.DEBUG,
        level <= logging.INFO,
        level <= logging.WARNING,
    ]


def test_what_is_no_failure_is_cut_as_well(written: io.StringIO) -> None:
    """A peer that asks again and again does not fill the log."""
    log = Log(Account(NEWCOMERS))
    for _ in range(ENTRIES + 5):
        log.tell("info", "denied", reason="x" * 100_000)
    lines = written.getvalue().splitlines()
    assert len(lines) == ENTRIES and max(map(len, lines)) < 10_000


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


def test_a_stack_that_overflows_is_told_by_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    """A handler that calls itself must not hold up the loop while a thousand frames are written."""

    def dive(depth: int) -> None:
        if depth == 0:
            raise RuntimeError("at the bottom")
        if depth % 2:
            dive(depth - 1)
        else:
            dive(depth - 1)  # another line, so that the traceback cannot say that one is repeated

    try:
        dive(600)
    except RuntimeError as error:
        Log(Account(NEWCOMERS)).unexpected("a", "b", error)
    shown = capsys.readouterr().err
    assert "at the bottom" in shown and shown.count(" in dive\n") == 100


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
