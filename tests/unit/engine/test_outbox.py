"""`Outbox`: frames on their way out, with their references counted."""

from __future__ import annotations

from typing import Any

import pytest

from capnet.engine.exports import CapTable
from capnet.engine.outbox import Outbox
from capnet.engine.streams import Streams
from capnet.errors import InvalidArgument, ResourceExhausted
from capnet.limits import EARLY, Limits
from capnet.testing.engines import capability, stream_out
from capnet.wire.codec import LONG, Codec
from capnet.wire.framing import HEADER_BYTES, FrameReader, header


def outbox() -> tuple[Outbox, CapTable]:
    """An empty outbox and the table it counts in."""
    exports = CapTable(None, None)
    exports.limit = 100
    return Outbox(Codec(Limits()), exports, Streams(Limits())), exports


def sent(box: Outbox) -> list[list[Any]]:
    """The frames that were queued, as the driver takes them."""
    chunks, box.chunks = box.chunks, []
    box.turn += 1
    return [Codec(Limits()).decode(frame)[0] for frame in FrameReader(2**32).frames(b"".join(chunks))]


def test_frames_leave_whole_and_in_order() -> None:
    """P-FRAME-1: header and payload, one after the other."""
    box, _ = outbox()
    box.send([14, 1])
    box.put(Codec(Limits()).encode([14, 2]))
    assert sent(box) == [[14, 1], [14, 2]]
    assert not box.pending


def test_a_failed_send_counts_nothing() -> None:
    """P-REF-1, P-FRAME-2: unencodable, too long, or over the peer's limit: the tables are as before."""
    box, exports = outbox()
    assert box.limit == EARLY.max_frame
    with pytest.raises(InvalidArgument):
        box.send([3, 1, "\ud800"], [capability("x")])
    with pytest.raises(ResourceExhausted) as raised:
        box.send([3, 1, bytes(box.limit)], [capability("x")])
    assert raised.value.reason == "max_frame_bytes"
    exports.limit = 0
    with pytest.raises(ResourceExhausted):
        box.send([3, 1, None], [capability("x")])
    assert len(exports) == 0 and not box.pending


def test_a_frame_in_pieces() -> None:
    """P-FRAME-2: long byte strings are chunks of their own; too long a frame counts nothing, as any other."""
    box, exports = outbox()
    box.limit = 2 * LONG
    with pytest.raises(ResourceExhausted) as raised:
        box.send([3, 1, [bytes(2 * LONG), reference := capability("x"), opened := stream_out()]], [reference, opened])
    assert raised.value.reason == "max_frame_bytes" and len(exports) == 0 and not box.pending
    value = [long := bytes(LONG), reference := capability("x")]
    size = box.send([3, 1, value], [reference])
    assert any(chunk is long for chunk in box.chunks) and sum(map(len, box.chunks)) == 4 + size
    assert box.waiting(0, 0) is None, "it is in pieces"
    ((_, _, (received, _)),) = sent(box)
    assert received == long and len(exports) == 1


def test_a_frame_may_be_changed_until_it_is_taken() -> None:
    """P-CALL-8: found by turn and place, replaced whole, unless the peer would not take it."""
    box, _ = outbox()
    box.send([14, 1])
    box.send([14, 2])
    assert box.waiting(box.turn, 2) == Codec(Limits()).encode([14, 2])
    assert not box.put_instead(2, bytes(box.limit + 1))
    assert box.put_instead(2, Codec(Limits()).encode([14, 2000])) and box.waiting(1, 2) is None
    assert sent(box) == [[14, 1], [14, 2000]] and box.waiting(0, 2) is None


def test_a_sent_reference_is_counted() -> None:
    """P-REF-1: committed when the frame is queued, with its id filled in."""
    box, exports = outbox()
    reference = capability("x")
    box.send([3, 1, reference], [reference])
    (export,) = exports
    assert (export.references, reference.id) == (1, 2)


def test_drops_are_collected_and_cut() -> None:
    """P-FRAME-2: what is given back together leaves together, in frames of bounded size."""
    box, _ = outbox()
    for number in range(4001):
        box.drop(2**52 + number, 2**31 - 1)
    box.take_drops()
    assert [len(frame[1]) for frame in sent(box)] == [4000, 1]
    assert not box.pending


def test_nothing_makes_no_frame() -> None:
    """P-OP: no empty lists on the wire."""
    box, _ = outbox()
    box.send_many(12, [], "reason")
    box.take_drops()
    assert not box.pending


def test_drops_are_forgotten_with_the_connection() -> None:
    """P-CONN-6: nothing is owed any more."""
    box, _ = outbox()
    box.drop(2, 1)
    box.forget_drops()
    box.take_drops()
    assert not box.pending


def test_a_line_for_strangers_is_no_frame() -> None:
    """P-CONN-3: sent as it is."""
    box, _ = outbox()
    box.send_line(b"hello\r\n")
    assert box.chunks == [b"hello\r\n"]


def test_long_byte_strings_are_chunks_of_their_own() -> None:
    """P-FRAME-1: the same bytes in the same order; a frame in pieces cannot be put anew."""
    box, exports = outbox()
    box.limit = 2**20
    blob, reference = bytes(LONG), capability("x")
    frame = [3, 1, {"a": blob, "b": reference}]
    size = box.send(frame, [reference])
    assert any(chunk is blob for chunk in box.chunks) and len(exports) == 1
    assert box.waiting(box.turn, 0) is None
    data = b"".join(box.chunks)
    assert (size, data) == (len(data) - HEADER_BYTES, header(size) + Codec(Limits()).encode(frame))
