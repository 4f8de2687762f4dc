"""One direction of a line, and what travels on it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from capnet.limits import Limits
from capnet.wire.codec import Codec
from capnet.wire.frames import Op
from capnet.wire.framing import FrameReader, header
from capnet.wire.references import Reference

__all__ = ["ANY_LENGTH", "Link"]

ANY_LENGTH: Final = 2**32
"""Frames of any length are read."""
_Frame = tuple[list[Any], Sequence[Reference]]


class Link:
    """One direction of a line: bytes that were sent and have not arrived.

    Attributes:
        waiting: the bytes.
        ended: the sender has closed; the end follows the last byte.
    """

    __slots__ = ("_codec", "_frames", "_put", "_reader", "_taken", "ended", "waiting")

    def __init__(self) -> None:
        self.waiting = bytearray()
        self.ended = False
        self._codec = Codec(Limits.trusted())
        self._reader = FrameReader(ANY_LENGTH)
        self._frames: deque[_Travelling] = deque()
        self._put = self._taken = 0

    def put(self, chunks: Iterable[bytes]) -> None:
        """The sender has written these chunks."""
        for frame in self._reader.frames(b"".join(chunks)):
            self._put += len(header(len(frame))) + len(frame)
            self._frames.append(_Travelling(self._put, frame))
            self.waiting += header(len(frame)) + frame

    def take(self, count: int | None = None) -> bytes:
        """The next `count` bytes, or all."""
        data = bytes(self.waiting if count is None else self.waiting[:count])
        del self.waiting[: len(data)]
        self._taken += len(data)
        while self._frames and self._frames[0].end <= self._taken:
            self._frames.popleft()
        return data

    def frames(self) -> Iterator[_Frame]:
        """The frames that have not arrived to the last byte, with the references in them."""
        return (frame.decoded(self._codec) for frame in self._frames)

    def items(self, stream: int) -> tuple[int, int]:
        """How many items of a stream have not arrived, and the bytes of the frames they are in."""
        decoded = [(frame.decoded(self._codec)[0], len(frame.payload)) for frame in self._frames]
        found = [(len(frame[2]), size) for frame, size in decoded if frame[0] == Op.ITEMS and frame[1] == stream]
        return sum(count for count, _ in found), sum(size for _, size in found)


class _Travelling:
    """A frame on a `Link`: where it ends there, its bytes, and what is in it, once somebody has asked."""

    __slots__ = ("_decoded", "end", "payload")

    def __init__(self, end: int, payload: bytes) -> None:
        self.end = end
        self.payload = payload
        self._decoded: _Frame | None = None

    def decoded(self, codec: Codec) -> _Frame:
        """What is in it; the same objects each time."""
        if self._decoded is None:
            self._decoded = codec.decode(self.payload)
        return self._decoded
