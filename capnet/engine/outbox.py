"""The outbox: frames on their way out, whole, in order, with the references in them counted (P-REF-1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from capnet.errors import ResourceExhausted
from capnet.limits import NOT_YET_KNOWN
from capnet.wire.codec import Codec, holds_long
from capnet.wire.frames import Op
from capnet.wire.framing import header
from capnet.wire.references import Reference, StreamRef, kind_of

from .exports import CapTable
from .streams import Streams

__all__ = ["Outbox"]

_T = TypeVar("_T")
_IDS_PER_FRAME = 4_000
"""Ids, or ids with counts, in one frame: at most 15 bytes each, so that every peer takes it."""


class Outbox:
    """Encodes frames and holds the bytes until the driver takes them."""

    __slots__ = ("_codec", "_exports", "_streams", "bounds", "chunks", "drops", "limit", "turn")

    def __init__(self, codec: Codec, exports: CapTable, streams: Streams) -> None:
        self._codec = codec
        self._exports = exports
        self._streams = streams
        self.turn = 0
        """How often what was queued has been taken."""
        self.chunks: list[bytes] = []
        """What is queued, to be written in order, until `Engine.data_to_send` takes it."""
        self.drops: list[list[int]] = []
        """References that wait to be given back."""
        self.bounds = NOT_YET_KNOWN
        """What frames keep to; set from the peer's hello."""
        self.limit = self.bounds.max_frame
        """Longest frame in bytes, by these."""

    def encode(self, frame: Any, references: Sequence[Reference]) -> bytes:
        """The bytes of a frame, or of a value in one, with its references counted and its streams opened.

        All of them, or none when this raises; then `uncount`, or the frame leaves and `Streaming.left` follows.

        Raises:
            InvalidArgument: it cannot be encoded. ResourceExhausted: the peer holds too many capabilities or streams.
        """
        return self._counted(self._codec.encode, frame, references)

    def _counted(self, encode: Callable[[Any], _T], frame: Any, references: Sequence[Reference]) -> _T:
        if not references:
            return encode(frame)
        if StreamRef in map(kind_of, references):  # as a look in C: most have none
            self._streams.open(references)
        try:
            self._exports.count(references)
            try:
                return encode(frame)
            except BaseException:
                self._exports.uncount(references)
                raise
        except BaseException:
            self._streams.undo(references)
            raise

    def uncount(self, references: Sequence[Reference]) -> None:
        """What was encoded will not leave."""
        self._exports.uncount(references)
        self._streams.undo(references)

    def too_long(self, payload: bytes) -> ResourceExhausted:
        """The error for a frame that the peer would not take."""
        text = f"a frame of {len(payload)} bytes: {self.bounds.said('max_frame', 'send the data as a stream')}"
        return ResourceExhausted(text, reason="max_frame_bytes")

    def put(self, payload: bytes) -> None:
        """Queue the bytes of one frame."""
        self.chunks += (header(len(payload)), payload)

    def waiting(self, turn: int, position: int) -> bytes | None:
        """The frame that was put at a position of `chunks` in a turn, while it has not been taken and is one chunk."""
        if turn != self.turn:
            return None
        before, payload = self.chunks[position : position + 2]
        return payload if before == header(len(payload)) else None  # else it is in pieces

    def put_instead(self, position: int, payload: bytes) -> bool:
        """Put another frame there. False, and nothing is changed, when the peer would not take it."""
        if len(payload) > self.limit:
            return False
        self.chunks[position : position + 2] = header(len(payload)), payload
        return True

    def send(self, frame: list[Any], references: Sequence[Reference] = ()) -> int:
        """Encode, check and queue one frame; nothing has changed when this raises. Returns its length in bytes."""
        if holds_long(frame):
            return self._send_pieces(frame, references)
        payload = self._codec.encode(frame) if not references else self._counted(self._codec.encode, frame, references)
        size = len(payload)
        if size > self.limit:
            self.uncount(references)
            raise self.too_long(payload)
        self.chunks += (header(size), payload)
        return size

    def _send_pieces(self, frame: list[Any], references: Sequence[Reference]) -> int:
        """The same for a frame with long byte strings, which leave as chunks of their own, not copied."""
        pieces = self._counted(self._codec.encode_pieces, frame, references)
        size = sum(map(len, pieces))
        if size > self.limit:
            self.uncount(references)
            raise self.too_long(b"".join(pieces))
        self.chunks += (header(size), *pieces)
        return size

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

    def forget_drops(self) -> None:
        """The connection is over: nothing is owed."""
        self.drops = []
