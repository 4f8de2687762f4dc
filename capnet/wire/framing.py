"""Framing: a byte stream cut into frames by a 4-byte big-endian length (P-FRAME-1, P-FRAME-2)."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from io import BytesIO
from struct import Struct
from typing import Final

from capnet.errors import ProtocolViolation
from capnet.limits import HANDSHAKE_FRAME, bound
from capnet.native import compiled

__all__ = ["HEADER_BYTES", "FrameReader", "header"]

HEADER_BYTES = 4
_LONG: Final = 64 * 1024
"""Bytes from which a frame that comes in pieces is put together in a buffer that becomes the frame itself."""
_KEPT: Final = 4 * 1024 * 1024
"""Longest buffer of a frame in bytes that is kept for the next one."""
_HEAD_SHOWN: Final = 16
"""Bytes that are looked at to see what speaks here, when it is not capnet."""
_TLS: Final = (b"\x16\x03", b"\x15\x03")
"""How it begins: a handshake, an alert."""
_HTTP: Final = (b"HTTP", b"GET ", b"POST", b"HEAD", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"PRI ")
_TOKEN: Final = b"capnet-token"
"""How listeners of `tcp:` begin that want one."""
_length = Struct(">I")
_spare: list[BytesIO] = []
"""The buffer of a long frame, for the next one; at most one for all connections. To take memory anew for each frame
costs several times what filling it does."""


header = _length.pack
"""The length that goes before a frame of so many bytes."""


def _why_too_long(head: bytes, length: int, limit: int) -> str:
    """What is said of a length that is not taken: most often it is none, but the beginning of something else.

    Args:
        head: the length as it came, and some of what came behind it.
    """
    if head.startswith(_TOKEN):
        return "the listener asks for a token: connect with token="
    speaks = _stranger(head)
    if speaks is not None:
        return f"{speaks} where a frame should begin: this is not capnet"
    if limit <= HANDSHAKE_FRAME:
        return f"{length} bytes are announced where a hello of at most {limit} should be: this may be no capnet"
    return f"a frame of {length} bytes: {bound('max_frame', limit, 'receiver')}"


def _stranger(head: bytes) -> str | None:
    if head.startswith(_TLS):
        return "TLS"
    if head.startswith(_HTTP):
        return "HTTP"
    if head.startswith(b"SSH-"):
        return "SSH"
    if head[:HEADER_BYTES].isascii() and all(byte >= 32 or byte in b"\t\r\n" for byte in head[:HEADER_BYTES]):
        return f"text, {head.decode('ascii', 'replace')!a},"
    return None


class FrameReader:
    """Cuts chunks of any size into whole frames.

    Args:
        limit: longest frame in bytes that is accepted; may be changed between frames. It is checked from the header
            alone, before anything of the frame is buffered.
    """

    __slots__ = ("_long", "_missing", "held", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = bytearray()
        """What has come of a frame that is not complete; of a long one the header alone."""
        self._long: BytesIO | None = None
        """What has come of a long frame. It grows as the bytes come, whatever the header says, and its buffer becomes
        the frame without being copied. When it is used again that is written over if nobody has kept the frame, else
        `io.BytesIO` takes another one. A hash would outlive the bytes it is of: nothing may hash a frame."""
        self._missing = 0
        """Bytes of the long frame that are still to come."""
        self.used = 0
        """Bytes of the last chunk that `cut` has made frames of."""

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and is not complete."""
        return bool(self.held)

    @property
    def waiting(self) -> int:
        """Bytes that have come of a long frame and wait for its rest."""
        return 0 if self._long is None else self._long.tell()

    def frames(self, data: bytes | bytearray | memoryview) -> Iterable[bytes]:
        """The frames that `data` completes, in order, without their headers.

        They must be used up, or given to `leave`, before the next chunk: only then is what is left of `data` kept.

        Raises:
            ProtocolViolation: P-FRAME-2, a header announces more than `limit`. The frames before it have been given.
        """
        if not self.held:
            frames = sole(data, self.limit)
            if frames is not None:
                return frames
        return self._frames(data)

    def leave(self, frames: Iterable[bytes]) -> None:
        """Keep those that were not taken yet: they come with the next chunk, which may be empty."""
        if isinstance(frames, Generator):
            frames.close()

    def _frames(self, data: bytes | bytearray | memoryview) -> Generator[bytes, None, None]:
        long = self._long
        if long is not None:
            size = min(len(data), self._missing)
            with memoryview(data) as view:
                long.write(view[:size])
            self._missing -= size
            if self._missing:
                return
            self._long = None
            self.held.clear()
            long.truncate()
            data = memoryview(data)[size:]
            try:
                yield long.getvalue()
            except GeneratorExit:
                self.held += data
                raise
        held = self.held
        if held:
            held += data
            view = memoryview(held)
            try:
                yield from cut(self, view)
            finally:
                view.release()
                del held[: self.used]
                if self._long is not None:
                    del held[HEADER_BYTES:]
        else:
            size = len(data)
            try:
                yield from cut(self, data)
            finally:
                used = self.used
                if used != size:
                    held += memoryview(data)[used : size if self._long is None else used + HEADER_BYTES]
        if long is not None and long.tell() <= _KEPT and not _spare:
            _spare.append(long)

    def forget(self) -> None:
        """Let go of a long frame that is not complete: nothing more will come."""
        self._long = None

    def begin_long(self, come: bytes | bytearray | memoryview, length: int) -> None:
        """A frame of so many bytes has begun with these."""
        self._long = _spare.pop() if _spare else BytesIO()
        self._long.seek(0)
        self._missing = length - self._long.write(come)


@compiled
def sole(data: bytes | bytearray | memoryview, limit: int) -> tuple[bytes] | None:
    """The frame of a chunk that is one frame and no more, as most are."""
    if len(data) > HEADER_BYTES:
        (length,) = _length.unpack_from(data)
        if length == len(data) - HEADER_BYTES and length <= limit:
            return (bytes(data[HEADER_BYTES:]),)
    return None


@compiled
def cut(reader: FrameReader, view: bytes | bytearray | memoryview, position: int = 0) -> Iterator[bytes]:
    """The frames that are whole in `view`, from a position on. At its end `reader` is told what was used of it.

    Raises:
        ProtocolViolation: P-FRAME-2, a header announces more than the reader's limit.
    """
    size = len(view)
    try:
        while size - position >= HEADER_BYTES:
            (length,) = _length.unpack_from(view, position)
            if length > reader.limit:
                head = bytes(view[position : position + _HEAD_SHOWN])
                raise ProtocolViolation("P-FRAME-2", _why_too_long(head, length, reader.limit))
            end = position + HEADER_BYTES + length
            if end > size:
                if length >= _LONG:
                    reader.begin_long(memoryview(view)[position + HEADER_BYTES :], length)
                break
            start, position = position + HEADER_BYTES, end
            yield bytes(view[start:end])
    finally:
        reader.used = position
