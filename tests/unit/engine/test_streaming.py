"""`Streaming`: the intents of producers and consumers, frame by frame. Both sides together: tests/scenarios."""

from __future__ import annotations

from typing import Any

import pytest

from capnet.engine.events import CallArrived, StreamChanged
from capnet.engine.streaming import BATCH_BYTES
from capnet.errors import Internal, NotFound, ResourceExhausted, Revoked, StreamStopped
from capnet.limits import BYTES_PER_VALUE, Limits
from capnet.testing.engines import EnginePair, RawPeer, capability, stream_in, stream_out
from capnet.wire.codec import Codec
from capnet.wire.frames import items_frame
from capnet.wire.hello import Hello
from capnet.wire.references import CapRef, Reference, StreamRef

CODEC = Codec(Limits())


def producing(raw: RawPeer) -> Any:
    """A stream that the engine's side opens and produces; credit for the default window."""
    raw.engine.call(raw.engine.imports.bootstrap, "m", {"s": (out := stream_out("token"))}, [out], "t")
    raw.collect()
    raw.take(StreamChanged)
    return out.subject


def consuming(raw: RawPeer, id: int = 1) -> Any:
    """A stream that the peer opens and produces."""
    raw.say([2, id, 0, "m", {"s": StreamRef("out", id=id)}])
    stream = raw.take(CallArrived)[0].answer.references[0].subject
    stream.token = "token"
    return stream


class TestProducer:
    """What `send` and `end` put on the wire."""

    def test_the_charge_is_the_length_of_the_frame(self) -> None:
        """P-STREAM-2: whatever shares it; both sides count the same, and the producer never less on the way."""
        raw = RawPeer()
        stream = producing(raw)
        for count in (1, 2, 30):
            before = stream.bytes
            for number in range(count):
                raw.engine.streaming.send(stream, number)
                assert stream.bytes < before - count + (count - number - 1)
            ((op, id, values),) = raw.collect()
            frame = items_frame(1, [CODEC.encode(value) for value in values])
            assert (op, id, len(values)) == (7, 1, count) and stream.bytes == before - len(frame)

    def test_a_batch_that_is_full_leaves_at_once(self) -> None:
        """P-FRAME-2: it waits for nothing; the next begins with the item that was too much."""
        raw = RawPeer()
        stream = producing(raw)
        for _ in range(3):
            raw.engine.streaming.send(stream, bytes(BATCH_BYTES // 2 - 10))
        assert len(raw.engine.outbox.chunks) == 2 and len(stream.batch) == 1
        assert [len(frame[2]) for frame in raw.collect()] == [2, 1]
        assert not raw.engine.streams.ready and not stream.batch

    def test_flushing_what_is_empty(self) -> None:
        """P-STREAM-6: no frames without items."""
        raw = RawPeer()
        raw.engine.streaming.flush(producing(raw))
        raw.engine.streaming.flush_all()
        assert raw.collect() == []

    def test_a_long_item_that_is_too_long(self) -> None:
        """P-FRAME-2: refused, and the items before it have left all the same."""
        raw = RawPeer()
        stream = producing(raw)
        raw.engine.streaming.send(stream, 1)
        with pytest.raises(ResourceExhausted) as raised:
            raw.engine.streaming.send(stream, "x" * raw.engine.outbox.limit)
        assert raised.value.reason == "max_frame_bytes" and raw.collect() == [[7, 1, [1]]]
        assert stream.items == Limits().stream_items - 1

    def test_the_last_word(self) -> None:
        """P-STREAM-3, P-ERR-1: alone, or with code, message and details; once."""
        for error, rest in [(None, []), (NotFound("no", reason="r"), ["not_found", "no", {"reason": "r"}])]:
            raw = RawPeer()
            stream = producing(raw)
            raw.engine.streaming.end(stream, error)
            raw.engine.streaming.end(stream, Internal("too late"))
            assert raw.collect() == [[9, 1, *rest]] and not raw.engine.streams

    def test_a_stop_wakes_it_once(self) -> None:
        """P-STREAM-3: with the reader's reason, or a text of ours."""
        for reason, text in [(["seen enough"], "seen enough"), ([], "the reader wants no more")]:
            raw = RawPeer()
            stream = producing(raw)
            assert raw.say(*[[10, -1, *reason]] * 2) == []
            assert len(raw.take(StreamChanged)) == 1 and type(stream.closed) is StreamStopped
            assert stream.closed.message == text


class TestConsuming:
    """What `take`, `consumed` and `stop` do."""

    def test_batches_come_as_they_were_sent(self) -> None:
        """P-STREAM-6: values, references and the length of the frame, oldest first."""
        raw = RawPeer()
        stream = consuming(raw)
        raw.say([7, 1, [1, "two"]], [7, 1, [CapRef("test.Thing", 1, id=5)]])
        assert len(raw.take(StreamChanged)) == 2
        first = raw.engine.streaming.take(stream)
        size = len(CODEC.encode([7, 1, [1, "two"]]))
        assert first == ([1, "two"], (), size, size + 5 * BYTES_PER_VALUE, 5) and raw.engine.held_charge.used > size
        batch = raw.engine.streaming.take(stream)
        assert batch is not None
        (reference,), (same,) = batch[0], batch[1]
        assert reference is same and same.subject is raw.imported(5)
        assert raw.engine.streaming.take(stream) is None and not raw.engine.held_charge.used

    @pytest.mark.parametrize(("items", "size"), [(32, 0), (1, 512 * 1024), (32, 512 * 1024)])
    def test_either_half_sends_both(self, items: int, size: int) -> None:
        """P-STREAM-2: what is owed of either part goes with the credit of the other."""
        raw = RawPeer(Hello("engine", Limits(stream_items=64, stream_bytes=1024 * 1024)))
        stream = consuming(raw)
        stream.items, stream.bytes = 64 - 40, 1024 * 1024 - 600_000
        raw.engine.streaming.consumed(stream, items - 1, 0)
        assert raw.collect() == []
        raw.engine.streaming.consumed(stream, 1, size)
        assert raw.collect() == [[8, -1, items, size]] and (stream.owed_items, stream.owed_bytes) == (0, 0)
        assert (stream.items, stream.bytes) == (24 + items, 1024 * 1024 - 600_000 + size)

    def test_nothing_is_owed_to_one_that_is_over(self) -> None:
        """P-STREAM-2: stopped, or ended."""
        for over in ("stopped", "ended"):
            raw = RawPeer()
            stream = consuming(raw)
            setattr(stream, over, True)
            raw.engine.streaming.consumed(stream, Limits().stream_items, 0)
            assert not raw.engine.pending

    def test_a_stop_with_a_reason(self) -> None:
        """P-STREAM-3: cut like every text."""
        raw = RawPeer()
        raw.engine.streaming.stop(consuming(raw), "é" * 10_000)
        ((op, id, reason),) = raw.collect()
        assert (op, id) == (10, -1) and len(reason.encode()) == 4096

    def test_an_error_of_ours_comes_once(self) -> None:
        """P-STREAM-3: `spoil` is the reader's end; what the producer says afterwards changes nothing."""
        raw = RawPeer()
        stream = consuming(raw)
        raw.say([7, 1, ["unread"]])
        raw.take(StreamChanged)
        raw.engine.streaming.spoil(stream, Revoked("rights were taken"))
        raw.engine.streaming.spoil(stream, NotFound("again"))
        assert raw.collect() == [[10, -1, "revoked"]] and not stream.batches
        raw.say([9, 1, "internal", "x"])
        assert len(raw.take(StreamChanged)) == 1 and isinstance(stream.error, Revoked)


class TestHello:
    """Streams that were opened before it."""

    def test_a_window_of_one_stays_full(self) -> None:
        """P-CONN-2: there is no difference to bring, and nobody is woken for nothing."""
        pair = EnginePair(right=Hello("right", Limits(stream_items=1, stream_bytes=1)))
        pair.left.call("early", out := stream_out("token"))
        pair.left.engine.streaming.send(out.subject, "only")
        pair.step()
        pair.left.take(StreamChanged)
        pair.flush()
        assert not out.subject.room and not pair.left.take(StreamChanged)
        answer = pair.right.arrived()
        (reference,) = answer.references
        assert pair.right.read(reference.subject) == ["only"]
        pair.flush()
        assert out.subject.room and len(pair.left.take(StreamChanged)) == 1
        pair.left.engine.streaming.end(out.subject)
        pair.right.reply(answer)
        pair.finish()


def test_streams_belong_to_what_handed_them_out() -> None:
    """P-CAP-6: each stream of a result, and nothing else in it."""
    raw = RawPeer()
    raw.engine.call(raw.engine.imports.bootstrap, "give", {"cap": (thing := capability("thing"))}, [thing], "t")
    raw.collect()
    raw.say([2, 1, 2, "open", {}])
    answer = raw.take(CallArrived)[0].answer
    references: list[Reference] = [stream_out(), capability("other"), stream_in()]
    raw.reply(answer, list(references), references)
    assert [stream.export for stream in raw.engine.streams] == [answer.export, answer.export]


def test_streams_in_items_belong_to_what_the_stream_belongs_to() -> None:
    """P-CAP-6: what comes inside of a stream that a call took ends with the capability, like the stream itself."""
    raw = RawPeer()
    raw.engine.call(raw.engine.imports.bootstrap, "give", {"cap": (thing := capability("thing"))}, [thing], "t")
    raw.collect()
    raw.say([2, 1, 2, "take", {"s": StreamRef("out", id=1)}], [2, 2, 0, "take", {"s": StreamRef("out", id=2)}])
    raw.say([7, 1, [StreamRef("out", id=3), StreamRef("in", id=4)]], [7, 2, [StreamRef("out", id=5)]])
    owners = {stream.id: stream.export.id for stream in raw.engine.streams if stream.export is not None}
    assert owners == {-1: 2, -2: 0, -3: 2, -4: 2, -5: 0}
    raw.engine.exporting.revoke(list(raw.engine.exports), "gone")
    assert sorted(frame[:2] for frame in raw.collect() if frame[0] in (9, 10)) == [[9, -4], [10, -3], [10, -1]]
