"""All faults of one kind in one scenario: which of them are tried, and which are known to do harm still."""

from __future__ import annotations

import os
import random
import socket
from collections import Counter
from collections.abc import Iterable, Sequence
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


FEW: Final = 8
"""Faults of one kind that are tried even if there are fewer places: of a socket or an intent, when it is counts too."""


def sweep(
    scenario: Scenario,
    backend: str,
    kinds: Iterable[Kind] = Kind,
    most: int | None = None,
    carrier: Listening = UNIX,
) -> dict[Kind, Swept]:
    """Count the chances of each kind, then try a fault at each, or at one in every place, but `most` of them."""
    plain = try_once(scenario, backend, carrier=carrier)
    swept = {kind: Swept(wrong=list(plain.wrong)) for kind in kinds}
    for kind, one in swept.items():
        for number in _chosen(plain.places[kind], most):
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


def _chosen(places: Sequence[str], most: int | None) -> Sequence[int]:
    """The numbers of the chances that are tried. Those in a place that had one already come after all that had none."""
    numbers = list(range(len(places)))
    if most is None:
        return numbers
    random.Random(SEED).shuffle(numbers)
    had: Counter[str] = Counter()
    turns: dict[int, int] = {}
    for number in numbers:
        turns[number] = had[places[number]]
        had[places[number]] += 1
    return sorted(sorted(numbers, key=turns.__getitem__)[: min(most, max(len(had), FEW))])
