"""The pair machine: two honest engines over a line that delays, splits, stalls and breaks, against a shadow in Python.

The shadow knows what each side hosts, who holds what, which calls wait for an answer or for each other, which handlers
run and what flows in each stream. After every rule the engines must agree with it, and no reference may be lost between
them. A second part plants faults into the engine, one at a time, and expects the machine to notice each.

The shadow and the rules are those of `capnet.testing.simulate`; `pair/machine.py` has Hypothesis choose among them, and
`pair/mutants.py` are the faults. That the shadow sees each of them is shown by `tests/simulation` already, at a tenth
of the cost; here it is to be shown that Hypothesis comes to what leads there, so those that it finds soon will do, of
each kind one. `make soak` has it look for all.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test  # pyright: ignore[reportUnknownVariableType]

from capnet.errors import CapnetError
from tests.cost import BARS
from tests.property.pair.machine import PairMachine
from tests.property.pair.mutants import MUTANTS, Patch

SOON = {
    "credit_never_returned",
    "end_overtakes_items",
    "finish_overtakes_held_calls",
    "late_results_keep_their_references",
    "one_way_credit_lost",
    "release_drops_all_but_one",
    "revocation_not_told",
    "rollback_lost",
    "two_terminals",
}
SOUGHT = [mutant for mutant in MUTANTS if BARS or mutant.__name__ in SOON]

TestPairMachine = PairMachine.TestCase  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


@pytest.mark.parametrize("mutant", SOUGHT, ids=lambda mutant: mutant.__name__)
def test_the_machine_notices(mutant: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that lets a planted fault pass would prove nothing."""
    mutant(monkeypatch)
    hunt = settings(
        max_examples=4000,  # what it tries first depends on all that is imported; a fault is found after some 400
        stateful_step_count=40,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    with pytest.raises((AssertionError, KeyError, ValueError, CapnetError)):
        run_state_machine_as_test(PairMachine, settings=hunt)
