"""What a peer's frames take up in memory, and what happens when that is too much (P-LIMIT-3, reliability §5.3)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from capnet.engine.engine import Engine
from capnet.engine.events import CallArrived, CallFailed, ImportBroken, LimitReached, StreamChanged
from capnet.engine.imports import MAX_REASONS
from capnet.engine.ledger import Ledger
from capnet.engine.pipelines import Kept
from capnet.engine.stream import InStream
from capnet.errors import CapnetError, NotFound, ResourceExhausted
from capnet.limits import BYTES_PER_VALUE, EARLY, LARGEST_ONE_WAY, Limits
from capnet.testing.engines import EnginePair, RawPeer, capability, stream_out
from capnet.wire.charge import BYTES_PER_CAP, BYTES_PER_STREAM
from capnet.wire.hello import Hello
from capnet.wire.references import AnswerRef, CapRef, StreamRef

MIB = 1024 * 1024
NARROW = Hello("narrow", Limits(max_call_charge=MIB, max_held_charge=MIB))
BIG: dict[str, Any] = {"x": bytes(400 * 1024)}
"""Two of these fit, a third does not."""


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
        assert (len(pair.left.engine.calls), pair.left.engine.calls.waiting) == (2, 3)
        served = 0
        while any(isinstance(event, CallArrived) for event in pair.right.events):
            pair.right.reply(pair.right.arrived())
            pair.flush()
            served += 1
            assert pair.right.engine.call_charge.used <= 2 * (400 * 1024 + 100 * BYTES_PER_VALUE)
        assert served == 5 and not pair.right.take(LimitReached)
        for _ in range(5):
            pair.left.returned()
        pair.finish()

    def test_many_values_count_more_than_their_bytes(self) -> None:
        """P-LIMIT-3: both sides agree on what a call takes up, to the careful side."""
        pair = EnginePair(right=NARROW).open()
        for number in range(4):
            pair.left.engine.call(pair.left.engine.imports.bootstrap, "m", {"x": [[]] * 4000}, (), number)
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
        assert raw.engine.charge == raw.engine.call_charge.used > 400 * 1024
        raw.reply(answer)
        assert raw.engine.call_charge.used == 0

    def test_a_call_that_never_started_is_given_back(self) -> None:
        """T9: also one that was cancelled while it waited for a slot, or for another answer."""
        raw = RawPeer(Hello("engine", Limits(max_calls=16)))
        raw.say(*[[2, number, 0, "m", {}, {"keep": True}] for number in range(1, 17)])
        before = raw.engine.call_charge.used
        raw.say([2, 17, 0, "m", BIG], [2, 18, [1], "m", BIG])
        assert raw.engine.call_charge.used > before + 2 * 400 * 1024
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
        assert engine.calls.waiting == 4 or engine.calls.charge <= MIB + 70_000


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
        ledger = raw.engine.call_charge
        raw.say([2, 1, 0, "m", BIG], [2, 2, 0, "m", BIG])
        raw.say([2, 3, 0, "m", {"x": bytes(ledger.limit - ledger.used - 1500)}])
        assert [event.answer.id for event in raw.take(CallArrived)] == [1, 2, 3]
        assert reasons(raw.say([2, 4, 0, "m", {"x": 1}])) == [(4, "resource_exhausted", "max_call_charge")]
        raw.say([2, 0, 0, "m", {"x": 1}])
        assert [event.answer.id for event in raw.take(CallArrived)] == [0] and ledger.used > ledger.limit


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
        said = [raw.say([7, 1, [[[]] * 3_000]]) for _ in range(4)]
        assert [frame[0] for frames in said for frame in frames] == [10]
        assert stream.ended and stream.error is not None and stream.error.reason == "max_held_charge"
        assert raw.engine.held_charge.used < 600 and [event.reason for event in raw.take(LimitReached)]
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
        said = second.say([2, 1, 0, "m", BIG])
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
        second.say([7, 1, [BIG]])
        assert stream.error is not None and stream.error.reason == "max_host_charge"
        assert second.engine.strikes.count == 0

    def test_frames_on_their_way_too(self) -> None:
        """What has come of them, until they are whole; who sends the chunk that is too much is told of nothing."""
        first, second, whole = self.peers(MIB)
        frame = first.pack([2, 1, 0, "m", {"x": bytes(900_000)}])
        first.engine.receive_data(frame[:600_000], 0.0)
        assert whole.used == first.engine.charge == 600_000 - 4
        second.engine.receive_data(frame[:500_000], 0.0)
        second.collect()
        assert [event.reason for event in second.take(LimitReached)] == ["max_host_charge"]
        first.engine.receive_eof(0.0)
        assert first.engine.reader.waiting == 0
        assert whole.used == second.engine.charge == 500_000 - 4
        second.engine.receive_data(frame[500_000:800_000], 0.0)
        second.collect()
        assert whole.used == 800_000 - 4 and not second.take(LimitReached)
        second.engine.receive_data(frame[800_000:], 0.0)
        assert whole.used == second.engine.call_charge.used and not second.engine.partial_charge.used

    def test_what_a_peer_has_not_read_too(self) -> None:
        """It may have become less without a word: that is found out before anybody is refused."""
        first, second, whole = self.peers(MIB)
        unread = 900_000
        first.engine.count_backlog(unread)
        assert whole.used == first.engine.charge == unread
        whole.recount = lambda: first.engine.count_backlog(unread)
        second.say([2, 1, 0, "m", BIG])
        assert [event.reason for event in second.take(LimitReached)] == ["max_host_charge"]
        unread = 500_000
        second.say([2, 2, 0, "m", BIG])
        assert second.take(CallArrived) and whole.used == unread + second.engine.charge
        first.engine.receive_eof(0.0)
        assert whole.used == second.engine.charge

    def test_a_call_that_is_lost_with_the_connection_is_told_once(self) -> None:
        """I5: what was held back for want of room ends like all others."""
        pair = EnginePair(right=replace(NARROW, name="right")).open()
        for number in range(4):
            pair.left.engine.call(pair.left.engine.imports.bootstrap, "m", BIG, (), number)
        pair.cut()
        assert sorted(event.token for event in pair.left.take(CallFailed)) == [0, 1, 2, 3]


WIDE = "a" * 1000 + "\U0001f600"
"""A little more than 1000 bytes on the wire, and four times as much in Python."""


class TestText:
    """Text whose characters take more than their bytes."""

    def test_it_counts_where_it_waits(self) -> None:
        """P-LIMIT-3: in calls, in items and in kept results, whether it is a value or a key."""
        for value in (WIDE, {WIDE: 1}, [WIDE], {"k": [[WIDE]]}):
            raw = RawPeer()
            raw.say([2, 1, 0, "m", {"x": value}, {"keep": True}])
            assert raw.engine.call_charge.used > 5000
            raw.reply(raw.take(CallArrived)[0].answer)
            raw.say([6, 1])
            stream = TestStreams().consuming(raw, 2)
            raw.say([7, 2, [value]])
            assert stream.batches[0][3] == raw.engine.held_charge.used > 5000
            raw.engine.streaming.stop(stream)
            raw.say([2, 3, 0, "m", {}, {"keep": True}])
            raw.engine.reply(raw.take(CallArrived)[0].answer, value)
            assert raw.engine.held_charge.used > 5000
            raw.say([6, 3])
            assert raw.engine.charge == 0

    def test_a_caller_counts_it_as_well(self) -> None:
        """P-LIMIT-3: so it holds back what the peer would refuse."""
        pair = EnginePair(right=NARROW).open()
        text = "\U0001f600" * 30_000
        for number in range(4):
            pair.left.engine.call(pair.left.engine.imports.bootstrap, "m", {"x": text}, (), number)
        pair.flush()
        assert len(pair.left.engine.calls) == 2 and pair.right.engine.call_charge.used <= pair.left.engine.calls.charge
        assert not pair.right.take(LimitReached)
        pair.cut()

    def test_what_a_call_took_stays_counted_when_the_result_is_finished(self) -> None:
        """P-CALL-8: the text and the bytes in it, too; they are all that is left."""
        for value in (WIDE, bytes(5000), {"k": WIDE}):
            raw = RawPeer()
            raw.say([2, 1, 0, "m", {}, {"keep": True}])
            raw.engine.reply(raw.take(CallArrived)[0].answer, value)
            before = raw.engine.call_charge.used
            raw.say([2, 2, 0, "m", {"x": AnswerRef(1)}], [6, 1])
            assert raw.engine.call_charge.used - before > 5000 and raw.engine.held_charge.used == 0
            raw.reply(raw.take(CallArrived)[0].answer)
            assert raw.engine.charge == 0


class TestReferences:
    """What is kept for references."""

    def test_each_counts_for_what_it_becomes(self) -> None:
        """P-LIMIT-3: so few bytes cannot fill tables; the caller counts the same."""
        pair = EnginePair().open()
        things = [capability(f"thing {number}") for number in range(100)]
        pair.left.engine.call(pair.left.engine.imports.bootstrap, "m", {"x": things}, things, "t")
        streams = [stream_out() for _ in range(10)]
        pair.left.engine.call(pair.left.engine.imports.bootstrap, "m", {"x": [*streams, "a" * 5000]}, streams, "t")
        pair.flush()
        used = pair.right.engine.call_charge.used
        assert used > 100 * BYTES_PER_CAP + 10 * BYTES_PER_STREAM and used <= pair.left.engine.calls.charge
        pair.cut()

    def test_in_a_result_that_is_kept(self) -> None:
        """P-CALL-8: and in what a call takes of it."""
        raw = RawPeer()
        raw.say([2, 1, 0, "m", {}, {"keep": True}])
        things = [capability(f"thing {number}") for number in range(10)]
        raw.engine.reply(raw.take(CallArrived)[0].answer, things, things)
        assert raw.engine.held_charge.used > 10 * BYTES_PER_CAP
        before = raw.engine.call_charge.used
        raw.say([2, 2, 0, "m", {"x": AnswerRef(1)}])
        assert raw.engine.call_charge.used - before > 10 * BYTES_PER_CAP


LONG: dict[str, Any] = {"reason": "r" * 5000, "retry": "t" * 5000, "x": "y" * 30_000}
id_of = id


class TestErrors:
    """Errors as they come, and as they stay."""

    def bounded(self, error: CapnetError | None) -> bool:
        assert error is not None and error.reason is not None and error.retry is not None
        sizes = [len(error.code), len(error.message), len(error.reason), len(error.retry), len(str(error.details))]
        return sizes[0] <= 64 and sizes[1] <= 4096 and max(sizes[2:4]) <= 256 and sizes[4] <= 400

    def test_that_of_a_call_is_bounded(self) -> None:
        """P-ERR-1: on arrival, whatever a peer sends; what a caller must know to react stays."""
        raw = RawPeer()
        for code in ("internal", "c" * 100_000):
            call = raw.engine.call(raw.engine.imports.bootstrap, "m", {}, (), "token")
            raw.say([4, call.id, code, "m" * 100_000, LONG])
            (failed,) = raw.take(CallFailed)
            assert self.bounded(failed.error) and failed.error.code == "internal" and "x" not in failed.error.details

    def test_details_within_the_bound_stay(self) -> None:
        """P-ERR-1: those that a peer may send."""
        raw = RawPeer()
        raw.engine.call(raw.engine.imports.bootstrap, "m", {}, (), "token")
        raw.say([4, 1, "not_found", "m" * 10_000, {"x": "y" * 10_000}])
        assert raw.take(CallFailed)[0].error.details == {"x": "y" * 10_000}

    def test_that_of_a_stream_is_bounded_and_counted_until_it_is_read(self) -> None:
        """P-ERR-1, P-LIMIT-3: although the stream is out of the table, and `max_streams` does not hold it."""
        raw = RawPeer()
        stream = TestStreams().consuming(raw)
        raw.say([9, 1, "internal", "m", {"x": ["y"] * 1000, "reason": "r" * 5000}])
        assert stream.ended and stream.error is not None and stream.error.details == {"x": ["y"] * 1000}
        assert stream.error.reason == "r" * 256 and not len(raw.engine.streams)
        assert raw.engine.held_charge.used == stream.end_charge > 1000 * BYTES_PER_VALUE
        assert raw.engine.streaming.take(stream) is None and raw.engine.held_charge.used == 0
        raw.engine.streaming.take(stream)
        assert raw.engine.held_charge.used == 0

    def test_ends_that_nobody_reads_are_no_way_to_fill_memory(self) -> None:
        """P-LIMIT-3, T12: those there is no room for are errors of ours, with a strike; stopping gives it back."""
        raw = RawPeer(NARROW)
        streams = [TestStreams().consuming(raw, id) for id in range(1, 13)]
        for id in range(1, 13):
            raw.say([9, id, "internal", "m", {"x": ["y"] * 1000}])
        reasons = [stream.error.reason for stream in streams if stream.error is not None]
        assert reasons == [None] * 8 + ["max_held_charge"] * 4 and raw.engine.strikes.count == 4
        assert raw.engine.held_charge.used <= raw.engine.held_charge.limit
        for stream in streams:
            raw.engine.streaming.stop(stream)
        assert raw.engine.held_charge.used == 0

    def test_of_a_stream_that_was_stopped_little_stays(self) -> None:
        """P-STREAM-4: nobody will read its end; observers are told code and reason."""
        raw = RawPeer()
        stream = TestStreams().consuming(raw)
        raw.engine.streaming.stop(stream)
        raw.say([9, 1, "not_found", "m" * 4000, {"x": ["y"] * 1000, "reason": "r"}])
        assert str(stream.error) == "not_found/r" and stream.error is not None and not stream.error.details
        assert raw.engine.held_charge.used == 0

    def test_one_that_is_kept_leads_to_nothing_of_its_call(self) -> None:
        """P-CALL-8: not to the frames of the handler, where its arguments are; it counts, and is of a class of ours."""

        class Odd(NotFound):
            pass

        raw = RawPeer()
        raw.say([2, 1, 0, "m", {}, {"keep": True}])
        answer = raw.take(CallArrived)[0].answer
        try:
            arguments = bytes(10)
            raise Odd("no", details={"x": [len(arguments)] * 500, "y": object()})
        except Odd as error:
            raw.engine.fail(answer, error)
        kept = raw.engine.pipelines.find(1, 2)
        assert isinstance(kept, Kept) and type(kept.error) is NotFound and kept.error.__traceback__ is None
        assert kept.error.details == {}, "they cannot travel"
        assert raw.engine.held_charge.used == kept.charge > 0
        raw.say([6, 1])
        assert raw.engine.held_charge.used == 0

    def test_of_reasons_for_revocations_a_few_are_kept(self) -> None:
        """P-CAP-6: one text for all capabilities that it was said of, and none of those that are too many."""
        raw = RawPeer()
        things = [CapRef("test.Thing", 1, id=id) for id in range(2, 202)]
        raw.say([2, 1, 0, "give", {"caps": things}])
        answer = raw.take(CallArrived)[0].answer
        for id in range(2, 102):
            raw.say([12, [id, id + 100], f"reason {id} " + "\U0001f600" * 500])
        errors = {id: raw.imported(id).broken for id in range(2, 202)}
        texts = {str(error) for error in errors.values()}
        assert len(texts) == MAX_REASONS + 1 and "failed_precondition/revoked" in texts
        assert all(errors[id] is errors[id + 100] for id in range(2, 102))
        assert len({id_of(error) for error in errors.values()}) == MAX_REASONS + 1
        errors.clear()
        raw.take(ImportBroken)
        raw.engine.release_all(answer.references)
        raw.reply(answer)
        del answer
        assert str(raw.engine.imports.revoked("another")) == "failed_precondition/revoked: another"


class TestGrowth:
    """What arguments and items become."""

    def test_arguments_that_grow_count_for_it_until_the_call_is_done(self) -> None:
        """P-LIMIT-3: what there is no room for is refused, without a strike: the peer does not know it."""
        raw = RawPeer(NARROW)
        lists: list[list[Any]] = [[]] * 2000
        raw.say(*[[2, id, 0, "m", {"x": lists}] for id in (1, 2, 3)])
        first, second, third = (event.answer for event in raw.take(CallArrived))
        before = raw.engine.call_charge.used
        raw.engine.answering.rebuilt(first, 100)
        assert raw.engine.call_charge.used == before + 100 * first.values > before + 200_000
        with pytest.raises(ResourceExhausted) as refused:
            raw.engine.answering.rebuilt(second, 100)
        assert refused.value.reason == "max_call_charge" and raw.engine.strikes.count == 0
        said = raw.say([2, 4, 0, "m", {"x": lists}])
        assert reasons(said) == [(4, "resource_exhausted", "max_call_charge")]
        assert raw.engine.strikes.count == 0, "by what it knows there was room"
        for answer in (first, second, third):
            raw.reply(answer)
        assert raw.engine.call_charge.used == 0

    def test_so_do_items_until_the_next(self) -> None:
        """P-LIMIT-3: likewise; the stream is to be stopped then."""
        raw = RawPeer(NARROW)
        stream, other = TestStreams().consuming(raw), TestStreams().consuming(raw, 2)
        raw.say([7, 1, [[[]] * 3000]], [7, 2, [[[]] * 3000]])
        batch = raw.engine.streaming.take(stream)
        assert batch is not None and batch[4] == 3004
        raw.engine.streaming.rebuilt(stream, 100 * batch[4])
        assert stream.in_use == batch[3] + 100 * batch[4]
        raw.engine.streaming.take(other)
        with pytest.raises(ResourceExhausted) as refused:
            raw.engine.streaming.rebuilt(other, 100 * batch[4])
        assert refused.value.reason == "max_held_charge" and raw.engine.strikes.count == 0
        raw.engine.streaming.take(stream)
        raw.engine.streaming.take(other)
        assert raw.engine.held_charge.used == 0
