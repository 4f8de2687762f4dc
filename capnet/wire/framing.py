"""Framing: a byte stream cut into frames by a 4-byte big-endian length (P-FRAME-1, P-FRAME-2)."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from struct import Struct

from capnet.errors import ProtocolViolation

__all__ = ["HEADER_BYTES", "FrameReader", "header"]

HEADER_BYTES = 4
_length = Struct(">I")


header = _length.pack
"""The length that goes before a frame of so many bytes."""


class FrameReader:
    """Cuts chunks of any size into whole frames.

    Args:
        limit: longest frame in bytes that is accepted; may be changed between frames. It is checked from the header
            alone, before anything of the frame is buffered.
    """

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = bytearray()
        """What has come of a frame that is not complete."""

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and is not complete."""
        return bool(self.held)

    def frames(self, data: bytes | bytearray | memoryview) -> Iterable[bytes]:
        """The frames that `data` completes, in order, without their headers.

        They must be used up before the next chunk: only then is what is left of `data` kept.

        Raises:
            ProtocolViolation: P-FRAME-2, a header announces more than `limit`. The frames before it have been given.
        """
        if not self.held and len(data) > HEADER_BYTES:
            (length,) = _length.unpack_from(data)
            if length == len(data) - HEADER_BYTES and length <= self.limit:
                return (bytes(data[HEADER_BYTES:]),)  # a chunk that is one frame, as most are
        return self._frames(data)

    def _frames(self, data: bytes | bytearray | memoryview) -> Iterator[bytes]:
        held = self.held
        if held:
            held += data
            with memoryview(held) as view:
                used = yield from self._cut(view, len(held))
            del held[:used]
        else:
            size = len(data)
            used = yield from self._cut(data, size)
            if used != size:
                held += memoryview(data)[used:]

    def _cut(self, view: bytes | bytearray | memoryview, size: int) -> Generator[bytes, None, int]:
        position = 0
        while size - position >= HEADER_BYTES:
            (length,) = _length.unpack_from(view, position)
            if length > self.limit:
                raise ProtocolViolation("P-FRAME-2", f"frame of {length} bytes, limit {self.limit}")
            end = position + HEADER_BYTES + length
            if end > size:
                break
            yield bytes(view[position + HEADER_BYTES : end])
            position = end
        return position
