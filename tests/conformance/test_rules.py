"""What clauses of streams and kept results say and no vector or diagram shows: one side played by hand."""

from __future__ import annotations

from typing import Any

import pytest

from capnet.engine.answers import Answer
from capnet.engine.events import AnswerEnded, CallArrived, StreamChanged
from capnet.engine.stream import InStream, OutStream
from capnet.testing.engines import RawPeer, capability
from capnet.wire.references import AnswerRef, CapRef, StreamRef


def arrived(peer: RawPeer) -> Answer:
    """The only call that has come."""
    (event,) = peer.take(CallArrived)
    return event.answer


def lobby(peer: RawPeer) -> None:
    """Have the engine give the peer its cap-id 2, in the result of call 1."""
    peer.say([2, 1, 0, "bootstrap", {}])
    reference = capability("lobby")
    assert peer.reply(arrived(peer), reference, [reference])[0][:2] == [3, 1]


def read(peer: RawPeer) -> InStream:
    """Open stream 1 of the peer's in call 2, on cap-id 2; the engine reads it."""
    peer.say([2, 2, 2, "upload", {"lines": StreamRef("out", None, 1)}])
    (reference,) = arrived(peer).references
    stream: InStream = reference.subject
    stream.token = "reader"
    return stream


@pytest.mark.parametrize(
    ("interface", "version", "clause"),
    [("test.Thing", 1, None), ("test.Other", 1, "P-REF-5"), ("test.Thing", 2, "P-REF-5"), ("", 1, "P-REF")],
)
def test_what_comes_home_says_what_it_was_given_as(interface: str, version: int, clause: str | None) -> None:
    """P-REF-5: or it is a violation, of which nothing has been done."""
    peer = RawPeer()
    lobby(peer)
    peer.say([2, 2, 2, "post", {"what": CapRef(interface, version, None, -2)}])
    assert peer.clause == clause
    assert len(peer.take(CallArrived)) == (clause is None)


def test_a_capability_has_one_version_while_it_is_held() -> None:
    """P-REF-1: a later appearance says what the first has said, so that what comes home can be compared."""
    peer = RawPeer()
    lobby(peer)
    peer.say([2, 2, 2, "again", {}])
    newer = CapRef("test.Thing", 7, "lobby")
    (reply,) = peer.reply(arrived(peer), newer, [newer])
    assert reply[2].version == 1


def taken(peer: RawPeer, stream: InStream) -> list[Any]:
    """The items that have come."""
    items: list[Any] = []
    while (batch := peer.engine.streaming.take(stream)) is not None:
        items += batch[0]
    return items


@pytest.mark.parametrize("frames", [[["a", "b", "c"]], [["a"], ["b", "c"]], [["a"], ["b"], ["c"]]], ids=repr)
def test_where_frames_of_items_end_says_nothing(frames: list[list[str]]) -> None:
    """P-STREAM-6: the consumer sees the same items, and the producer has the same number left."""
    peer = RawPeer()
    lobby(peer)
    stream = read(peer)
    assert peer.say(*([7, 1, items] for items in frames)) == []
    assert taken(peer, stream) == ["a", "b", "c"]
    assert stream.items == peer.engine.limits.stream_items - 3


def test_items_that_are_ready_together_share_a_frame() -> None:
    """P-STREAM-6: one with a reference goes alone, and all stay in order."""
    peer = RawPeer()
    peer.say([2, 1, 0, "watch", {"into": StreamRef("in", None, 1)}], [8, 1, 9, 1000])
    (reference,) = arrived(peer).references
    stream: OutStream = reference.subject
    room = capability("room")
    for item in ("a", "b"):
        peer.engine.streaming.send(stream, item)
    peer.engine.streaming.send(stream, room, [room])
    peer.engine.streaming.send(stream, "c")
    (first, (_, _, [cap]), last) = peer.collect()
    assert (first, last) == ([7, -1, ["a", "b"]], [7, -1, ["c"]])
    assert type(cap) is CapRef and cap.id == 2


def test_an_item_that_names_what_is_gone_ends_the_stream() -> None:
    """P-STREAM-5: on the consumer's side, which stops it; what came with that item is given back."""
    peer = RawPeer()
    lobby(peer)
    stream = read(peer)
    peer.say([11, [[2, 1]]])
    said = peer.say([7, 1, ["a"]], [7, 1, [CapRef("test.Thing", 1, None, -2), CapRef("test.Thing", 1, None, 5)]])
    assert [frame[:2] for frame in said] == [[10, -1], [11, [[5, 1]]]]
    assert stream.error is not None and (stream.error.code, stream.error.reason) == ("not_found", "released")
    assert peer.say([9, 1]) == [] and not peer.engine.streams


def test_references_in_items_count() -> None:
    """P-STREAM-5, P-REF-1: each appearance is one that the consumer owes back."""
    peer = RawPeer()
    lobby(peer)
    stream = read(peer)
    peer.say([7, 1, [CapRef("test.Thing", 1, None, 5), [CapRef("test.Thing", 1, None, 5)]]])
    assert peer.imported(5).references == 2
    peer.engine.streaming.stop(stream)
    assert peer.collect() == [[10, -1], [11, [[5, 2]]]]


@pytest.mark.parametrize("dropped", [False, True], ids=["held", "given back"])
def test_streams_that_a_call_has_taken_end_with_its_capability(dropped: bool) -> None:
    """P-STREAM-7: also when the call has been answered and the peer has given the capability back."""
    peer = RawPeer()
    lobby(peer)
    peer.say([2, 2, 2, "translate", {"lines": StreamRef("out", None, 1), "into": StreamRef("in", None, 2)}])
    peer.reply(arrived(peer), None)
    if dropped:
        peer.say([11, [[2, 1]]])
    engine = peer.engine
    engine.exporting.revoke(engine.exporting.of("lobby"), "over")
    said = peer.collect()
    ends = [[10, -1, "revoked"], [9, -2, "failed_precondition", "over", {"reason": "revoked"}]]
    assert said == (ends if dropped else [[12, [2], "over"], *ends])
    peer.say([9, 1])
    assert not engine.streams


def test_streams_of_a_call_that_had_to_wait_end_with_its_capability() -> None:
    """P-STREAM-7: what the call is made on may be known later than the call."""
    peer = RawPeer()
    peer.say([2, 1, 0, "open", {}, {"keep": True}], [2, 2, [1], "upload", {"lines": StreamRef("out", None, 1)}])
    open_call = arrived(peer)
    reference = capability("room")
    peer.reply(open_call, reference, [reference])
    peer.reply(arrived(peer), None)
    peer.engine.exporting.revoke(peer.engine.exporting.of("room"), "over")
    assert peer.collect() == [[12, [2], "over"], [10, -1, "revoked"]]


def test_a_kept_call_is_finished_once_even_while_its_handler_stops() -> None:
    """P-CALL-8: a cancelled call is over for its caller; the handler that still runs keeps nothing alive."""
    peer = RawPeer()
    peer.say([2, 1, 0, "open", {}, {"keep": True}])
    answer = arrived(peer)
    assert peer.say([5, 1])[0][:3] == [4, 1, "cancelled"]
    assert peer.say([2, 2, [1], "post", {}])[0][:3] == [4, 2, "cancelled"]
    assert peer.say([6, 1]) == []
    late = peer.say([2, 3, 0, "show", {"what": AnswerRef(1)}])
    assert late[0][:3] == [4, 3, "not_found"]
    assert peer.say([6, 1])[0][:2] == [16, "P-CALL-8"]
    (ended,) = peer.take(AnswerEnded)
    assert ended.answer is answer


def test_a_stop_is_answered_by_an_end() -> None:
    """P-STREAM-4: a second stop, and credit that crosses the end, do nothing."""
    peer = RawPeer()
    peer.say([2, 1, 0, "watch", {"into": StreamRef("in", None, 1)}])
    (reference,) = arrived(peer).references
    stream: OutStream = reference.subject
    stream.token = "producer"
    assert peer.say([10, 1], [10, 1, "really"]) == []
    assert len(peer.take(StreamChanged)) == 1 and not stream.room
    peer.engine.streaming.end(stream)
    assert peer.collect() == [[9, -1]]
    assert peer.say([10, 1], [8, 1, 1, 1]) == []
    assert peer.clause is None
