"""Replace: another implementation behind the same id (P-CAP-5)."""

from __future__ import annotations

from capnet.engine.events import ExportEnded, ImportReplaced
from capnet.testing.engines import EnginePair, RawPeer, capability, made_on


def test_ids_and_proxies_stay_and_new_calls_go_to_the_new_one(pair: EnginePair) -> None:
    """P-CAP-5: a call made before runs on the old subject's behalf, later ones reach the new; the importer is told."""
    imported = pair.give(pair.left, "old")
    pair.right.call("before", target=imported)
    pair.flush()
    before = pair.left.arrived()
    assert made_on(before) == "old"
    pair.left.engine.exporting.replace(list(pair.left.engine.exports), "new", 7)
    pair.right.call("after", target=imported)
    pair.flush()
    (replaced,) = pair.right.take(ImportReplaced)
    assert replaced.imported is imported and imported.generation == 7
    after = pair.left.arrived()
    assert after.export is before.export and made_on(after) == "new"
    pair.left.reply(after)
    pair.left.reply(before)
    pair.right.engine.release(imported)
    pair.flush()
    assert [pair.right.returned().token, pair.right.returned().token] == ["after", "before"]


def test_the_new_subject_goes_out_under_the_old_id(pair: EnginePair) -> None:
    """P-REF-1: the table knows the replaced export by its new subject; the old subject gets an id of its own."""
    imported = pair.give(pair.left, "old")
    pair.left.engine.exporting.replace(list(pair.left.engine.exports), "new", 1)
    assert pair.give(pair.left, "new") is imported
    other = pair.give(pair.left, "old")
    assert other.id != imported.id
    for held in (imported, imported, other):
        pair.right.engine.release(held)


def test_a_subject_that_is_exported_already_keeps_both_ids(pair: EnginePair) -> None:
    """P-CAP-1, P-CAP-5: two ids may lead to one subject after a replacement; each lives and ends by its own count."""
    old = pair.give(pair.left, "old")
    new = pair.give(pair.left, "new")
    first, second = pair.left.engine.exports
    pair.left.engine.exporting.replace([first], "new", 1)
    assert first.subject == second.subject == "new"
    assert pair.left.engine.exports.of("new", "test.Thing") is second
    pair.right.engine.release(new)
    pair.flush()
    pair.right.call("m", target=old)
    pair.flush()
    answer = pair.left.arrived()
    assert answer.export is first
    pair.left.reply(answer)
    pair.right.engine.release(old)
    pair.flush()
    assert [event.export for event in pair.left.take(ExportEnded)] == [second, first]
    pair.right.returned()


def test_what_is_gone_is_not_replaced(pair: EnginePair) -> None:
    """P-CAP-5: revoked and dropped exports stay as they are, and nobody is told."""
    imported = pair.give(pair.left, "old")
    (export,) = pair.left.engine.exports
    pair.left.engine.exporting.revoke([export], "gone")
    pair.flush()
    pair.left.engine.exporting.replace([export], "new", 1)
    pair.right.engine.release(imported)
    pair.flush()
    pair.left.engine.exporting.replace([export], "new", 2)
    pair.flush()
    assert export.subject is None and not pair.right.take(ImportReplaced)


def test_a_replacement_of_what_was_let_go_means_nothing() -> None:
    """P-CAP-5: it may cross our drop; an id that never came is a violation."""
    raw = RawPeer()
    reference = capability(None)
    reference.id = 2
    raw.say([2, 1, 0, "give", {"cap": reference}])
    raw.engine.release(raw.imported(2))
    assert raw.say([13, [2], 1]) == [[11, [[2, 1]]]] and not raw.take(ImportReplaced)
    raw.say([13, [3], 1])
    assert raw.clause == "P-CAP-6"
