"""Calls: one result or error for each, whatever happens in between (P-CALL-1)."""

from __future__ import annotations

import pytest

from capnet.engine.answers import AnswerState
from capnet.engine.events import AnswerEnded, CallArrived, CallFailed, CallReturned
from capnet.errors import InvalidArgument, NotFound, ResourceExhausted
from capnet.limits import Limits
from capnet.testing.engines import EnginePair, capability
from capnet.wire.hello import Hello


def test_arguments_and_result_travel(pair: EnginePair) -> None:
    """P-CALL-4: arguments go by name; the token comes back with the result."""
    engine = pair.left.engine
    arguments = {"a": 1, "b": [2.5, "x", None, b"y"]}
    engine.call(engine.imports.bootstrap, "add", arguments, token="t", context={"trace": "7"})
    pair.flush()
    answer = pair.right.arrived()
    assert (answer.method, answer.arguments, answer.context) == ("add", arguments, {"trace": "7"})
    pair.right.engine.reply(answer, {"sum": 3})
    pair.flush()
    returned = pair.left.returned()
    assert (returned.token, returned.value) == ("t", {"sum": 3})


def test_calls_arrive_in_the_order_they_were_made(pair: EnginePair) -> None:
    """P-CALL-2: what starts handlers comes in order, though results may leave in any order."""
    names = [f"m{number}" for number in range(20)]
    for name in names:
        pair.left.call(name)
    pair.flush()
    answers = [event.answer for event in pair.right.take(CallArrived)]
    assert [answer.method for answer in answers] == names
    for answer in reversed(answers):
        pair.right.reply(answer)
    pair.flush()
    assert [event.token for event in pair.left.take(CallReturned)] == names[::-1]


def test_one_way_calls_get_no_answer_of_any_kind(pair: EnginePair) -> None:
    """P-CALL-1, P-OP: id 0 means that nothing comes back: no result, no error, and no token is kept."""
    for _ in range(3):
        pair.left.call("note", token="never", one_way=True)
    pair.flush()
    answers = [event.answer for event in pair.right.take(CallArrived)]
    assert [answer.id for answer in answers] == [0, 0, 0]
    pair.right.reply(answers[0], capability("unsent"))
    pair.right.engine.fail(answers[1], NotFound("no"))
    pair.right.engine.answering.end_answer(answers[2], NotFound("no"))
    assert len(pair.right.take(AnswerEnded)) == 0
    pair.step()
    pair.right.take(AnswerEnded)
    pair.right.reply(answers[2])
    pair.step()
    assert not pair.left.incoming.waiting and not pair.left.events
    assert len(pair.right.engine.exports) == 0


def test_both_sides_call_at_once(pair: EnginePair) -> None:
    """P-ID-1: each side numbers its own calls; equal ids in the two directions are different calls."""
    for side in pair.sides:
        side.call("hello", token=side.name)
    pair.flush()
    for side in pair.sides:
        side.reply(side.arrived())
    pair.flush()
    assert [side.returned().token for side in pair.sides] == ["left", "right"]


def test_a_callback_is_answered_while_its_cause_waits(pair: EnginePair) -> None:
    """P-CALL-3: answers pass although the calls that wait for them fill every slot."""
    limits = Limits(max_calls=16, max_queued_calls=0)
    narrow = EnginePair(Hello(limits=limits), Hello(limits=limits)).open()
    for side in narrow.sides:
        for _ in range(16):
            side.call("ask")
    narrow.flush()
    for side in narrow.sides:
        for event in side.take(CallArrived):
            side.reply(event.answer)
    narrow.flush()
    assert [len(side.take(CallReturned)) for side in narrow.sides] == [16, 16]
    narrow.finish()


def test_a_result_that_cannot_be_sent_leaves_the_answer_owed(pair: EnginePair) -> None:
    """P-CALL-1, fault 45: what is longer than the peer takes is refused here; the answer is owed until then."""
    pair.left.call("ask")
    pair.flush()
    answer = pair.right.arrived()
    with pytest.raises(InvalidArgument):
        pair.right.engine.reply(answer, "\ud800")
    with pytest.raises(ResourceExhausted) as raised:
        pair.right.engine.reply(answer, b"x" * (pair.right.engine.outbox.limit + 1))
    assert raised.value.reason == "max_frame_bytes"
    assert answer.state is AnswerState.RUNNING
    pair.right.engine.fail(answer, raised.value)
    pair.flush()
    assert pair.left.failed().reason == "max_frame_bytes"


def test_a_second_terminal_is_not_sent(pair: EnginePair) -> None:
    """P-CALL-1: once answered, `reply`, `fail` and `end_answer` do nothing."""
    pair.left.call("ask")
    pair.flush()
    answer = pair.right.arrived()
    pair.right.reply(answer)
    pair.right.reply(answer, capability("late"))
    pair.right.engine.fail(answer, NotFound("late"))
    pair.right.engine.answering.end_answer(answer, NotFound("late"))
    pair.flush()
    assert len(pair.left.take(CallReturned)) == 1 and not pair.left.take(CallFailed)


def test_fault_02_a_malformed_result_still_settles_its_call() -> None:
    """Fault 2: the ancestor took the call out first, so an error while reading its result lost the caller for ever.

    Here a result that breaks a clause ends the connection, and the call it was for fails with it (P-CALL-1, P-ERR-3).
    """
    pair = EnginePair().open()
    imported = pair.give(pair.left, "thing")
    pair.left.call("ask")
    pair.flush()
    forged = capability("x")
    forged.id = -999
    pair.right.engine.outbox.put(pair.right.engine.codec.encode([3, 2, [forged]]))
    pair.flush()
    assert pair.left.failed().code == "unavailable"
    assert pair.left.engine.lifecycle.cause is not None and pair.left.engine.lifecycle.cause.clause == "P-ID-4"
    assert imported.broken is not None
    assert all(side.closed for side in pair.sides)


def test_fault_06_a_failed_send_leaves_nothing_behind(pair: EnginePair) -> None:
    """Fault 6: in the ancestor arguments that could not be sent left a pending call that used up the budget.

    Here an intent that raises has changed nothing (P-REF-1): no call, no export, no count.
    """
    engine = pair.left.engine
    reference = capability("thing")
    with pytest.raises(InvalidArgument):
        engine.call(engine.imports.bootstrap, "m", {"a": reference, "b": "\ud800"}, [reference])
    with pytest.raises(ResourceExhausted):
        engine.call(engine.imports.bootstrap, "m", {"a": reference, "b": b"x" * 5_000_000}, [reference])
    assert (len(engine.calls), len(engine.exports)) == (0, 0)
    pair.step()
    assert not pair.right.incoming.waiting


def test_fault_07_an_active_id_is_not_used_again() -> None:
    """Fault 7: in the ancestor a second call with an active id overwrote the first, and one was never answered.

    Here it is a violation of P-CALL-7, and the running handler is told to stop.
    """
    pair = EnginePair().open()
    pair.left.call("first")
    pair.flush()
    pair.left.engine.outbox.send([2, 1, 0, "second", {}])
    pair.flush()
    assert pair.right.engine.lifecycle.cause is not None
    assert pair.right.engine.lifecycle.cause.clause == "P-CALL-7"
    assert len(pair.right.take(AnswerEnded)) == 1
    assert pair.left.failed().code == "unavailable"


def test_fault_44_bootstraps_count_as_calls() -> None:
    """Fault 44: the ancestor's bootstraps escaped the limit on calls and could not be cancelled.

    Here a call on cap-id 0 takes a slot like any other (P-CALL-7).
    """
    pair = EnginePair(Hello(), Hello(limits=Limits(max_calls=16, max_queued_calls=4))).open()
    bootstraps = [pair.left.call("bootstrap") for _ in range(30)]
    pair.flush()
    assert len(pair.right.take(CallArrived)) == 16
    for call in bootstraps:
        pair.left.engine.cancel(call)
    pair.flush()
    for event in pair.right.take(AnswerEnded):
        pair.right.reply(event.answer)
    pair.finish()
