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

_IDS_PER_FRAME = 4_000
"""Ids, or ids with counts, in one frame: at most 15 bytes each, so that every peer takes it."""


class Outbox:
    """Encodes frames and holds the bytes until the driver takes them."""

    __slots__ = ("_codec", "_exports", "chunks", "drops", "limit")

    def __init__(self, codec: Codec, exports: CapTable) -> None:
        self._codec = codec
        self._exports = exports
        self.chunks: list[bytes] = []
        """What is queued, to be written in order."""
        self.drops: list[list[int]] = []
        """References that wait to be given back."""
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

    def too_long(self, payload: bytes) -> ResourceExhausted:
        """The error for a frame that the peer would not take."""
        return ResourceExhausted(
            f"frame of {len(payload)} bytes, the peer takes {self.limit}", reason="max_frame_bytes"
        )

    def put(self, payload: bytes) -> None:
        """Queue the bytes of one frame."""
        self.chunks += (header(len(payload)), payload)

    def send(self, frame: list[Any], references: Sequence[Reference] = ()) -> None:
        """Encode, check and queue one frame; nothing has changed when this raises."""
        payload = self._codec.encode(frame) if not references else self.encode(frame, references)
        if len(payload) > self.limit:
            self._exports.uncount(references)
            raise self.too_long(payload)
        self.chunks += (header(len(payload)), payload)

    def send_line(self, line: bytes) -> None:
        """Queue bytes that are no frame, for a stranger who does not speak capnet."""
        self.chunks.append(line)

    def drop(self, id: int, count: int) -> None:
        """Give references back with the next `take_drops`."""
        self.drops.append([id, count])

    def take_drops(self) -> None:
        """Queue the drops that have come together."""
        drops, self.drops = self.drops, []
        self.send_many(Op.DROP, drops)

    def send_many(self, op: int, ids: Sequence[Any], *rest: Any) -> None:
        """Queue as many frames `[op, ids, …]` as every peer can take these ids in."""
        for start in range(0, len(ids), _IDS_PER_FRAME):
            self.send([op, ids[start : start + _IDS_PER_FRAME], *rest])

    @property
    def pending(self) -> bool:
        """Whether there is anything to send."""
        return bool(self.chunks or self.drops)

    def take(self) -> list[bytes]:
        """Everything queued, as chunks to be written in order."""
        chunks, self.chunks = self.chunks, []
        return chunks

    def forget_drops(self) -> None:
        """The connection is over: nothing is owed."""
        self.drops = []
