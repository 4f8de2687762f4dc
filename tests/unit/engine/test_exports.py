"""`CapTable`: what this side hosts for the peer."""

from __future__ import annotations

import pytest

from capnet.engine.exports import CapTable, Export
from capnet.errors import ProtocolViolation, ResourceExhausted
from capnet.testing.engines import capability
from capnet.wire.references import AnswerRef, CapRef


def table(limit: int = 100) -> CapTable:
    """A table whose peer takes `limit` capabilities."""
    table = CapTable("bootstrap", "runtime")
    table.limit = limit
    return table


def exported(table: CapTable, *references: CapRef) -> list[Export]:
    """The exports that these references make."""
    new = table.count(references)
    table.check_invariants()
    return new


def test_the_built_in_two_are_there_and_do_not_count() -> None:
    """P-ID-3: 0 and 1; a table that holds only them is empty."""
    exports = table()
    bootstrap, runtime = exports.find(0), exports.find(1)
    assert bootstrap is not None and runtime is not None
    assert (bootstrap.subject, runtime.subject) == ("bootstrap", "runtime")
    assert len(exports) == 0 and list(exports) == []
    assert not exports.live(bootstrap) and not exports.revoke(bootstrap, "no")


def test_a_subject_is_found_by_identity_and_interface() -> None:
    """P-CAP-1, P-REF-1: one look-up, one id, one count for each appearance."""
    exports = table()
    subject = object()
    first, again, other = capability(subject), capability(subject), capability(subject, "test.Other")
    new = exported(exports, first, again, other)
    assert [(export.id, export.references) for export in new] == [(2, 2), (3, 1)]
    assert exports.of(subject, "test.Thing") is new[0] and exports.of(object(), "test.Thing") is None
    assert (first.id, again.id, other.id) == (2, 2, 3)
    assert "refs=2" in repr(new[0])


def test_what_is_not_ours_is_not_counted() -> None:
    """P-ID-2: home-coming references and other kinds pass through."""
    exports = table()
    assert exported(exports, CapRef("test.Thing", 1, id=-5)) == []
    assert exports.count([AnswerRef(1)]) == []


def test_over_the_limit_nothing_is_counted() -> None:
    """P-ERR-3: all of a frame's references or none of them."""
    exports = table(limit=2)
    exported(exports, capability("kept"))
    with pytest.raises(ResourceExhausted) as raised:
        exports.count([capability("kept"), capability("fits"), capability("does not")])
    assert raised.value.reason == "max_caps_per_connection"
    assert [export.references for export in exports] == [1]
    exports.check_invariants()


def test_uncount_undoes_and_says_what_has_gone() -> None:
    """P-REF-1: what only that frame mentioned is gone, what was there before stays."""
    exports = table()
    (kept,) = exported(exports, capability("kept"))
    frame = [capability("kept"), capability("new")]
    (new,) = exported(exports, *frame)
    assert exports.uncount(frame) == [new]
    assert list(exports) == [kept] and kept.references == 1
    exports.check_invariants()


def test_drops_count_down_to_the_end() -> None:
    """P-REF-2, P-REF-3: the export is returned with its last reference, and its id is never used again."""
    exports = table()
    exported(exports, capability("thing"), capability("thing"))
    assert exports.drop(2, 1) is None
    gone = exports.drop(2, 1)
    assert gone is not None and gone.subject == "thing" and exports.find(2) is None
    assert exported(exports, capability("thing"))[0].id == 3


@pytest.mark.parametrize(
    ("id", "count", "clause"), [(0, 1, "P-ID-3"), (1, 1, "P-ID-3"), (2, 2, "P-REF-2"), (3, 1, "P-ID-4")]
)
def test_drops_that_nobody_may_make(id: int, count: int, clause: str) -> None:
    """P-REF-2, P-ID-3, P-ID-4: refused before anything changes."""
    exports = table()
    (export,) = exported(exports, capability("thing"))
    with pytest.raises(ProtocolViolation) as raised:
        exports.drop(id, count)
    assert raised.value.clause == clause and export.references == 1


def test_what_was_dropped_cannot_be_dropped_again() -> None:
    """P-REF-2: the id was issued, but there is nothing left to give back."""
    exports = table()
    exported(exports, capability("thing"))
    exports.drop(2, 1)
    with pytest.raises(ProtocolViolation) as raised:
        exports.drop(2, 1)
    assert raised.value.clause == "P-REF-2"


def test_held_back_references_are_not_given() -> None:
    """P-REF-1: they keep the export, and the peer cannot drop them; `let_go` tells what was revoked meanwhile."""
    exports = table()
    frame = [capability("thing")]
    (export,) = exported(exports, *frame)
    exports.hold_back(frame)
    assert (export.references, export.given) == (1, 0)
    with pytest.raises(ProtocolViolation):
        exports.drop(2, 1)
    assert exports.revoke(export, "gone")
    assert exports.let_go(frame) == [export] and export.given == 1


def test_revoke_lets_go_of_the_subject_and_keeps_the_id() -> None:
    """P-CAP-6: until the peer has dropped it; the subject can go out again under a new id."""
    exports = table()
    (export,) = exported(exports, capability("thing"))
    assert exports.revoke(export, "gone") and not exports.revoke(export, "again")
    assert (export.subject, export.revoked) == (None, "gone") and "revoked" in repr(export)
    assert exports.find(2) is export and not exports.live(export) and exports.of("thing", "test.Thing") is None
    assert exported(exports, capability("thing"))[0].id == 3
    assert exports.drop(2, 1) is export


def test_replace_moves_the_subject() -> None:
    """P-CAP-5: same id; the index follows, and where two ids lead to one subject the elder is found."""
    exports = table()
    first, second = exported(exports, capability("a"), capability("b"))
    exports.replace(first, "b")
    exports.check_invariants()
    assert exports.of("b", "test.Thing") is second and exports.of("a", "test.Thing") is None
    exports.drop(second.id, 1)
    exports.check_invariants()
    assert exports.live(first) and not exports.live(second)


def test_clear_returns_the_live_ones() -> None:
    """P-CONN-6: revoked ones have had their end; the built-in two stay."""
    exports = table()
    live, revoked = exported(exports, capability("a"), capability("b"))
    exports.revoke(revoked, "gone")
    assert exports.clear() == [live] and len(exports) == 0 and exports.find(0) is not None


def test_find_tells_gone_from_never_issued() -> None:
    """P-ID-4: below the next id and absent is gone; anything else was never issued."""
    exports = table()
    for id in (2, -1, 10**9):
        with pytest.raises(ProtocolViolation) as raised:
            exports.find(id)
        assert raised.value.clause == "P-ID-4"
