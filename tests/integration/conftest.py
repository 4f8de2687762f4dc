"""Tests with real processes."""

from __future__ import annotations

import pytest

from capnet_transports import process as exec_process
from tests.cost import HANGS


@pytest.fixture(autouse=True)
def time_to_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that exit by themselves are not hurried, however slow the machine is."""
    monkeypatch.setattr(exec_process, "GRACE", HANGS)
