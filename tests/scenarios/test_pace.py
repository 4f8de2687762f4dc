"""What costs a peer nothing is counted, and an honest one keeps to less (P-LIMIT-4, threats T9–T11)."""

from __future__ import annotations

import pytest

from capnet.engine.events import CallArrived, ImportBroken, ImportReplaced, LimitReached
from capnet.engine.inspect import stats
from capnet.errors import InvalidArgument, ProtocolViolation, ResourceExhausted
from capnet.limits import HONEST_BURST, HONEST_RATE, Limits
from capnet.testing.engines import EnginePair, RawPeer, capability
from capnet.wire.hello import Hello
from capnet.wire.references import AnswerRef, CapRef
from tests.counting import calls_of


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
        for number in range(1, 2001):
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
        assert not pair.right.closed and pair.right.engine.conduct.control_pace.wait(pair.now) == 0
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
            left.engine.tables.own_pace.take(0.0)
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
            pair.left.engine.tables.own_pace.take(0.0)
        pair.left.engine.cancel(call)
        pair.cut()
        assert not pair.left.engine.calls.cancelled and pair.left.engine.next_deadline() is None


class TestPings:
    """Signs of life."""

    def test_too_many_of_ours_fail_here(self) -> None:
        """P-LIMIT-4: an error that says why; after a while there is room again."""
        pair = EnginePair().open()
        engine = pair.left.engine
        numbers = [engine.keepalive.ping() for _ in range(HONEST_BURST)]
        with pytest.raises(ResourceExhausted) as raised:
            engine.keepalive.ping()
        assert raised.value.reason == "rate_limited"
        pair.flush()
        pair.advance(1.0)
        pair.flush()
        engine.handle_timeout(pair.now)
        assert engine.keepalive.ping() == numbers[-1] + 1
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
        raw.engine.exporting.revoke(list(raw.engine.exports), "gone")
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
        while right.turn.unread:
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
        assert (len(raw.engine.answers), raw.engine.turn.unread) == (1, True)
        raw.engine.receive_data(b"", 0.0)
        raw.engine.receive_data(b"", 0.0)
        assert len(raw.engine.answers) == 3

    def test_exactly_so_many_are_one_turn(self) -> None:
        """T8: nothing is left, nothing is waited for."""
        raw = RawPeer(Hello("engine", Limits(frames_per_turn=2)))
        raw.engine.receive_data(raw.pack([14, 1], [14, 2]), 0.0)
        assert not raw.engine.turn.unread and len(raw.collect()) == 2

    def test_the_end_in_the_middle(self) -> None:
        """P-ERR-3: behind a violation nothing is acted on."""
        raw = RawPeer(Hello("engine", Limits(frames_per_turn=2)))
        raw.engine.receive_data(raw.pack([14, 1], [14, 2], [63], [14, 3]), 0.0)
        assert [frame[0] for frame in raw.collect()] == [15, 15]
        raw.engine.receive_data(b"", 0.0)
        assert [frame[0] for frame in raw.collect()] == [16] and not raw.engine.turn.unread
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


class TestWork:
    """Small frames that lead to much (T8): copies out of results that are kept."""

    def kept(self, *values: object, limits: Limits | None = None) -> RawPeer:
        """Results of calls 1, 2, …, which are kept."""
        raw = RawPeer(Hello("engine", limits or Limits()))
        for number, value in enumerate(values, 1):
            raw.say([2, number, 0, "m", {}, {"keep": True}])
            raw.reply(raw.take(CallArrived)[0].answer, value)
        raw.now += 60.0
        assert raw.engine.rest(raw.now) == 0
        return raw

    def test_what_is_refused_is_not_copied(self) -> None:
        """P-CALL-8: it is known to be too much before anything is done; too many of these are a violation."""
        raw = self.kept([0] * 65_000)
        frames = [[2, number, 0, "m", {"x": AnswerRef(1), "y": AnswerRef(1)}] for number in range(2, 66)]
        assert calls_of(lambda: raw.say(*frames), "_copy") == 0
        assert {tuple(frame[4].items()) for frame in raw.heard[-64:]} == {(("reason", "max_items"),)}
        assert raw.engine.rest(raw.now) == 0 == raw.engine.call_charge.used
        number = 65
        while raw.clause is None:
            number += 1
            raw.say([2, number, 0, "m", {"x": AnswerRef(1), "y": AnswerRef(1)}])
        assert (raw.clause, number) == ("P-LIMIT-4", 1002)

    def test_also_when_it_was_waited_for(self) -> None:
        """P-LIMIT-4: those that are refused when the result comes count with those that are refused at once."""
        raw = self.kept([0] * 65_000)
        for number in range(2, 2002, 2):
            raw.say([2, number, 0, "m", {}, {"keep": True}], [2, number + 1, 0, "m", {"x": AnswerRef(number)}])
            answer = raw.take(CallArrived)[0].answer
            assert answer.dependents is not None
            answer.dependents[0].taken = 65_536  # as if it had taken so many from others
            raw.reply(answer, [0])
            raw.say([6, number])
        assert raw.clause is None
        raw.say([2, 3000, 0, "m", {"x": AnswerRef(1), "y": AnswerRef(1)}])
        assert raw.clause == "P-LIMIT-4"

    def test_what_is_copied_ends_the_turn(self) -> None:
        """P-LIMIT-5: 28 bytes that have 60 000 values copied are a turn of their own."""
        raw = self.kept([0] * 60_000)
        frames = raw.pack(*[[2, number, 0, "m", {"x": AnswerRef(1)}] for number in (2, 3, 4)])
        for number in (2, 3, 4):
            raw.engine.receive_data(frames if number == 2 else b"", raw.now)
            assert (raw.engine.answers.last_id, raw.engine.turn.unread) == (number, number < 4)

    def test_what_is_counted_ends_it_too(self) -> None:
        """P-LIMIT-5: part of a result is counted before it is known to be too much."""
        raw = self.kept({"x": [0] * 60_000})
        value = {"x": AnswerRef(1, ("x",)), "y": AnswerRef(1, ("x",))}
        frames = raw.pack(*[[2, number, 0, "m", value] for number in (2, 3)])
        for number in (2, 3):
            raw.engine.receive_data(frames if number == 2 else b"", raw.now)
            assert (raw.engine.answers.last_id, raw.engine.turn.unread) == (number, number < 3)

    def test_it_has_a_pace(self) -> None:
        """P-LIMIT-5: after so many values nothing is read for a while; nobody gets an error."""
        raw = self.kept(
            [0] * 50_000, limits=Limits(work_burst=400_000, work_rate=100_000, call_burst=1, call_rate=1000)
        )
        for number in range(2, 10):
            raw.say([2, number, 0, "m", {"x": AnswerRef(1)}])
            raw.reply(raw.take(CallArrived)[0].answer)
            assert raw.engine.rest(raw.now) < 0.1
        raw.say([2, 10, 0, "m", {"x": AnswerRef(1)}])
        assert 0.49 < raw.engine.rest(raw.now) < 0.51
        raw.now += 1.0
        assert raw.engine.rest(raw.now) == 0 and raw.engine.strikes.count == 0
        raw.engine.turn.spend(10_000_000)
        assert raw.engine.rest(raw.now) == 5.0 == raw.engine.rest(raw.now + 50.0), "it is heard now and then"
        raw.engine.abort(ProtocolViolation("P-OP", "nothing"))
        assert raw.engine.rest(raw.now) == 0

    def test_a_call_has_no_more_references_than_a_frame(self) -> None:
        """P-FRAME-4: those that it takes out of results count with its own."""
        raw = RawPeer(Hello("engine"))
        for number in (1, 2):
            raw.say([2, number, 0, "m", {}, {"keep": True}])
            things = [capability(f"{number}.{index}") for index in range(511)]
            raw.reply(raw.take(CallArrived)[0].answer, things, things)
        raw.say([2, 3, 0, "m", {"x": AnswerRef(1), "y": AnswerRef(2)}])
        assert len(raw.take(CallArrived)[0].answer.references) == 1024
        (refused,) = raw.say([2, 4, 0, "m", {"x": [AnswerRef(1), AnswerRef(2), AnswerRef(1, (0,))]}])
        assert refused[2] == "resource_exhausted" and refused[4]["reason"] == "max_references"

    @pytest.mark.parametrize("late", [False, True])
    def test_many_results_are_taken_in_one_pass(self, late: bool) -> None:
        """P-LIMIT-5: twice as many references to twice as many results take twice as long, not four times."""

        def work(many: int) -> int:
            raw = RawPeer()
            raw.say(*[[2, number, 0, "m", {}, {"keep": True}] for number in range(1, many + 1)])
            answers = [arrived.answer for arrived in raw.take(CallArrived)]
            call = [2, many + 1, 0, "m", {"x": [AnswerRef(1 + index % many) for index in range(4 * many)]}]

            def end() -> None:
                for answer in answers:
                    raw.engine.reply(answer, 1)

            def say() -> None:
                raw.engine.receive_data(raw.pack(call), 0.0)

            first, second = (say, end) if late else (end, say)
            first()
            steps = calls_of(second)
            raw.collect()
            assert raw.take(CallArrived)[0].answer.taken == 4 * many
            return steps

        assert work(128) < 3 * work(64)


class TestManyCapabilities:
    """Frames that say something of thousands of them (T8, T17)."""

    def lent(self, count: int, limits: Limits | None = None) -> RawPeer:
        """The engine holds so many of the peer's, from id 2 on."""
        raw = RawPeer(Hello("engine", limits or Limits()))
        for start in range(2, count + 2, 1000):
            ids = range(start, min(start + 1000, count + 2))
            raw.say([2, start, 0, "m", {"x": [CapRef("test.Thing", 1, None, id) for id in ids]}])
            raw.reply(raw.take(CallArrived)[0].answer)
        return raw

    def test_each_is_told_once(self) -> None:
        """P-CAP-5, P-CAP-6: however often it stands in the frame."""
        raw = self.lent(3)
        raw.say([13, [2, 3, 2, 2, 3], 5], [12, [4, 4, 4], "gone"])
        assert [said.imported.id for said in raw.take(ImportReplaced)] == [2, 3]
        assert [said.imported.id for said in raw.take(ImportBroken)] == [4]

    @pytest.mark.parametrize("op", [11, 12, 13])
    def test_they_are_a_turn(self, op: int) -> None:
        """P-LIMIT-5: behind a frame that says something of a thousand others wait for the next turn."""
        raw = self.lent(1000)
        things = [capability(str(number)) for number in range(1000)]
        raw.engine.call(raw.engine.imports.bootstrap, "m", {"x": things}, things)
        raw.collect()
        ids = list(range(2, 1002))
        frame = {11: [11, [[id, 1] for id in ids]], 12: [12, ids, "gone"], 13: [13, ids, 1]}[op]
        raw.engine.receive_data(raw.pack(frame, [14, 1]), raw.now)
        assert raw.engine.turn.unread and not raw.collect()
        raw.engine.receive_data(b"", raw.now)
        assert [frame[0] for frame in raw.collect()] == [15]

    def test_to_replace_them_again_and_again_has_a_pace(self) -> None:
        """P-LIMIT-5: it can be said without end; that they end can be said once of each."""
        raw = self.lent(1000, Limits(work_burst=200_000, work_rate=200_000))
        ids = list(range(2, 1002))
        raw.say([13, ids, 1])
        assert raw.engine.rest(raw.now) == 0
        raw.say([13, ids, 2])
        assert 0 < raw.engine.rest(raw.now) < 1
        raw.now += 1
        raw.say([12, ids, "gone"])
        assert raw.engine.rest(raw.now) == 0 and raw.clause is None
