"""Bootstrap: cap-id 0 and 1 are there on both sides, before anything was exported (P-ID-3)."""

from __future__ import annotations

from capnet.engine.imports import Import
from capnet.testing.engines import EnginePair, capability, made_on
from capnet.wire.references import CapRef


def test_calls_on_the_built_in_capabilities_reach_their_subjects(pair: EnginePair) -> None:
    """P-ID-3: 0 is the bootstrap dispatcher and 1 the runtime capability, for ever and on both sides."""
    for side in pair.sides:
        other = pair.other(side)
        side.call("bootstrap")
        side.call("describe", target=side.engine.imports.runtime)
        pair.flush()
        answers = [other.arrived(), other.arrived()]
        assert [made_on(answer) for answer in answers] == [f"{other.name} bootstrap", f"{other.name} runtime"]
        for answer in answers:
            other.reply(answer)
        pair.flush()
        assert [side.returned().token, side.returned().token] == ["bootstrap", "describe"]


def test_bootstrapping_twice_gives_one_id_and_two_references(pair: EnginePair) -> None:
    """P-CAP-2, P-REF-1: the same subject goes out under the same id, and each appearance counts."""
    imports: list[Import] = []
    for _ in range(2):
        pair.left.call("bootstrap")
        pair.flush()
        pair.right.reply(pair.right.arrived(), capability("service"))
        pair.flush()
        (reference,) = pair.left.returned().references
        assert isinstance(reference, CapRef)
        imports.append(reference.subject)
    (export,) = pair.right.engine.exports
    assert imports[0] is imports[1] and (export.id, export.references) == (2, 2)
    for imported in imports:
        pair.left.engine.release(imported)


def test_the_built_in_capabilities_are_never_given_back(pair: EnginePair) -> None:
    """P-ID-3: releasing 0 or 1 sends nothing, and they answer as before."""
    imports = pair.left.engine.imports
    pair.left.engine.release(imports.bootstrap)
    pair.left.engine.release(imports.runtime)
    pair.left.call("still")
    pair.flush()
    pair.right.reply(pair.right.arrived())
    pair.flush()
    assert pair.left.returned().token == "still"


def test_user_exports_start_at_two_and_are_counted_without_the_built_in_ones(pair: EnginePair) -> None:
    """P-ID-1, P-ID-3: ids go upwards from 2 and are never used again; limits count user exports only."""
    first = pair.give(pair.left, "first")
    pair.right.engine.release(first)
    pair.flush()
    second = pair.give(pair.left, "first")
    assert (first.id, second.id) == (2, 3)
    assert len(pair.left.engine.exports) == 1
    pair.right.engine.release(second)
