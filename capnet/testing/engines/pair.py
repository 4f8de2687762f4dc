"""Two engines, the line between them, and a clock that stands still."""

from __future__ import annotations

from collections import Counter

from capnet.engine.engine import Engine
from capnet.engine.events import Closed, PeerIntroduced, StreamChanged
from capnet.engine.imports import Import
from capnet.engine.inspect import check_invariants, stats
from capnet.engine.stream import InStream, OutStream
from capnet.wire.frames import Op
from capnet.wire.hello import Hello
from capnet.wire.references import CapRef

from .link import Link
from .references import capability, stream_in, stream_out
from .side import EngineSide

__all__ = ["EnginePair"]


class EnginePair:
    """Two engines, the line between them, and a clock that stands still.

    Args:
        left, right: what each side says of itself; the limits in it are the ones it keeps.
        now: seconds at which the clock stands.

    A side whose engine has closed sends what it has left and then the end of its line, as a driver does.
    """

    def __init__(self, left: Hello | None = None, right: Hello | None = None, *, now: float = 0.0) -> None:
        self.now = now
        self.left = self._side("left", left)
        self.right = self._side("right", right)
        self.sides = (self.left, self.right)

    def _side(self, name: str, hello: Hello | None) -> EngineSide:
        engine = Engine(hello or Hello(name), self.now, bootstrap=f"{name} bootstrap", runtime=f"{name} runtime")
        return EngineSide(name, engine)

    def other(self, side: EngineSide) -> EngineSide:
        """The side at the far end."""
        return self.right if side is self.left else self.left

    def open(self) -> EnginePair:
        """Complete the handshake and take its events out; returns the pair itself."""
        self.flush()
        for side in self.sides:
            side.take(PeerIntroduced)
        return self

    def give(self, exporter: EngineSide, subject: object) -> Import:
        """Hand `subject` over by a call that is answered at once; returns what the other side holds now."""
        importer = self.other(exporter)
        exporter.call("give", capability(subject))
        self.flush()
        answer = importer.arrived()
        importer.reply(answer)
        self.flush()
        exporter.returned()
        (reference,) = answer.references
        assert isinstance(reference, CapRef) and isinstance(reference.subject, Import)
        return reference.subject

    def stream(self, producer: EngineSide, opener: EngineSide | None = None) -> tuple[OutStream, InStream]:
        """Open a stream by a call of `opener` (the producer if none) that is answered at once; returns its two ends.

        Their tokens are "producer" and "consumer".
        """
        opener = opener or producer
        ours, theirs = ("producer", "consumer") if opener is producer else ("consumer", "producer")
        opener.call("stream", opened := stream_out(ours) if opener is producer else stream_in(ours))
        self.flush()
        answer = self.other(opener).arrived()
        (arrived,) = answer.references
        arrived.subject.token = theirs
        self.other(opener).reply(answer)
        self.flush()
        opener.returned()
        for side in self.sides:
            side.take(StreamChanged)
        ends = opened.subject, arrived.subject
        return ends if opener is producer else ends[::-1]

    def step(self) -> None:
        """Collect what both engines say and send; nothing arrives."""
        for side in self.sides:
            if events := side.engine.events():
                side.events += events
                side.last = events[-1]
            if chunks := side.engine.data_to_send():
                self.other(side).incoming.put(chunks)
            if side.closed:
                self.other(side).incoming.ended = True
        self.check()

    def deliver(self, side: EngineSide, count: int | None = None) -> None:
        """Let `count` bytes arrive at `side`, or all that wait for it, and the end when there are no more."""
        self.step()
        self._arrive(side, count)

    def _arrive(self, side: EngineSide, count: int | None = None) -> None:
        """The same, when nothing has happened since the last step."""
        data = side.incoming.take(count)
        if data:
            side.engine.receive_data(data, self.now)
            while side.engine.turn.unread:
                self.step()
                side.engine.receive_data(b"", self.now)
        if side.incoming.ended and not side.incoming.waiting:
            side.engine.receive_eof(self.now)
        self.step()

    def flush(self) -> None:
        """Deliver everything, both ways, until nothing moves."""
        self.step()
        while any(side.incoming.waiting or (side.incoming.ended and not side.closed) for side in self.sides):
            for side in self.sides:
                if side.incoming.waiting or side.incoming.ended:
                    self._arrive(side)

    def advance(self, seconds: float) -> None:
        """Let time pass; each engine is told at each of its deadlines on the way, and at the end. Nothing arrives."""
        end = self.now + seconds
        self.step()
        while self.now < end or min(self._deadlines(), default=end + 1) <= end:
            self.now = max(self.now, min([*self._deadlines(), end]))
            for side in self.sides:
                side.engine.handle_timeout(self.now)
            self.step()

    def _deadlines(self) -> list[float]:
        deadlines = (side.engine.next_deadline() for side in self.sides)
        return [deadline for deadline in deadlines if deadline is not None]

    def cut(self) -> None:
        """The line breaks: what travels is lost, both sides see the end."""
        self.step()
        for side in self.sides:
            side.incoming = Link()
            side.engine.receive_eof(self.now)
        self.step()

    def check(self) -> None:
        """Assert the invariants of both engines and the conservation of references and credit (I1, I7)."""
        for side in self.sides:
            check_invariants(side.engine)
        if not (self.left.closed or self.right.closed):
            self._check_references(self.left, self.right)
            self._check_references(self.right, self.left)
            if self.left.engine.peer is not None and self.right.engine.peer is not None:
                self._check_credit(self.left, self.right)
                self._check_credit(self.right, self.left)
                self._check_room(self.left, self.right)
                self._check_room(self.right, self.left)

    def _check_references(self, exporter: EngineSide, importer: EngineSide) -> None:
        """What `exporter` counts: owed by `importer`, travelling either way, or held back before it has left."""
        found: Counter[int] = Counter()
        for imported in importer.engine.imports:
            found[imported.id] += imported.references
        for _, references in importer.incoming.frames():
            found.update(ref.id for ref in references if isinstance(ref, CapRef) and ref.id > 0)
        drops = [frame[1] for frame, _ in exporter.incoming.frames() if frame[0] == Op.DROP]
        for id, count in [*(pair for frame in drops for pair in frame), *importer.engine.outbox.drops]:
            found[id] += count
        for export in exporter.engine.exports:
            found[export.id] += export.unsent
        counted = {export.id: export.references for export in exporter.engine.exports}
        assert counted == dict(found), f"{exporter.name} counts {counted}, found {dict(found)}"

    def _check_credit(self, producer: EngineSide, consumer: EngineSide) -> None:
        """What `consumer` has given: left to `producer`, used by what travels, or travelling itself."""
        granted: Counter[int] = Counter()
        granted_bytes: Counter[int] = Counter()
        for frame, _ in producer.incoming.frames():
            if frame[0] == Op.CREDIT:
                granted[-frame[1]] += frame[2]
                granted_bytes[-frame[1]] += frame[3]
        ends = {stream.id: stream for stream in consumer.engine.streams}
        for stream in producer.engine.streams:
            end = ends.get(-stream.id)
            if isinstance(stream, OutStream) and isinstance(end, InStream) and not (stream.unsent or end.unsent):
                items, size = consumer.incoming.items(stream.id)
                there = stream.items + items + granted[stream.id], stream.bytes + size + granted_bytes[stream.id]
                assert there == (end.items, end.bytes), f"{stream} and what travels are {there}, for {end}"

    def _check_room(self, sender: EngineSide, receiver: EngineSide) -> None:
        """What `receiver` takes on virtual connections: left to `sender`, used by what travels, or on its way there."""
        to_receiver = [frame for frame, _ in receiver.incoming.frames()]
        to_sender = [frame for frame, _ in sender.incoming.frames()]
        ends = {channel.id: channel for channel in receiver.engine.channels}
        for channel in sender.engine.channels:
            end = ends.get(-channel.id)
            if end is not None and channel.accepted and end.accepted:
                data = sum(len(frame[2]) for frame in to_receiver if frame[:2] == [Op.DATA, channel.id])
                room = sum(frame[2] for frame in to_sender if frame[:2] == [Op.ROOM, end.id])
                there = channel.room + data + room
                assert there == end.credit, f"virtual connection {channel.id} has {there}, for {end.credit}"

    def finish(self) -> None:
        """Deliver everything and assert that every table on both sides is empty, before and after a goaway.

        Raises:
            AssertionError: something is still held, owed or running; the text shows both sides.
        """
        self.flush()
        for side in self.sides:
            assert not _left_over(side.engine), side
        if not self.left.closed:
            self.left.engine.close("finished", 1.0, self.now)
            self.flush()
        for side in self.sides:
            assert side.closed and isinstance(side.last, Closed), side
            assert side.engine.next_deadline() is None, side


def _left_over(engine: Engine) -> dict[str, int]:
    counts = {**stats(engine), "kept for us": engine.calls.kept, "promised": engine.pipelines.promised}
    counts["lingering"] = len(engine.exports.lingering)
    return {key: count for key, count in counts.items() if count and key != "strikes"}
