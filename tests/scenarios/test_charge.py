"""What a peer's frames take up in memory, and what happens when that is too much (P-LIMIT-3, reliability §5.3)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from capnet.engine.engine import Engine
from capnet.engine.events import CallArrived, CallFailed, LimitReached, StreamChanged
from capnet.engine.ledger import BYTES_PER_VALUE, Ledger
from capnet.engine.streams import InStream
from capnet.limits import EARLY, LARGEST_ONE_WAY, Limits
from capnet.testing.engines import EnginePair, RawPeer
from capnet.wire.hello import Hello
from capnet.wire.references import AnswerRef, StreamRef

MIB = 1024 * 1024
NARROW = Hello("narrow", Limits(max_call_charge=MIB, max_held_charge=MIB))
BIG: dict[str, Any] = {"x": bytes(600 * 1024)}
"""Two of these are too much; the second one is still taken."""


def reasons(said: list[list[Any]]) -> list[Any]:
    return [(frame[1], frame[2], frame[4]["reason"]) for frame in said if frame[0] == 4]


class TestCalls:
    """Calls that wait or run."""

    def test_an_honest_caller_holds_back(self) -> None:
        """P-LIMIT-3: it knows from the hello what the peer takes, and goes on as answers come."""
        pair = EnginePair(right=NARROW).open()
        for number in range(5):
            pair.left.engine.call(pair.left.engine.imports.bootstrap, "m", BIG, (), number)
        pair.flush()
        assert (len(pair.left.engine.calls), len(pair.left.engine.calls.held)) == (2, 3)
        served = 0
        while any(isinstance(event, CallArrived) for event in pair.right.events):
            pair.right.reply(pair.right.arrived())
            pair.flush()
            served += 1
            assert pair.right.engine.call_charge.used <= 2 * (600 * 1024 + 100 * BYTES_PER_VALUE)
        assert served == 5 and not pair.right.take(LimitReached)
        for _ in range(5):
            pair.left.returned()
        pair.finish()

    def test_many_values_count_more_than_their_bytes(self) -> None:
        """P-LIMIT-3: both sides agree on what a call takes up, to the careful side."""
        pair = EnginePair(right=NARROW).open()
        for number in range(4):
            pair.left.engine.call(pair.left.engine.imports.bootstrap, "m", {"x": [[]] * 6000}, (), number)
        pair.flush()
        assert len(pair.left.engine.calls) == 2
        assert 1 <= pair.left.engine.calls.charge / pair.right.engine.call_charge.used < 1.05
        pair.cut()
        assert pair.left.engine.calls.charge == pair.right.engine.call_charge.used == 0

    def test_one_that_does_not_count_is_refused(self) -> None:
        """P-LIMIT-3, T8: an error for that call and a strike; what was taken before goes on, and makes room."""
        raw = RawPeer(NARROW)
        said = raw.say(*[[2, number, 0, "m", BIG] for number in range(1, 5)])
        assert reasons(said) == [(number, "resource_exhausted", "max_call_charge") for number in (3, 4)]
        assert [event.reason for event in raw.take(LimitReached)] == ["max_call_charge"] * 2
        first, second = (event.answer for event in raw.take(CallArrived))
        raw.reply(first)
        assert reasons(raw.say([2, 5, 0, "m", BIG])) == []
        raw.reply(second)
        raw.reply(raw.take(CallArrived)[0].answer)
        assert raw.engine.call_charge.used == 0 and raw.engine.strikes.count == 2

    def test_a_cancelled_call_counts_until_its_handler_is_done(self) -> None:
        """T9: whoever cancels as fast as it calls fills nothing twice."""
        raw = RawPeer(NARROW)
        raw.say([2, 1, 0, "m", BIG], [5, 1])
        answer = raw.take(CallArrived)[0].answer
        assert raw.engine.charge == raw.engine.call_charge.used > 600 * 1024
        raw.reply(answer)
        assert raw.engine.call_charge.used == 0

    def test_a_call_that_never_started_is_given_back(self) -> None:
        """T9: also one that was cancelled while it waited for a slot, or for another answer."""
        raw = RawPeer(Hello("engine", Limits(max_calls=16)))
        raw.say(*[[2, number, 0, "m", {}, {"keep": True}] for number in range(1, 17)])
        before = raw.engine.call_charge.used
        raw.say([2, 17, 0, "m", BIG], [2, 18, [1], "m", BIG])
        assert raw.engine.call_charge.used > before + 2 * 600 * 1024
        raw.say([5, 17], [5, 18])
        assert raw.engine.call_charge.used == before

    def test_what_is_taken_out_of_other_results_counts(self) -> None:
        """T2: a small frame is no way around it, however many wait for one result."""
        raw = RawPeer(Hello("engine", Limits(max_call_charge=10 * MIB)))
        raw.say([2, 1, 0, "m", {}, {"keep": True}])
        raw.say(*[[2, number, 0, "m", {"x": AnswerRef(1)}] for number in range(2, 100)])
        raw.reply(raw.take(CallArrived)[0].answer, [[]] * 60_000)
        arrived = [event.answer for event in raw.take(CallArrived)]
        assert 1 <= len(arrived) < 4 and raw.engine.call_charge.used < 20 * MIB
        errors = [frame for frame in raw.heard if frame[0] == 4]
        assert len(arrived) + len(errors) == 98
        assert {frame[4]["reason"] for frame in errors} <= {"max_call_charge", "max_items"}
        for answer in arrived:
            raw.reply(answer)
        raw.say([6, 1])
        assert raw.engine.call_charge.used == raw.engine.held_charge.used == 0

    def test_before_the_hello_little_is_sent(self) -> None:
        """P-CONN-2: a caller that knows nothing of the peer yet keeps to what everybody takes."""
        engine = Engine(Hello("eager"), 0.0)
        for number in range(4):
            engine.call(engine.imports.bootstrap, "m", {"x": bytes(60_000)}, (), number)
        assert engine.calls.max_charge == EARLY.max_call_charge == MIB
        assert len(engine.calls.held) == 4 or engine.calls.charge <= MIB + 70_000


class TestOneWay:
    """One-way calls, of which no answer says that they have ended."""

    def test_a_long_one_is_made_as_an_ordinary_call(self) -> None:
        """P-CALL-7: so that both sides know what it takes up; its answer goes nowhere."""
        pair = EnginePair(right=NARROW).open()
        pair.left.call("small", one_way=True)
        for _ in range(4):
            pair.left.engine.call(pair.left.engine.imports.bootstrap, "large", BIG, (), None, one_way=True)
        pair.flush()
        assert [event.answer.id for event in pair.right.take(CallArrived)] == [0, 1, 2]
        for answer in list(pair.right.engine.answers):
            pair.right.reply(answer)
        pair.flush()
        for event in pair.right.take(CallArrived):
            pair.right.reply(event.answer)
        pair.flush()
        assert not pair.left.events
        pair.finish()

    def test_a_long_one_from_the_peer_is_a_violation(self) -> None:
        """P-CALL-7: an honest peer never sends it."""
        raw = RawPeer()
        raw.say([2, 0, 0, "m", {"x": bytes(LARGEST_ONE_WAY - 20)}])
        assert raw.clause is None and raw.take(CallArrived)
        raw.say([2, 0, 0, "m", {"x": bytes(LARGEST_ONE_WAY)}])
        assert raw.clause == "P-CALL-7"

    def test_a_short_one_is_taken_in_any_case(self) -> None:
        """P-CALL-7: the peer had credit for it and would not hear that it was lost."""
        raw = RawPeer(NARROW)
        raw.say([2, 1, 0, "m", BIG], [2, 2, 0, "m", BIG], [2, 0, 0, "m", {"x": 1}])
        assert [event.answer.id for event in raw.take(CallArrived)] == [1, 2, 0]


class TestStreams:
    """Items that nobody has read."""

    def consuming(self, raw: RawPeer, id: int = 1) -> InStream:
        raw.say([2, id, 0, "m", {"s": StreamRef("out", id=id)}])
        answer = raw.take(CallArrived)[0].answer
        stream: InStream = answer.references[0].subject
        stream.token = "consumer"
        raw.reply(answer)
        return stream

    def test_a_few_bytes_of_many_values(self) -> None:
        """T3: credit is for bytes, memory for what they become; a stream that is over it ends, with a strike."""
        raw = RawPeer(NARROW)
        stream, other = self.consuming(raw), self.consuming(raw, 2)
        raw.say([7, 2, [1]])
        said = [raw.say([7, 1, [[[]] * 5_000]]) for _ in range(4)]
        assert [frame[0] for frames in said for frame in frames] == [10]
        assert stream.ended and stream.error is not None and stream.error.reason == "max_held_charge"
        assert raw.engine.held_charge.used < 400 and [event.reason for event in raw.take(LimitReached)]
        assert {event.stream for event in raw.take(StreamChanged)} == {stream, other}
        assert raw.say([7, 2, [2]]) == [] and len(other.batches) == 2

    def test_what_is_in_use_counts_until_the_next(self) -> None:
        """T12: a consumer that holds what it has taken holds the memory, too."""
        raw = RawPeer(NARROW)
        stream = self.consuming(raw)
        raw.say([7, 1, [1]], [7, 1, [1, 2]])
        used = [raw.engine.held_charge.used]
        for _ in range(3):
            raw.engine.streaming.take(stream)
            used.append(raw.engine.held_charge.used)
        assert used[0] == used[1] > used[2] > used[3] == 0

    def test_stopping_gives_everything_back(self) -> None:
        """P-STREAM-4: also what has been taken last."""
        raw = RawPeer(NARROW)
        stream = self.consuming(raw)
        raw.say([7, 1, [1]], [7, 1, [1, 2]])
        raw.engine.streaming.take(stream)
        raw.engine.streaming.stop(stream)
        raw.collect()
        assert raw.engine.held_charge.used == 0


class TestWhole:
    """All connections of one host together."""

    def peers(self, limit: int) -> tuple[RawPeer, RawPeer, Ledger]:
        whole = Ledger(limit)
        first, second = RawPeer(NARROW, whole=whole), RawPeer(NARROW, whole=whole)
        return first, second, whole

    def test_calls_of_one_leave_less_for_the_other(self) -> None:
        """P-LIMIT-3: the newcomer is refused, without a strike: it has done nothing."""
        first, second, whole = self.peers(MIB)
        first.say([2, 1, 0, "m", BIG], [2, 2, 0, "m", BIG])
        said = second.say([2, 1, 0, "m", {}])
        assert reasons(said) == [(1, "resource_exhausted", "max_host_charge")]
        assert [event.reason for event in second.take(LimitReached)] == ["max_host_charge"]
        assert second.engine.strikes.count == 0
        first.engine.receive_eof(0.0)
        assert whole.used == 0 and second.say([2, 2, 0, "m", {}]) == []

    def test_items_likewise(self) -> None:
        """P-LIMIT-3: the stream ends."""
        first, second, _ = self.peers(MIB)
        stream = TestStreams().consuming(second)
        first.say([2, 1, 0, "m", BIG], [2, 2, 0, "m", BIG])
        second.say([7, 1, [1]])
        assert stream.error is not None and stream.error.reason == "max_host_charge"
        assert second.engine.strikes.count == 0

    def test_a_call_that_is_lost_with_the_connection_is_told_once(self) -> None:
        """I5: what was held back for want of room ends like all others."""
        pair = EnginePair(right=replace(NARROW, name="right")).open()
        for number in range(4):
            pair.left.engine.call(pair.left.engine.imports.bootstrap, "m", BIG, (), number)
        pair.cut()
        assert sorted(event.token for event in pair.left.take(CallFailed)) == [0, 1, 2, 3]
