"""What the peer sends: one method for each frame (P-OP).

A method judges its frame, which is in order as far as `check` goes, completely before it changes anything. What an
honest peer can never send raises `ProtocolViolation`; what it may send under load becomes an error reply and a strike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from capnet.errors import CallCancelled, CapnetError, DeadlineExceeded, ProtocolViolation, cut_text
from capnet.wire.frames import Op
from capnet.wire.hello import Hello, looks_like_capnet
from capnet.wire.references import CapRef, Reference

from .admission import Admission, Sources
from .answering import Answering
from .answers import Answer, AnswerState
from .calling import Calling
from .closing import Closing
from .conduct import Conduct
from .error_fields import read_error
from .events import CallArrived, CallFailed, CallReturned, ImportBroken, ImportReplaced
from .handshake import Handshake
from .held_calls import HeldCalls
from .keepalive import Keepalive
from .lifecycle import CloseCause
from .pins import dropped, hold_homes
from .pipelines import promises_in
from .resolving import refers, resolve
from .streaming import Streaming
from .tables import Tables
from .virtual import Virtual

__all__ = ["HANDLERS", "Inbound"]

CAPS_LIKE_A_FRAME: Final = 4
"""So many capabilities that end or are replaced take as long as a small frame."""
VALUES_LIKE_A_CAP: Final = 128
"""One of them takes as long as so many values, with observers who are told of it."""
_MAX_GRACE: Final = 3600.0
"""Seconds of grace a peer's goaway can ask for; a bound for hostile ones."""

_Frame = list[Any]
_References = Sequence[Reference]
_NO_SOURCES: Final[Sources] = {}


class Inbound:
    """Takes the peer's frames, one at a time, in order."""

    __slots__ = (
        "_admission",
        "_answering",
        "_answers",
        "_calling",
        "_calls",
        "_closing",
        "_codec",
        "_conduct",
        "_handshake",
        "_held",
        "_keepalive",
        "_streaming",
        "_tables",
        "_virtual",
        "size",
    )

    def __init__(
        self,
        tables: Tables,
        conduct: Conduct,
        handshake: Handshake,
        held: HeldCalls,
        calling: Calling,
        answering: Answering,
        streaming: Streaming,
        keepalive: Keepalive,
        closing: Closing,
        virtual: Virtual,
    ) -> None:
        self._tables = tables
        self._codec, self._answers, self._calls = tables.codec, tables.answers, tables.calls
        self._admission = Admission(tables, conduct)
        self._conduct = conduct
        self._handshake = handshake
        self._held = held
        self._calling = calling
        self._answering = answering
        self._streaming = streaming
        self._keepalive = keepalive
        self._closing = closing
        self._virtual = virtual
        self.size = 0
        """Bytes of the frame that is acted on."""

    def greet(self, payload: bytes) -> None:
        """Look at the first frame, before anything is made of it: a hello introduces the peer or ends the connection.

        Raises:
            ProtocolViolation: P-CONN-1, it is none.
        """
        self._tables.lifecycle.greeted = looks_like_capnet(payload)
        if not self._tables.lifecycle.greeted:
            raise ProtocolViolation("P-CONN-1", "the first frame is not a hello: this may be no capnet")

    def hello(self, frame: _Frame, references: _References) -> None:
        """The peer introduces itself (P-CONN-1)."""
        if self._tables.lifecycle.peer is not None:
            raise ProtocolViolation("P-CONN-1", "a second hello")
        hello = Hello.from_frame(frame)
        if references:
            raise ProtocolViolation("P-REF", "references in a hello")
        self._handshake.introduce(hello)

    def goaway(self, frame: _Frame, references: _References) -> None:
        """The peer takes no new calls (P-CONN-4)."""
        _, last_call_id, code, message, grace_ms = frame
        grace = min(grace_ms / 1000, _MAX_GRACE)
        cause = CloseCause("remote", cut_text(message), code=cut_text(code, 64))
        self._closing.by_peer(last_call_id, cause, grace)

    def call(self, frame: _Frame, references: _References) -> None:
        """The peer asks for something (P-CALL)."""
        tables, answers = self._tables, self._answers
        _, id, target, method, arguments, *meta = frame
        if references and meta and refers(meta[0]):
            raise ProtocolViolation("P-REF", "a reference in the meta of a call")
        if id > answers.last_id:
            answers.last_id = id
        elif id:
            answers.refuse(id)
        else:
            answers.take_one_way(self.size)
        refusal: CapnetError | None = None
        if meta:
            if meta[0].get("keep") and id:
                tables.pipelines.promise()
            if meta[0].get("deadline") == 0:
                refusal = DeadlineExceeded("the deadline had passed when the call was sent")
        direct = type(target) is int
        export = tables.exports.by_id.get(target) if direct else None
        if direct and (export is None or export.unsent):
            export = tables.exports.named(target)
        # Most references are of capabilities of the peer's, which neither promise, nor come home, nor flow.
        special = False
        for reference in references:
            if type(reference) is not CapRef or reference.id < 0:
                special = True
                break
        promises = promises_in(references) if special else None
        sources = _NO_SOURCES if direct and not promises else self._admission.sources(id, target, promises)
        if references:
            refusal = resolve(tables, references, promises=True) or refusal
        full = bool(answers.queue) or len(answers.active) >= answers.limit  # `full`, without another step
        if refusal is None and (
            export is None
            or export.revoked is not None
            or full
            or answers.waiting
            or sources
            or not tables.lifecycle.accepts_calls
        ):
            refusal = self._admission.refusal(id, target, export, sources)
        charge = self._codec.charge
        if refusal is None and not tables.call_charge.take(charge):
            refusal = self._admission.overcharged(id, charge)
        pace = tables.turn.call_pace
        if pace is not None:
            pace.spend(tables.timers.now)
        if refusal is not None:
            if type(refusal) is not DeadlineExceeded:  # time runs out for honest callers, too, and not by their doing
                self._conduct.count_control("calls that are refused")
            keep = bool(meta) and meta[0].get("keep", False)
            self._answering.refuse(id, refusal, references, keep)
            return
        answer = Answer(id, export, method, arguments, references)
        answer.charge = charge
        answer.values = self._codec.values
        if special:
            answer.promises = promises
            hold_homes(answer, references)
        if id:
            answers.owed += 1
        if not direct:
            answer.target = target
        if meta:
            self._take_meta(answer, meta[0])
        if sources or full or export is None or export in answers.lines:
            self._answering.accept(answer, sources)
        else:
            if special:
                self._streaming.belong_to(export, references)
            export.pins += 1
            answer.state = AnswerState.RUNNING  # `Answers.start`, without another step
            answers.active[id or answer] = answer
            tables.happened.append(CallArrived(answer))

    def _take_meta(self, answer: Answer, meta: dict[str, Any]) -> None:
        answer.context = meta.get("context", answer.context)
        answer.keep = answer.id > 0 and meta.get("keep", False)
        if "deadline" in meta:
            answer.deadline = self._tables.timers.now + meta["deadline"] / 1000
            self._tables.timers.watch(answer)

    def result(self, frame: _Frame, references: _References) -> None:
        """The peer answers with a value."""
        # A violation among the references must find the call in the table still: it is answered like all others.
        refusal = resolve(self._tables, references) if references else None
        call = self._calls.answered(frame[1])
        if call.party is not None:
            refusal = self._tables.streams.brought(call, references) or refusal
        if references and (call.token is None or refusal is not None):
            self._streaming.release_all(references)
        if call.token is not None:
            if refusal is not None:
                self._tables.emit(CallFailed(call.token, refusal))
            else:
                self._tables.happened.append(CallReturned(call.token, frame[2], references))
            if not call.kept:  # else what it brought goes back with the promise of it
                call.token = None
        if self._calls.held or not self._tables.lifecycle.accepts_calls:
            self._held.answered()

    def error(self, frame: _Frame, references: _References) -> None:
        """The peer answers with an error."""
        if references:
            raise ProtocolViolation("P-REF", "references in an error")
        call = self._calls.answered(frame[1])
        if call.party is not None:
            self._tables.streams.brought(call, ())
        if call.token is not None or call.kept:
            error = read_error(self._tables.outbox, frame, self.size)
            if call.kept:
                call.failure = call.failure or error
            if call.token is not None:
                self._tables.emit(CallFailed(call.token, error))
        self._held.answered()

    def cancel(self, frame: _Frame, references: _References) -> None:
        """The peer gives up on a call (P-CALL-6)."""
        answer = self._answers.find(frame[1])
        self._conduct.count_control("cancels")
        if answer is not None:
            reason = cut_text(frame[2]) if len(frame) == 3 else ""
            self._answering.end_answer(answer, CallCancelled(reason or "cancelled by the caller"))

    def finish(self, frame: _Frame, references: _References) -> None:
        """The peer needs a result no more that we keep for it (P-CALL-8)."""
        self._answering.finished(frame[1])

    def items(self, frame: _Frame, references: _References) -> None:
        """Items of a stream (P-STREAM)."""
        values = frame[2]
        stream = self._tables.streams.consumed(-frame[1])
        stream.charge(len(values), self.size)
        refusal = resolve(self._tables, references) if references else None
        if references and stream.party is not None:
            refusal = self._tables.streams.lend(references, stream.party) or refusal
        if refusal is not None:
            # Items are not answered one by one: what names something that is gone ends the stream here.
            self._streaming.spoil(stream, refusal)
            self._streaming.release_all(references)
            references = ()
        codec = self._codec
        self._streaming.items(stream, values, references, self.size, codec.charge, codec.values)

    def credit(self, frame: _Frame, references: _References) -> None:
        """Credit for a stream, or for one-way calls (P-STREAM-2, P-CALL-7)."""
        if frame[1]:
            self._streaming.credit(-frame[1], frame[2], frame[3])
        else:
            self._calling.one_way_credit(frame[2])

    def end(self, frame: _Frame, references: _References) -> None:
        """The last word of a stream's producer."""
        if references:
            raise ProtocolViolation("P-REF", "references in an end")
        self._streaming.ended(
            -frame[1],
            None if len(frame) == 2 else read_error(self._tables.outbox, frame, self.size),
            self._codec.charge,
        )

    def stop(self, frame: _Frame, references: _References) -> None:
        """The consumer of a stream wants no more."""
        self._streaming.stopped(-frame[1], cut_text(frame[2]) if len(frame) == 3 else "")

    def drop(self, frame: _Frame, references: _References) -> None:
        """The peer gives references back (P-REF-2)."""
        for id, count in frame[1]:
            export = self._tables.exports.drop(id, count)
            if export is not None and export.revoked is None:
                dropped(self._tables, export)
        self._tables.turn.work += len(frame[1]) / CAPS_LIKE_A_FRAME

    def cap_revoked(self, frame: _Frame, references: _References) -> None:
        """The peer has taken capabilities back (P-CAP-6)."""
        told = [self._tables.imports.told(id) for id in dict.fromkeys(frame[1])]
        error = self._tables.imports.revoked(cut_text(frame[2]))
        for imported in told:
            if imported is not None and imported.broken is None:
                imported.broken = error
                self._tables.emit(ImportBroken(imported, error))
        self._tables.turn.work += len(told) / CAPS_LIKE_A_FRAME

    def cap_replaced(self, frame: _Frame, references: _References) -> None:
        """The peer has put new implementations behind capabilities (P-CAP-5)."""
        told = [self._tables.imports.told(id) for id in dict.fromkeys(frame[1])]
        for imported in told:
            if imported is not None and imported.generation != frame[2]:
                imported.generation = frame[2]
                self._tables.emit(ImportReplaced(imported))
        self._tables.turn.spend(len(told) * VALUES_LIKE_A_CAP)

    def ping(self, frame: _Frame, references: _References) -> None:
        """The peer wants a sign of life."""
        self._conduct.count_control("pings")
        self._tables.outbox.send([Op.PONG, frame[1]])

    def pong(self, frame: _Frame, references: _References) -> None:
        """The peer gives a sign of life."""
        self._keepalive.answered(frame[1])

    def abort(self, frame: _Frame, references: _References) -> None:
        """The peer says that we broke a clause."""
        self._closing.accused(cut_text(frame[1], 64), cut_text(frame[2]))

    def virtual(self, frame: _Frame, references: _References) -> None:
        """A virtual connection is opened, or something is said of one (P-VIRT)."""
        if references:
            raise ProtocolViolation("P-REF", "references in the frame of a virtual connection")
        self._virtual.receive(frame, self.size)


HANDLERS: Final[dict[int, Callable[[Inbound, _Frame, _References], None]]] = {
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
    Op.OPEN: Inbound.virtual,
    Op.ACCEPT: Inbound.virtual,
    Op.REJECT: Inbound.virtual,
    Op.DATA: Inbound.virtual,
    Op.CLOSE: Inbound.virtual,
    Op.ROOM: Inbound.virtual,
}
