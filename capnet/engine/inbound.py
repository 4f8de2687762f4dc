"""What the peer sends: one method for each frame (P-OP).

A method judges its frame completely before it changes anything. What an honest peer can never send raises
`ProtocolViolation`; what it may send under load becomes an error reply and a strike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from capnet.errors import (
    CallCancelled,
    CapnetError,
    DeadlineExceeded,
    NotFound,
    ProtocolViolation,
    ResourceExhausted,
    Revoked,
    Unavailable,
    cut_text,
    from_wire,
)
from capnet.limits import bound
from capnet.wire.frames import Op, check
from capnet.wire.hello import Hello, looks_like_capnet
from capnet.wire.references import CapRef, Reference, StreamRef, kind_of

from . import events as event
from .answering import MAX_ERROR_DETAILS
from .answers import Answer
from .exports import FIRST_USER_ID, Export
from .ledger import call_charge, host_charge
from .lifecycle import CloseCause
from .pipelines import Kept, Promises, promises_in

if TYPE_CHECKING:
    from .engine import Engine

__all__ = ["Inbound"]

CAPS_LIKE_A_FRAME: Final = 4
"""So many capabilities that end or are replaced take as long as a small frame."""
VALUES_LIKE_A_CAP: Final = 128
"""One of them takes as long as so many values, with observers who are told of it."""
_MAX_GRACE: Final = 3600.0
"""Seconds of grace a peer's goaway can ask for; a bound for hostile ones."""

_Frame = list[Any]
_References = Sequence[Reference]
_Sources = Mapping[int, Answer | Kept | None]
_NO_SOURCES: Final[_Sources] = {}


class Inbound:
    """Takes the peer's frames, one at a time, in order."""

    __slots__ = ("_engine", "_ours", "_size", "greeted")

    def __init__(self, engine: Engine, ours: Hello) -> None:
        self._engine = engine
        self._ours = ours
        self._size = 0
        self.greeted = False
        """Whether the peer has begun with something that looks like capnet."""

    def receive(self, payload: bytes) -> None:
        """Act on one frame.

        Raises:
            ProtocolViolation: the peer broke a clause; nothing of this frame has been done.
        """
        engine = self._engine
        if engine.peer is None:
            self._greet(payload)
        frame, references = engine.codec.decode(payload)
        self._size = len(payload)
        if check(frame):
            _HANDLERS[frame[0]](self, frame, references)
        else:
            engine.count_control("frames that are ignored")

    def _greet(self, payload: bytes) -> None:
        # Only the first frame comes here: a hello introduces the peer or ends the connection.
        self.greeted = looks_like_capnet(payload)
        if not self.greeted:
            raise ProtocolViolation("P-CONN-1", "the first frame is not a hello: this may be no capnet")

    def hello(self, frame: _Frame, references: _References) -> None:
        """The peer introduces itself (P-CONN-1)."""
        if self._engine.peer is not None:
            raise ProtocolViolation("P-CONN-1", "a second hello")
        hello = Hello.from_frame(frame)
        if references:
            raise ProtocolViolation("P-REF", "references in a hello")
        self._engine.introduce_peer(hello, self._ours.version_with(hello))

    def goaway(self, frame: _Frame, references: _References) -> None:
        """The peer takes no new calls (P-CONN-4)."""
        _, last_call_id, code, message, grace_ms = frame
        grace = min(grace_ms / 1000, _MAX_GRACE)
        cause = CloseCause("remote", cut_text(message), code=cut_text(code, 64))
        self._engine.closing.by_peer(last_call_id, cause, grace)

    def call(self, frame: _Frame, references: _References) -> None:
        """The peer asks for something (P-CALL)."""
        engine = self._engine
        answers = engine.answers
        _, id, target, method, arguments, *meta = frame
        if references and meta and _refers(meta[0]):
            raise ProtocolViolation("P-REF", "a reference in the meta of a call")
        if id > answers.last_id:
            answers.last_id = id
        elif id:
            answers.refuse(id)
        else:
            answers.take_one_way(self._size)
        refusal: CapnetError | None = None
        if meta:
            if meta[0].get("keep") and id:
                engine.pipelines.promise()
            if meta[0].get("deadline") == 0:
                refusal = DeadlineExceeded("the deadline had passed when the call was sent")
        direct = type(target) is int
        export = engine.exports.named(target) if direct else None
        promises = promises_in(references) if references else None
        sources = _NO_SOURCES if direct and not promises else self._sources(id, target, promises)
        if references:
            refusal = self._resolve(references, promises=True) or refusal
        full = answers.full
        if refusal is None and (
            export is None
            or export.revoked is not None
            or full
            or answers.waiting
            or sources
            or not engine.lifecycle.accepts_calls
        ):
            refusal = self._refusal(id, target, export, sources)
        charge = engine.codec.charge
        if refusal is None and not engine.call_charge.take(charge):
            refusal = self._overcharged(id, charge)
        if engine.call_pace is not None:
            engine.call_pace.spend(engine.now)
        if refusal is not None:
            if type(refusal) is not DeadlineExceeded:  # time runs out for honest callers, too, and not by their doing
                engine.count_control("calls that are refused")
            keep = bool(meta) and meta[0].get("keep", False)
            engine.answering.refuse(id, refusal, references, keep)
            return
        answer = Answer(id, export, method, arguments, references)
        answer.charge = charge
        answer.values = engine.codec.values
        if references:
            answer.promises = promises
            engine.answering.hold_homes(answer, references)
        if id:
            answers.owed += 1
        if not direct:
            answer.target = target
        if meta:
            self._take_meta(answer, meta[0])
        if sources or full or export is None or export in answers.lines:
            engine.answering.accept(answer, sources)
        else:
            if references:
                engine.streaming.belong_to(export, references)
            export.pins += 1
            answers.start(answer)
            engine.happened.append(event.CallArrived(answer))

    def _sources(self, id: int, target: Any, promises: Promises | None) -> _Sources:
        """The answers that a call needs, in the order it names them; None for one that is not kept."""
        needed = promises or ()
        if type(target) is not int:
            needed = (target[0], *needed)
        return {source: self._engine.pipelines.find(source, id) for source in needed}

    def _refusal(self, id: int, target: Any, export: Export | None, sources: _Sources) -> CapnetError | None:
        """Why a call may not start, when its frame is in order."""
        engine = self._engine
        if export is None and type(target) is int:
            engine.count_strike("released")
            return NotFound(f"capability {target} was given back", reason="released")
        if export is not None and export.revoked is not None:
            return Revoked(export.revoked)
        if not engine.lifecycle.accepts_calls:
            return Unavailable("this side is closing", reason="peer_closing", retry="transparent")
        if None in sources.values():
            engine.count_strike("released")
            return NotFound("the answer that the call needs is not kept", reason="released")
        if id and engine.answers.overfull:
            engine.count_strike("max_concurrent_calls")
            waits = bound("max_queued_calls", engine.limits.max_queued_calls, "callee")
            text = f"{engine.limits.max_calls} calls (Limits.max_calls) run, and too many wait: {waits}"
            return ResourceExhausted(text, reason="max_concurrent_calls")
        return None

    def _overcharged(self, id: int, charge: int) -> CapnetError | None:
        """There is no room for what a call would take up; a one-way call, which is small, is taken all the same."""
        engine = self._engine
        if not id:
            engine.call_charge.add(charge)
            return None
        if engine.call_charge.crowded(charge):
            engine.emit(event.LimitReached("max_host_charge"))
            return ResourceExhausted(
                f"all peers together have too much in flight: {host_charge(engine.call_charge)}",
                reason="max_host_charge",
            )
        grown = sum(answer.growth for answer in engine.answers)
        if not engine.call_charge.has_room(charge - grown):  # else the peer has kept to what it knows
            engine.count_strike("max_call_charge")
        return ResourceExhausted(call_charge(engine.call_charge), reason="max_call_charge")

    def _take_meta(self, answer: Answer, meta: dict[str, Any]) -> None:
        answer.context = meta.get("context", answer.context)
        answer.keep = answer.id > 0 and meta.get("keep", False)
        if "deadline" in meta:
            answer.deadline = self._engine.now + meta["deadline"] / 1000
            self._engine.timers.watch(answer)

    def result(self, frame: _Frame, references: _References) -> None:
        """The peer answers with a value."""
        engine = self._engine
        # A violation among the references must find the call in the table still: it is answered like all others.
        refusal = self._resolve(references) if references else None
        call = engine.calls.answered(frame[1])
        if call.party is not None:
            refusal = engine.streams.brought(call, references) or refusal
        if references and (call.token is None or refusal is not None):
            engine.release_all(references)
        if call.token is not None:
            if refusal is not None:
                engine.emit(event.CallFailed(call.token, refusal))
            else:
                engine.happened.append(event.CallReturned(call.token, frame[2], references))
            if not call.kept:  # else what it brought goes back with the promise of it
                call.token = None
        if engine.calls.held or not engine.lifecycle.accepts_calls:
            engine.calling.answered()

    def error(self, frame: _Frame, references: _References) -> None:
        """The peer answers with an error."""
        engine = self._engine
        if references:
            raise ProtocolViolation("P-REF", "references in an error")
        call = engine.calls.answered(frame[1])
        if call.party is not None:
            engine.streams.brought(call, ())
        if call.token is not None or call.kept:
            error = self._error(frame)
            if call.kept:
                call.failure = call.failure or error
            if call.token is not None:
                engine.emit(event.CallFailed(call.token, error))
        engine.calling.answered()

    def cancel(self, frame: _Frame, references: _References) -> None:
        """The peer gives up on a call (P-CALL-6)."""
        answer = self._engine.answers.find(frame[1])
        self._engine.count_control("cancels")
        if answer is not None:
            reason = cut_text(frame[2]) if len(frame) == 3 else ""
            self._engine.answering.end_answer(answer, CallCancelled(reason or "cancelled by the caller"))

    def finish(self, frame: _Frame, references: _References) -> None:
        """The peer needs a result no more that we keep for it (P-CALL-8)."""
        self._engine.answering.finished(frame[1])

    def items(self, frame: _Frame, references: _References) -> None:
        """Items of a stream (P-STREAM)."""
        engine = self._engine
        values = frame[2]
        stream = engine.streams.consumed(-frame[1])
        stream.charge(len(values), self._size)
        refusal = self._resolve(references) if references else None
        if references and stream.party is not None:
            refusal = engine.streams.lend(references, stream.party) or refusal
        if refusal is not None:
            # Items are not answered one by one: what names something that is gone ends the stream here.
            engine.streaming.spoil(stream, refusal)
            engine.release_all(references)
            references = ()
        codec = engine.codec
        engine.streaming.items(stream, values, references, self._size, codec.charge, codec.values)

    def credit(self, frame: _Frame, references: _References) -> None:
        """Credit for a stream, or for one-way calls (P-STREAM-2, P-CALL-7)."""
        if frame[1]:
            self._engine.streaming.credit(-frame[1], frame[2], frame[3])
        else:
            self._engine.calling.one_way_credit(frame[2])

    def end(self, frame: _Frame, references: _References) -> None:
        """The last word of a stream's producer."""
        if references:
            raise ProtocolViolation("P-REF", "references in an end")
        engine = self._engine
        engine.streaming.ended(-frame[1], None if len(frame) == 2 else self._error(frame), engine.codec.charge)

    def stop(self, frame: _Frame, references: _References) -> None:
        """The consumer of a stream wants no more."""
        self._engine.streaming.stopped(-frame[1], cut_text(frame[2]) if len(frame) == 3 else "")

    def drop(self, frame: _Frame, references: _References) -> None:
        """The peer gives references back (P-REF-2)."""
        engine = self._engine
        for id, count in frame[1]:
            export = engine.exports.drop(id, count)
            if export is not None and export.revoked is None:
                engine.answering.export_dropped(export)
        engine.work += len(frame[1]) / CAPS_LIKE_A_FRAME

    def cap_revoked(self, frame: _Frame, references: _References) -> None:
        """The peer has taken capabilities back (P-CAP-6)."""
        engine = self._engine
        told = [engine.imports.told(id) for id in dict.fromkeys(frame[1])]
        error = engine.imports.revoked(cut_text(frame[2]))
        for imported in told:
            if imported is not None and imported.broken is None:
                imported.broken = error
                engine.happened.append(event.ImportBroken(imported, error))
        engine.work += len(told) / CAPS_LIKE_A_FRAME

    def cap_replaced(self, frame: _Frame, references: _References) -> None:
        """The peer has put new implementations behind capabilities (P-CAP-5)."""
        engine = self._engine
        told = [engine.imports.told(id) for id in dict.fromkeys(frame[1])]
        for imported in told:
            if imported is not None and imported.generation != frame[2]:
                imported.generation = frame[2]
                engine.happened.append(event.ImportReplaced(imported))
        engine.spend(len(told) * VALUES_LIKE_A_CAP)

    def ping(self, frame: _Frame, references: _References) -> None:
        """The peer wants a sign of life."""
        self._engine.count_control("pings")
        self._engine.outbox.send([Op.PONG, frame[1]])

    def pong(self, frame: _Frame, references: _References) -> None:
        """The peer gives a sign of life."""
        engine = self._engine
        if not 0 < frame[1] <= engine.ping_number:
            raise ProtocolViolation("P-ID-4", f"answer to ping {frame[1]}, which was never sent")
        engine.answered_ping()
        engine.emit(event.PongReceived(frame[1]))

    def abort(self, frame: _Frame, references: _References) -> None:
        """The peer says that we broke a clause."""
        self._engine.finish(CloseCause("violation", cut_text(frame[2]), cut_text(frame[1], 64), by_peer=False))

    def _home(self, reference: CapRef) -> Export | None:
        """The export that comes home, unless it is gone.

        Raises:
            ProtocolViolation: P-ID-3, it is built in; P-ID-4, it was never issued; P-REF-5, it was exported as
            something else than the peer says.
        """
        id = -reference.id
        if id < FIRST_USER_ID:
            raise ProtocolViolation("P-ID-3", f"cap-id {id} does not travel")
        export = self._engine.exports.named(id)
        if export is not None and (export.interface != reference.interface or export.version != reference.version):
            raise ProtocolViolation("P-REF-5", f"cap-id {id} comes home as something else than it was given as")
        return export

    def _resolve(self, references: _References, *, promises: bool = False) -> CapnetError | None:
        """Find what each reference stands for, and count those that arrive.

        All of them are counted, also when one cannot be found: then the value as a whole is refused with the error
        returned, and the caller releases them.
        """
        engine = self._engine
        refusal: CapnetError | None = None
        homes: list[Export | None] = [
            self._home(reference) if type(reference) is CapRef and reference.id < 0 else None
            for reference in references
        ]
        for reference, home in zip(references, homes, strict=True):
            if type(reference) is StreamRef:
                engine.streams.arrive(reference)
            elif type(reference) is not CapRef:
                if not promises:
                    raise ProtocolViolation("P-REF", "an unanswered result outside of a call's arguments")
            elif reference.id > 0:
                reference.subject = engine.imports.arrive(reference.id, reference.interface, reference.version)
            elif home is None:
                refusal = NotFound(f"capability {-reference.id} was given back", reason="released")
            elif home.revoked is not None:
                refusal = Revoked(home.revoked)
            else:
                reference.subject = home
        return refusal

    def _error(self, frame: _Frame) -> CapnetError:
        """Code, message and details, which stand at the end of a frame; within the bounds that hold for all of them."""
        _, _, code, message, *rest = frame
        details = rest[0] if rest else None
        if details and self._size > MAX_ERROR_DETAILS:
            details = self._engine.answering.bounded(details)
        return from_wire(code, message, details)


def _refers(value: Any) -> bool:
    """Whether a reference stands in plain data."""
    kind = kind_of(value)
    if kind is dict or kind is list:
        return any(map(_refers, value.values() if kind is dict else value))
    return isinstance(value, Reference)


_HANDLERS: Final[dict[int, Callable[[Inbound, _Frame, _References], None]]] = {
    Op.HELLO: Inbound.hello,
    Op.GOAWAY: Inbound.goaway,
    Op.CALL: Inbound.call,
    Op.RESULT: Inbound.result,
    Op.ERROR: Inbound.error,
    Op.CANCEL: Inbound.cancel,
    Op.FINISH: Inbound.finish,
    Op.ITEMS: Inbound.items,
    Op.CREDIT: Inbound.credit,
    Op.END: Inbound.end,
    Op.STOP: Inbound.stop,
    Op.DROP: Inbound.drop,
    Op.CAP_REVOKED: Inbound.cap_revoked,
    Op.CAP_REPLACED: Inbound.cap_replaced,
    Op.PING: Inbound.ping,
    Op.PONG: Inbound.pong,
    Op.ABORT: Inbound.abort,
}
