"""Two engines with a link between, or one against frames written by hand; see the package."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from capnet.engine.answers import Answer
from capnet.engine.calls import Call, Pipelined, Target
from capnet.engine.closing import STRANGER_LINE
from capnet.engine.engine import Engine
from capnet.engine.events import CallArrived, CallFailed, CallReturned, Closed, Event, PeerIntroduced, StreamChanged
from capnet.engine.imports import Import
from capnet.engine.inspect import check_invariants, snapshot, stats
from capnet.engine.ledger import Ledger
from capnet.engine.streams import InStream, OutStream
from capnet.errors import CapnetError
from capnet.limits import Limits
from capnet.wire.codec import Codec
from capnet.wire.frames import Op
from capnet.wire.framing import FrameReader, header
from capnet.wire.hello import Hello
from capnet.wire.references import AnswerRef, CapRef, Reference, StreamRef

__all__ = [
    "EnginePair",
    "EngineSide",
    "Link",
    "RawPeer",
    "capability",
    "homeward",
    "made_on",
    "promised",
    "stream_in",
    "stream_out",
]

E = TypeVar("E")
_ANY_LENGTH: Final = 2**32
_Frame = tuple[list[Any], Sequence[Reference]]


def capability(subject: object, interface: str = "test.Thing", version: int = 1) -> CapRef:
    """A reference that exports `subject` with the frame it stands in."""
    return CapRef(interface, version, subject)


def homeward(imported: Import) -> CapRef:
    """A reference that sends a capability of the peer's back to it."""
    return CapRef(imported.interface, imported.version, imported, -imported.id)


def stream_out(token: object = None) -> StreamRef:
    """A reference that opens a stream whose items come from the sender; `token` is its producer."""
    return StreamRef("out", token)


def stream_in(token: object = None) -> StreamRef:
    """A reference that opens a stream whose items come from the receiver; `token` is the sender's consumer."""
    return StreamRef("in", token)


def promised(call: Call, *path: str | int) -> AnswerRef:
    """A reference to what will stand at a path in the result of a call that is kept."""
    return AnswerRef(call.id, path, Pipelined(call, path, "test.Thing", 1))


def made_on(answer: Answer) -> Any:
    """The subject that a call was made on; None for one that goes on elsewhere."""
    return None if answer.export is None else answer.export.subject


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
        self._reader = FrameReader(_ANY_LENGTH)
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


class EngineSide:
    """One end of an `EnginePair`.

    Attributes:
        engine: to be given intents; call `EnginePair.step` or `flush` afterwards.
        events: what it said and nobody has taken yet.
        last: what it said last, taken or not.
        incoming: the line towards it.
    """

    __slots__ = ("engine", "events", "incoming", "last", "name")

    def __init__(self, name: str, engine: Engine) -> None:
        self.name = name
        self.engine = engine
        self.events: list[Event] = []
        self.last: Event | None = None
        self.incoming = Link()

    def call(
        self,
        method: str,
        *references: Reference,
        target: Target | None = None,
        token: Any = None,
        timeout: float | None = None,
        one_way: bool = False,
        keep: bool = False,
        party: Hashable = None,
        within: Hashable = None,
    ) -> Call:
        """Call `method` of `target` (the bootstrap capability if none) with the references as its argument `refs`.

        The token is the method's name unless one is given. With `keep` its answer is kept, with one user.
        """
        call = self.engine.call(
            self.engine.imports.bootstrap if target is None else target,
            method,
            {"refs": list(references)} if references else {},
            references,
            method if token is None else token,
            timeout=timeout,
            one_way=one_way,
            may_keep=keep,
            party=party,
            within=within,
        )
        assert not keep or self.engine.calling.keep(call)
        return call

    def reply(self, answer: Answer, *references: Reference) -> None:
        """Answer with the list of these references, or None when there are none."""
        self.engine.reply(answer, list(references) or None, references)

    def read(self, stream: InStream) -> list[Any]:
        """Take the items that have come, and say that they are used; the references in them are the caller's."""
        values: list[Any] = []
        while (batch := self.engine.streaming.take(stream)) is not None:
            values += batch[0]
            self.engine.streaming.consumed(stream, len(batch[0]), batch[2])
        return values

    def take(self, kind: type[E]) -> list[E]:
        """The events of that kind, in order; they are taken out."""
        taken: list[E] = [event for event in self.events if isinstance(event, kind)]
        self.events = [event for event in self.events if not isinstance(event, kind)]
        return taken

    def arrived(self) -> Answer:
        """The answer that the oldest `CallArrived` asks for; the event is taken out."""
        event = next(event for event in self.events if isinstance(event, CallArrived))
        self.events.remove(event)
        return event.answer

    def returned(self) -> CallReturned:
        """The oldest `CallReturned`; it is taken out."""
        event = next(event for event in self.events if isinstance(event, CallReturned))
        self.events.remove(event)
        return event

    def failed(self) -> CapnetError:
        """The error of the oldest `CallFailed`; the event is taken out."""
        event = next(event for event in self.events if isinstance(event, CallFailed))
        self.events.remove(event)
        return event.error

    @property
    def closed(self) -> bool:
        """Whether its engine is over."""
        return self.engine.lifecycle.closed

    def __repr__(self) -> str:
        return f"<EngineSide {self.name} {snapshot(self.engine)}>"


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


class RawPeer:
    """One engine, and the peer's part played by hand: any frame, any bytes, at any time.

    Args:
        hello: what the engine says of itself.
        greet: say a proper hello first.
        whole: what the engine's host counts for all its connections.
    """

    def __init__(self, hello: Hello | None = None, *, greet: bool = True, whole: Ledger | None = None) -> None:
        self.now = 0.0
        hello = hello or Hello("engine")
        self.engine = Engine(hello, self.now, bootstrap="bootstrap", runtime="runtime", whole=whole)
        self.events: list[Event] = []
        self._codec = Codec(Limits.trusted())
        self._reader = FrameReader(_ANY_LENGTH)
        self.heard: list[list[Any]] = []
        """Frames of the engine's, its hello left out."""
        self.line = b""
        """What the engine said that was no frame."""
        self.collect()
        self.hello = self.heard.pop()
        if greet:
            self.say(Hello("raw").to_frame())
            assert self.take(PeerIntroduced)

    def say(self, *frames: list[Any]) -> list[list[Any]]:
        """Send frames to the engine, in one chunk; returns what it says to them."""
        return self.say_bytes(self.pack(*frames))

    def pack(self, *frames: list[Any]) -> bytes:
        """Frames as they travel."""
        encoded = [self._codec.encode(frame) for frame in frames]
        return b"".join(header(len(frame)) + frame for frame in encoded)

    def say_bytes(self, data: bytes) -> list[list[Any]]:
        """Send bytes to the engine; returns the frames it says to them."""
        before = len(self.heard)
        self.engine.receive_data(data, self.now)
        while self.engine.turn.unread:
            self.collect()
            self.engine.receive_data(b"", self.now)
        self.collect()
        return self.heard[before:]

    def advance(self, seconds: float) -> list[list[Any]]:
        """Let time pass; returns what the engine says on its deadlines."""
        end, before = self.now + seconds, len(self.heard)
        while (due := self.engine.next_deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.engine.handle_timeout(self.now)
            self.collect()
        self.now = end
        return self.heard[before:]

    def reply(self, answer: Answer, value: Any = None, references: Sequence[Reference] = ()) -> list[list[Any]]:
        """Have the engine's side answer a call; returns what it says."""
        self.engine.reply(answer, value, references)
        return self.collect()

    def take(self, kind: type[E]) -> list[E]:
        """The events of that kind, in order; they are taken out."""
        taken: list[E] = [event for event in self.events if isinstance(event, kind)]
        self.events = [event for event in self.events if not isinstance(event, kind)]
        return taken

    @property
    def clause(self) -> str | None:
        """The clause for which the engine has closed the connection, or None."""
        cause = self.engine.lifecycle.cause
        return cause.clause if cause is not None and self.engine.lifecycle.closed else None

    def imported(self, id: int) -> Import:
        """What the engine holds under the peer's cap-id."""
        return next(imported for imported in self.engine.imports if imported.id == id)

    def collect(self) -> list[list[Any]]:
        """What the engine has said since the last time; needed after intents that were given to it directly."""
        self.events += self.engine.events()
        check_invariants(self.engine)
        data = b"".join(self.engine.data_to_send())
        if data.endswith(STRANGER_LINE):
            self.line, data = STRANGER_LINE, data.removesuffix(STRANGER_LINE)
        said = [self._codec.decode(frame)[0] for frame in self._reader.frames(data)]
        self.heard += said
        return said
