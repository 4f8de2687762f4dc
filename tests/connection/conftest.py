"""Tests of one connection, both ends live: every test ends with nothing left behind."""

from __future__ import annotations

import pytest

from capnet.dispatch import dispatcher as dispatch
from capnet.observe import log
from capnet.session import driver
from tests.connection.leaks import no_ping_helps as no_ping_helps
from tests.connection.leaks import nothing_left as nothing_left


@pytest.fixture
def whole_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made in a turn leaves together, however long it takes: for who counts frames and writes."""
    monkeypatch.setattr(dispatch, "LONGEST_TURN", 3600.0)
    monkeypatch.setattr(driver, "LONGEST_STEP", 3600.0)


@pytest.fixture(autouse=True)
def a_log_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests have had logged in the last seconds leaves no entry of this one out."""
    monkeypatch.setattr(log, "_common", log.Account(log.NEWCOMERS))
