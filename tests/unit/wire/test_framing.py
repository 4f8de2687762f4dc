"""Framing: bytes into frames (P-FRAME-1, P-FRAME-2)."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import pytest

from capnet.errors import ProtocolViolation
from capnet.wire import framing
from capnet.wire.framing import HEADER_BYTES, FrameReader, header

LONG = 100_000
"""Bytes of a frame that is put together in a buffer of its own."""


@pytest.fixture(autouse=True)
def spare(monkeypatch: pytest.MonkeyPatch) -> list[BytesIO]:
    """Where the buffer of a long frame is kept; empty at first."""
    kept: list[BytesIO] = []
    monkeypatch.setattr(framing, "_spare", kept)
    return kept


def in_chunks(stream: bytes, size: int) -> Iterator[bytearray]:
    """The stream as a transport brings it: in one buffer that is used again."""
    for start in range(0, len(stream), size):
        buffer = bytearray(stream[start : start + size])
        yield buffer
        buffer[:] = b"\xff" * len(buffer)


def framed(*payloads: bytes) -> bytes:
    """The payloads as they travel."""
    return b"".join(header(len(payload)) + payload for payload in payloads)


def test_the_header_is_four_bytes_big_endian() -> None:
    """P-FRAME-1: the length stands before the frame, most significant byte first."""
    assert header(0x01020304) == b"\x01\x02\x03\x04"
    assert len(header(0)) == HEADER_BYTES


def test_one_chunk_may_hold_several_frames() -> None:
    """P-FRAME-1: frames come out in order, without their headers; a frame of no bytes is one too."""
    reader = FrameReader(16)
    assert list(reader.frames(framed(b"one", b"", b"three"))) == [b"one", b"", b"three"]
    assert not reader.partial


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_kind_of_buffer_is_taken(kind: type[bytes | bytearray | memoryview]) -> None:
    """P-FRAME-1: frames are `bytes` of their own, whatever the transport's buffer is."""
    reader = FrameReader(16)
    stream = framed(b"abc", b"de")
    frames = [*reader.frames(kind(stream[:9])), *reader.frames(kind(stream[9:]))]
    assert frames == [b"abc", b"de"]
    assert all(type(frame) is bytes for frame in frames)


def test_a_frame_outlives_the_buffer_it_came_in() -> None:
    """P-FRAME-1: the transport may reuse its buffer after the call."""
    reader = FrameReader(16)
    buffer = bytearray(framed(b"abc", b"de")[:9])
    (frame,) = reader.frames(buffer)
    buffer[:] = b"\xff" * len(buffer)
    assert frame == b"abc"
    assert list(reader.frames(framed(b"de")[2:])) == [b"de"]


def test_a_frame_may_come_byte_by_byte() -> None:
    """P-FRAME-2: `partial` says from the first byte of a header to the last of the frame that one has begun."""
    reader = FrameReader(16)
    stream = framed(b"abc")
    for position in range(len(stream) - 1):
        assert list(reader.frames(stream[position : position + 1])) == []
        assert reader.partial
    assert list(reader.frames(stream[-1:])) == [b"abc"]
    assert not reader.partial


def test_what_follows_a_completed_frame_is_kept() -> None:
    """P-FRAME-1: the end of one frame and the beginning of the next may share a chunk."""
    reader = FrameReader(16)
    stream = framed(b"abc", b"defg")
    assert list(reader.frames(stream[:5])) == []
    assert list(reader.frames(stream[5:12])) == [b"abc"]
    assert reader.partial
    assert list(reader.frames(stream[12:])) == [b"defg"]


def test_a_frame_of_the_limit_passes_and_one_byte_more_does_not() -> None:
    """P-FRAME-2: the bound is inclusive."""
    assert list(FrameReader(3).frames(framed(b"abc"))) == [b"abc"]
    with pytest.raises(ProtocolViolation) as caught:
        list(FrameReader(3).frames(framed(b"abcd")))
    assert caught.value.clause == "P-FRAME-2"


@pytest.mark.parametrize("announced", [4097, 2**31, 2**32 - 1])
def test_a_long_frame_is_refused_from_its_header_alone(announced: int) -> None:
    """P-FRAME-2: nothing of it needs to arrive, and nothing is buffered for it."""
    reader = FrameReader(4096)
    with pytest.raises(ProtocolViolation) as caught:
        list(reader.frames(header(announced)))
    assert caught.value.clause == "P-FRAME-2"


def test_frames_before_a_long_one_are_given_first() -> None:
    """P-FRAME-2: what was in order before the violation still counts."""
    frames = iter(FrameReader(3).frames(framed(b"abc", b"defg")))
    assert next(frames) == b"abc"
    with pytest.raises(ProtocolViolation):
        next(frames)


def test_the_limit_may_change_between_frames() -> None:
    """P-FRAME-2: the hello raises the limit for the frame right behind it in the same chunk."""
    reader = FrameReader(3)
    frames = iter(reader.frames(framed(b"abc", b"defg")))
    assert next(frames) == b"abc"
    reader.limit = 4
    assert list(frames) == [b"defg"]


@pytest.mark.parametrize("size", [1, 3, 4, 5, 1000, LONG, LONG + 4, LONG + 5, 2 * LONG + 9, 4 * LONG])
def test_long_frames_may_be_cut_anywhere(size: int) -> None:
    """P-FRAME-1: short and long frames come out the same and in order, whatever the size of the chunks."""
    payloads = [b"short", bytes([1]) * LONG, b"", bytes([2]) * (LONG + 1), bytes([3]) * (LONG - 1), b"last"]
    reader = FrameReader(2 * LONG)
    frames = [frame for chunk in in_chunks(framed(*payloads), size) for frame in reader.frames(chunk)]
    assert frames == payloads
    assert all(type(frame) is bytes for frame in frames)
    assert not reader.partial


def test_a_long_frame_is_partial_until_its_last_byte() -> None:
    """P-FRAME-2: its time limit holds for all of it."""
    reader = FrameReader(LONG)
    stream = framed(bytes(LONG))
    for start in range(0, LONG, 1000):
        assert list(reader.frames(stream[start : start + 1000])) == []
        assert reader.partial
    assert list(reader.frames(stream[LONG:])) == [bytes(LONG)]
    assert not reader.partial


@pytest.mark.parametrize("next_size", [LONG - 10_000, LONG, LONG + 10_000])
def test_a_long_frame_that_is_kept_is_not_written_over(next_size: int, spare: list[BytesIO]) -> None:
    """P-FRAME-1: its buffer is used again, but not while somebody has the frame."""
    reader = FrameReader(2 * LONG)
    stream = framed(bytes([1]) * LONG)
    assert list(reader.frames(stream[:1000])) == []
    (kept,) = reader.frames(stream[1000:])
    assert len(spare) == 1
    stream = framed(bytes([2]) * next_size)
    assert list(reader.frames(stream[:1000])) == []
    assert not spare, "it is in use"
    assert list(reader.frames(stream[1000:])) == [bytes([2]) * next_size]
    assert kept == bytes([1]) * LONG


def test_one_buffer_is_kept_for_all(spare: list[BytesIO], monkeypatch: pytest.MonkeyPatch) -> None:
    """P-FRAME-2: however many connections there are, and none that is very long."""
    monkeypatch.setattr(framing, "_KEPT", LONG)
    readers = [FrameReader(2 * LONG) for _ in range(3)]
    for payload, count in ((bytes(LONG + 1), 0), (bytes(LONG), 1), (bytes(LONG), 1)):
        stream = framed(payload)
        for reader in readers:
            assert list(reader.frames(stream[:1000])) == []
        for reader in readers:
            assert list(reader.frames(stream[1000:])) == [payload]
        assert len(spare) == count


def test_a_long_frame_before_one_that_is_too_long() -> None:
    """P-FRAME-2: it is given, then the header of the next is refused in the same chunk."""
    reader = FrameReader(LONG)
    stream = framed(bytes(LONG)) + header(LONG + 1)
    assert list(reader.frames(stream[:1000])) == []
    frames = iter(reader.frames(stream[1000:]))
    assert next(frames) == bytes(LONG)
    with pytest.raises(ProtocolViolation):
        next(frames)


@pytest.mark.parametrize("long", [False, True])
def test_what_was_not_taken_comes_with_the_next_chunk(long: bool) -> None:
    """T8: a turn may end behind any frame; the rest is kept, whole and in order, also when the chunk is empty."""
    reader = FrameReader(2 * LONG)
    first = b"x" * LONG if long else b"first"
    stream = framed(first, b"second", b"third") + b"\x00\x00"
    chunks = [stream[: LONG // 2], stream[LONG // 2 :]] if long else [stream]
    for chunk in chunks[:-1]:
        assert list(reader.frames(chunk)) == []
    seen: list[bytes] = []
    frames = reader.frames(bytearray(chunks[-1]))
    for frame in frames:
        seen.append(frame)
        break
    reader.leave(frames)
    reader.leave((b"nothing is left of a chunk that is one frame",))
    for frame in (frames := reader.frames(b"")):
        seen.append(frame)
        break
    reader.leave(frames)
    seen += reader.frames(b"\x00\x01!")
    assert seen == [first, b"second", b"third", b"!"] and not reader.partial


@pytest.mark.parametrize(
    ("came", "speaks"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n", "HTTP"),
        (b"POST", "HTTP"),
        (b"HTTP/1.1 400 Bad Request\r\n", "HTTP"),
        (b"PRI * HTTP/2.0", "HTTP"),
        (bytes.fromhex("16030100c0010000bc"), "TLS"),
        (bytes.fromhex("15030100020246"), "TLS"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
        (b"220 mail.example ESMTP\r\n", "text"),
        (b"Hell\xc3\xb6", "text"),
        (b"\r\n\r\n", "text"),
    ],
)
@pytest.mark.parametrize("limit", [4096, 64 * 1024 * 1024])
@pytest.mark.parametrize("pieces", [1, 2, 64])
def test_what_is_no_capnet_is_told_by_how_it_begins(came: bytes, speaks: str, limit: int, pieces: int) -> None:
    """P-FRAME-2: and not as a frame of 1213486160 bytes; wherever it is cut, and also behind good frames."""
    reader = FrameReader(limit)
    data = header(1) + b"\xf6" + came
    size = -(-len(data) // pieces)
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    with pytest.raises(ProtocolViolation, match=f"{speaks}.*this is not capnet") as caught:
        sum(len(list(reader.frames(chunk))) for chunk in chunks)
    assert caught.value.clause == "P-FRAME-2" and len(caught.value.message) < 150


def test_who_has_no_token_for_a_listener_that_asks_for_one_is_told() -> None:
    """It has taken the question for a frame."""
    with pytest.raises(ProtocolViolation, match="connect with token="):
        list(FrameReader(4096).frames(b"capnet-token/1 0123456789abcdef\n"))


def test_a_length_that_says_nothing_is_told_with_the_limit() -> None:
    """P-FRAME-2: before the hello it may be anything, afterwards it is a frame that is too long."""
    for limit, words in ((4096, "may be no capnet"), (65536, "Limits.max_frame of the receiver is 65536")):
        with pytest.raises(ProtocolViolation, match=words):
            list(FrameReader(limit).frames(b"\x80\x00\x00\x00"))
