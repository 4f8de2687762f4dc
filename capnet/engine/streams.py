"""The table of streams, of both sides (P-STREAM).

Ids follow the sign rule (P-ID-2): in this table those that we opened are positive, those of the peer's negative.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Final

from capnet.errors import ProtocolViolation, ResourceExhausted
from capnet.limits import EARLY, Limits, bound
from capnet.wire.references import MAX_CREDIT, Reference, StreamRef

from .calls import Call
from .portions import NOBODY
from .stream import InStream, OutStream, Stream

__all__ = ["Streams"]

_MAX_REMEMBERED: Final = 256
"""Methods that have brought streams for a party, of which that is remembered."""


class Streams:
    """Streams by id, from either side.

    Args:
        limits: ours; of the peer's only what was announced is known, see `limit` and `window`.
    """

    __slots__ = (
        "_bring",
        "_by_id",
        "_expected",
        "_lent",
        "_limits",
        "_next",
        "_portions",
        "_their_next",
        "limit",
        "opened",
        "ready",
        "window",
    )

    def __init__(self, limits: Limits) -> None:
        self._by_id: dict[int, Stream] = {}
        self._limits = limits
        self._next = 1
        self._their_next = 1
        self.limit = EARLY.max_streams
        """How many streams of ours the peer takes; set from its hello."""
        self.opened = 0
        """How many of ours there are."""
        self.window = (EARLY.stream_items, EARLY.stream_bytes)
        """First credit on a stream that the peer consumes; set from its hello."""
        self.ready: list[OutStream] = []
        """Those with items that wait for company."""
        self._portions = NOBODY  # of ours
        self._lent = NOBODY  # of the peer's that there are for parties, and of those that are expected
        self._expected: dict[Call, None] = {}
        self._bring: dict[tuple[str, str] | None, None] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Stream]:
        return iter(self._by_id.values())

    def open(self, references: Iterable[Reference]) -> None:
        """Open a stream for each that is mentioned in a frame of ours; fills in the ids. `left` or `undo` follows.

        Raises:
            ResourceExhausted: `max_streams`; nothing has been opened.
        """
        mentioned = _streams_in(references)
        if len(mentioned) > self.limit - self.opened:
            text = (
                f"{self.opened} streams of the sender are open already: {bound('max_streams', self.limit, 'receiver')}"
            )
            raise ResourceExhausted(text, reason="max_streams")
        for reference in mentioned:
            reference.id = id = self._next
            self._next += 1
            window = reference.window
            stream = (
                OutStream(id, window=window)
                if reference.direction == "out"
                else InStream(id, self._limits, window=window)
            )
            stream.unsent = True
            stream.party = reference.party
            if stream.party is not None:
                self._portions = self._portions.take(stream.party)
            stream.token, reference.subject = reference.subject, stream
            self._by_id[id] = stream
            self.opened += 1

    def undo(self, references: Iterable[Reference]) -> list[Stream]:
        """The frame that mentions them will not leave: they were never opened. Returns them, out of the table."""
        undone: list[Stream] = []
        for reference in _streams_in(references):
            stream: Stream = reference.subject
            self.remove(stream)
            undone.append(stream)
        return undone

    def left(self, references: Iterable[Reference]) -> list[Stream]:
        """The frame that mentions them is on its way: what we produce has its first credit. Returns them."""
        opened: list[Stream] = []
        for reference in _streams_in(references):
            stream: Stream = reference.subject
            stream.unsent = False
            if type(stream) is OutStream:
                stream.begin(self.window)
            opened.append(stream)
        return opened

    def arrive(self, reference: StreamRef) -> None:
        """The peer has opened a stream; fills in the subject.

        Raises:
            ProtocolViolation: P-ID-1, the id is in use; P-LIMIT-2, more streams than we said we take.
        """
        id = -reference.id
        if id in self._by_id:
            raise ProtocolViolation("P-ID-1", f"stream {reference.id} is open already")
        if len(self._by_id) - self.opened >= self._limits.max_streams:
            raise ProtocolViolation("P-LIMIT-2", f"more than {self._limits.max_streams} streams (Limits.max_streams)")
        self._their_next = max(self._their_next, reference.id + 1)
        if reference.direction == "out":
            self._by_id[id] = reference.subject = InStream(id, self._limits, window=reference.window)
        else:
            self._by_id[id] = reference.subject = stream = OutStream(id, window=reference.window)
            stream.begin(self.window)

    def admit(self, references: Iterable[Reference], party: Hashable) -> None:
        """What is mentioned in a frame of ours is for a party; `open` follows.

        Raises:
            ResourceExhausted: `max_streams`, the party has its portion of them.
        """
        mentioned = _streams_in(references)
        if mentioned and not self._portions.allow(party, len(mentioned), self.opened, self.limit):
            raise _has_its_portion(self.limit)
        for reference in mentioned:
            reference.party = party

    def may_bring(self, call: Call) -> bool:
        """Whether a call for a party is of a method that has brought streams: then `expect` follows when it is made.

        Raises:
            ResourceExhausted: `max_streams`, the party has its portion of them.
        """
        if call.method not in self._bring:
            return False
        limit = self._limits.max_streams
        if not self._lent.allow(call.party, 1, self._lent.total, limit):
            raise _has_its_portion(limit)
        return True

    def expect(self, call: Call) -> None:
        """A call was made that may bring a stream: it counts as one until `brought`."""
        if call.method in self._bring:
            self._expected[call] = None
            self._lent = self._lent.take(call.party)

    def brought(self, call: Call, references: Sequence[Reference]) -> ResourceExhausted | None:
        """A call for a party has ended, with these references. Returns what `lend` does."""
        if call in self._expected:
            del self._expected[call]
            self._lent.give(call.party)
        if not references:
            return None
        if streams := _streams_in(references):
            self._bring[call.method] = None
            if len(self._bring) > _MAX_REMEMBERED:
                del self._bring[next(iter(self._bring))]
        return self.lend(streams, call.party)

    def lend(self, references: Iterable[Reference], party: Hashable) -> ResourceExhausted | None:
        """The peer has opened streams for a party. Returns what is to be said when it has its portion without them."""
        streams = _streams_in(references)
        limit = self._limits.max_streams
        allowed = not streams or self._lent.allow(party, len(streams), self._lent.total, limit)
        for reference in streams:
            reference.subject.party = party
            self._lent = self._lent.take(party)
        return None if allowed else _has_its_portion(limit)

    def widen(self, announced: Limits) -> list[OutStream]:
        """The peer's hello is in: its windows are known, and streams that were opened before get the difference.

        Returns those that had no room and have some now.
        """
        early = self.window
        self.limit = min(announced.max_streams, self._limits.max_streams)
        self.window = min(announced.stream_items, MAX_CREDIT), min(announced.stream_bytes, MAX_CREDIT)
        relieved: list[OutStream] = []
        for stream in self._by_id.values():
            if type(stream) is OutStream and not stream.unsent:
                full = not stream.room
                stream.begin(self.window, early)
                if full and stream.room:
                    relieved.append(stream)
        return relieved

    def produced(self, id: int) -> OutStream | None:
        """The stream of that id which we produce, unless it is gone.

        Raises:
            ProtocolViolation: P-ID-4, there never was one; P-STREAM-1, it flows the other way.
        """
        stream = self._find(id)
        if type(stream) is InStream:
            raise ProtocolViolation("P-STREAM-1", f"stream {-id} flows the other way")
        return stream if type(stream) is OutStream else None

    def consumed(self, id: int) -> InStream:
        """The stream of that id which we consume.

        Raises:
            ProtocolViolation: P-ID-4, there never was one; P-STREAM-1, it flows the other way; P-STREAM-3, it ended.
        """
        stream = self._find(id)
        if type(stream) is InStream:
            return stream
        if stream is None:
            raise ProtocolViolation("P-STREAM-3", f"stream {-id} has ended")
        raise ProtocolViolation("P-STREAM-1", f"stream {-id} flows the other way")

    def has(self, stream: Stream) -> bool:
        """Whether it is not gone."""
        return self._by_id.get(stream.id) is stream

    def remove(self, stream: Stream) -> None:
        """It is gone. Once is enough."""
        if self.has(stream):
            del self._by_id[stream.id]
            if stream.id > 0:
                self.opened -= 1
            if stream.party is not None:
                (self._portions if stream.id > 0 else self._lent).give(stream.party)

    def clear(self) -> list[Stream]:
        """Forget every stream; returns them."""
        streams = list(self._by_id.values())
        if streams:
            self._by_id = {}
            self.ready.clear()
            self.opened = 0
            self._portions.clear()
            self._lent.clear()
        self._expected.clear()
        return streams

    def check_invariants(self) -> None:
        """I3, I6, I7: ids below the next, no more streams than the limit, and nothing beyond the window."""
        for id, stream in self._by_id.items():
            assert stream.id == id and -self._their_next < id < self._next and id != 0
            if isinstance(stream, InStream):
                held = sum(len(batch[0]) for batch in stream.batches)
                assert stream.items + held + stream.owed_items <= stream.window[0], stream
                assert not (stream.stopped and stream.batches) and (stream.stopped or not stream.ended), stream
            else:
                assert 0 <= stream.items <= stream.granted and bool(stream.batch) == bool(stream.batch_bytes), stream
        assert self.opened == sum(id > 0 for id in self._by_id)
        for_others = Counter(id > 0 for id, stream in self._by_id.items() if stream.party is not None)
        assert for_others[True] == self._portions.total
        assert for_others[False] == self._lent.total - len(self._expected)
        assert len(self._by_id) - self.opened <= self._limits.max_streams

    def _find(self, id: int) -> Stream | None:
        stream = self._by_id.get(id)
        if stream is None and not -self._their_next < id < self._next:
            raise ProtocolViolation("P-ID-4", f"stream {-id} was never opened")
        return stream


def _streams_in(references: Iterable[Reference]) -> list[StreamRef]:
    return [reference for reference in references if type(reference) is StreamRef and reference.id >= 0]


def _has_its_portion(limit: int) -> ResourceExhausted:
    text = f"of {limit} streams with the peer, no more can be for the one who asks: others are to find some, too"
    return ResourceExhausted(text, reason="max_streams")
