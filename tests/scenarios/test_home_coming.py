"""Home-coming references: a capability that is sent back becomes the original, not a proxy to itself (P-ID-2)."""

from __future__ import annotations

from collections.abc import Sequence

from capnet.engine.exports import Export
from capnet.errors import NotFound, Revoked
from capnet.testing.engines import EnginePair, capability, homeward, made_on
from capnet.wire.references import CapRef, Reference


def subjects(references: Sequence[Reference]) -> list[object]:
    """What each reference stands for."""
    return [reference.subject for reference in references if isinstance(reference, CapRef)]


def test_it_becomes_the_original_in_arguments_and_results(pair: EnginePair) -> None:
    """P-ID-2: a negative id is the receiver's own; it is not counted, and its export is found."""
    imported = pair.give(pair.left, "thing")
    (export,) = pair.left.engine.exports
    pair.right.call("back", homeward(imported))
    pair.flush()
    answer = pair.left.arrived()
    assert subjects(answer.references) == [export] and isinstance(export, Export)
    pair.left.reply(answer)
    pair.left.call("fetch")
    pair.flush()
    pair.right.reply(pair.right.arrived(), homeward(imported))
    pair.flush()
    assert subjects(pair.left.returned().references) == [export]
    assert export.references == 1
    pair.right.engine.release(imported)
    pair.flush()
    assert pair.right.returned().token == "back"


def test_one_that_was_revoked_refuses_the_value(pair: EnginePair) -> None:
    """P-CAP-6, P-ERR-3: what an honest peer can send while a revocation is on its way is an error for that call."""
    imported = pair.give(pair.left, "thing")
    pair.left.engine.exporting.revoke(list(pair.left.engine.exports), "no more")
    pair.right.call("back", homeward(imported), capability("fresh"))
    pair.flush()
    error = pair.right.failed()
    assert isinstance(error, Revoked)
    assert not pair.left.engine.lifecycle.closed and len(pair.left.engine.imports) == 0
    pair.right.engine.release(imported)


def test_one_that_was_given_back_refuses_the_value(pair: EnginePair) -> None:
    """P-ID-4: an id that was issued and is gone is an error for that call; what else it brought goes back."""
    imported = pair.give(pair.left, "thing")
    pair.right.engine.release(imported)
    pair.flush()
    pair.right.call("back", capability("fresh"), homeward(imported))
    pair.flush()
    error = pair.right.failed()
    assert isinstance(error, NotFound) and error.reason == "released"
    assert len(pair.left.engine.imports) == 0


def test_in_a_result_it_fails_the_call_that_waits(pair: EnginePair) -> None:
    """P-ID-4: the caller gets the error instead of a value with a hole in it."""
    imported = pair.give(pair.left, "thing")
    pair.left.call("fetch")
    pair.flush()
    pair.right.engine.release(imported)
    pair.flush()
    pair.right.reply(pair.right.arrived(), homeward(imported), capability("fresh"))
    pair.flush()
    assert pair.left.failed().reason == "released"
    assert len(pair.left.engine.imports) == 0


def test_held_drop_does_not_overtake_a_held_call(pair: EnginePair) -> None:
    """P-REF-2: a call that waits for room still finds the capability that its sender let go meanwhile."""
    imported = pair.give(pair.left, "thing")
    pair.right.engine.calls.limit = 1
    pair.right.call("first")
    pair.right.call("second", homeward(imported), target=imported)
    pair.right.engine.release(imported)
    pair.flush()
    assert len(pair.left.engine.exports) == 1
    pair.left.reply(pair.left.arrived())
    pair.flush()
    answer = pair.left.arrived()
    assert made_on(answer) == "thing"
    pair.left.reply(answer)
    pair.flush()
    assert len(pair.left.engine.exports) == 0
    assert [pair.right.returned().token, pair.right.returned().token] == ["first", "second"]
