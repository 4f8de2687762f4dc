"""Deadlines travel with the call and are kept by the callee (P-CALL-5)."""

from __future__ import annotations

import math

import pytest

from capnet.engine.calls import Pipelined
from capnet.engine.events import AnswerEnded, CallArrived, CallFailed, CallReturned
from capnet.errors import DeadlineExceeded
from capnet.limits import Limits
from capnet.testing.engines import EnginePair, capability
from capnet.wire.hello import Hello
from capnet.wire.references import StreamRef


def test_what_is_left_travels_in_milliseconds(pair: EnginePair) -> None:
    """P-CALL-5: the callee gives up that long after the frame came in."""
    pair.left.call("work", timeout=2.5)
    pair.flush()
    answer = pair.right.arrived()
    assert answer.deadline == pair.now + 2.5
    pair.right.reply(answer)


@pytest.mark.parametrize("timeout", [1e300, math.inf])
def test_a_timeout_beyond_the_wire_is_cut_to_what_fits(pair: EnginePair, timeout: float) -> None:
    """P-CALL-5, P-OP: no timeout of ours makes a frame that the peer would refuse."""
    pair.left.call("work", timeout=timeout)
    pair.flush()
    answer = pair.right.arrived()
    assert answer.deadline == pair.now + 1e9
    pair.right.reply(answer)


@pytest.mark.parametrize("timeout", [-1.0, 0.0])
@pytest.mark.parametrize("one_way", [False, True])
def test_a_call_without_any_time_left_does_not_start(pair: EnginePair, timeout: float, one_way: bool) -> None:
    """P-CALL-5: it is answered, what it brought is let go, and its slot is free."""
    produced, consumed = StreamRef("out"), StreamRef("in")
    pair.left.call("work", capability("thing"), produced, consumed, timeout=timeout, one_way=one_way)
    pair.flush()
    assert not pair.right.take(CallArrived) and not len(pair.right.engine.answers)
    assert one_way or type(pair.left.failed()) is DeadlineExceeded
    assert pair.right.engine.call_charge.used == 0
    pair.left.engine.streaming.end(produced.subject)
    pair.flush()
    assert not len(pair.left.engine.streams) and not len(pair.right.engine.streams)
    pair.finish()


def test_what_is_piped_on_a_call_without_time_fails_with_it(pair: EnginePair) -> None:
    """P-CALL-5, P-CALL-8: that it did not start is kept like any other end."""
    source = pair.left.call("make", timeout=0.0, keep=True)
    pair.left.call("use", target=Pipelined(source, (), "test.Thing", 1))
    pair.flush()
    assert [type(pair.left.failed()) for _ in range(2)] == [DeadlineExceeded] * 2
    assert not pair.right.take(CallArrived)
    pair.left.engine.importing.release_call(source)
    pair.finish()


def test_calls_without_time_are_no_flood(pair: EnginePair) -> None:
    """P-LIMIT-4: nobody chose that; a program that passes calls on sends what its guests leave it."""
    for _ in range(2 * Limits().control_burst):
        pair.left.call("work", timeout=0.0)
        pair.flush()
    assert not pair.right.closed and not pair.left.closed
    assert len(pair.left.take(CallFailed)) == 2 * Limits().control_burst


def test_past_it_the_callee_answers_and_stops_the_handler(pair: EnginePair) -> None:
    """P-CALL-5: `deadline_exceeded`, the handler is to be stopped, and the slot is free when it is."""
    pair.left.call("work", timeout=1.0)
    pair.flush()
    answer = pair.right.arrived()
    pair.advance(0.999)
    assert not pair.right.events
    pair.advance(0.001)
    (ended,) = pair.right.take(AnswerEnded)
    assert ended.answer is answer
    pair.flush()
    assert type(pair.left.failed()) is DeadlineExceeded
    assert len(pair.right.engine.answers) == 1
    pair.right.reply(answer, capability("late"))
    assert len(pair.right.engine.answers) == 0


def test_a_waiting_call_expires_without_starting() -> None:
    """P-CALL-5: the deadline runs while the call waits for a slot."""
    pair = EnginePair(Hello(), Hello(limits=Limits(max_calls=16))).open()
    for _ in range(16):
        pair.left.call("run")
    pair.left.engine.calls.limit = 100
    pair.left.call("wait", capability("thing"), timeout=1.0)
    pair.flush()
    pair.advance(1.0)
    pair.flush()
    assert type(pair.left.failed()) is DeadlineExceeded
    for event in pair.right.take(CallArrived):
        pair.right.reply(event.answer)
    pair.finish()


def test_a_handler_in_time_is_left_alone(pair: EnginePair) -> None:
    """P-CALL-5: an answered call has no deadline any more."""
    pair.left.call("work", timeout=1.0)
    pair.flush()
    pair.right.reply(pair.right.arrived())
    pair.flush()
    pair.advance(5.0)
    assert len(pair.left.take(CallReturned)) == 1 and not pair.right.take(AnswerEnded)


def test_many_deadlines_ring_in_order(pair: EnginePair) -> None:
    """P-CALL-5: whatever order they came in, the earliest rings first."""
    for milliseconds in (300, 100, 200):
        pair.left.call(f"m{milliseconds}", timeout=milliseconds / 1000)
    pair.flush()
    pair.right.take(CallArrived)
    pair.advance(1.0)
    ended = pair.right.take(AnswerEnded)
    assert [event.answer.method for event in ended] == ["m100", "m200", "m300"]
    for event in ended:
        pair.right.reply(event.answer)
    pair.flush()
    assert [pair.left.failed().code for _ in range(3)] == ["deadline_exceeded"] * 3


def test_fault_41_the_callee_keeps_the_deadline(pair: EnginePair) -> None:
    """Fault 41: the ancestor's server only raised a signal at the deadline; no answer came if the handler ignored it.

    Here the engine answers `deadline_exceeded` by itself, and a handler that goes on is talking to nobody (P-CALL-5).
    """
    pair.left.call("stubborn", timeout=0.1)
    pair.flush()
    answer = pair.right.arrived()
    pair.advance(0.1)
    pair.flush()
    assert pair.left.failed().code == "deadline_exceeded"
    pair.right.take(AnswerEnded)
    pair.advance(3600)
    pair.right.reply(answer)
    pair.flush()
    assert not pair.left.take(CallReturned)
