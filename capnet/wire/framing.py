"""Framing: a byte stream cut into frames by a 4-byte big-endian length (P-FRAME-1, P-FRAME-2)."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from struct import Struct

from capnet.errors import ProtocolViolation

__all__ = ["HEADER_BYTES", "FrameReader", "header"]

HEADER_BYTES = 4
_length = Struct(">I")


def header(size: int) -> bytes:
    """The length that goes before a frame of `size` bytes."""
    return _length.pack(size)


class FrameReader:
    """Cuts chunks of any size into whole frames.

    Args:
        limit: longest frame in bytes that is accepted; may be changed between frames. It is checked from the header
            alone, before anything of the frame is buffered.
    """

    __slots__ = ("_held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held = bytearray()

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and is not complete."""
        return bool(self._held)

    def frames(self, data: bytes | bytearray | memoryview) -> Iterator[bytes]:
        """The frames that `data` completes, in order, without their headers.

        The iterator must be used up before the next chunk: only then is what is left of `data` kept.

        Raises:
            ProtocolViolation: P-FRAME-2, a header announces more than `limit`. The frames before it have been given.
        """
        held = self._held
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
