"""All faults of one kind in one scenario: which of them are tried, and which are known to do harm still."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.faults.injection import Kind
from tests.faults.scenarios import connect_call_close
from tests.faults.trial import UNIX, Scenario, try_once
from tests.transports.carriers import CARRIERS, Listening

__all__ = ["SEED", "Swept", "sweep", "sweep_carrier"]

SEED: Final = int(os.environ.get("CAPNET_FAULTS_SEED", "1"))
"""Which faults are tried where not all are."""


@dataclass
class Swept:
    """What a sweep has found.

    Attributes:
        tried: faults that were injected.
        missed: trials whose fault found no chance: they went another way than the one that counted.
        wrong: what must not be, by number of the fault.
    """

    tried: int = 0
    missed: int = 0
    wrong: list[str] = field(default_factory=list[str])


def sweep(
    scenario: Scenario,
    backend: str,
    kinds: Iterable[Kind] = Kind,
    most: int | None = None,
    carrier: Listening = UNIX,
) -> dict[Kind, Swept]:
    """Count the chances of each kind, then try a fault at each, or at so many of them."""
    plain = try_once(scenario, backend, carrier=carrier)
    swept = {kind: Swept(wrong=list(plain.wrong)) for kind in kinds}
    for kind, one in swept.items():
        numbers = list(range(len(plain.places[kind])))
        if most is not None and len(numbers) > most:
            numbers = sorted(random.Random(SEED).sample(numbers, most))
        for number in numbers:
            outcome = try_once(scenario, backend, kind, number, carrier)
            if not outcome.taken:
                one.missed += 1
            else:
                one.tried += 1
                one.wrong += [f"{kind.name} {number} at {outcome.taken}: {wrong}" for wrong in outcome.wrong]
    return swept


def sweep_carrier(
    name: str, backend: str, monkeypatch: pytest.MonkeyPatch, most: int | None = None
) -> dict[Kind, Swept]:
    """A connection by another transport, from nothing to an answer and back to nothing.

    Numbers are resolved here: asyncio does so in a thread, for which no virtual clock waits.
    """

    async def getaddrinfo(host: str, port: int, **_options: Any) -> list[Any]:
        await checkpoint()
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
    carrier = CARRIERS[name]
    assert isinstance(carrier, Listening)
    return sweep(connect_call_close, backend, most=most, carrier=carrier)
