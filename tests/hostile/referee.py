"""The referee: a second reading of the protocol, which knows for each frame whether its sender may say it now.

It follows both sides of one connection by what they say, and nothing else. What the peer says it judges before the
engine hears it: in order, or a breach of one of these clauses. What the engine says it holds to what a peer may expect:
one answer to each call, no item without credit, no reference that was not counted, no id used twice. What it counts on
the way must be what the engine counts (`agree`).

Decoding and the shape of frames are taken from `capnet.wire`, which has its own tests. Of the engine it asks only which
ids it has issued: a frame of the engine's may be held back, so that its ids are known to nobody else yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from capnet.engine.answers import AnswerState
from capnet.engine.engine import Engine
from capnet.engine.stream import OutStream
from capnet.errors import ProtocolViolation
from capnet.limits import EARLY, HANDSHAKE_FRAME, LARGEST_ONE_WAY, Limits
from capnet.wire.codec import Codec
from capnet.wire.frames import Op, check
from capnet.wire.hello import VERSIONS, Hello, looks_like_capnet
from capnet.wire.references import AnswerRef, CapRef, Reference, StreamRef, kind_of

__all__ = ["FINE", "Flow", "Referee", "Verdict"]

Verdict = frozenset[str] | None
"""The clauses of which a frame breaks at least one; none of them if it may be said; None where either is right."""

FINE: Final[frozenset[str]] = frozenset()
_Frame = list[Any]
_References = Sequence[Reference]
_MAX_CREDIT: Final = 2**31 - 1
_MAX_GRACE: Final = 3600.0
_ENDED: Final = frozenset(("P-STREAM-3",))
_CONTROLS: Final = (Op.CALL, Op.CANCEL, Op.PING)
_LENT: Final = ["test.Thing", 1]
"""What all that the engine gives out is given as."""
_GIVING_BACK: Final = (Op.DROP, Op.STOP, Op.END)


def _refers(value: Any) -> bool:
    """Whether a reference stands in a value."""
    kind = kind_of(value)
    if kind is dict or kind is list:
        return any(map(_refers, value.values() if kind is dict else value))
    return isinstance(value, Reference)


class Flow:
    """One stream.

    Attributes:
        ours: whether the peer produces it.
        items, bytes: credit that its producer has left.
        stopped: its consumer has said so.
    """

    __slots__ = ("bytes", "items", "ours", "stopped")

    def __init__(self, ours: bool, items: int, size: int) -> None:
        self.ours = ours
        self.items = items
        self.bytes = size
        self.stopped = False


class Bucket:
    """How fast something may come: so many at once, and so many a second after that."""

    def __init__(self, burst: float, rate: float) -> None:
        self.burst = burst
        self._rate = rate
        self.level = 0.0
        self._at = 0.0

    def add(self, now: float) -> None:
        """One has come."""
        self.level = max(0.0, self.level - (now - self._at) * self._rate) + 1
        self._at = now


class Referee:
    """Follows one connection from the peer's side; "we" are the peer, "they" are the engine.

    Attributes:
        owed: calls of ours that were not answered.
        owed_on: what each of our calls was made on.
        kept: calls of ours whose answers they keep.
        one_way_room: one-way calls that we may make.
        held: how many references to each capability of theirs we hold.
        revoked: those of them that were revoked.
        given: how many references to each capability of ours they owe.
        asked: calls of theirs that we owe an answer.
        promised: calls of theirs whose answers we keep.
        one_way_asked: one-way calls of theirs for which they have no credit back.
        flows: streams by id, ours positive, theirs negative.
        strikes: limit errors of ours that are certain.
        controls, most_controls: what counts for P-LIMIT-4, without and with calls that may have been refused.
        ends: how the connection may end now without a violation of ours.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.limits: Limits = engine.limits
        self.announced = EARLY
        self.introduced = False
        self.codec = Codec(self.limits)
        self._their_codec = Codec(Limits.trusted())
        self.buffer = bytearray()
        self.partial_since = 0.0
        self.frames = 0
        self.last_id = 0
        self.owed: dict[int, None] = {}
        self.owed_on: dict[int, Any] = {}
        self.kept: set[int] = set()
        self.one_way_room = self.limits.max_calls
        self.held: dict[int, int] = {}
        self.revoked: set[int] = set()
        self.retired: set[int] = set()
        self._dropped: list[int] = []
        self.given: dict[int, int] = {}
        self.next_given = 2
        self.last_asked = 0
        self.asked: dict[int, None] = {}
        self.cancelled: set[int] = set()
        self.promised: set[int] = set()
        self.one_way_asked = 0
        self.flows: dict[int, Flow] = {}
        self.streams_opened = 0
        self.next_stream = 1
        self.their_streams: set[int] = set()
        self.pings: deque[int] = deque()
        self.their_pings = 0
        self.strikes = 0
        self.controls = Bucket(self.limits.control_burst, self.limits.control_rate)
        self.most_controls = Bucket(self.limits.control_burst, self.limits.control_rate)
        self._just_ended: set[int] = set()
        self._refusable = False
        self.ends: set[str] = set()
        self.close_by = float("inf")
        self.aborts: list[str] = []
        self.last_heard = -1
        self.chunk = 0

    # What the peer says

    def chunk_of(self, data: bytes, now: float) -> Verdict:
        """Judge the frames that `data` completes, and take those that are in order for said."""
        buffer = self.buffer
        fresh = not buffer
        buffer += data
        self._just_ended.clear()
        self._refusable = False
        self.chunk = 0
        verdict: Verdict = FINE
        while len(buffer) >= 4:
            length = int.from_bytes(buffer[:4])
            if length > (self.limits.max_frame if self.introduced else HANDSHAKE_FRAME):
                return frozenset(("P-FRAME-2",))
            if len(buffer) < 4 + length:
                break
            payload = bytes(buffer[4 : 4 + length])
            del buffer[: 4 + length]
            fresh = True
            self.frames += 1
            self.chunk += 1
            judged = self.judge(payload, now)
            if judged:
                return judged
            if judged is None:
                verdict = None
            if "accused" in self.ends:
                return verdict
        if fresh:
            self.partial_since = now
        return verdict

    def judge(self, payload: bytes, now: float) -> Verdict:
        """Whether a frame may be said; it is taken for said if so."""
        if not self.introduced and not looks_like_capnet(payload):
            return frozenset(("P-CONN-1",))
        try:
            frame, references = self.codec.decode(payload)
            if not check(frame):
                return FINE
            if frame[0] == Op.HELLO:
                self._hello(frame, references)
                return FINE
        except ProtocolViolation as violation:
            return frozenset((violation.clause,))
        verdict = _JUDGES[frame[0]](self, frame, references, len(payload))
        if not verdict:
            if references:
                self._arrive(references)
            _SAID[frame[0]](self, frame, len(payload), now)
            if frame[0] in _CONTROLS:
                return self._control(frame[0], now) if verdict is not None else None
        return verdict

    def _control(self, op: int, now: float) -> Verdict:
        """Too many of what costs nothing to say are too much (P-LIMIT-4)."""
        self.most_controls.add(now)
        if op == Op.CALL:
            return FINE
        self.controls.add(now)
        above = self.controls.level - self.controls.burst
        return FINE if above < -1 else frozenset(("P-LIMIT-4",)) if above > 1 else None

    def _hello(self, frame: _Frame, references: _References) -> None:
        if self.introduced:
            raise ProtocolViolation("P-CONN-1", "second hello")
        hello = Hello.from_frame(frame)
        if references:
            raise ProtocolViolation("P-REF", "references in a hello")
        Hello(versions=VERSIONS).version_with(hello)
        self.introduced = True
        self.announced = announced = hello.limits
        for flow in self.flows.values():
            if not flow.ours:
                flow.items += min(announced.stream_items, _MAX_CREDIT) - EARLY.stream_items
                flow.bytes += min(announced.stream_bytes, _MAX_CREDIT) - EARLY.stream_bytes

    def _references(self, references: _References, *, promises: bool = False) -> Verdict:
        broken: set[str] = set()
        either = False
        capabilities: set[int] = set()
        streams: set[int] = set()
        for reference in references:
            id = reference.id
            if type(reference) is StreamRef:
                if id in self.flows or id in streams:
                    broken.add("P-ID-1")
                streams.add(id)
            elif type(reference) is AnswerRef:
                if not promises:
                    broken.add("P-REF")
            elif id < 0:
                if -id >= self.engine.exports._next:
                    broken.add("P-ID-4")
                elif -id < 2:
                    broken.add("P-ID-3")
                elif reference.content()[1:] != _LENT and -id in self.held:
                    either = either or self.chunk > 1  # it may have been given back just before
                    broken.add("P-REF-5")
            elif id < 2:
                broken.add("P-ID-3")
            elif id not in self.given:
                capabilities.add(id)
        if len(streams) + self.streams_opened > self.limits.max_streams:
            either = either or self.chunk > 1
            broken.add("P-LIMIT-2")
        if len(capabilities) + len(self.given) > self.limits.max_caps:
            there = {imported.id for imported in self.engine.imports}
            if len(there | capabilities) > self.limits.max_caps and self.chunk == 1:
                broken.add("P-LIMIT-2")
            else:
                either = True  # references that are on their way back: they know, we do not
        return None if either else frozenset(broken)

    def _call(self, frame: _Frame, references: _References, size: int) -> Verdict:
        id, target = frame[1], frame[2]
        broken: set[str] = set()
        if 0 < id <= self.last_id:
            broken |= {"P-CALL-7", "P-ID-1"}
        elif not id and not self.one_way_room:
            if self._refusable:
                return None  # those before it in the chunk may have been refused, which gives credit
            broken.add("P-CALL-7")
        if references and len(frame) > 5 and _refers(frame[5]):
            broken.add("P-REF")
        if not id and size > LARGEST_ONE_WAY:
            broken.add("P-CALL-7")
        if id and len(frame) > 5 and frame[5].get("keep") and len(self.kept) >= self.limits.max_calls:
            broken.add("P-LIMIT-2")
        needed = [reference.id for reference in references if type(reference) is AnswerRef]
        if type(target) is not int:
            needed.append(target[0])
        elif target >= self.engine.exports._next:
            broken.add("P-ID-4")
        last = max(id, self.last_id)
        if any(source == id or not 0 < source <= last for source in needed):
            broken.add("P-ID-4")
        if references:
            others = self._references(references, promises=True)
            if others is None:
                return None
            broken |= others
        if not id and (references or target not in (0, 1) or self.ends):
            self._refusable = True
        if (
            not references
            and type(target) is int
            and self.chunk == 1
            and not (len(frame) > 5 and frame[5].get("deadline") == 0)  # its time was up, whatever it was made on
            and self.engine.exports.by_id.get(target) is None
        ):
            self.strikes += not broken  # it was given back
        return frozenset(broken)

    def _answered(self, frame: _Frame, references: _References, size: int) -> Verdict:
        broken: set[str] = set()
        if frame[1] not in self.asked:
            broken |= {"P-ID-4", "P-CALL-1"}
        if references:
            if frame[0] == Op.ERROR:
                broken.add("P-REF")
            else:
                others = self._references(references)
                if others is None:
                    return None
                broken |= others
        return frozenset(broken)

    def _cancelling(self, frame: _Frame, references: _References, size: int) -> Verdict:
        return FINE if 0 < frame[1] <= self.last_id else frozenset(("P-ID-4",))

    def _finishing(self, frame: _Frame, references: _References, size: int) -> Verdict:
        return FINE if frame[1] in self.kept else frozenset(("P-CALL-8", "P-ID-4"))

    def _flow(self, id: int, *, ours: bool) -> frozenset[str] | Flow | None:
        """A stream of that direction, why there is none, or None where it is one that we cannot know of."""
        flow = self.flows.get(id)
        if flow is None:
            if any(stream.id == -id for stream in self.engine.streams):
                return None
            issued = id < self.next_stream if id > 0 else -id < self.engine.streams._next
            return _ENDED if issued else frozenset(("P-ID-4",))
        return flow if flow.ours is ours else frozenset(("P-STREAM-1",))

    def _items(self, frame: _Frame, references: _References, size: int) -> Verdict:
        broken = self._references(references) if references else FINE
        if broken is None:
            return None
        flow = self._flow(frame[1], ours=True)
        if flow is None:
            return None
        if not isinstance(flow, Flow):
            return broken | flow
        if len(frame[2]) > flow.items or flow.bytes <= 0:
            return broken | {"P-STREAM-2"}
        return broken

    def _credit(self, frame: _Frame, references: _References, size: int) -> Verdict:
        _, id, items, more = frame
        if not id:
            return frozenset(("P-CALL-7",)) if items > self.one_way_asked else FINE
        flow = self._flow(id, ours=False)
        if isinstance(flow, Flow):
            return frozenset(("P-STREAM-2",)) if max(flow.items + items, flow.bytes + more) > _MAX_CREDIT else FINE
        return _late(flow)

    def _ending(self, frame: _Frame, references: _References, size: int) -> Verdict:
        flow = self._flow(frame[1], ours=True)
        broken = FINE if isinstance(flow, Flow) else flow
        return broken | {"P-REF"} if references and broken is not None else broken

    def _stopping(self, frame: _Frame, references: _References, size: int) -> Verdict:
        flow = self._flow(frame[1], ours=False)
        return FINE if isinstance(flow, Flow) else _late(flow)

    def _dropping(self, frame: _Frame, references: _References, size: int) -> Verdict:
        left: dict[int, int] = {}
        for id, count in frame[1]:
            if id < 2:
                return frozenset(("P-ID-3",))
            left[id] = left.get(id, self.held.get(id, 0)) - count
            if left[id] < 0:
                return frozenset(("P-REF-2", "P-ID-4"))
        return FINE

    def _telling(self, frame: _Frame, references: _References, size: int) -> Verdict:
        return FINE if all(2 <= id < self.next_given for id in frame[1]) else frozenset(("P-CAP-6",))

    def _pong(self, frame: _Frame, references: _References, size: int) -> Verdict:
        return FINE if 0 < frame[1] <= self.their_pings else frozenset(("P-ID-4",))

    def _nothing(self, frame: _Frame, references: _References, size: int) -> Verdict:
        return FINE

    # What follows from what the peer has said

    def _arrive(self, references: _References) -> None:
        for reference in references:
            id = reference.id
            if type(reference) is StreamRef:
                if reference.direction == "out":
                    flow = Flow(True, self.limits.stream_items, self.limits.stream_bytes)
                else:
                    flow = Flow(False, *self._window())
                self.flows[id] = flow
                self.next_stream = max(self.next_stream, id + 1)
                self.streams_opened += 1
            elif type(reference) is CapRef and id > 0:
                self.given[id] = self.given.get(id, 0) + 1
                self.next_given = max(self.next_given, id + 1)

    def _window(self) -> tuple[int, int]:
        return min(self.announced.stream_items, _MAX_CREDIT), min(self.announced.stream_bytes, _MAX_CREDIT)

    def _said_call(self, frame: _Frame, size: int, now: float) -> None:
        id, target = frame[1], frame[2]
        self.last_id = max(id, self.last_id)
        direct = type(target) is int
        if id:
            self.owed[id] = None
            self.owed_on[id] = target if direct else tuple(target)
            if len(frame) > 5 and frame[5].get("keep"):
                self.kept.add(id)
        else:
            self.one_way_room -= 1

    def _said_answer(self, frame: _Frame, size: int, now: float) -> None:
        del self.asked[frame[1]]
        self.cancelled.discard(frame[1])

    def _said_finish(self, frame: _Frame, size: int, now: float) -> None:
        self.kept.remove(frame[1])

    def _said_items(self, frame: _Frame, size: int, now: float) -> None:
        flow = self.flows.get(frame[1])
        if flow is not None:
            flow.items -= len(frame[2])
            flow.bytes -= size

    def _said_credit(self, frame: _Frame, size: int, now: float) -> None:
        flow = self.flows.get(frame[1])
        if flow is not None:
            flow.items += frame[2]
            flow.bytes += frame[3]
        elif not frame[1]:
            self.one_way_asked -= frame[2]

    def _said_end(self, frame: _Frame, size: int, now: float) -> None:
        self._gone(frame[1])
        self._just_ended.add(frame[1])

    def _said_stop(self, frame: _Frame, size: int, now: float) -> None:
        flow = self.flows.get(frame[1])
        if flow is not None:
            flow.stopped = True

    def _said_drop(self, frame: _Frame, size: int, now: float) -> None:
        for id, count in frame[1]:
            self.held[id] -= count
            if not self.held[id]:
                del self.held[id]
                self.revoked.discard(id)
                self._dropped.append(id)

    def _said_goaway(self, frame: _Frame, size: int, now: float) -> None:
        if not self.ends:
            self.close_by = now + min(frame[4] / 1000, _MAX_GRACE) + self.limits.handshake_timeout
        self.ends.add("remote")

    def _said_ping(self, frame: _Frame, size: int, now: float) -> None:
        self.pings.append(frame[1])

    def _said_abort(self, frame: _Frame, size: int, now: float) -> None:
        self.ends.add("accused")

    def _said_nothing(self, frame: _Frame, size: int, now: float) -> None:
        """Nothing follows."""

    def _gone(self, id: int) -> None:
        if self.flows.pop(id, None) is not None and id > 0:
            self.streams_opened -= 1

    # What the engine says

    def heard(self, payload: bytes, *, refusing: bool) -> None:
        """The engine has said this.

        Args:
            refusing: it is about to close for what we have said: of that frame, which we take for not said, it may give
                back parts.

        Raises:
            AssertionError: it may not.
        """
        assert not self.aborts, "nothing follows an abort"
        frame, references = self._their_codec.decode(payload)
        assert check(frame), frame
        op = frame[0]
        assert (self.last_heard == -1) == (op == Op.HELLO), "one hello, and it comes first"
        self.last_heard = op
        assert len(payload) <= self.announced.max_frame, "longer than we take"
        if references:
            assert op in (Op.CALL, Op.RESULT, Op.ITEMS), frame
            self._hear_references(references, op)
        if not (refusing and op in _GIVING_BACK):
            _HEARD[op](self, frame, len(payload))

    def _hear_references(self, references: _References, op: int) -> None:
        for reference in references:
            id = reference.id
            if type(reference) is StreamRef:
                assert id not in self.their_streams, f"P-ID-1: stream {id} was open before"
                self.their_streams.add(id)
                if reference.direction == "out":
                    flow = Flow(False, *self._window())
                else:
                    flow = Flow(True, self.limits.stream_items, self.limits.stream_bytes)
                self.flows[-id] = flow
            elif type(reference) is AnswerRef:
                assert op == Op.CALL and id in self.promised, f"call {id} is not kept"
            elif id > 0:
                assert id not in self.retired, f"P-ID-1: cap-id {id} was used before"
                self.held[id] = self.held.get(id, 0) + 1
            else:
                assert -id in self.given or id == -1, f"capability {id} is not theirs to give"
        open_ = sum(id < 0 for id in self.flows)
        assert open_ <= self.announced.max_streams, "more streams than we take"
        assert len(self.held) <= self.announced.max_caps, "more capabilities than we take"

    def _hear_goaway(self, frame: _Frame, size: int) -> None:
        assert "told" not in self.ends, "one goaway"
        self.ends.add("told")

    def _hear_call(self, frame: _Frame, size: int) -> None:
        id, target = frame[1], frame[2]
        if id:
            assert id > self.last_asked, "P-ID-1: call ids go upwards"
            self.last_asked = id
            self.asked[id] = None
            assert len(self.asked) <= self.announced.max_calls, "more calls than we take"
            if len(frame) > 5 and frame[5].get("keep"):
                self.promised.add(id)
                assert len(self.promised) <= self.announced.max_calls, "more kept than we take"
        else:
            self.one_way_asked += 1
            assert self.one_way_asked <= self.announced.max_calls, "more one-way calls than we take"
        if type(target) is int:
            assert target < 2 or target in self.given, f"call on {target}, which was given back"
        else:
            assert target[0] in self.promised and target[0] != id, f"call on {target}, which is not kept"
        assert "told" not in self.ends and "remote" not in self.ends, "a call after goaway"

    def _hear_answer(self, frame: _Frame, size: int) -> None:
        assert frame[1] in self.owed, f"P-CALL-1: another answer to {frame[1]}, or one to nothing"
        del self.owed[frame[1]]

    def _hear_cancel(self, frame: _Frame, size: int) -> None:
        assert frame[1] in self.asked and frame[1] not in self.cancelled, f"cancel of {frame[1]}"
        self.cancelled.add(frame[1])

    def _hear_finish(self, frame: _Frame, size: int) -> None:
        assert frame[1] in self.promised, f"finish of {frame[1]}, which is not kept"
        self.promised.remove(frame[1])

    def _hear_items(self, frame: _Frame, size: int) -> None:
        flow = self.flows[-frame[1]]
        assert not flow.ours and flow.bytes > 0 and flow.items >= len(frame[2]), "P-STREAM-2: items without credit"
        flow.items -= len(frame[2])
        flow.bytes -= size

    def _hear_credit(self, frame: _Frame, size: int) -> None:
        if not frame[1]:
            self.one_way_room += frame[2]
            assert self.one_way_room <= self.limits.max_calls, "credit for calls that were not made"
            return
        flow = self.flows[-frame[1]]
        assert flow.ours and not flow.stopped, "credit from who produces, or wants no more"
        flow.items += frame[2]
        flow.bytes += frame[3]
        assert flow.items <= self.limits.stream_items, "P-STREAM-2: more credit than the window"

    def _hear_end(self, frame: _Frame, size: int) -> None:
        assert not self.flows[-frame[1]].ours, "an end from who consumes"
        self._gone(-frame[1])

    def _hear_stop(self, frame: _Frame, size: int) -> None:
        if -frame[1] in self._just_ended:
            return  # said between the frame that opens the stream and the one that ends it, in one chunk
        flow = self.flows[-frame[1]]
        assert flow.ours and not flow.stopped, "a stop from who produces, or a second one"
        flow.stopped = True

    def _hear_drop(self, frame: _Frame, size: int) -> None:
        for id, count in frame[1]:
            left = self.given[id] - count
            assert left >= 0, f"P-REF-2: {count} references to {id} given back of {self.given[id]}"
            if left:
                self.given[id] = left
            else:
                del self.given[id]

    def _hear_revoked(self, frame: _Frame, size: int) -> None:
        for id in frame[1]:
            assert id in self.held and id not in self.revoked, f"revocation of {id}"
            self.revoked.add(id)

    def _hear_replaced(self, frame: _Frame, size: int) -> None:
        assert all(id in self.held and id not in self.revoked for id in frame[1]), frame

    def _hear_ping(self, frame: _Frame, size: int) -> None:
        assert frame[1] == self.their_pings + 1, frame
        self.their_pings = frame[1]

    def _hear_pong(self, frame: _Frame, size: int) -> None:
        assert self.pings and self.pings.popleft() == frame[1], frame

    def _hear_abort(self, frame: _Frame, size: int) -> None:
        self.aborts.append(frame[1])

    def _hear_nothing(self, frame: _Frame, size: int) -> None:
        """Nothing follows."""

    # What both sides count

    def agree(self) -> None:
        """What was said is what the engine has counted: nothing is on its way between them (I1, I5, I7).

        Raises:
            AssertionError: it has counted something else.
        """
        engine = self.engine
        exports, imports = engine.exports, engine.imports
        given = {id: count for id, export in exports.by_id.items() if (count := export.references - export.unsent)}
        assert given == self.held, f"I1: {given} are with the peer, who holds {self.held}"
        if not engine.outbox.drops:
            owed = {imported.id: imported.references for imported in imports}
            assert owed == self.given, f"I1: {owed} are owed to the peer, who gave {self.given}"
        assert engine.calls.by_id.keys() == self.asked.keys(), (engine.calls.by_id.keys(), self.asked.keys())
        answers = {answer.id for answer in engine.answers if answer.id and answer.state is not AnswerState.ENDED}
        assert answers == self.owed.keys(), f"I5: {answers} are to be answered, the peer waits for {self.owed}"
        assert engine.pipelines.promised == len(self.kept), (engine.pipelines.promised, self.kept)
        assert engine.answers.one_way_left == self.one_way_room
        unsent = 0
        for stream in engine.streams:
            if stream.unsent:
                unsent += 1
                continue
            flow = self.flows[-stream.id]
            assert (stream.items, stream.bytes) == (flow.items, flow.bytes), f"I7: {stream}"
            assert flow.ours is (type(stream) is not OutStream), stream
        assert len(engine.streams) - unsent == len(self.flows), "a stream that one side does not have"
        if self._dropped:  # one that stands in a frame that is held back may come once more
            self.retired.update(id for id in self._dropped if id not in exports.by_id)
            self._dropped.clear()


def _late(flow: frozenset[str] | Flow | None) -> Verdict:
    """What may come late, for a stream that is gone, means nothing."""
    assert not isinstance(flow, Flow)
    return FINE if flow == _ENDED else flow


_JUDGES: Final[dict[int, Callable[[Referee, _Frame, _References, int], Verdict]]] = {
    Op.GOAWAY: Referee._nothing,
    Op.CALL: Referee._call,
    Op.RESULT: Referee._answered,
    Op.ERROR: Referee._answered,
    Op.CANCEL: Referee._cancelling,
    Op.FINISH: Referee._finishing,
    Op.ITEMS: Referee._items,
    Op.CREDIT: Referee._credit,
    Op.END: Referee._ending,
    Op.STOP: Referee._stopping,
    Op.DROP: Referee._dropping,
    Op.CAP_REVOKED: Referee._telling,
    Op.CAP_REPLACED: Referee._telling,
    Op.PING: Referee._nothing,
    Op.PONG: Referee._pong,
    Op.ABORT: Referee._nothing,
}
_SAID: Final[dict[int, Callable[[Referee, _Frame, int, float], None]]] = {
    Op.GOAWAY: Referee._said_goaway,
    Op.CALL: Referee._said_call,
    Op.RESULT: Referee._said_answer,
    Op.ERROR: Referee._said_answer,
    Op.CANCEL: Referee._said_nothing,
    Op.FINISH: Referee._said_finish,
    Op.ITEMS: Referee._said_items,
    Op.CREDIT: Referee._said_credit,
    Op.END: Referee._said_end,
    Op.STOP: Referee._said_stop,
    Op.DROP: Referee._said_drop,
    Op.CAP_REVOKED: Referee._said_nothing,
    Op.CAP_REPLACED: Referee._said_nothing,
    Op.PING: Referee._said_ping,
    Op.PONG: Referee._said_nothing,
    Op.ABORT: Referee._said_abort,
}
_HEARD: Final[dict[int, Callable[[Referee, _Frame, int], None]]] = {
    Op.HELLO: Referee._hear_nothing,
    Op.GOAWAY: Referee._hear_goaway,
    Op.CALL: Referee._hear_call,
    Op.RESULT: Referee._hear_answer,
    Op.ERROR: Referee._hear_answer,
    Op.CANCEL: Referee._hear_cancel,
    Op.FINISH: Referee._hear_finish,
    Op.ITEMS: Referee._hear_items,
    Op.CREDIT: Referee._hear_credit,
    Op.END: Referee._hear_end,
    Op.STOP: Referee._hear_stop,
    Op.DROP: Referee._hear_drop,
    Op.CAP_REVOKED: Referee._hear_revoked,
    Op.CAP_REPLACED: Referee._hear_replaced,
    Op.PING: Referee._hear_ping,
    Op.PONG: Referee._hear_pong,
    Op.ABORT: Referee._hear_abort,
}
