"""End of file: at any point, everything that waits wakes, and nothing hangs (P-CONN-6)."""

from __future__ import annotations

import pytest

from capnet.engine.events import AnswerEnded, CallArrived, CallFailed, Closed, ExportEnded, ImportBroken, PongReceived
from capnet.errors import Unauthenticated, Unavailable
from capnet.testing.engines import EnginePair, capability


def test_everything_that_waits_is_told_once() -> None:
    """P-CONN-6: calls fail `unavailable`, handlers are stopped, exports end, imports break, and `Closed` comes last."""
    pair = EnginePair().open()
    imported = pair.give(pair.left, "thing")
    pair.right.call("run", target=imported)
    pair.left.call("run")
    pair.flush()
    pair.cut()
    for side in pair.sides:
        assert [event.error.code for event in side.take(CallFailed)] == ["unavailable"]
        assert [event.error.code for event in side.take(AnswerEnded)] == ["unavailable"]
        assert isinstance(side.events[-1], Closed) and side.events[-1].cause.kind == "lost"
    assert [event.reason for event in pair.left.take(ExportEnded)] == ["closed"]
    assert [event.imported for event in pair.right.take(ImportBroken)] == [imported]
    pair.finish()


def test_a_waiter_that_comes_afterwards_is_told_too() -> None:
    """P-CONN-6: also one that starts to wait afterwards: calls and pings raise, builtin imports included."""
    pair = EnginePair().open()
    imported = pair.give(pair.left, "thing")
    pair.cut()
    engine = pair.right.engine
    for target in (imported, engine.imports.bootstrap, engine.imports.runtime):
        assert isinstance(target.broken, Unavailable)
        with pytest.raises(Unavailable):
            pair.right.call("m", target=target)
    with pytest.raises(Unavailable):
        engine.keepalive.ping()


@pytest.mark.parametrize("explained", [False, True])
def test_what_is_said_of_a_peer_that_has_not_introduced_itself(explained: bool) -> None:
    """A guess, unless the transport knows better."""
    engine = EnginePair().left.engine
    engine.receive_eof(0.0, "it is gone", explained=explained)
    assert engine.lifecycle.cause is not None
    assert ("no capnet" in engine.lifecycle.cause.message) is not explained


def test_a_transport_that_was_refused_says_so() -> None:
    """A late refusal of the transport's is no less one than a goaway's."""
    engine = EnginePair().left.engine
    engine.receive_eof(0.0, "the peer does not trust our certificate", code="unauthenticated", explained=True)
    assert isinstance(engine.imports.bootstrap.broken, Unauthenticated)


def test_after_the_end_nothing_happens() -> None:
    """P-CONN-6, P-ERR-3: further inputs are ignored, further intents do nothing, and no event follows `Closed`."""
    pair = EnginePair().open()
    imported = pair.give(pair.left, "thing")
    (export,) = pair.left.engine.exports
    call = pair.left.call("run")
    pair.flush()
    answer = pair.right.arrived()
    pair.cut()
    for side in pair.sides:
        side.engine.data_to_send()
        side.events.clear()
    left, right = pair.left.engine, pair.right.engine
    left.cancel(call)
    left.exporting.revoke([export], "late")
    left.exporting.replace([export], "late", 1)
    left.strike("late")
    left.close("late", 1.0, pair.now)
    left.receive_data(b"\x00\x00\x00\x01\xff", pair.now)
    left.receive_eof(pair.now)
    left.handle_timeout(pair.now + 1e6)
    right.release(imported)
    right.reply(answer, capability("late"))
    right.fail(answer, Unavailable("late"))
    right.answering.end_answer(answer, Unavailable("late"))
    pair.step()
    assert not pair.left.events and not pair.right.events
    assert left.data_to_send() == right.data_to_send() == []


@pytest.mark.parametrize("stop", range(0, 420, 7))
def test_at_every_point_of_a_conversation(stop: int) -> None:
    """P-CONN-6: wherever the line breaks, each call that was made ends once and all tables are empty."""
    pair = EnginePair()
    made = ended = 0
    left_over = stop
    for number in range(6):
        for side in pair.sides:
            if not side.closed:
                side.call("m", capability(f"{side.name} {number % 2}"), timeout=5.0)
                made += 1
        pair.step()
        for side in pair.sides:
            for _ in range(4):
                count = min(left_over, 11)
                left_over -= count
                pair.deliver(side, count)
            for event in side.take(CallArrived):
                side.reply(event.answer, capability(f"{side.name} made {number}"))
    pair.cut()
    for side in pair.sides:
        ended += sum(type(event).__name__ in ("CallReturned", "CallFailed") for event in side.events)
    assert made == ended == 12
    pair.finish()


def test_the_end_in_the_middle_of_a_frame_or_a_hello() -> None:
    """P-FRAME-1, P-CONN-6: what had come of it is dropped; there is no clause that a lost peer has broken."""
    for count in (0, 1, 3, 4, 20):
        pair = EnginePair()
        pair.left.call("early")
        pair.deliver(pair.right, count)
        pair.cut()
        for side in pair.sides:
            assert side.take(Closed)[0].cause.kind == "lost"
        pair.finish()


def test_fault_26_what_is_over_stays_over() -> None:
    """Fault 26: the ancestor's unserve after the close tried to send on a closed transport and could raise.

    Here every intent that takes something back is a no-op after the end (P-CONN-6).
    """
    pair = EnginePair().open()
    imported = pair.give(pair.left, "thing")
    exports = list(pair.left.engine.exports)
    pair.cut()
    pair.left.engine.exporting.revoke(exports, "late")
    pair.left.engine.exporting.replace(exports, "late", 2)
    pair.right.engine.release(imported)
    pair.right.engine.close("late", 0.0, pair.now)
    pair.step()
    assert not pair.left.incoming.waiting and not pair.right.incoming.waiting
    assert len(pair.left.take(ExportEnded)) == 1 and not pair.right.take(PongReceived)
    pair.finish()
