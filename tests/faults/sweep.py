"""All faults of one kind in one scenario: which of them are tried, and which are known to do harm still."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from tests.faults.injection import Kind
from tests.faults.trial import Scenario, try_once

__all__ = ["SEED", "Swept", "sweep"]

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


def sweep(scenario: Scenario, backend: str, kinds: Iterable[Kind] = Kind, most: int | None = None) -> dict[Kind, Swept]:
    """Count the chances of each kind, then try a fault at each, or at so many of them."""
    plain = try_once(scenario, backend)
    swept = {kind: Swept(wrong=list(plain.wrong)) for kind in kinds}
    for kind, one in swept.items():
        numbers = list(range(len(plain.places[kind])))
        if most is not None and len(numbers) > most:
            numbers = sorted(random.Random(SEED).sample(numbers, most))
        for number in numbers:
            outcome = try_once(scenario, backend, kind, number)
            if not outcome.taken:
                one.missed += 1
            else:
                one.tried += 1
                one.wrong += [f"{kind.name} {number} at {outcome.taken}: {wrong}" for wrong in outcome.wrong]
    return swept
