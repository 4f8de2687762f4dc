"""The log: failures of our own code, found again by their correlation id."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs

from capnet.observe.log import ENTRIES, WINDOW, Log


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


def test_a_flood_is_cut_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reliability T21: provoked failures do not fill the log."""
    now = 100.0
    monkeypatch.setattr("capnet.observe.log.time.monotonic", lambda: now)
    structlog.configure()
    written = Log()
    with capture_logs() as entries:
        for _ in range(ENTRIES + 5):
            written.unexpected("a", "b", failure())
        assert len(entries) == ENTRIES
        now += WINDOW + 1
        written.unexpected("a", "b", failure())
    assert entries[-1]["left_out_before"] == 5


def test_structlog_comes_with_the_first_entry() -> None:
    """It takes longer to import than all the rest."""
    probe = "import sys, capnet.observe, capnet.host; sys.exit('structlog' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0
