"""`Streams`: both ends of what flows, by id, with their credit. What is done with them: test_streaming."""

from __future__ import annotations

from typing import Any

import pytest

from capnet.engine.stream import InStream, OutStream
from capnet.engine.streams import Streams
from capnet.errors import ProtocolViolation, ResourceExhausted, StreamStopped
from capnet.limits import EARLY, Limits
from capnet.testing.engines import capability, stream_in, stream_out
from capnet.wire.references import StreamRef

LIMITS = Limits(max_streams=16, stream_items=8, stream_bytes=1000)
MOST = 2**31 - 1


def table() -> Streams:
    """An empty one; the peer takes as much as it must."""
    return Streams(LIMITS)


def opened(streams: Streams, *references: StreamRef) -> list[Any]:
    """Streams of ours whose frame has left."""
    streams.open(references)
    streams.left(references)
    streams.check_invariants()
    return [reference.subject for reference in references]


def arrived(streams: Streams, direction: str, id: int = 1) -> Any:
    """A stream that the peer has opened."""
    streams.arrive(reference := StreamRef(direction, id=id))
    streams.check_invariants()
    return reference.subject


def clause(raised: pytest.ExceptionInfo[ProtocolViolation]) -> str:
    """Which one was broken."""
    return raised.value.clause


class TestOpening:
    """Ours are opened by being mentioned in a frame that leaves."""

    def test_ids_go_upwards_and_tokens_move_in(self) -> None:
        """P-ID-1, P-STREAM-1: the reference has the id and the stream; what the driver passed is the stream's token."""
        streams = table()
        out, asked = opened(streams, first := stream_out("producer"), second := stream_in("consumer"))
        assert (type(out), out.id, first.id, out.token) == (OutStream, 1, 1, "producer")
        assert (type(asked), asked.id, second.id, asked.token) == (InStream, 2, 2, "consumer")
        assert list(streams) == [out, asked] and len(streams) == streams.opened == 2

    def test_other_references_are_not_streams(self) -> None:
        """P-REF: the list of a frame's references goes everywhere as it is."""
        streams = table()
        streams.open([capability("thing")])
        assert streams.left([capability("thing")]) == streams.undo([capability("thing")]) == [] and not len(streams)

    def test_credit_comes_when_the_frame_leaves(self) -> None:
        """P-STREAM-2: before, nobody knows of it; what we consume has its window from the beginning."""
        streams = table()
        streams.open([produced := stream_out(), asked := stream_in()])
        out, into = produced.subject, asked.subject
        assert out.unsent and into.unsent and not out.room
        assert (into.items, into.bytes) == (8, 1000)
        assert streams.left([produced, asked]) == [out, into]
        assert (out.items, out.bytes, out.unsent, into.unsent) == (1, 1, False, False)

    def test_undone_they_are_gone(self) -> None:
        """P-REF-1: the frame does not leave; the ids are not used again."""
        streams = table()
        streams.open(references := [stream_out(), stream_in()])
        assert streams.undo(references) == [reference.subject for reference in references]
        assert len(streams) == streams.opened == 0
        assert opened(streams, stream_out())[0].id == 3

    def test_no_more_than_the_peer_takes(self) -> None:
        """P-LIMIT-2: all of a frame or none; what ends makes room; those of the peer's do not count."""
        streams = table()
        arrived(streams, "out")
        assert streams.limit == EARLY.max_streams
        first, *_ = opened(streams, *(stream_out() for _ in range(15)))
        with pytest.raises(ResourceExhausted) as raised:
            streams.open([stream_in(), stream_in()])
        assert raised.value.reason == "max_streams" and streams.opened == 15
        streams.remove(first)
        streams.remove(first)
        assert streams.opened == 14
        opened(streams, stream_in(), stream_in())


class TestArriving:
    """Those of the peer's have negative ids here."""

    @pytest.mark.parametrize(("direction", "kind"), [("out", InStream), ("in", OutStream)])
    def test_the_direction_is_the_peers(self, direction: str, kind: type) -> None:
        """P-STREAM-1, P-ID-2: what it produces we consume; the window that we announced, or that it did."""
        streams = table()
        stream = arrived(streams, direction, 7)
        assert (type(stream), stream.id, streams.opened, stream.token) == (kind, -7, 0, None)
        assert (stream.items, stream.bytes) == ((8, 1000) if direction == "out" else (1, 1))

    def test_an_id_in_use(self) -> None:
        """P-ID-1."""
        streams = table()
        arrived(streams, "out", 3)
        with pytest.raises(ProtocolViolation) as raised:
            streams.arrive(StreamRef("in", id=3))
        assert clause(raised) == "P-ID-1"

    def test_ids_may_come_in_any_order(self) -> None:
        """P-CALL-7: a call that was held back opens later what was mentioned earlier."""
        streams = table()
        for id in (5, 2, 4):
            arrived(streams, "out", id)
        assert streams.produced(-1) is None, "it was opened as far as anybody can tell"

    def test_no_more_than_we_said(self) -> None:
        """P-LIMIT-2: ours do not count."""
        streams = table()
        opened(streams, stream_out())
        for id in range(1, 17):
            arrived(streams, "in", id)
        with pytest.raises(ProtocolViolation) as raised:
            streams.arrive(StreamRef("in", id=17))
        assert clause(raised) == "P-LIMIT-2"


class TestFinding:
    """By what the peer may say of them."""

    def test_what_it_may_give_credit_for(self) -> None:
        """P-STREAM-1, P-ID-4: streams that we produce; None once they are gone."""
        streams = table()
        out, into = opened(streams, stream_out())[0], arrived(streams, "out")
        assert [streams.produced(out.id), streams.has(out)] == [out, True]
        for id, expected in [(into.id, "P-STREAM-1"), (2, "P-ID-4"), (-2, "P-ID-4")]:
            with pytest.raises(ProtocolViolation) as raised:
                streams.produced(id)
            assert clause(raised) == expected
        streams.remove(out)
        assert [streams.produced(out.id), streams.has(out)] == [None, False]

    def test_what_it_may_send_on(self) -> None:
        """P-STREAM-1, P-STREAM-3, P-ID-4: streams that we consume, until they have ended."""
        streams = table()
        (out,), into = opened(streams, stream_out()), arrived(streams, "out")
        assert streams.consumed(into.id) is into
        streams.remove(into)
        for id, expected in [(out.id, "P-STREAM-1"), (into.id, "P-STREAM-3"), (-2, "P-ID-4")]:
            with pytest.raises(ProtocolViolation) as raised:
                streams.consumed(id)
            assert clause(raised) == expected


class TestCredit:
    """What may be sent, what may come."""

    @pytest.mark.parametrize(("items", "size", "room"), [(1, 1, True), (0, 1, False), (1, 0, False), (1, -5, False)])
    def test_an_item_needs_both(self, items: int, size: int, room: bool) -> None:
        """P-STREAM-2: at least one item and more than no byte (rule R29)."""
        stream = OutStream(1)
        stream.items, stream.bytes = items, size
        assert stream.room == room
        stream.closed = StreamStopped("enough")
        assert not stream.room

    def test_grants_add_up_to_a_bound(self) -> None:
        """P-STREAM-2: of either part; nothing has changed when it is too much (fault 30)."""
        stream = OutStream(1)
        stream.grant(3, 0)
        stream.grant(MOST - 3, MOST)
        for grant in [(1, 0), (0, 1)]:
            with pytest.raises(ProtocolViolation) as raised:
                stream.grant(*grant)
            assert clause(raised) == "P-STREAM-2" and (stream.items, stream.bytes) == (MOST, MOST)

    def test_what_comes_is_charged(self) -> None:
        """P-STREAM-2: bytes may go below nothing by one frame; then nothing more may come (fault 31)."""
        stream = InStream(-1, LIMITS)
        stream.charge(2, 990)
        stream.charge(6, 5000)
        assert (stream.items, stream.bytes) == (0, -4990)
        stream.items = 5
        for items, size in [(1, 10), (6, -10)]:
            stream.bytes = -4990 if size > 0 else 1000
            with pytest.raises(ProtocolViolation) as raised:
                stream.charge(items, 10)
            assert clause(raised) == "P-STREAM-2" and stream.items == 5

    def test_the_hello_brings_the_difference(self) -> None:
        """P-CONN-2: to streams that have left, not to those that have not, nor to those we consume."""
        streams = table()
        out, into = opened(streams, stream_out(), stream_in())
        out.items, out.bytes = 0, -20
        streams.open([unsent := stream_out()])
        streams.widen(Limits(max_streams=1000, stream_items=10, stream_bytes=500))
        assert (out.items, out.bytes, into.items, unsent.subject.items) == (9, 479, 8, 0)
        assert (streams.limit, streams.window) == (16, (10, 500)), "no more streams than our own bound"
        streams.widen(Limits(max_streams=17, stream_items=2**40, stream_bytes=2**40, max_held_charge=2**40))
        assert streams.window == (MOST, MOST)

    def test_what_went_and_what_came_is_counted(self) -> None:
        """P-CAP-8: by the credit, so that it costs nothing for an item."""
        streams = table()
        (out,), into = opened(streams, stream_out()), arrived(streams, "out")
        assert (out.sent, into.came) == (0, 0)
        out.items -= 1
        out.grant(5, 100)
        out.items -= 3
        assert out.sent == 4
        streams.widen(Limits(max_streams=16, stream_items=10, stream_bytes=500))
        assert out.sent == 4
        into.charge(3, 10)
        into.items += 3  # its reader has consumed them
        into.charge(2, 10)
        assert into.came == 5


def test_clear_returns_all() -> None:
    """P-CONN-6: the connection is over."""
    streams = table()
    (out,), into = opened(streams, stream_out()), arrived(streams, "out")
    assert streams.clear() == [out, into]
    assert len(streams) == streams.opened == 0
    streams.check_invariants()


def test_they_can_be_recognised() -> None:
    """In a log."""
    out, into = OutStream(1), InStream(-2, LIMITS)
    assert [repr(out), repr(into)] == ["<OutStream 1 items=0 bytes=0>", "<InStream -2 open batches=0>"]
    out.closed = StreamStopped("enough")
    into.stopped = True
    assert [repr(out), repr(into)] == ["<OutStream 1 items=0 bytes=0 closed>", "<InStream -2 stopped batches=0>"]
    into.ended = True
    assert repr(into) == "<InStream -2 ended batches=0>"


class TestWindows:
    """P-STREAM-2: a stream may be opened with less first credit than its consumer has announced, never with more."""

    @pytest.mark.parametrize(
        ("said", "first"), [((3, 100), (3, 100)), ((10**6, 7), (LIMITS.stream_items, 7)), ((1, 10**9), None)]
    )
    def test_what_we_consume(self, said: tuple[int, int], first: tuple[int, int] | None) -> None:
        """The producer's word, within what we have announced."""
        streams = table()
        streams.arrive(reference := StreamRef("out", id=1, window=said))
        (ours,) = opened(streams, StreamRef("in", "consumer", window=said))
        streams.check_invariants()
        for stream in (reference.subject, ours):
            assert stream.window == (stream.items, stream.bytes) == (first or (1, LIMITS.stream_bytes))
            with pytest.raises(ProtocolViolation):
                stream.charge(stream.items + 1, 1)

    def test_what_we_produce_before_the_hello_and_after_it(self) -> None:
        """One item and one byte are there at once, the rest when the consumer has said what it takes."""
        streams = table()
        streams.arrive(narrow := StreamRef("in", id=1, window=(3, 100)))
        (wide,) = opened(streams, StreamRef("out", "producer", window=(10**6, 10**6)))
        assert (narrow.subject.items, narrow.subject.bytes) == (wide.items, wide.bytes) == (1, 1)
        streams.widen(Limits(stream_items=20, stream_bytes=500))
        assert (narrow.subject.items, narrow.subject.bytes) == (3, 100)
        assert (wide.items, wide.bytes) == (20, 500)
        streams.arrive(later := StreamRef("in", id=2, window=(7, 1)))
        assert (later.subject.items, later.subject.bytes) == (7, 1)
        streams.check_invariants()
