"""`ImportTable`: what the peer hosts for us."""

from __future__ import annotations

import pytest

from capnet.engine.imports import ImportTable
from capnet.errors import ProtocolViolation, Unavailable


def test_each_arrival_is_a_reference_and_a_holder() -> None:
    """P-REF-1, P-REF-2: the last holder gives back all that came."""
    imports = ImportTable(10)
    thing = imports.arrive(2, "test.Thing", 3)
    assert imports.arrive(2, "test.Thing", 3) is thing
    imports.check_invariants()
    assert (thing.references, thing.holders, thing.version) == (2, 2, 3)
    assert imports.release(thing) == 0
    assert imports.release(thing) == 2 and len(imports) == 0
    assert imports.release(thing) == 0, "letting go once too often gives nothing back"


def test_a_later_arrival_is_a_new_import() -> None:
    """P-REF-2: what was let go stays let go, and the drop that is on its way is not changed."""
    imports = ImportTable(10)
    old = imports.arrive(2, "test.Thing", 1)
    imports.release(old)
    new = imports.arrive(2, "test.Thing", 1)
    assert new is not old and (new.references, list(imports)) == (1, [new])


@pytest.mark.parametrize(("id", "clause"), [(0, "P-ID-3"), (1, "P-ID-3"), (4, "P-LIMIT-2")])
def test_arrivals_that_nobody_may_send(id: int, clause: str) -> None:
    """P-ID-3, P-LIMIT-2: built-in ids, and more than we said we take."""
    imports = ImportTable(2)
    imports.arrive(2, "test.Thing", 1)
    imports.arrive(3, "test.Thing", 1)
    with pytest.raises(ProtocolViolation) as raised:
        imports.arrive(id, "test.Thing", 1)
    assert raised.value.clause == clause and len(imports) == 2


def test_counts_do_not_overflow() -> None:
    """P-LIMIT-2: 2^31 - 1 references are the end."""
    imports = ImportTable(2)
    imports.arrive(2, "test.Thing", 1).references = 2**31 - 1
    with pytest.raises(ProtocolViolation) as raised:
        imports.arrive(2, "test.Thing", 1)
    assert raised.value.clause == "P-LIMIT-2"


def test_told_knows_what_came() -> None:
    """P-CAP-6: built-in ids and ids beyond what came are false claims; what was let go means nothing."""
    imports = ImportTable(10)
    thing = imports.arrive(5, "test.Thing", 1)
    assert imports.told(5) is thing and imports.told(4) is None
    for id in (0, 1, 6):
        with pytest.raises(ProtocolViolation) as raised:
            imports.told(id)
        assert raised.value.clause == "P-CAP-6"


def test_clear_returns_those_that_were_whole() -> None:
    """P-CONN-6: broken ones have been told already."""
    imports = ImportTable(10)
    whole, broken = imports.arrive(2, "test.Thing", 1), imports.arrive(3, "test.Thing", 1)
    broken.broken = Unavailable("x")
    assert imports.clear() == [whole] and len(imports) == 0
    assert repr(whole) == "<Import 2 test.Thing refs=1>" and "broken" in repr(broken)
