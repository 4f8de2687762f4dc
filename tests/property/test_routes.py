"""A reference is never worth more than the meet of all contracts and restrictions on its route, nor less.

The routes go through up to four programs, by every place that a value has; see `routes/route.py`. CAPNET_SEED says with
which they begin.
"""

from __future__ import annotations

import gc
import os
import sys
import warnings

import anyio
import pytest

from tests.property.routes.faults import FAULTS, Patch
from tests.property.routes.route import CROSSING, Wrong, play

SEED = os.environ.get("CAPNET_SEED")
ROUTES = 500
"""Each loop plays as many, and other ones."""
PARTS = {"asyncio": 0, "asyncio+uvloop": ROUTES, "trio": 2 * ROUTES}
MOST_ROUTES = 1000
"""On how many a planted fault must be noticed."""
SHAPES = {
    *("Annotated", "Card", "Case", "Chain", "Iterable", "Job", "Mapping", "NewType", "Optional", "Red|Blue", "Row"),
    *("Sequence", "Slip", "dict", "frozenset", "list", "pair", "tuple"),
}
HAPPEN = {
    *("argument", "beside", "stream argument", "sink in result", "callback's result", "promise", "ahead"),
    *("result", "stream", "broadcast", "stream in result", "sink argument", "callback's argument", "bare", "loose"),
    *(f"shape {shape}" for shape in SHAPES),
    *("declared Any", "declared Cap", "declared contract", "1 links", "2 links", "3 links"),
    *(f"programs {count}" for count in (1, 2, 3, 4)),
    *("object", "facet", "remote", "narrowed", "home", "home, whole", "ask", "ask and replace", "replace and ask"),
    *("tries of object", "tries of facet", "tries of remote", "tries of narrowed", "taken back", "refused"),
    *(("membrane, take", "membrane, give") if CROSSING else ()),
}
"""What the routes of each loop must have seen."""


async def test_a_reference_is_what_it_was_given_as(request: pytest.FixtureRequest) -> None:
    """Every method of every contract is tried by every holder; what runs is what may, and nothing is left."""
    loop = request.node.callspec.id
    first = PARTS[loop] if SEED is None else int(SEED)
    sys.stderr.write(f"CAPNET_SEED={first}\n")
    seen = await play(first, ROUTES)
    assert seen["routes"] == ROUTES
    if SEED is None:
        assert not [what for what in HAPPEN if not seen[what]]
        assert seen["routes without a refusal"] > ROUTES / 2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_noticed(fault: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Routes that let one pass would prove nothing."""
    fault(monkeypatch)
    with pytest.raises(Wrong, match="route"):
        anyio.run(play, 0, MOST_ROUTES)
    monkeypatch.undo()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()
