"""Streams: values that flow either way against credit, and end once (P-STREAM)."""

from __future__ import annotations

from itertools import count

import pytest

from capnet.engine.events import CallArrived, CallFailed, CallReturned, Closed, ExportEnded, StreamChanged
from capnet.engine.imports import Import
from capnet.engine.inspect import stats
from capnet.engine.lifecycle import State
from capnet.engine.stream import InStream, OutStream
from capnet.engine.streaming import BATCH_BYTES
from capnet.errors import (
    CallCancelled,
    CapnetError,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Revoked,
    StreamStopped,
    Unavailable,
)
from capnet.limits import EARLY, Limits
from capnet.testing.engines import EnginePair, EngineSide, RawPeer, capability, homeward, stream_in, stream_out
from capnet.wire.frames import Op
from capnet.wire.hello import Hello
from capnet.wire.references import CapRef, StreamRef


def windowed(items: int = 64, size: int = 1024 * 1024, **bounds: int) -> EnginePair:
    """A pair whose left side announces this window; it consumes in what follows."""
    return EnginePair(Hello("left", Limits(stream_items=items, stream_bytes=size, **bounds))).open()


def changed(side: EngineSide) -> list[object]:
    """The tokens of the streams that have changed, in order; the events are taken out."""
    return [event.stream.token for event in side.take(StreamChanged)]


def send(side: EngineSide, stream: OutStream, *values: object) -> None:
    """Send plain items."""
    for value in values:
        side.engine.streaming.send(stream, value)


def end(
    pair: EnginePair, producer: EngineSide, out: OutStream, into: InStream, error: CapnetError | None = None
) -> None:
    """The producer's last word, heard at the other end."""
    producer.engine.streaming.end(out, error)
    pair.flush()
    assert into.ended and not producer.engine.streams.has(out)


def handed_out(pair: EnginePair, target: Import | None = None) -> tuple[OutStream, InStream]:
    """A stream in the result of a call of the left side's, which it consumes."""
    pair.left.call("open", target=target)
    pair.flush()
    answer = pair.right.arrived()
    pair.right.reply(answer, opened := stream_out("producer"))
    pair.flush()
    ((reference,),) = (event.references for event in pair.left.take(CallReturned))
    assert isinstance(reference, StreamRef)
    reference.subject.token = "consumer"
    for side in pair.sides:
        side.take(StreamChanged)
    return opened.subject, reference.subject


class TestEveryDirection:
    """One mechanism: who produces and who mentions the stream are independent."""

    @pytest.mark.parametrize("opener", ["left", "right"])
    @pytest.mark.parametrize("producer", ["left", "right"])
    def test_as_an_argument(self, pair: EnginePair, producer: str, opener: str) -> None:
        """P-STREAM-1: items come in order and whole, then the clean end."""
        by_name = {side.name: side for side in pair.sides}
        source, sink = by_name[producer], pair.other(by_name[producer])
        out, into = pair.stream(source, by_name[opener])
        assert (out.id, into.id) == ((1, -1) if opener == producer else (-1, 1))
        send(source, out, 1, "two", [3.0, {"four": None}])
        source.engine.streaming.end(out)
        pair.flush()
        assert changed(sink) == ["consumer", "consumer"]
        assert sink.read(into) == [1, "two", [3.0, {"four": None}]]
        assert into.ended and into.error is None

    def test_in_a_result(self, pair: EnginePair) -> None:
        """P-STREAM-4: the call that handed it out has ended long before the stream does."""
        out, into = handed_out(pair)
        assert not pair.right.engine.answers and not pair.left.engine.calls
        send(pair.right, out, "later")
        pair.flush()
        assert pair.left.read(into) == ["later"]
        end(pair, pair.right, out, into)

    def test_in_a_result_that_consumes(self, pair: EnginePair) -> None:
        """P-STREAM-1: the callee may ask for items as well as hand them out."""
        pair.left.call("upload")
        pair.flush()
        pair.right.reply(pair.right.arrived(), asked := stream_in("consumer"))
        pair.flush()
        out = pair.left.returned().references[0].subject
        send(pair.left, out, "up")
        pair.left.engine.streaming.end(out)
        pair.flush()
        assert pair.right.read(asked.subject) == ["up"] and asked.subject.ended

    def test_both_ways_at_once(self) -> None:
        """P-STREAM-1, P-STREAM-2: two streams of one call have windows of their own."""
        narrow = Limits(stream_items=64)
        pair = EnginePair(Hello("left", narrow), Hello("right", narrow)).open()
        up, down = stream_out("up"), stream_in("down")
        pair.left.call("talk", up, down)
        pair.flush()
        answer = pair.right.arrived()
        heard, said = (reference.subject for reference in answer.references)
        for number in range(200):
            send(pair.left, up.subject, number)
            send(pair.right, said, -number)
            pair.flush()
            assert pair.right.read(heard) == [number] and pair.left.read(down.subject) == [-number]
        pair.left.engine.streaming.end(up.subject)
        pair.right.engine.streaming.end(said)
        pair.right.reply(answer)
        pair.finish()

    def test_in_containers(self, pair: EnginePair) -> None:
        """P-STREAM-1, P-REF: anywhere in a value, at any depth, each appearance a stream of its own."""
        first, second, asked = stream_out("first"), stream_out("second"), stream_in("asked")
        value = {"a": [{"b": first}], "c": [[second, asked]]}
        pair.left.engine.call(pair.left.engine.imports.bootstrap, "m", value, [first, second, asked], "m")
        pair.flush()
        answer = pair.right.arrived()
        arrived = answer.arguments["a"][0]["b"], *answer.arguments["c"][0]
        assert [(reference.id, reference.direction) for reference in arrived] == [(1, "out"), (2, "out"), (3, "in")]
        for reference in (first, second):
            pair.left.engine.streaming.end(reference.subject)
        pair.right.engine.streaming.end(arrived[2].subject)
        pair.right.reply(answer)

    def test_in_items(self, pair: EnginePair) -> None:
        """P-STREAM-5: an item may open further streams, either way; they outlive the one they came by."""
        out, into = pair.stream(pair.left)
        inner, asked = stream_out("inner"), stream_in("asked")
        pair.left.engine.streaming.send(out, {"in": inner, "out": asked}, [inner, asked])
        pair.left.engine.streaming.end(out)
        pair.flush()
        batch = pair.right.engine.streaming.take(into)
        assert batch is not None
        (item,), (heard, said) = batch[0], batch[1]
        assert (item["in"], item["out"]) == (heard, said)
        send(pair.left, inner.subject, "deep")
        send(pair.right, said.subject, "back")
        pair.flush()
        assert pair.right.read(heard.subject) == ["deep"] and pair.left.read(asked.subject) == ["back"]
        assert pair.right.read(into) == []
        end(pair, pair.left, inner.subject, heard.subject)
        end(pair, pair.right, said.subject, asked.subject)


class TestCredit:
    """Items and bytes, given by the consumer, used by the producer (P-STREAM-2)."""

    @pytest.mark.parametrize("window", range(1, 8))
    def test_every_window_makes_progress(self, window: int) -> None:
        """P-STREAM-2: credit comes back at half the window; nobody waits for an eighth item (fault 29)."""
        pair = windowed(window)
        out, into = pair.stream(pair.right)
        numbers = count()
        taken: list[int] = []
        for _ in range(50):
            while out.room:
                send(pair.right, out, next(numbers))
            pair.flush()
            assert sum(len(values) for values, *_ in into.batches) <= window
            taken += pair.left.read(into)
            pair.flush()
        assert taken == list(range(50 * window))
        end(pair, pair.right, out, into)
        pair.finish()

    @pytest.mark.parametrize("size", [1, 2, 100, 10_000])
    def test_every_window_of_bytes_makes_progress(self, size: int) -> None:
        """P-STREAM-2: one item larger than the window passes, and the next when it was consumed (rule R29)."""
        pair = windowed(size=size)
        out, into = pair.stream(pair.right)
        for number in range(10):
            assert out.bytes == size
            send(pair.right, out, bytes([number]) * 10_000)
            assert not out.room and out.bytes < 0
            pair.flush()
            assert pair.left.read(into) == [bytes([number]) * 10_000]
            pair.flush()
        end(pair, pair.right, out, into)
        pair.finish()

    def test_credit_goes_back_at_half_the_window(self) -> None:
        """P-STREAM-2: not with every item, and never later than at half of either part."""
        pair = windowed(8, 100_000)
        out, into = pair.stream(pair.right)
        for number in range(8):
            send(pair.right, out, number)
            pair.flush()
        granted: list[list[int]] = []
        for _ in range(8):
            values, _, size, *_ = pair.left.engine.streaming.take(into) or ([], (), 0, 0, 0)
            pair.left.engine.streaming.consumed(into, len(values), size)
            pair.step()
            granted.append([frame[2] for frame, _ in pair.right.incoming.frames()])
            pair.flush()
        assert granted == [[], [], [], [4], [], [], [], [4]]
        send(pair.right, out, bytes(50_000))
        pair.flush()
        pair.left.read(into)
        pair.step()
        ((frame, _),) = pair.right.incoming.frames()
        assert frame[0] == Op.CREDIT and frame[2] == 1 and frame[3] > 50_000
        end(pair, pair.right, out, into)
        pair.finish()

    def test_credit_is_for_items_that_were_consumed(self) -> None:
        """P-STREAM-2: taking them is not yet using them: a slow consumer stops the producer."""
        pair = windowed(4)
        out, into = pair.stream(pair.right)
        send(pair.right, out, *range(4))
        pair.flush()
        batch = pair.left.engine.streaming.take(into)
        pair.flush()
        assert batch is not None and not out.room and changed(pair.right) == []
        pair.left.engine.streaming.consumed(into, 1, 0)
        pair.flush()
        assert not out.room
        pair.left.engine.streaming.consumed(into, 1, batch[2])
        pair.flush()
        assert (out.items, changed(pair.right)) == (2, ["producer"])
        assert pair.left.read(into) == []
        end(pair, pair.right, out, into)
        pair.finish()

    def test_the_producer_hears_of_room_only_when_it_had_none(self) -> None:
        """P-STREAM-2: credit for one that is not waiting changes nothing for it."""
        pair = windowed(64)
        out, into = pair.stream(pair.right)
        send(pair.right, out, *range(40))
        pair.flush()
        pair.left.read(into)
        pair.flush()
        assert (out.items, changed(pair.right)) == (64, [])
        end(pair, pair.right, out, into)
        pair.finish()

    def test_without_room_nothing_is_taken(self) -> None:
        """P-STREAM-2: there is no queue behind the window; the producer itself waits (fault 32)."""
        pair = windowed(2)
        out, into = pair.stream(pair.right)
        send(pair.right, out, 1, 2)
        with pytest.raises(AssertionError):
            send(pair.right, out, 3)
        pair.flush()
        assert pair.left.read(into) == [1, 2]
        end(pair, pair.right, out, into)
        pair.finish()

    def test_memory_is_bounded_by_the_window(self) -> None:
        """P-STREAM-2: 10⁴ items through a slow consumer: never more lie about than the window (fault 32)."""
        pair = windowed(64)
        out, into = pair.stream(pair.right)
        left, right = pair.left.engine, pair.right.engine
        total, sent, taken, most = 10_000, 0, 0, 0
        while taken < total:
            while out.room and sent < total:
                right.streaming.send(out, sent)
                sent += 1
            left.receive_data(b"".join(right.data_to_send()), pair.now)
            most = max(most, sent - taken)
            values, _, size, *_ = left.streaming.take(into) or ([], (), 0, 0, 0)
            assert values == list(range(taken, taken + len(values)))
            taken += len(values)
            for index in range(len(values)):
                left.streaming.consumed(into, 1, 0 if index else size)
                right.receive_data(b"".join(left.data_to_send()), pair.now)
        assert most == 64 and pair.left.read(into) == []
        end(pair, pair.right, out, into)
        pair.finish()

    @pytest.mark.parametrize(("items", "size"), [(5, 10**6), (64, 60)])
    def test_more_than_the_window_is_a_violation(self, items: int, size: int) -> None:
        """P-STREAM-2: the consumer counts, too: what was sent without credit is never buffered (fault 31)."""
        raw = RawPeer(Hello("engine", Limits(stream_items=items, stream_bytes=size)))
        raw.say([2, 1, 0, "m", {"s": StreamRef("out", id=1)}])
        into = raw.take(CallArrived)[0].answer.references[0].subject
        sent = 0
        while raw.clause is None:
            raw.say([7, 1, [sent]])
            sent += 1
        assert raw.clause == "P-STREAM-2" and sent - 1 == (items if items < 64 else -(-size // 5))
        assert into.ended and into.error.code == "unavailable"

    def test_before_the_hello_one_item(self) -> None:
        """P-CONN-2: windows are of one item and one byte until they are known; then the difference follows."""
        pair = EnginePair(right=Hello("right", Limits(stream_items=64)))
        pair.left.call("early", out := stream_out("out"), asked := stream_in("asked"))
        stream = out.subject
        assert (stream.items, stream.bytes) == (EARLY.stream_items, EARLY.stream_bytes)
        send(pair.left, stream, "first")
        assert not stream.room
        pair.step()
        changed(pair.left)
        pair.deliver(pair.right)
        answer = pair.right.arrived()
        into, said = (reference.subject for reference in answer.references)
        assert pair.right.read(into) == ["first"]
        send(pair.right, said, "at once")
        pair.flush()
        assert changed(pair.left) == ["out", "asked"] and pair.left.read(asked.subject) == ["at once"]
        assert stream.items == 63
        send(pair.left, stream, *range(63))
        end(pair, pair.left, stream, into)
        assert pair.right.read(into) == list(range(63))
        pair.right.engine.streaming.end(said)
        pair.right.reply(answer)
        pair.finish()

    def test_early_credit_that_was_not_used_up_is_no_news(self) -> None:
        """P-STREAM-2: a stream that had room when the hello came still has; nobody waits to hear of it."""
        pair = EnginePair(right=Hello("right", Limits(stream_items=64)))
        pair.left.call("early", out := stream_out("out"))
        pair.step()
        changed(pair.left)
        pair.flush()
        assert changed(pair.left) == [] and out.subject.items == 64
        answer = pair.right.arrived()
        end(pair, pair.left, out.subject, answer.references[0].subject)
        pair.right.reply(answer)
        pair.finish()


class TestFrames:
    """Items that are ready together share a frame (P-STREAM-6)."""

    def sent(self, pair: EnginePair) -> list[list[object]]:
        """The frames on their way to the left side, as lists of op and items or their number."""
        pair.step()
        return [[frame[0], len(frame[2])] for frame, _ in pair.left.incoming.frames()]

    def test_items_of_one_turn_share_a_frame(self, pair: EnginePair) -> None:
        """P-STREAM-6: each stream has its own, and the next turn another."""
        (first, into), (second, other) = pair.stream(pair.right), pair.stream(pair.right)
        send(pair.right, first, 1, 2)
        send(pair.right, second, "a")
        send(pair.right, first, 3)
        assert pair.right.engine.pending
        assert self.sent(pair) == [[Op.ITEMS, 3], [Op.ITEMS, 1]]
        send(pair.right, first, 4)
        assert self.sent(pair)[2:] == [[Op.ITEMS, 1]]
        pair.flush()
        assert pair.left.read(into) == [1, 2, 3, 4] and pair.left.read(other) == ["a"]
        end(pair, pair.right, first, into)
        end(pair, pair.right, second, other)

    def test_frames_are_bounded(self, pair: EnginePair) -> None:
        """P-FRAME-2: a frame closes at 32 KiB of items; a larger item has one of its own, in its place."""
        out, into = pair.stream(pair.right)
        items = ["small", *[bytes(BATCH_BYTES // 4)] * 5, bytes(BATCH_BYTES), "last"]
        send(pair.right, out, *items)
        assert self.sent(pair) == [[Op.ITEMS, 4], [Op.ITEMS, 2], [Op.ITEMS, 1], [Op.ITEMS, 1]]
        pair.flush()
        assert pair.left.read(into) == items
        end(pair, pair.right, out, into)

    def test_an_item_with_references_leaves_alone(self, pair: EnginePair) -> None:
        """P-CAP-6, P-STREAM-5: in its place, and before anything that is said of what it names."""
        out, into = pair.stream(pair.right)
        send(pair.right, out, 1)
        pair.right.engine.streaming.send(out, thing := capability("thing"), [thing])
        send(pair.right, out, 3)
        pair.right.engine.exporting.revoke(list(pair.right.engine.exports), "gone")
        assert [op for op, _ in self.sent(pair)] == [Op.ITEMS, Op.ITEMS, Op.CAP_REVOKED, Op.ITEMS]
        pair.flush()
        first, named, third = pair.left.read(into)
        assert (first, third) == (1, 3) and isinstance(named.subject.broken, Revoked)
        pair.left.engine.release(named.subject)
        end(pair, pair.right, out, into)

    def test_the_end_follows_the_last_item(self, pair: EnginePair) -> None:
        """P-STREAM-3: what waits for company leaves before it; buffered items are delivered before a clean end."""
        out, into = pair.stream(pair.right)
        send(pair.right, out, 1, 2)
        end(pair, pair.right, out, into)
        assert pair.left.read(into) == [1, 2] and into.error is None


class TestOneTerminal:
    """Each stream ends once, and both sides know how (P-STREAM-3)."""

    def test_the_first_last_word_counts(self, pair: EnginePair) -> None:
        """P-STREAM-3: a second end, also with an error, says nothing."""
        out, into = pair.stream(pair.right)
        pair.right.engine.streaming.end(out)
        pair.right.engine.streaming.end(out, Internal("too late"))
        pair.flush()
        pair.right.engine.streaming.end(out, Internal("much too late"))
        pair.flush()
        assert changed(pair.left) == ["consumer"] and (into.ended, into.error) == (True, None)

    def test_the_producer_may_fail(self, pair: EnginePair) -> None:
        """P-STREAM-3, P-ERR-1: with code and details; items that were sent before it still come (fault 36)."""
        out, into = pair.stream(pair.right)
        send(pair.right, out, "before")
        end(pair, pair.right, out, into, NotFound("no more", reason="dried_up", details={"level": 0}))
        assert pair.left.read(into) == ["before"]
        assert isinstance(into.error, NotFound) and into.error.reason == "dried_up"
        assert into.error.details == {"level": 0}

    def test_a_stop_is_answered_with_the_end(self, pair: EnginePair) -> None:
        """P-STREAM-3, P-STREAM-4: the consumer wants no more; the producer hears why, closes, and has the last word."""
        out, into = pair.stream(pair.right)
        pair.left.engine.streaming.stop(into, "seen enough")
        pair.left.engine.streaming.stop(into, "again")
        pair.flush()
        assert changed(pair.right) == ["producer"] and not out.room
        assert isinstance(out.closed, StreamStopped) and out.closed.message == "seen enough"
        assert (out.closed.code, out.closed.reason) == ("cancelled", "stopped")
        assert pair.left.engine.streams.has(into), "it is not gone before its producer is (fault 35)"
        end(pair, pair.right, out, into)
        assert changed(pair.left) == ["consumer"]

    def test_items_after_a_stop_are_let_go(self, pair: EnginePair) -> None:
        """P-STREAM-3, P-REF-2: they were under way; nobody sees them, and what they brought goes back."""
        out, into = pair.stream(pair.right)
        send(pair.right, out, "before")
        pair.right.engine.streaming.send(out, thing := capability("thing"), [thing])
        pair.flush()
        pair.left.engine.streaming.stop(into)
        pair.right.engine.streaming.send(out, other := capability("other"), [other])
        send(pair.right, out, "crossing")
        pair.flush()
        assert pair.left.read(into) == [] and not pair.left.engine.imports
        assert [event.reason for event in pair.right.take(ExportEnded)] == ["dropped", "dropped"]
        pair.left.engine.streaming.consumed(into, 1, 10)
        assert not pair.left.engine.pending, "no credit for what is not wanted"
        end(pair, pair.right, out, into)

    def test_stop_and_end_may_cross(self) -> None:
        """P-STREAM-3: a stop, or credit, for a stream that has ended meanwhile means nothing."""
        pair = windowed(64)
        out, into = pair.stream(pair.right)
        send(pair.right, out, *range(40))
        pair.flush()
        pair.right.engine.streaming.end(out)
        pair.left.read(into)
        pair.left.engine.streaming.stop(into)
        pair.flush()
        assert out.closed is None and changed(pair.right) == []
        assert into.ended and into.error is None
        pair.finish()

    def test_stopping_what_has_ended_lets_go_only(self, pair: EnginePair) -> None:
        """P-STREAM-4: a consumer that leaves with items unread gives back what they brought; nothing else is said."""
        out, into = pair.stream(pair.right)
        pair.right.engine.streaming.send(out, thing := capability("thing"), [thing])
        end(pair, pair.right, out, into)
        pair.left.engine.streaming.stop(into)
        pair.step()
        assert [frame[0] for frame, _ in pair.right.incoming.frames()] == [Op.DROP]
        assert pair.left.read(into) == []

    def test_end_stop_and_loss_are_told_apart(self, pair: EnginePair) -> None:
        """P-STREAM-3: done ≠ wanted no more ≠ abandoned (rule R30)."""
        (done, into), (unwanted, _) = pair.stream(pair.right), (ends := pair.stream(pair.right))
        end(pair, pair.right, done, into)
        pair.left.engine.streaming.stop(ends[1])
        pair.flush()
        lost, abandoned = pair.stream(pair.right)
        pair.cut()
        assert done.closed is None and into.error is None
        assert type(unwanted.closed) is StreamStopped
        assert type(lost.closed) is Unavailable and type(abandoned.error) is Unavailable


class TestClosing:
    """Either end closes the other, also one that waits (P-STREAM-4)."""

    def test_a_producer_that_waits_for_credit_hears_the_stop(self) -> None:
        """P-STREAM-4: woken once, with the reason; nobody waits for ever (fault 33)."""
        pair = windowed(1)
        out, into = pair.stream(pair.right)
        send(pair.right, out, "only")
        pair.flush()
        assert not out.room and changed(pair.right) == []
        pair.left.engine.streaming.stop(into)
        pair.flush()
        assert changed(pair.right) == ["producer"] and type(out.closed) is StreamStopped
        end(pair, pair.right, out, into, out.closed)
        assert changed(pair.right) == []
        pair.finish()

    def test_a_producer_that_waits_for_credit_hears_the_loss(self) -> None:
        """P-CONN-6: once, and nothing is sent afterwards (faults 33, 37)."""
        pair = windowed(1)
        out, into = pair.stream(pair.right)
        send(pair.right, out, "only")
        pair.flush()
        pair.cut()
        assert changed(pair.right) == ["producer"] and isinstance(out.closed, Unavailable)
        pair.right.engine.streaming.end(out, out.closed)
        pair.left.engine.streaming.stop(into)
        pair.left.engine.streaming.consumed(into, 1, 1)
        assert not pair.right.engine.pending and not pair.left.engine.pending
        pair.finish()

    def test_what_has_come_can_be_read_after_the_loss(self) -> None:
        """P-STREAM-3: items that arrived before the line broke are there; capabilities in them are broken."""
        pair = windowed()
        out, into = pair.stream(pair.right)
        send(pair.right, out, 1)
        pair.right.engine.streaming.send(out, thing := capability("thing"), [thing])
        pair.flush()
        pair.cut()
        assert into.ended and isinstance(into.error, Unavailable)
        first, reference = pair.left.read(into)
        assert first == 1 and reference.subject.broken is not None
        pair.left.engine.release(reference.subject)
        pair.finish()

    def test_the_late_result_of_a_cancelled_call_stops_its_streams(self, pair: EnginePair) -> None:
        """P-CALL-6, P-STREAM-4: nobody will ever read it; the producer is told, whichever way it flows (fault 34)."""
        call = pair.left.call("open")
        pair.flush()
        answer = pair.right.arrived()
        pair.right.reply(answer, produced := stream_out("producer"), asked := stream_in("consumer"))
        send(pair.right, produced.subject, "unread")
        pair.left.engine.cancel(call)
        pair.flush()
        assert isinstance(produced.subject.closed, StreamStopped)
        assert asked.subject.ended and isinstance(asked.subject.error, StreamStopped)
        pair.right.engine.streaming.end(produced.subject)

    def test_a_call_that_is_refused_stops_the_streams_it_brought(self, pair: EnginePair) -> None:
        """P-CAP-6, P-STREAM-4: the arguments never reach anybody (fault 34, rule R9)."""
        imported = pair.give(pair.left, "thing")
        pair.left.engine.exporting.revoke(list(pair.left.engine.exports), "gone")
        pair.right.call("m", produced := stream_out("producer"), asked := stream_in("consumer"), target=imported)
        pair.flush()
        assert isinstance(pair.right.failed(), Revoked)
        assert isinstance(produced.subject.closed, StreamStopped) and isinstance(asked.subject.error, StreamStopped)
        pair.right.engine.streaming.end(produced.subject)
        pair.right.engine.release(imported)

    def test_a_queued_call_that_is_cancelled_stops_the_streams_it_brought(self) -> None:
        """P-CALL-6: it never started; the engine itself lets go of what it was sent."""
        pair = EnginePair(right=Hello("right", Limits(max_calls=16))).open()
        pair.left.engine.calls.limit = 17
        for _ in range(16):
            pair.left.call("run")
        queued = pair.left.call("queued", produced := stream_out("producer"))
        pair.flush()
        assert len(pair.right.engine.answers.queue) == 1
        pair.left.engine.cancel(queued)
        pair.flush()
        assert isinstance(produced.subject.closed, StreamStopped)
        pair.left.engine.streaming.end(produced.subject)
        for event in pair.right.take(CallArrived):
            pair.right.reply(event.answer)
        pair.left.engine.calls.limit = 16
        pair.finish()

    def test_cancelling_the_call_that_made_a_stream_leaves_the_stream(self, pair: EnginePair) -> None:
        """P-STREAM-4: an argument stream belongs to who took it (rule R30)."""
        call = pair.left.call("upload", produced := stream_out("producer"))
        pair.flush()
        answer = pair.right.arrived()
        pair.left.engine.cancel(call)
        pair.flush()
        pair.right.engine.fail(answer, CallCancelled("stopped"))
        assert produced.subject.room
        send(pair.left, produced.subject, "still")
        pair.flush()
        into = answer.references[0].subject
        assert pair.right.read(into) == ["still"]
        end(pair, pair.left, produced.subject, into)


class TestHeld:
    """Streams in calls that are held back (P-CONN-2, P-CALL-7)."""

    @staticmethod
    def crowded() -> EnginePair:
        """A pair whose right side has no room for another call."""
        pair = EnginePair(right=Hello("right", Limits(max_calls=16))).open()
        for _ in range(16):
            pair.left.call("run")
        return pair

    @staticmethod
    def make_room(pair: EnginePair) -> None:
        """Answer what runs."""
        for event in pair.right.take(CallArrived):
            pair.right.reply(event.answer)
        pair.flush()
        pair.left.take(CallReturned)

    def test_they_open_when_the_call_leaves(self) -> None:
        """P-STREAM-2: no credit before the peer knows of it."""
        pair = self.crowded()
        pair.left.call("held", out := stream_out("out"), stream_in("asked"))
        pair.flush()
        assert not out.subject.room and changed(pair.left) == []
        self.make_room(pair)
        assert changed(pair.left) == ["out", "asked"] and out.subject.room
        answer = pair.right.arrived()
        into, said = (reference.subject for reference in answer.references)
        end(pair, pair.left, out.subject, into)
        pair.right.engine.streaming.end(said)
        pair.right.reply(answer)
        pair.finish()

    def test_one_that_ends_before_it_has_left(self) -> None:
        """P-STREAM-3: the end, or the stop, follows the frame that opens it at once."""
        pair = self.crowded()
        pair.left.call("held", out := stream_out("out"), asked := stream_in("asked"))
        pair.left.engine.streaming.end(out.subject, NotFound("nothing to send"))
        pair.left.engine.streaming.end(out.subject)
        pair.left.engine.streaming.stop(asked.subject, "nothing to hear")
        pair.flush()
        self.make_room(pair)
        answer = pair.right.arrived()
        into, said = (reference.subject for reference in answer.references)
        assert into.ended and isinstance(into.error, NotFound)
        assert isinstance(said.closed, StreamStopped) and said.closed.message == "nothing to hear"
        pair.right.engine.streaming.end(said)
        pair.right.reply(answer)
        pair.finish()

    @pytest.mark.parametrize("how", ["cancel", "goaway", "cut"])
    def test_a_call_that_is_taken_back_takes_its_streams_along(self, how: str) -> None:
        """P-REF-1, P-CONN-4: they were never opened; both ends here hear the error once."""
        pair = self.crowded()
        held = pair.left.call("held", out := stream_out("out"), asked := stream_in("asked"))
        if how == "cancel":
            pair.left.engine.cancel(held)
        elif how == "goaway":
            pair.left.engine.close("bye", 5.0, pair.now)
        else:
            pair.cut()
        pair.flush()
        assert changed(pair.left) == ["out", "asked"]
        expected = CallCancelled if how == "cancel" else Unavailable
        assert isinstance(out.subject.closed, expected) and isinstance(asked.subject.error, expected)
        pair.left.engine.streaming.end(out.subject)
        pair.left.engine.streaming.stop(asked.subject)
        assert not pair.left.engine.streams
        self.make_room(pair)
        pair.finish()

    def test_a_call_that_cannot_be_held_opens_nothing(self) -> None:
        """P-CALL-7, P-REF-1: over the bound of held calls, or too long: nothing has changed."""
        pair = EnginePair(Hello("left", Limits(max_outgoing_calls=0)), Hello("right", Limits(max_calls=16))).open()
        for _ in range(16):
            pair.left.call("run")
        with pytest.raises(ResourceExhausted) as raised:
            pair.left.call("one more", stream_out("out"))
        assert raised.value.reason == "max_concurrent_calls" and not pair.left.engine.streams
        pair.flush()
        self.make_room(pair)
        engine, reference = pair.left.engine, stream_in("asked")
        with pytest.raises(ResourceExhausted):
            engine.call(
                engine.imports.bootstrap, "long", {"s": reference, "b": bytes(engine.outbox.limit)}, [reference], "t"
            )
        assert not engine.streams and changed(pair.left) == []
        pair.finish()


class TestItems:
    """What items carry, and what becomes of it."""

    def test_capabilities_live_with_their_item(self, pair: EnginePair) -> None:
        """P-STREAM-5: not with the call, nor the stream: who took the item gives them back (fault 36, rule R31)."""
        out, into = pair.stream(pair.right)
        pair.right.engine.streaming.send(out, thing := capability("thing"), [thing])
        end(pair, pair.right, out, into)
        (reference,) = pair.left.read(into)
        pair.left.call("use", target=reference.subject)
        pair.flush()
        answer = pair.right.arrived()
        assert answer.export is not None and answer.export.subject == "thing"
        pair.right.reply(answer)
        pair.left.engine.release(reference.subject)
        pair.flush()
        assert [event.reason for event in pair.right.take(ExportEnded)] == ["dropped"]

    def test_one_that_comes_home_is_the_original(self, pair: EnginePair) -> None:
        """P-ID-2, P-STREAM-5: as in any value."""
        imported = pair.give(pair.left, "thing")
        out, into = pair.stream(pair.right)
        pair.right.engine.streaming.send(out, home := homeward(imported), [home])
        pair.flush()
        (reference,) = pair.left.read(into)
        assert reference.subject.subject == "thing"
        end(pair, pair.right, out, into)
        pair.right.engine.release(imported)

    @pytest.mark.parametrize("how", ["released", "revoked"])
    def test_an_item_that_names_what_is_gone_ends_the_stream(self, pair: EnginePair, how: str) -> None:
        """P-ID-4, P-STREAM-3: items are not answered one by one; the reader gets the error, the producer is stopped."""
        imported = pair.give(pair.left, "thing")
        out, into = pair.stream(pair.right)
        send(pair.right, out, "untaken")
        if how == "released":
            pair.right.engine.release(imported)
            pair.flush()
        else:
            pair.left.engine.exporting.revoke(list(pair.left.engine.exports), "gone")
        pair.right.engine.streaming.send(out, [home := homeward(imported), other := capability("x")], [home, other])
        pair.flush()
        assert into.ended and into.error is not None and into.error.reason == how
        assert changed(pair.left)[-1:] == ["consumer"] and pair.left.read(into) == []
        assert isinstance(out.closed, StreamStopped) and not pair.left.engine.imports
        pair.right.engine.streaming.end(out)
        pair.flush()
        assert into.error.reason == how, "the producer's own last word comes too late"
        if how == "revoked":
            pair.right.engine.release(imported)

    def test_one_that_cannot_be_sent_changes_nothing(self, pair: EnginePair) -> None:
        """P-REF-1, P-FRAME-2: the stream goes on, or ends with that error; no reference is counted (fault 37)."""
        out, into = pair.stream(pair.right)
        before = out.items, out.bytes
        streaming, thing = pair.right.engine.streaming, capability("thing")
        with pytest.raises(InvalidArgument):
            streaming.send(out, ["\ud800", thing, inner := stream_out("inner")], [thing, inner])
        with pytest.raises(ResourceExhausted) as raised:
            streaming.send(out, [bytes(pair.right.engine.outbox.limit), thing], [thing, stream_in("in")])
        assert raised.value.reason == "max_frame_bytes"
        pair.right.engine.exports.limit = 0
        with pytest.raises(ResourceExhausted):
            streaming.send(out, thing, [thing])
        assert (out.items, out.bytes) == before and not pair.right.engine.exports
        assert len(pair.right.engine.streams) == 1 and not pair.right.engine.pending
        send(pair.right, out, "fine")
        pair.flush()
        assert pair.left.read(into) == ["fine"]
        end(pair, pair.right, out, into, raised.value)


class TestLimits:
    """How many streams there may be (P-LIMIT-2)."""

    def test_an_honest_sender_gets_a_local_error(self) -> None:
        """P-LIMIT-2: `max_streams` of the peer, in arguments, results and items; an ended one makes room."""
        pair = EnginePair(Hello("left", Limits(max_streams=16)), Hello("right", Limits(max_streams=1000))).open()
        streams = [pair.stream(pair.right) for _ in range(16)]
        with pytest.raises(ResourceExhausted) as raised:
            pair.right.call("m", stream_in(), stream_out())
        assert raised.value.reason == "max_streams" and pair.right.engine.streams.opened == 16
        with pytest.raises(ResourceExhausted):
            pair.right.engine.streaming.send(streams[0][0], inner := stream_out(), [inner])
        pair.left.call("fetch")
        pair.flush()
        answer = pair.right.arrived()
        with pytest.raises(ResourceExhausted) as raised:
            pair.right.reply(answer, stream_out())
        pair.right.engine.fail(answer, raised.value)
        pair.flush()
        assert pair.left.failed().reason == "max_streams"
        other = pair.stream(pair.left)
        for out, into in streams:
            end(pair, pair.right, out, into)
        end(pair, pair.left, *other)
        end(pair, pair.right, *pair.stream(pair.right))
        pair.finish()

    def test_early_streams_are_bounded(self) -> None:
        """P-CONN-2: 16 before the hello."""
        pair = EnginePair()
        with pytest.raises(ResourceExhausted):
            pair.left.call("m", *(stream_out() for _ in range(EARLY.max_streams + 1)))
        assert not pair.left.engine.streams and not pair.left.engine.calls
        references = [stream_out() for _ in range(EARLY.max_streams)]
        pair.left.call("m", *references)
        pair.flush()
        for reference in references:
            pair.left.engine.streaming.end(reference.subject)
        pair.right.reply(pair.right.arrived())
        pair.finish()


class TestRevocation:
    """Streams end with the capability whose call handed them out (P-CAP-6)."""

    def handed_out(self, pair: EnginePair) -> tuple[Import, OutStream, InStream]:
        """By a call on a capability of the right side's."""
        imported = pair.give(pair.right, "thing")
        return imported, *handed_out(pair, imported)

    def test_the_error_overtakes_what_is_buffered(self, pair: EnginePair) -> None:
        """P-STREAM-3, P-CAP-6: neither items that wait for company nor those that wait for the reader are seen."""
        imported, out, into = self.handed_out(pair)
        pair.right.engine.streaming.send(out, thing := capability("other"), [thing])
        send(pair.right, out, "arrived")
        pair.flush()
        send(pair.right, out, "waits for company")
        changed(pair.left)
        pair.right.engine.exporting.revoke(pair.right.engine.exporting.of("thing"), "rights were taken")
        pair.flush()
        assert changed(pair.right) == ["producer"] and isinstance(out.closed, Revoked)
        assert changed(pair.left) == ["consumer"] and isinstance(into.error, Revoked)
        assert pair.left.read(into) == [] and [each.id for each in pair.left.engine.imports] == [imported.id]
        pair.right.engine.streaming.end(out)
        pair.left.engine.release(imported)

    def test_others_go_on(self, pair: EnginePair) -> None:
        """P-CAP-6: streams of other capabilities, and those whose calls have nothing to do with it."""
        imported, out, into = self.handed_out(pair)
        (other, _), (mine, _) = ends = handed_out(pair), pair.stream(pair.left)
        pair.right.engine.exporting.revoke(pair.right.engine.exporting.of("thing"), "gone")
        pair.flush()
        assert into.ended and not pair.right.engine.streams.has(out) and other.room and mine.room
        end(pair, pair.right, *ends[0])
        end(pair, pair.left, *ends[1])
        pair.left.engine.release(imported)

    def test_a_stream_that_the_capability_consumes(self, pair: EnginePair) -> None:
        """P-CAP-6: its reader gets the error at once, the far producer is stopped; the end is still to come."""
        imported = pair.give(pair.right, "thing")
        pair.left.call("upload", target=imported)
        pair.flush()
        pair.right.reply(pair.right.arrived(), asked := stream_in("consumer"))
        pair.flush()
        out = pair.left.returned().references[0].subject
        send(pair.left, out, "unread")
        pair.flush()
        pair.right.engine.exporting.revoke(pair.right.engine.exporting.of("thing"), "gone")
        pair.right.engine.exporting.revoke(pair.right.engine.exporting.of("thing"), "again")
        pair.flush()
        assert isinstance(asked.subject.error, Revoked) and pair.right.read(asked.subject) == []
        assert isinstance(out.closed, StreamStopped) and out.closed.message == "revoked"
        pair.left.engine.streaming.end(out)
        pair.left.engine.release(imported)

    def test_one_that_was_stopped_stays_so(self, pair: EnginePair) -> None:
        """P-STREAM-3: a producer that was told to stop, or a reader that has stopped, is not told again."""
        imported, out, into = self.handed_out(pair)
        pair.left.call("upload", target=imported)
        pair.flush()
        pair.right.reply(pair.right.arrived(), asked := stream_in("consumer"))
        pair.flush()
        far = pair.left.returned().references[0].subject
        pair.left.engine.streaming.stop(into)
        pair.right.engine.streaming.stop(asked.subject)
        pair.flush()
        changed(pair.right)
        pair.right.engine.exporting.revoke(pair.right.engine.exporting.of("thing"), "gone")
        pair.step()
        assert changed(pair.right) == [] and type(out.closed) is StreamStopped and asked.subject.error is None
        pair.right.engine.streaming.end(out)
        pair.left.engine.streaming.end(far)
        pair.left.engine.release(imported)


class TestTheConnection:
    """What its end does to streams."""

    @pytest.mark.parametrize("closer", ["left", "right"])
    def test_goaway_waits_for_streams(self, pair: EnginePair, closer: str) -> None:
        """P-CONN-4: what flows may end within the grace; the last end closes."""
        out, into = pair.stream(pair.right)
        (pair.left if closer == "left" else pair.right).engine.close("bye", 5.0, pair.now)
        pair.flush()
        assert [side.engine.lifecycle.state for side in pair.sides] == [State.DRAINING] * 2
        send(pair.right, out, "still")
        pair.flush()
        assert pair.left.read(into) == ["still"]
        pair.right.engine.streaming.end(out)
        pair.flush()
        assert into.error is None and all(side.closed for side in pair.sides)

    def test_after_the_grace_they_end(self, pair: EnginePair) -> None:
        """P-CONN-4, P-CONN-6: once at each end, with the cause of the close."""
        out, into = pair.stream(pair.right)
        pair.right.engine.close("bye", 5.0, pair.now)
        pair.flush()
        pair.advance(5.0)
        pair.flush()
        assert changed(pair.right) == ["producer"] and changed(pair.left) == ["consumer"]
        assert isinstance(out.closed, Unavailable) and isinstance(into.error, Unavailable)
        assert len(pair.left.take(Closed)) == 1

    def test_the_end_of_the_line_ends_all(self) -> None:
        """P-CONN-6: every stream hears it once, those that were stopped not even that; the tables are empty."""
        pair = EnginePair().open()
        pair.stream(pair.right)
        pair.stream(pair.left)
        _, unwanted = pair.stream(pair.right)
        pair.left.engine.streaming.stop(unwanted)
        pair.flush()
        changed(pair.right)
        pair.cut()
        assert changed(pair.left) == ["consumer", "producer", "consumer"] and changed(pair.right) == [
            "producer",
            "consumer",
        ]
        assert stats(pair.left.engine)["streams"] == stats(pair.right.engine)["streams"] == 0
        assert not pair.left.take(CallFailed)
        pair.finish()

    def test_without_a_token_nothing_is_said(self, pair: EnginePair) -> None:
        """P-STREAM: until a driver has taken an end there is nobody to tell; what came in between is found."""
        pair.left.call("upload", out := stream_out())
        pair.flush()
        send(pair.left, out.subject, 1)
        pair.left.engine.streaming.end(out.subject)
        pair.flush()
        answer = pair.right.arrived()
        (reference,) = answer.references
        assert not pair.left.events and not pair.right.events
        assert pair.right.read(reference.subject) == [1] and reference.subject.ended
        pair.right.reply(answer)
        assert not isinstance(reference, CapRef)
