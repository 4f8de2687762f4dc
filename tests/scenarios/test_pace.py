"""What costs a peer nothing is counted, and an honest one keeps to less (P-LIMIT-4, threats T9–T11)."""

from __future__ import annotations

import pytest

from capnet.engine.events import CallArrived, LimitReached
from capnet.engine.inspect import stats
from capnet.errors import InvalidArgument, ResourceExhausted
from capnet.limits import HONEST_BURST, HONEST_RATE, Limits
from capnet.testing.engines import EnginePair, RawPeer, capability
from capnet.wire.hello import Hello


class TestCancels:
    """Calls that are made and cancelled at once."""

    def test_rapid_reset_is_a_violation(self) -> None:
        """T9: call and cancel at wire speed; never more handlers than slots, and soon the end."""
        raw = RawPeer()
        number = 0
        while raw.clause is None:
            number += 1
            raw.say([2, number, 0, "m", {}], [5, number])
            assert stats(raw.engine)["answers"] <= 256 + 64
            for event in raw.take(CallArrived):
                raw.reply(event.answer)
        assert (raw.clause, number) == ("P-LIMIT-4", 1001)

    def test_an_honest_pace_is_never_punished(self) -> None:
        """R15: 200 a second, for as long as one likes."""
        raw = RawPeer()
        for number in range(1, 5001):
            raw.say([2, number, 0, "m", {}], [5, number])
            for event in raw.take(CallArrived):
                raw.reply(event.answer)
            raw.advance(1 / 200)
        assert raw.clause is None and not raw.take(LimitReached)

    def test_our_own_side_keeps_to_less(self) -> None:
        """P-LIMIT-4: a program that gives up ten thousand calls in a second is no attacker: its cancels wait."""
        pair = EnginePair().open()
        left = pair.left
        for _ in range(100):
            for _ in range(100):
                left.engine.cancel(left.call("m"))
            pair.flush()
            while any(isinstance(event, CallArrived) for event in pair.right.events):
                pair.right.reply(pair.right.arrived())
            pair.advance(0.01)
            pair.flush()
        assert not pair.right.closed and pair.right.engine.control_pace.wait(pair.now) == 0
        pair.advance(60.0)
        pair.flush()
        assert not left.engine.calls.cancelled
        pair.right.events.clear()
        pair.finish()

    def test_one_that_had_to_wait_is_told_in_time(self) -> None:
        """P-CALL-6: in their order, as the pace allows; those that were answered meanwhile need none."""
        pair = EnginePair().open()
        left, right = pair.left, pair.right
        calls = [left.call("m") for _ in range(3)]
        pair.flush()
        first, second, third = (right.arrived() for _ in range(3))
        for _ in range(HONEST_BURST):
            left.engine.own_pace.take(0.0)
        for call in calls:
            left.engine.cancel(call, "enough")
        pair.flush()
        assert (len(left.engine.calls.cancelled), first.state.value) == (3, "running")
        right.reply(first)
        pair.flush()
        pair.advance(1 / HONEST_RATE + 0.0001)
        pair.flush()
        assert (second.state.value, third.state.value) == ("ended", "running")
        pair.advance(1 / HONEST_RATE)
        pair.flush()
        assert third.state.value == "ended" and not left.engine.calls.cancelled
        right.reply(second)
        right.reply(third)
        right.events.clear()
        pair.finish()

    def test_they_are_forgotten_with_the_connection(self) -> None:
        """I5: nothing is left to say."""
        pair = EnginePair().open()
        call = pair.left.call("m")
        pair.flush()
        for _ in range(HONEST_BURST):
            pair.left.engine.own_pace.take(0.0)
        pair.left.engine.cancel(call)
        pair.cut()
        assert not pair.left.engine.calls.cancelled and pair.left.engine.next_deadline() is None


class TestPings:
    """Signs of life."""

    def test_too_many_of_ours_fail_here(self) -> None:
        """P-LIMIT-4: an error that says why; after a while there is room again."""
        pair = EnginePair().open()
        engine = pair.left.engine
        numbers = [engine.ping() for _ in range(HONEST_BURST)]
        with pytest.raises(ResourceExhausted) as raised:
            engine.ping()
        assert raised.value.reason == "rate_limited"
        pair.flush()
        pair.advance(1.0)
        pair.flush()
        engine.handle_timeout(pair.now)
        assert engine.ping() == numbers[-1] + 1
        pair.left.events.clear()
        pair.flush()
        pair.left.events.clear()
        pair.finish()


class TestRefusedCalls:
    """Calls that earn an error and nothing else (T10)."""

    def test_too_many_are_a_violation(self) -> None:
        """P-LIMIT-4: also those that are no strikes."""
        raw = RawPeer()
        thing = capability("thing")
        raw.engine.call(raw.engine.imports.bootstrap, "give", {"cap": thing}, [thing])
        raw.engine.revoke(list(raw.engine.exports), "gone")
        raw.collect()
        number = 0
        while raw.clause is None:
            number += 1
            assert [frame[0] for frame in raw.say([2, number, 2, "m", {}])] in ([4], [16])
        assert (raw.clause, number) == ("P-LIMIT-4", 1001)

    def test_those_that_the_driver_refuses_count_too(self) -> None:
        """T10: it refuses what the engine cannot judge, such as arguments."""
        raw = RawPeer()
        for number in range(1, 1001):
            raw.say([2, number, 0, "m", {}])
            raw.engine.fail(raw.take(CallArrived)[0].answer, InvalidArgument("no"))
            raw.engine.refused()
        assert not raw.engine.lifecycle.closed
        raw.engine.refused()
        assert raw.clause == "P-LIMIT-4"
        raw.engine.refused()
        assert [frame[0] for frame in raw.collect()] == [4, 16]

    def test_frames_that_mean_nothing(self) -> None:
        """P-OP: an unknown op is ignored, so that later versions may say more; a flood of them is none of that."""
        raw = RawPeer()
        assert raw.say(*[[64, "later"]] * 1000) == [] and raw.clause is None
        raw.say([64])
        assert raw.clause == "P-LIMIT-4"


class TestTurns:
    """How much is acted on before others have their turn."""

    def test_so_many_frames_and_the_rest_later(self) -> None:
        """T8: a chunk of many frames is acted on in turns, none lost, in order, and the deadline of a part is kept."""
        pair = EnginePair(right=Hello("right", Limits(frames_per_turn=10))).open()
        calls = [pair.left.call("m", token=number) for number in range(25)]
        pair.step()
        data = pair.right.incoming.take()
        right = pair.right.engine
        right.receive_data(data[:-3], pair.now)
        arrived = [len(pair.right.engine.answers)]
        while right.unread:
            right.receive_data(b"", pair.now)
            arrived.append(len(right.answers))
        assert arrived == [10, 20, 24] and right.reader.partial
        right.receive_data(data[-3:], pair.now)
        pair.step()
        assert [event.answer.id for event in pair.right.take(CallArrived)] == [call.id for call in calls]
        pair.cut()

    def test_large_frames_count_as_many(self) -> None:
        """T3: what counts is how long they take: a turn ends behind the first that is large."""
        raw = RawPeer()
        raw.engine.receive_data(raw.pack(*[[2, number, 0, "m", {"x": [0] * 60_000}] for number in (1, 2, 3)]), 0.0)
        assert (len(raw.engine.answers), raw.engine.unread) == (1, True)
        raw.engine.receive_data(b"", 0.0)
        raw.engine.receive_data(b"", 0.0)
        assert len(raw.engine.answers) == 3

    def test_exactly_so_many_are_one_turn(self) -> None:
        """T8: nothing is left, nothing is waited for."""
        raw = RawPeer(Hello("engine", Limits(frames_per_turn=2)))
        raw.engine.receive_data(raw.pack([14, 1], [14, 2]), 0.0)
        assert not raw.engine.unread and len(raw.collect()) == 2

    def test_the_end_in_the_middle(self) -> None:
        """P-ERR-3: behind a violation nothing is acted on."""
        raw = RawPeer(Hello("engine", Limits(frames_per_turn=2)))
        raw.engine.receive_data(raw.pack([14, 1], [14, 2], [63], [14, 3]), 0.0)
        assert [frame[0] for frame in raw.collect()] == [15, 15]
        raw.engine.receive_data(b"", 0.0)
        assert [frame[0] for frame in raw.collect()] == [16] and not raw.engine.unread
        raw.engine.receive_data(b"", 0.0)

    def test_a_rate_of_calls(self) -> None:
        """`call_rate`: one-way and refused calls count; the rest is as long as they were too many."""
        raw = RawPeer(Hello("engine", Limits(call_burst=10, call_rate=100)))
        for number in range(1, 10):
            raw.say([2, number, 0, "m", {}])
        assert raw.engine.rest(0.0) == 0
        raw.say([2, 0, 0, "m", {}])
        raw.say([2, 10, 0, "m", {}])
        assert 0.019 < raw.engine.rest(0.0) < 0.021 and raw.engine.rest(0.03) == 0
        raw.say([63])
        assert raw.engine.rest(0.03) == 0
