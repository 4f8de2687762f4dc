"""What is done with streams: items, credit, end and stop, ours and the peer's (P-STREAM).

Items are encoded when they are given and leave with the others of the same turn. What came is kept here, bounded by the
credit that was given for it, until somebody takes it; the credit goes back as it is consumed, never later than half the
window.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from capnet.errors import CapnetError, ResourceExhausted, Revoked, StreamStopped, cut_text
from capnet.limits import Limits, bound
from capnet.wire.frames import Op, items_frame
from capnet.wire.references import CapRef, Reference, StreamRef, kind_of

from .conduct import Conduct
from .ending import Ending
from .error_fields import error_fields
from .events import LimitReached, StreamChanged
from .exports import Export
from .importing import Importing
from .imports import Import
from .ledger import whole_charge
from .pins import homes_in, pin_all, unpin, unpin_all
from .stream import Batch, InStream, OutStream, Stream
from .tables import Tables

__all__ = ["Streaming"]

SHORT_END: Final = 2000
"""Charge of an end up to which it is part of what its stream was charged with (`BYTES_PER_STREAM`)."""
BATCH_BYTES: Final = 32 * 1024
"""Items share a frame up to this length; so the values in it are fewer than any peer takes (P-FRAME-4)."""
_LONGEST_HEAD: Final = 16
"""Bytes of a frame before its first item, at most. A frame is charged with them from its first item on, so that the
credit never shrinks when it leaves."""


class Streaming:
    """The streams of one connection."""

    __slots__ = ("_conduct", "_ending", "_importing", "_tables")

    def __init__(self, tables: Tables, importing: Importing, conduct: Conduct, ending: Ending) -> None:
        self._tables = tables
        self._importing = importing
        self._conduct = conduct
        self._ending = ending

    # Intents of a producer

    def send(self, stream: OutStream, value: Any, references: Sequence[Reference] = ()) -> None:
        """Send one item; only while the stream has `room`. It leaves with the next `data_to_send`.

        Raises:
            InvalidArgument, ResourceExhausted: it cannot be sent; nothing has changed.
        """
        assert stream.items > 0 and stream.bytes > 0 and stream.closed is None, "an item needs credit"
        if references:
            if stream.party is not None:
                self._tables.streams.admit(references, stream.party)
            item = self._tables.outbox.encode(value, references)
        else:
            item = self._tables.codec.encode(value)
        size = len(item)
        batch_bytes = stream.batch_bytes + size
        if references or batch_bytes > BATCH_BYTES:
            if references or size > BATCH_BYTES:
                self._send_alone(stream, item, references)
                return
            self.flush(stream)
            batch_bytes = size
        if batch_bytes == size:
            self._tables.streams.ready.append(stream)
            stream.bytes -= _LONGEST_HEAD
        stream.batch.append(item)
        stream.batch_bytes = batch_bytes
        stream.items -= 1
        stream.bytes -= size

    def flush(self, stream: OutStream) -> None:
        """Let the items that wait for company leave."""
        if stream.batch:
            payload = items_frame(stream.id, stream.batch)
            stream.bytes += _LONGEST_HEAD + stream.batch_bytes - len(payload)
            stream.batch = []
            stream.batch_bytes = 0
            self._tables.outbox.put(payload)

    def flush_all(self) -> None:
        """Let all items leave."""
        ready, self._tables.streams.ready = self._tables.streams.ready, []
        for stream in ready:
            self.flush(stream)

    def end(self, stream: OutStream, error: CapnetError | None = None) -> None:
        """Say that no more will come, and why if that is an error. Once; then, or after the close, it does nothing."""
        if stream.farewell is not None or not self._tables.streams.has(stream):
            return
        self.flush(stream)
        frame: list[Any] = [Op.END, stream.id]
        if error is not None:
            frame += error_fields(self._tables.outbox, error)
        if stream.unsent:
            stream.farewell = frame
        else:
            self._tables.outbox.send(frame)
            self._remove(stream)
            self._ending.check_drained()

    # Intents of a consumer

    def take(self, stream: InStream) -> Batch | None:
        """The oldest items that have come, None when there are none. `consumed` follows as they are used.

        Those that were taken before have been used up.
        """
        ledger = self._tables.held_charge
        ledger.give(stream.in_use)
        stream.in_use = 0
        if not stream.batches:
            self._end_was_read(stream)
            return None
        batch = stream.batches.popleft()
        stream.in_use = batch[3]
        unpin_all(self._tables, homes_in(batch[1]))
        return batch

    def rebuilt(self, stream: InStream, charge: int) -> None:
        """What was taken last is about to take up so much more, as what it is declared to be.

        Raises:
            ResourceExhausted: there is no room for that; the stream is to be stopped. It is no strike: the peer does
                not know what its items become here.
        """
        if not self._tables.held_charge.take(charge):
            raise ResourceExhausted(
                f"items that are in use take too much memory: {self._held_charge()}", reason="max_held_charge"
            )
        stream.in_use += charge

    def consumed(self, stream: InStream, items: int, size: int) -> None:
        """Items that were taken have been used: the producer may send others for them."""
        if stream.ended or stream.stopped:
            return
        stream.owed_items += items
        stream.owed_bytes += size
        items_ahead, bytes_ahead = stream.window
        if stream.owed_items * 2 >= items_ahead or stream.owed_bytes * 2 >= bytes_ahead:
            self._tables.outbox.send([Op.CREDIT, stream.id, stream.owed_items, stream.owed_bytes])
            stream.items += stream.owed_items
            stream.bytes += stream.owed_bytes
            stream.owed_items = stream.owed_bytes = 0

    def stop(self, stream: InStream, reason: str = "") -> None:
        """Want no more of it; what has come and was not taken is let go. Once it has ended it does only that."""
        self._let_go(stream)
        self._end_was_read(stream)
        if stream.stopped or stream.ended:
            return
        stream.stopped = True
        frame: list[Any] = [Op.STOP, stream.id, cut_text(reason)] if reason else [Op.STOP, stream.id]
        if stream.unsent:
            stream.farewell = frame
        else:
            self._tables.outbox.send(frame)

    # What the peer says

    def items(
        self, stream: InStream, values: list[Any], references: Sequence[Reference], size: int, charge: int, count: int
    ) -> None:
        """Items have come that there was credit for; the references in them are resolved already.

        Args:
            size: bytes of their frame.
            charge: what it takes up.
            count: how many values it has.
        """
        if stream.stopped:
            self.release_all(references)
            return
        if not self._tables.held_charge.take(charge):
            self.release_all(references)
            self.spoil(stream, self._no_room(charge, "items that nobody has read take too much memory"))
            return
        pin_all(homes_in(references))
        if references and stream.export is not None:
            self.belong_to(stream.export, references)
        stream.batches.append((values, references, size, charge, count))
        if stream.token is not None:
            self._tables.emit(StreamChanged(stream))

    def credit(self, id: int, items: int, size: int) -> None:
        """The consumer has room for more; late credit for a stream that has ended means nothing."""
        stream = self._tables.streams.produced(id)
        if stream is not None:
            had_room = stream.room
            stream.grant(items, size)
            if not had_room:
                self._changed(stream)

    def ended(self, id: int, error: CapnetError | None, charge: int) -> None:
        """The producer has said its last word.

        Args:
            charge: of the frame that it came in.
        """
        stream = self._tables.streams.consumed(id)
        self._remove(stream)
        if error is not None and not stream.ended:
            if stream.stopped:  # nobody will read it
                error = type(error)(reason=error.reason)
            elif charge > SHORT_END:
                if self._tables.held_charge.take(charge):
                    stream.end_charge = charge
                else:
                    error = self._no_room(charge, "ends of streams that nobody has read take too much memory")
        self._end(stream, error)
        self._ending.check_drained()

    def stopped(self, id: int, reason: str) -> None:
        """The consumer wants no more; the producer is told and ends. For a stream that has ended it means nothing."""
        stream = self._tables.streams.produced(id)
        if stream is not None:
            self._close(stream, StreamStopped(reason or "the reader wants no more"))

    # For the parts of the engine

    def widen(self, announced: Limits) -> None:
        """The peer's hello is in: there may be room on streams that had none."""
        for stream in self._tables.streams.widen(announced):
            self._changed(stream)

    def left(self, references: Iterable[Reference]) -> None:
        """The frame that mentions these streams is on its way."""
        if StreamRef not in map(kind_of, references):
            return
        for stream in self._tables.streams.left(references):
            if stream.farewell is not None:
                self._tables.outbox.send(stream.farewell)
                if type(stream) is OutStream:
                    self._remove(stream)
            else:
                self._changed(stream)

    def undone(self, streams: Iterable[Stream], error: CapnetError) -> None:
        """The frame that mentions them will never leave."""
        for stream in streams:
            self._close(stream, error)

    def belong_to(self, export: Export, references: Iterable[Reference]) -> None:
        """These streams were handed out, or taken, by a call on a capability: they end with it."""
        for reference in references:
            if type(reference) is StreamRef and self._tables.streams.has(reference.subject):
                reference.subject.export = export
                export.pins += 1

    def release_all(self, references: Iterable[Reference]) -> None:
        """Release what references in a value that nobody will see brought along."""
        for reference in references:
            if type(reference) is CapRef and type(reference.subject) is Import:
                self._importing.release(reference.subject)
            elif type(reference) is StreamRef:
                self.release(reference.subject)

    def release(self, stream: Stream) -> None:
        """Nobody here will use a stream that the peer has opened."""
        if isinstance(stream, InStream):
            self.stop(stream)
        else:
            self.end(stream, StreamStopped("nobody produces it"))

    def revoke(self) -> None:
        """End the streams of capabilities that are revoked now; the error overtakes what is on its way."""
        for stream in list(self._tables.streams):
            if stream.export is None or stream.export.revoked is None:
                continue
            error = Revoked(stream.export.revoked)
            if type(stream) is OutStream and stream.closed is None:
                stream.batch, stream.batch_bytes = [], 0
                self._close(stream, error)
                self.end(stream, error)
            elif type(stream) is InStream:
                self.spoil(stream, error)

    def spoil(self, stream: InStream, error: CapnetError) -> None:
        """End it with an error of ours, which overtakes what has come; the producer's last word is still to come."""
        if not stream.stopped:
            self.stop(stream, error.reason or error.code)
            stream.ended, stream.error = True, error
            self._changed(stream)

    def _send_alone(self, stream: OutStream, item: bytes, references: Sequence[Reference]) -> None:
        """An item with references leaves at once: what is said of these references must not overtake it."""
        outbox = self._tables.outbox
        self.flush(stream)
        payload = items_frame(stream.id, (item,))
        if len(payload) > outbox.limit:
            outbox.uncount(references)
            raise outbox.too_long(payload)
        outbox.put(payload)
        stream.items -= 1
        stream.bytes -= len(payload)
        if references:
            self.left(references)

    def _remove(self, stream: Stream) -> None:
        self._tables.streams.remove(stream)
        if stream.export is not None:
            unpin(self._tables, stream.export)

    def _changed(self, stream: Stream) -> None:
        if stream.token is not None:
            self._tables.emit(StreamChanged(stream))

    def _close(self, stream: Stream, error: CapnetError) -> None:
        if stream.end(error):
            self._changed(stream)

    def _end(self, stream: InStream, error: CapnetError | None) -> None:
        if stream.end(error):
            if type(error) is Revoked:
                self._let_go(stream)
            self._changed(stream)

    def _let_go(self, stream: InStream) -> None:
        charge, stream.in_use = stream.in_use, 0
        while stream.batches:
            _, references, _, batch_charge, _ = stream.batches.popleft()
            charge += batch_charge
            unpin_all(self._tables, homes_in(references))
            self.release_all(references)
        self._tables.held_charge.give(charge)

    def _end_was_read(self, stream: InStream) -> None:
        self._tables.held_charge.give(stream.end_charge)
        stream.end_charge = 0

    def _no_room(self, charge: int, what: str) -> ResourceExhausted:
        """What a stream ends with when there is no room for what has come."""
        if self._tables.held_charge.crowded(charge):
            reason, most = "max_host_charge", whole_charge(self._tables.held_charge, charge)
            self._tables.emit(LimitReached(reason))
        else:
            reason, most = "max_held_charge", self._held_charge()
            self._conduct.count_strike(reason)
        return ResourceExhausted(f"{what}: {most}", reason=reason)

    def _held_charge(self) -> str:
        return bound("max_held_charge", self._tables.held_charge.limit, "reader")
