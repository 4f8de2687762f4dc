"""Every fault of `tests/faults`, at every chance there is; uvloop included."""

from __future__ import annotations

import pytest

from tests.faults.scenarios import SCENARIOS, connect_call_close
from tests.faults.sweep import sweep, sweep_carrier
from tests.faults.trial import BACKENDS, Scenario, try_once


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_every_fault_leaves_nothing_behind(
    scenario: Scenario, backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if backend == "asyncio+uvloop":
        try_once(connect_call_close, backend)  # what uvloop opens once for the process
    for kind, swept in sweep(scenario, backend).items():
        with capsys.disabled():
            print(
                f"\n{scenario.__name__} on {backend}: {kind.name} {swept.tried} tried, {swept.missed} missed",
                end="",
                flush=True,
            )
        assert not swept.wrong, "\n".join(swept.wrong)
        assert swept.tried


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("name", ["tcp", "tls", "ws", "wss"])
def test_nor_does_one_in_a_handshake(name: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, swept in sweep_carrier(name, backend, monkeypatch).items():
        print(f"\n{name} on {backend}: {kind.name} {swept.tried} tried, {swept.missed} missed", end="", flush=True)
        assert not swept.wrong, "\n".join(swept.wrong)
        assert swept.tried
