"""Fuzz target: `FrameReader` finds the same frames and the same end, however the stream is cut (P-FRAME-1, P-FRAME-2).

An input decides what stands in two streams, by pieces: bytes as they are, or a frame of any length; and where each is
cut. Two readers take turns, because they share the buffer of long frames; some frames are kept until the end and must
be what they were, the others are let go, so that their buffer is used again.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import pack, unpack_from
from typing import Final

from capnet.errors import ProtocolViolation
from capnet.wire.framing import HEADER_BYTES, FrameReader
from tests.fuzz.choices import Choices

__all__ = ["one_input"]

_LIMITS: Final = (4096, 64 * 1024, 300_000, 0, 17)
_LONGEST: Final = 200_000
_SIZES: Final = (0, 1, 3, 4, 5, 4095, 4096, 4097, 65_535, 65_536, 65_537, 131_072)
_LONG: Final = 64 * 1024
"""Bytes from which a frame is put together beside `held`."""
_ALL: Final = 400_000
"""Bytes of one stream."""


class _Stream:
    """One stream, what a reader makes of it so far, and what it should make of it."""

    def __init__(self, choices: Choices, number: int) -> None:
        self.limit = choices.one_of(_LIMITS)
        self.reader = FrameReader(self.limit)
        self.left = _stream(choices, number)
        self.expected, self.violates, self.partial = _expected(self.left, self.limit)
        self.found = 0
        self.kept: list[tuple[int, bytes]] = []
        self.over = False

    def take(self, choices: Choices) -> None:
        """Give the reader the next chunk."""
        size = choices.below(256) if choices.flag() else choices.one_of(_SIZES) or len(self.left)
        chunk, self.left = self.left[:size], self.left[size:]
        kind = choices.below(3)
        data = chunk if kind == 0 else bytearray(chunk) if kind == 1 else memoryview(bytearray(chunk))
        keep = choices.flag()
        clause = ""
        try:
            for frame in self.reader.frames(data):
                assert type(frame) is bytes
                assert frame == self.expected[self.found], f"frame {self.found} is another"
                if keep:
                    self.kept.append((self.found, frame))
                self.found += 1
        except ProtocolViolation as violation:
            clause = violation.clause
        if clause:
            assert clause == "P-FRAME-2"
            assert self.violates and self.found == len(self.expected), "a violation that is none, or too early"
            self.over = True
            return
        assert len(self.reader.held) < HEADER_BYTES + _LONG, "a long frame is held twice"
        if not self.left:
            self.over = True
            assert not self.violates and self.found == len(self.expected)
            assert self.reader.partial == self.partial

    def check_kept(self) -> None:
        """What was kept is what it was."""
        for number, frame in self.kept:
            assert frame == self.expected[number], f"frame {number} was written over"


def one_input(data: bytes) -> None:
    """Play one input."""
    choices = Choices(data)
    streams = [_Stream(choices, number) for number in range(1 + choices.flag())]
    for _ in range(2000):
        going = [stream for stream in streams if not stream.over]
        if not going:
            break
        going[choices.below(len(going)) if choices else 0].take(choices)
    for stream in streams:
        stream.check_kept()


def _stream(choices: Choices, number: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    for piece in range(1 + choices.below(12)):
        match choices.below(5):
            case 0:
                part = choices.take(choices.below(24))
            case 1:  # the header alone, of whatever length
                part = choices.take(HEADER_BYTES)
            case 2:
                part = _frame(choices.below(64), number, piece)
            case 3:
                part = _frame(choices.one_of(_SIZES), number, piece)
            case _:
                part = _frame(choices.below(_LONGEST), number, piece)
        size += len(part)
        if size > _ALL:
            break
        pieces.append(part)
    return b"".join(pieces)


def _frame(length: int, number: int, piece: int) -> bytes:
    """A frame that is like no other."""
    pattern = b"%d:%d:%d/" % (number, piece, length)
    return pack(">I", length) + (pattern * (length // len(pattern) + 1))[:length]


def _expected(stream: bytes, limit: int) -> tuple[list[bytes], bool, bool]:
    """The frames of a stream that comes at once, whether it ends in a violation, and whether within a frame."""
    frames = list(_cut(stream, limit))
    at = sum(map(len, frames)) + HEADER_BYTES * len(frames)
    violates = len(stream) - at >= HEADER_BYTES and unpack_from(">I", stream, at)[0] > limit
    return frames, violates, at < len(stream)


def _cut(stream: bytes, limit: int) -> Iterator[bytes]:
    while len(stream) >= HEADER_BYTES:
        length = int.from_bytes(stream[:HEADER_BYTES])
        if length > min(limit, len(stream) - HEADER_BYTES):
            return
        yield stream[HEADER_BYTES : HEADER_BYTES + length]
        stream = stream[HEADER_BYTES + length :]
