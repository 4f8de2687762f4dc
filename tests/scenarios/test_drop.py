"""Drop: references are counted on both sides and given back with their count (P-REF-1, P-REF-2, P-REF-3)."""

from __future__ import annotations

from capnet.engine.events import ExportEnded
from capnet.engine.imports import Import
from capnet.testing.engines import EnginePair, RawPeer, capability, made_on
from capnet.wire.references import CapRef


def arrive(pair: EnginePair, *subjects: object) -> list[Import]:
    """Send each subject from left to right in one call; returns what arrived, one for each appearance."""
    pair.left.call("give", *(capability(subject) for subject in subjects))
    pair.flush()
    answer = pair.right.arrived()
    pair.right.reply(answer)
    pair.flush()
    pair.left.returned()
    return [reference.subject for reference in answer.references if isinstance(reference, CapRef)]


def test_the_last_holder_gives_everything_back_at_once(pair: EnginePair) -> None:
    """P-REF-2: one drop with the whole count, when the last local owner lets go."""
    imports = arrive(pair, "thing", "thing", "thing")
    (export,) = pair.left.engine.exports
    engine = pair.right.engine
    engine.hold(imports[0])
    for _ in range(3):
        engine.release(imports[0])
    pair.flush()
    assert export.references == 3
    engine.release(imports[0])
    pair.flush()
    (ended,) = pair.left.take(ExportEnded)
    assert ended.export is export and ended.reason == "dropped"
    assert len(pair.left.engine.exports) == 0


def test_the_same_object_keeps_its_id_and_counts_each_appearance(pair: EnginePair) -> None:
    """P-REF-1: per appearance, also twice in one frame; another interface is another export."""
    subject = object()
    pair.left.call("give", capability(subject), capability(subject), capability(subject, "test.Other"))
    pair.flush()
    assert [(export.id, export.references, export.interface) for export in pair.left.engine.exports] == [
        (2, 2, "test.Thing"),
        (3, 1, "test.Other"),
    ]
    answer = pair.right.arrived()
    pair.right.engine.release_all(answer.references)
    pair.right.reply(answer)
    pair.flush()
    assert [event.reason for event in pair.left.take(ExportEnded)] == ["dropped", "dropped"]
    pair.left.returned()


def test_an_arrival_that_crosses_a_drop_begins_anew(pair: EnginePair) -> None:
    """P-REF-2: a drop gives back what it counted, never the reference that is on its way."""
    (imported,) = arrive(pair, "thing")
    pair.left.call("give", capability("thing"))
    pair.step()
    pair.right.engine.release(imported)
    pair.deliver(pair.left)
    (export,) = pair.left.engine.exports
    assert export.references == 1
    pair.flush()
    answer = pair.right.arrived()
    (reference,) = answer.references
    assert isinstance(reference, CapRef)
    assert reference.subject is not imported and reference.subject.id == export.id
    pair.right.engine.release_all(answer.references)
    pair.right.reply(answer)
    pair.flush()
    assert [event.export for event in pair.left.take(ExportEnded)] == [export]
    pair.left.returned()


def test_an_arrival_between_release_and_its_drop_is_counted_apart(pair: EnginePair) -> None:
    """P-REF-2: the drop that waits in the outbox is not changed by what arrives meanwhile."""
    imported, _ = arrive(pair, "thing", "thing")
    pair.left.call("give", capability("thing"))
    pair.step()
    pair.right.engine.release(imported)
    pair.right.engine.release(imported)
    pair.right.engine.receive_data(pair.right.incoming.take(), pair.now)
    (export,) = pair.left.engine.exports
    pair.flush()
    assert export.references == 1
    answer = pair.right.arrived()
    pair.right.engine.release_all(answer.references)
    pair.right.reply(answer)
    pair.flush()
    pair.left.returned()


def test_drops_wait_for_what_was_said_before_them(pair: EnginePair) -> None:
    """P-REF-3: a call on a capability that is let go right afterwards still reaches it."""
    (imported,) = arrive(pair, "thing")
    pair.right.call("last words", target=imported)
    pair.right.engine.release(imported)
    pair.flush()
    answer = pair.left.arrived()
    assert made_on(answer) == "thing" and len(pair.left.engine.exports) == 0
    pair.left.reply(answer)
    pair.flush()
    pair.right.returned()


def test_ten_thousand_drops_fit_into_frames_that_every_peer_takes() -> None:
    """P-FRAME-2: what is given back at once is cut into frames of bounded size, whatever the ids are."""
    raw = RawPeer()
    interface = capability(None)
    for start in range(2**40, 2**40 + 10_000, 1000):
        references = [CapRef(interface.interface, 1, id=start + number) for number in range(1000)]
        raw.say([2, start - 2**40 + 1, 0, "give", {"refs": references}])
    for imported in list(raw.engine.imports):
        raw.engine.release(imported)
    raw.engine.outbox.limit = 64 * 1024
    frames = raw.collect()
    assert sum(len(frame[1]) for frame in frames) == 10_000 and {frame[0] for frame in frames} == {11}


def test_fault_08_each_appearance_counts(pair: EnginePair) -> None:
    """Fault 8: in the ancestor, returning one capability twice added no reference; the first drop killed all proxies.

    Here each appearance counts (P-REF-1), so one holder's release leaves the others theirs.
    """
    first = arrive(pair, "thing")[0]
    again = arrive(pair, "thing")[0]
    assert first is again
    pair.right.engine.release(first)
    pair.flush()
    pair.right.call("still there", target=again)
    pair.flush()
    answer = pair.left.arrived()
    assert made_on(answer) == "thing"
    pair.left.reply(answer)
    pair.right.engine.release(again)
    pair.flush()
    pair.right.returned()


def test_fault_12_drops_are_checked() -> None:
    """Fault 12: the ancestor took any delta: negative, NaN, for ids it never gave.

    Here each is a violation with its clause, and nothing is dropped twice (P-REF-2, P-ID-3, P-ID-4, P-OP).
    """
    for pairs, clause in [
        ([[2, -1]], "P-OP"),
        ([[2, float("nan")]], "P-OP"),
        ([[2, 0]], "P-OP"),
        ([[2, 2]], "P-REF-2"),
        ([[2, 1], [2, 1]], "P-REF-2"),
        ([[9, 1]], "P-ID-4"),
        ([[0, 1]], "P-ID-3"),
        ([[1, 1]], "P-ID-3"),
    ]:
        raw = RawPeer()
        raw.engine.call(raw.engine.imports.bootstrap, "m", {"a": (thing := capability("x"))}, [thing], "token")
        raw.collect()
        raw.say([11, pairs])
        assert raw.clause == clause, pairs
        assert len(raw.take(ExportEnded)) == 1, "an export ends once, whatever ends it"


def test_fault_14_nothing_is_exported_twice(pair: EnginePair) -> None:
    """Fault 14: the ancestor made a fresh entry each time the same object went out.

    Here the table finds it: one id for one object and interface (P-REF-1, P-CAP-1).
    """
    subject = object()
    ids = {imported.id for _ in range(20) for imported in arrive(pair, subject)}
    assert ids == {2} and len(pair.left.engine.exports) == 1
    (export,) = pair.left.engine.exports
    assert pair.left.engine.exports.of(subject, "test.Thing") is export and export.references == 20
    (imported,) = pair.right.engine.imports
    for _ in range(20):
        pair.right.engine.release(imported)


def test_fault_16_drops_and_bootstraps_that_cross_lose_nothing(pair: EnginePair) -> None:
    """Fault 16: in the ancestor a drop that crossed a bootstrap could delete what had just been handed out.

    Here counts are kept per appearance on both ends, in every order of delivery (P-REF-2, I1).
    """
    held: Import | None = None
    for cut in range(0, 60, 3):
        pair.left.call("bootstrap")
        pair.flush()
        pair.right.reply(pair.right.arrived(), capability("service"))
        if held is not None:
            pair.left.engine.release(held)
        pair.step()
        pair.deliver(pair.left, cut)
        pair.deliver(pair.right)
        pair.flush()
        (reference,) = pair.left.returned().references
        assert isinstance(reference, CapRef)
        held = reference.subject
        pair.left.call("use", target=held)
        pair.flush()
        answer = pair.right.arrived()
        assert made_on(answer) == "service"
        pair.right.reply(answer)
        pair.flush()
        pair.left.returned()
    assert held is not None
    pair.left.engine.release(held)
