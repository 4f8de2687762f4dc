"""The outbox: frames on their way out, whole, in order, with the references in them counted (P-REF-1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from capnet.errors import ResourceExhausted
from capnet.limits import EARLY
from capnet.wire.codec import Codec
from capnet.wire.frames import Op
from capnet.wire.framing import header
from capnet.wire.references import Reference

from .exports import CapTable

__all__ = ["Outbox"]

_PAIRS_PER_FRAME = 10_000


class Outbox:
    """Encodes frames and holds the bytes until the driver takes them."""

    __slots__ = ("_chunks", "_codec", "_drops", "_exports", "limit")

    def __init__(self, codec: Codec, exports: CapTable) -> None:
        self._codec = codec
        self._exports = exports
        self._chunks: list[bytes] = []
        self._drops: list[list[int]] = []
        self.limit = EARLY.max_frame
        """Longest frame in bytes that the peer takes; set from its hello."""

    def encode(self, frame: list[Any], references: Sequence[Reference]) -> bytes:
        """The bytes of a frame, with its references counted: all of them, or none when this raises.

        Raises:
            InvalidArgument: it cannot be encoded. ResourceExhausted: the peer holds too many capabilities.
        """
        if not references:
            return self._codec.encode(frame)
        self._exports.count(references)
        try:
            return self._codec.encode(frame)
        except BaseException:
            self._exports.uncount(references)
            raise

    def check_size(self, payload: bytes, references: Sequence[Reference]) -> None:
        """Refuse a frame that the peer would not take, and uncount its references.

        Raises:
            ResourceExhausted: `max_frame_bytes`.
        """
        if len(payload) > self.limit:
            self.uncount(references)
            raise ResourceExhausted(
                f"frame of {len(payload)} bytes, the peer takes {self.limit}", reason="max_frame_bytes"
            )

    def uncount(self, references: Sequence[Reference]) -> None:
        """Take back the references of a frame that was encoded and will not be sent."""
        self._exports.uncount(references)

    def put(self, payload: bytes) -> None:
        """Queue the bytes of one frame."""
        self._chunks.append(header(len(payload)))
        self._chunks.append(payload)

    def send(self, frame: list[Any], references: Sequence[Reference] = ()) -> None:
        """Encode, check and queue one frame; nothing has changed when this raises."""
        payload = self._codec.encode(frame) if not references else self.encode(frame, references)
        if len(payload) > self.limit:
            self.check_size(payload, references)
        self._chunks.append(header(len(payload)))
        self._chunks.append(payload)

    def send_line(self, line: bytes) -> None:
        """Queue bytes that are no frame, for a stranger who does not speak capnet."""
        self._chunks.append(line)

    def drop(self, id: int, count: int) -> None:
        """Give references back with the next `take_drops`."""
        self._drops.append([id, count])

    def take_drops(self) -> None:
        """Queue the drops that have come together."""
        drops, self._drops = self._drops, []
        for start in range(0, len(drops), _PAIRS_PER_FRAME):
            self.send([Op.DROP, drops[start : start + _PAIRS_PER_FRAME]])

    @property
    def has_drops(self) -> bool:
        """Whether references wait to be given back."""
        return bool(self._drops)

    @property
    def pending(self) -> bool:
        """Whether there is anything to send."""
        return bool(self._chunks or self._drops)

    def take(self) -> list[bytes]:
        """Everything queued, as chunks to be written in order."""
        chunks, self._chunks = self._chunks, []
        return chunks

    def forget_drops(self) -> None:
        """The connection is over: nothing is owed."""
        self._drops = []
