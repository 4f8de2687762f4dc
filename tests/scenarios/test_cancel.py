"""Cancel: the caller is free at once, the slot only when the handler has really ended (P-CALL-6)."""

from __future__ import annotations

from capnet.engine.answers import Answer, AnswerState
from capnet.engine.events import AnswerEnded, CallArrived, CallFailed, CallReturned
from capnet.limits import Limits
from capnet.testing.engines import EnginePair, capability
from capnet.wire.hello import Hello


def test_the_handler_is_stopped_and_its_slot_stays_taken(pair: EnginePair) -> None:
    """P-CALL-6: the terminal leaves at once; the slot is free when the driver says that the handler is done."""
    call = pair.left.call("work")
    pair.flush()
    answer = pair.right.arrived()
    pair.left.engine.cancel(call, "no longer needed")
    pair.flush()
    (ended,) = pair.right.take(AnswerEnded)
    assert ended.answer is answer and ended.error.code == "cancelled" and "no longer needed" in str(ended.error)
    assert len(pair.left.engine.calls) == 0, "the caller's side has its answer"
    assert len(pair.right.engine.answers) == 1, "the slot is taken while the handler runs"
    pair.right.reply(answer)
    assert len(pair.right.engine.answers) == 0
    assert not pair.left.take(CallFailed) and not pair.left.take(CallReturned)


def test_cancelling_twice_is_cancelling_once(pair: EnginePair) -> None:
    """P-CALL-6: cancel is sent once."""
    call = pair.left.call("work")
    pair.flush()
    pair.right.arrived()
    pair.left.engine.cancel(call)
    pair.step()
    waiting = len(pair.right.incoming.waiting)
    pair.left.engine.cancel(call)
    pair.step()
    assert len(pair.right.incoming.waiting) == waiting
    pair.flush()
    (ended,) = pair.right.take(AnswerEnded)
    pair.right.reply(ended.answer)


def test_a_result_that_crosses_the_cancel_is_discarded(pair: EnginePair) -> None:
    """P-CALL-6: the caller hears nothing more, and what the late result brought goes back."""
    call = pair.left.call("make")
    pair.flush()
    pair.right.reply(pair.right.arrived(), capability("fresh"), capability("other"))
    pair.step()
    pair.left.engine.cancel(call)
    pair.flush()
    assert not pair.left.events
    assert len(pair.right.engine.exports) == 0 and len(pair.left.engine.imports) == 0


def test_cancel_after_the_result_sends_nothing(pair: EnginePair) -> None:
    """P-CALL-6: a call that has its answer cannot be cancelled any more."""
    call = pair.left.call("work")
    pair.flush()
    pair.right.reply(pair.right.arrived())
    pair.flush()
    pair.left.engine.cancel(call)
    pair.step()
    assert not pair.right.incoming.waiting
    assert pair.left.returned().token == "work"


def test_a_waiting_call_is_cancelled_without_ever_starting() -> None:
    """P-CALL-6: a call that waits for a slot gives its place up, and what it carried goes back."""
    pair = EnginePair(Hello(), Hello(limits=Limits(max_calls=16))).open()
    running = [pair.left.call("run") for _ in range(16)]
    pair.left.engine.calls.limit = 100  # as if the peer had more room, so that the call waits over there
    waiting = pair.left.call("wait", capability("thing"))
    pair.flush()
    assert len(pair.right.engine.answers.queue) == 1
    pair.left.engine.cancel(waiting)
    pair.flush()
    assert len(pair.right.engine.answers.queue) == 0 and len(pair.left.engine.exports) == 0
    assert not pair.right.take(AnswerEnded), "nothing ran, so nothing is to be stopped"
    for event in pair.right.take(CallArrived):
        assert event.answer.method == "run"
        pair.right.reply(event.answer)
    pair.flush()
    assert len(pair.left.take(CallReturned)) == len(running)
    pair.finish()


def test_cancel_storms_never_run_more_than_the_limit() -> None:
    """P-CALL-6, P-CALL-7: call and cancel in pairs do not get more handlers running than plain calls do."""
    pair = EnginePair(Hello(), Hello(limits=Limits(max_calls=16))).open()
    started: list[Answer] = []
    for _ in range(200):
        call = pair.left.call("work")
        pair.left.engine.cancel(call)
        pair.flush()
        started += [event.answer for event in pair.right.take(CallArrived)]
        pair.right.take(AnswerEnded)
        assert len(pair.right.engine.answers) <= 16
    assert len(started) == 16 and all(answer.state is AnswerState.ENDED for answer in started)
    for answer in started:
        pair.right.reply(answer)
    pair.finish()


def test_fault_09_what_a_lost_result_carried_does_not_leak(pair: EnginePair) -> None:
    """Fault 9: in the ancestor, exports of a result that was never delivered stayed in the table for ever.

    Here a result for an ended answer is not sent, so nothing is counted (P-REF-1), and a late one is given back.
    """
    call = pair.left.call("make")
    pair.flush()
    answer = pair.right.arrived()
    pair.left.engine.cancel(call)
    pair.flush()
    pair.right.take(AnswerEnded)
    reference = capability("made too late")
    pair.right.reply(answer, reference)
    assert reference.id == 0 and len(pair.right.engine.exports) == 0


def test_fault_40_a_cancelled_call_leaves_its_table(pair: EnginePair) -> None:
    """Fault 40: the ancestor kept links of timed-out and revoked children for ever.

    Here a call is in one table only, and leaves it with its answer.
    """
    for _ in range(50):
        call = pair.left.call("work", timeout=0.001)
        pair.flush()
        pair.advance(0.01)
        pair.left.engine.cancel(call)
        pair.flush()
        for event in pair.right.take(AnswerEnded):
            pair.right.reply(event.answer)
        pair.flush()
        assert len(pair.left.engine.calls) == len(pair.right.engine.answers) == 0
