"""Revoke: the side that hosts a capability takes it back (P-CAP-6)."""

from __future__ import annotations

from capnet.engine.events import AnswerEnded, CallArrived, ExportEnded, ImportBroken
from capnet.errors import Revoked
from capnet.limits import Limits
from capnet.testing.engines import EnginePair, RawPeer, capability, made_on
from capnet.wire.hello import Hello


def test_running_calls_are_answered_and_later_ones_do_not_arrive(pair: EnginePair) -> None:
    """P-CAP-6: handlers are stopped, callers get `revoked`, the importer is told, and the subject is let go at once."""
    imported = pair.give(pair.left, "thing")
    other = pair.give(pair.left, "other")
    pair.right.call("run", target=imported)
    pair.right.call("spared", target=other)
    pair.flush()
    running, spared = (event.answer for event in pair.left.take(CallArrived))
    export, _ = pair.left.engine.exports
    pair.left.engine.exporting.revoke([export], "maintenance")
    assert export.subject is None and export.revoked == "maintenance"
    pair.right.call("crossing", target=imported)
    pair.flush()
    (ended,) = pair.left.take(AnswerEnded)
    assert ended.answer is running and isinstance(ended.error, Revoked)
    (broken,) = pair.right.take(ImportBroken)
    assert broken.imported is imported and isinstance(broken.error, Revoked) and broken.error.message == "maintenance"
    assert isinstance(pair.right.failed(), Revoked) and isinstance(pair.right.failed(), Revoked)
    assert [event.reason for event in pair.left.take(ExportEnded)] == ["revoked"]
    pair.left.reply(running)
    pair.left.reply(spared)
    pair.right.engine.release(imported)
    pair.right.engine.release(other)
    pair.flush()
    assert not pair.left.take(ExportEnded)[1:], "the revoked export has had its end already"
    pair.right.returned()


def test_a_broken_import_fails_here_without_asking(pair: EnginePair) -> None:
    """P-CAP-6: state lives on the importing side; each raise is a new error."""
    imported = pair.give(pair.left, "thing")
    pair.left.engine.exporting.revoke(list(pair.left.engine.exports), "gone")
    pair.flush()
    errors: list[Revoked] = []
    for _ in range(2):
        try:
            pair.right.call("m", target=imported)
        except Revoked as error:
            errors.append(error)
    assert len(errors) == 2 and errors[0] is not errors[1]
    pair.right.engine.release(imported)


def test_revoking_twice_tells_once(pair: EnginePair) -> None:
    """P-CAP-6: what is revoked or gone already stays as it is; the importer is told exactly once (I4)."""
    imported = pair.give(pair.left, "thing")
    (export,) = pair.left.engine.exports
    pair.left.engine.exporting.revoke([export, export], "first")
    pair.left.engine.exporting.revoke([export], "second")
    pair.flush()
    assert export.revoked == "first" and len(pair.right.take(ImportBroken)) == len(pair.left.take(ExportEnded)) == 1
    pair.right.engine.release(imported)
    pair.flush()
    pair.left.engine.exporting.revoke([export], "third")
    pair.step()
    assert not pair.right.incoming.waiting and not pair.left.take(ExportEnded)


def test_an_object_that_was_revoked_can_go_out_again(pair: EnginePair) -> None:
    """P-ID-1, P-CAP-1: under a new id; revoking the old export again does not touch the new one."""
    first = pair.give(pair.left, "thing")
    (old,) = pair.left.engine.exports
    pair.left.engine.exporting.revoke([old], "once")
    second = pair.give(pair.left, "thing")
    assert second.id != first.id and second.broken is None
    pair.right.engine.release(first)
    pair.flush()
    pair.left.engine.exporting.revoke([old], "again")
    pair.right.call("m", target=second)
    pair.flush()
    answer = pair.left.arrived()
    assert made_on(answer) == "thing"
    pair.left.reply(answer)
    pair.right.engine.release(second)
    pair.flush()
    pair.right.returned()


def test_calls_that_wait_for_a_slot_are_answered_too() -> None:
    """P-CAP-6, P-CALL-1: a queued call on a revoked capability ends without starting."""
    pair = EnginePair(Hello(limits=Limits(max_calls=16)), Hello()).open()
    imported = pair.give(pair.left, "thing")
    for _ in range(16):
        pair.right.call("run")
    pair.right.engine.calls.limit = 100
    pair.right.call("wait", capability("carried"), target=imported)
    pair.flush()
    pair.left.engine.exporting.revoke(list(pair.left.engine.exports), "gone")
    pair.flush()
    assert isinstance(pair.right.failed(), Revoked)
    for event in pair.left.take(CallArrived):
        pair.left.reply(event.answer)
    pair.right.engine.release(imported)
    pair.finish()


def test_the_built_in_capabilities_cannot_be_revoked(pair: EnginePair) -> None:
    """P-ID-3: 0 and 1 stay as they are, whoever asks."""
    pair.left.call("m")
    pair.flush()
    answer = pair.right.arrived()
    assert answer.export is not None
    pair.right.engine.exporting.revoke([answer.export], "no")
    pair.right.engine.exporting.replace([answer.export], "other", 1)
    assert answer.export.revoked is None and answer.export.subject == "right bootstrap"
    pair.right.reply(answer)
    pair.flush()
    pair.left.returned()


def test_a_storm_of_revocations_is_told_in_frames_that_every_peer_takes() -> None:
    """P-FRAME-2, P-FRAME-4: ten thousand at once are cut into bounded frames (threat T17)."""
    raw = RawPeer()
    raw.say([2, 1, 0, "m", {}])
    raw.engine.exports.limit = 10_000
    for number in range(10):
        references = [capability(f"{number}.{index}") for index in range(1000)]
        raw.engine.call(raw.engine.imports.bootstrap, "give", {"refs": references}, references, "token")
    raw.collect()
    raw.engine.outbox.limit = 64 * 1024
    raw.engine.exporting.revoke(list(raw.engine.exports), "x" * 5000)
    frames = raw.collect()
    assert [frame[0] for frame in frames] == [12] * 3 and sum(len(frame[1]) for frame in frames) == 10_000


def test_fault_27_revoked_state_lives_with_the_import() -> None:
    """Fault 27: the ancestor kept a bounded set of revoked ids: old ones were forgotten, 0 and 1 could be put in.

    Here the state is the import's own, and ids that never came, 0 and 1 are violations (P-CAP-6, T17).
    """
    for forged in (0, 1, 3, 10**9):
        raw = RawPeer()
        raw.say([2, 1, 0, "give", {"cap": raw_capability(2)}])
        raw.say([12, [2, forged], "reason"])
        assert raw.clause == "P-CAP-6", forged
    raw = RawPeer()
    raw.say([2, 1, 0, "give", {"cap": raw_capability(2)}])
    raw.engine.release(raw.imported(2))
    raw.collect()
    assert raw.say([12, [2], "too late"]) == [] and raw.clause is None and not raw.take(ImportBroken)


def raw_capability(id: int) -> object:
    """A reference to a capability of the raw peer's."""
    reference = capability(None)
    reference.id = id
    return reference
