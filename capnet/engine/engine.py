"""The engine: one connection's state, its inputs, intents and drains.

A driver does three things. It feeds inputs (`receive_data`, `receive_eof`, `handle_timeout`), it turns what users want
into intents (`call`, `reply`, `fail`, `cancel`, `release`, `revoke`, `replace`, `ping`, `close`), and after each of
either it drains, in this order: `events()`, `data_to_send()`, `next_deadline()`.

Values that an intent takes have been through `wire.values.lower`; the references it found are passed along, so that
nothing is searched twice. An intent that raises has changed nothing. After `Closed` every input is ignored, every
intent that would ask the peer for something raises what the close cause says, and the others do nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import Any, Final

from capnet.errors import (
    CapnetError,
    DeadlineExceeded,
    InvalidArgument,
    ProtocolViolation,
    ResourceExhausted,
    Revoked,
    cut_text,
)
from capnet.limits import EARLY, HANDSHAKE_FRAME, Limits
from capnet.wire.codec import Codec
from capnet.wire.frames import Op
from capnet.wire.framing import FrameReader
from capnet.wire.hello import Hello
from capnet.wire.references import CapRef, Reference
from capnet.wire.values import lower, only_data

from . import events as event
from .answers import Answer, Answers, AnswerState
from .calls import Call, Calls
from .closing import LONGEST, Closing
from .exports import CapTable, Export
from .imports import Import, ImportTable
from .inbound import Inbound
from .lifecycle import CloseCause, Lifecycle, State
from .outbox import Outbox
from .strikes import Strikes
from .timers import Timer, Timers

__all__ = ["Engine"]

MAX_ERROR_DETAILS: Final = 16 * 1024
"""Longest encoded details of an error; longer ones are left out."""
MAX_REASON: Final = 256
"""Longest reason or retry hint, in bytes, that is kept when the details themselves cannot travel."""


class Engine:
    """One side of one connection.

    Args:
        hello: what we say first; its limits are the ones we keep.
        now: the time at which the handshake begins.
        bootstrap: subject of cap-id 0, opaque here.
        runtime: subject of cap-id 1, opaque here.

    Raises:
        InvalidArgument: the hello does not fit into the frame that every peer takes.
    """

    __slots__ = (
        "answers",
        "calls",
        "closing",
        "codec",
        "exports",
        "heard",
        "imports",
        "inbound",
        "lifecycle",
        "limits",
        "now",
        "outbox",
        "peer",
        "ping_number",
        "pinged",
        "reader",
        "strikes",
        "timers",
        "lingering",
        "happened",
    )

    def __init__(self, hello: Hello, now: float, *, bootstrap: Any = None, runtime: Any = None) -> None:
        self.limits: Limits = hello.limits
        self.now = self.heard = now
        self.peer: Hello | None = None
        """What the peer said of itself, once the handshake is done."""
        self.lifecycle = Lifecycle()
        self.exports = CapTable(bootstrap, runtime)
        self.imports = ImportTable(self.limits.max_caps)
        self.calls = Calls()
        self.answers = Answers(self.limits.max_calls)
        self.timers = Timers()
        self.strikes = Strikes(self.limits)
        self.codec = Codec(self.limits)
        self.outbox = Outbox(self.codec, self.exports)
        self.reader = FrameReader(HANDSHAKE_FRAME)
        self.inbound = Inbound(self, hello)
        self.closing = Closing(self)
        self.ping_number = 0
        self.pinged: float | None = None
        """When a ping was sent because of silence."""
        self.lingering: list[Export] = []
        """Exports that were given back while calls on them wait for a slot."""
        self.happened: list[event.Event] = []
        """Events that the driver has not drained."""
        self._keep_to(EARLY)
        self._introduce(hello)
        self.timers.set(Timer.HANDSHAKE, now + self.limits.handshake_timeout)

    # Inputs

    def receive_data(self, data: bytes | bytearray | memoryview, now: float) -> None:
        """Bytes from the peer, cut anywhere."""
        self.now = self.heard = now
        if self.lifecycle.closed:
            return
        reader = self.reader
        if reader.held or self.peer is None:
            self._receive_slowly(data)
            return
        try:
            for frame in reader.frames(data):
                self.inbound.receive(frame)
                if self.lifecycle.state is State.CLOSED:
                    return
        except ProtocolViolation as violation:
            self.abort(violation)
            return
        if reader.held:
            self.timers.set(Timer.PARTIAL_FRAME, now + self.limits.partial_frame_timeout)

    def receive_eof(self, now: float, message: str = "the peer's end of the transport closed") -> None:
        """The transport has ended; everything that waits is told (P-CONN-6)."""
        self.now = now
        self.finish(self.lifecycle.cause or CloseCause("lost", message))

    def handle_timeout(self, now: float) -> None:
        """The time is `now`; to be called when `next_deadline` has come, harmless otherwise."""
        self.now = now
        for answer in self.timers.overdue(now):
            self.end_answer(answer, DeadlineExceeded("the deadline that came with the call has passed"))
        for timer in self.timers.due(now):
            if self.lifecycle.state is not State.CLOSED:
                self._ring(timer)

    # Intents: calls of ours

    def call(
        self,
        target: Import,
        method: str,
        arguments: dict[str, Any],
        references: Sequence[Reference] = (),
        token: Any = None,
        *,
        timeout: float | None = None,
        context: Mapping[str, str] | None = None,
        one_way: bool = False,
    ) -> Call:
        """Make a call; a `CallReturned` or `CallFailed` with `token` follows, unless it is cancelled or one-way.

        Args:
            timeout: seconds until the callee gives up.

        Raises:
            Unavailable: the connection is closing. The import's own error: it is broken. InvalidArgument,
            ResourceExhausted: the frame cannot be sent.
        """
        if not self.lifecycle.accepts_calls:
            raise self.closing.error()
        if target.broken is not None:
            raise target.broken.again()
        calls = self.calls
        id = 0 if one_way else calls.next_id()
        frame: list[Any] = [Op.CALL, id, target.id, method, arguments]
        if timeout is not None or context:
            frame.append(_meta(timeout, context))
        call = Call(id, target, None if one_way else token)
        if len(calls.by_id) < calls.limit and not calls.held and self.peer is not None:
            self.outbox.send(frame, references)
            if id:
                calls.by_id[id] = call
        else:
            self._hold_or_send(call, frame, references)
        return call

    def cancel(self, call: Call, reason: str = "") -> None:
        """Give up on a call of ours: its token hears no more of it. Once is enough; later ones do nothing."""
        if call.frame is not None:
            self.calls.held.remove(call)
            self.take_back(call, None)
        elif call.token is not None and self.calls.find(call.id) is call:
            self.outbox.send([Op.CANCEL, call.id, cut_text(reason)] if reason else [Op.CANCEL, call.id])
        call.token = None

    # Intents: answers we owe

    def reply(self, answer: Answer, value: Any, references: Sequence[Reference] = ()) -> None:
        """The handler of `answer` is done and this is its result.

        Raises:
            InvalidArgument, ResourceExhausted: the result cannot be sent; the answer is still owed.
        """
        if answer.id and answer.state is AnswerState.RUNNING:
            self.outbox.send([Op.RESULT, answer.id, value], references)
        self._finish_answer(answer)

    def fail(self, answer: Answer, error: CapnetError) -> None:
        """The handler of `answer` is done and this is its error."""
        if answer.state is AnswerState.RUNNING:
            self.send_error(answer.id, error)
        self._finish_answer(answer)

    # Intents: references

    def hold(self, imported: Import) -> None:
        """One more local owner of a capability that is held already."""
        assert imported.holders, "only what is held can be held again"
        imported.holders += 1

    def release(self, imported: Import) -> None:
        """One local owner less; the last gives all references back. The built-in two are never given back."""
        if imported.id > 1:
            count = self.imports.release(imported)
            if count and self.lifecycle.state is not State.CLOSED:
                self.outbox.drop(imported.id, count)

    def release_all(self, references: Iterable[Reference]) -> None:
        """Release what references in a value that nobody will see brought along."""
        for reference in references:
            if type(reference) is CapRef and type(reference.subject) is Import:
                self.release(reference.subject)

    def revoke(self, exports: Iterable[Export], reason: str) -> None:
        """Take capabilities of ours back: calls on them are answered, the peer is told, later calls do not arrive.

        Of those that the peer has given back only the calls are left to be answered. Those that are revoked already,
        and the built-in two, stay as they are.
        """
        revoked: list[int] = []
        for export in exports:
            live = self.exports.live(export)
            if not self.exports.revoke(export, reason) or not live:
                continue
            self.emit(event.ExportEnded(export, "revoked"))
            if export.given:  # else the peer is told when the frame that mentions it leaves
                revoked.append(export.id)
        self.outbox.send_many(Op.CAP_REVOKED, revoked, cut_text(reason))
        for answer in list(self.answers):
            if answer.export.revoked is not None:
                self.end_answer(answer, Revoked(answer.export.revoked))

    def exports_of(self, subject: Any) -> list[Export]:
        """Every user export behind which `subject` answers, also those given back whose calls have not ended.

        It looks at every entry: for revocation and replacement, not for calls.
        """
        exports = dict.fromkeys([*self.exports, *(answer.export for answer in self.answers)])
        return [export for export in exports if export.subject is subject and export.id > 1]

    def replace(self, exports: Sequence[Export], subject: Any, generation: int) -> None:
        """Put another subject behind the ids of live exports, for calls that arrive from now on (P-CAP-5)."""
        replaced = [export for export in exports if self.exports.live(export)]
        for export in replaced:
            self.exports.replace(export, subject)
        self.outbox.send_many(Op.CAP_REPLACED, [export.id for export in replaced if export.given], generation)

    def end_answer(self, answer: Answer, error: CapnetError) -> None:
        """Answer with `error` now, whatever the handler does, and have the handler stopped. Once answered: no-op."""
        if answer.state is AnswerState.RUNNING:
            answer.state = AnswerState.ENDED
            self.send_error(answer.id, error)
            self.timers.unwatch(answer)
            self.emit(event.AnswerEnded(answer, error))
        elif answer.state is AnswerState.QUEUED:
            answer.state = AnswerState.GONE
            self.answers.queue.remove(answer)
            self.send_error(answer.id, error)
            self.timers.unwatch(answer)
            self.release_all(answer.references)
            self._end_lingering()

    # Intents: the connection

    def ping(self) -> int:
        """Ask for a sign of life; `PongReceived` brings the returned number back.

        Raises:
            Unavailable: the connection is closing.
        """
        if self.lifecycle.state is State.CLOSED:
            raise self.closing.error()
        self.ping_number += 1
        self.outbox.send([Op.PING, self.ping_number])
        return self.ping_number

    def strike(self, reason: str) -> None:
        """The peer ran into a limit that the driver keeps."""
        if self.lifecycle.state is State.CLOSED:
            return
        try:
            self.count_strike(reason)
        except ProtocolViolation as violation:
            self.abort(violation)

    def close(self, message: str, grace: float, now: float) -> None:
        """Say goaway; what is in flight may end within `grace` seconds, then everything does (P-CONN-4).

        Calls that are still held back fail now: the peer would refuse them.
        """
        self.now = now
        if self.lifecycle.state is not State.CLOSED:
            self.closing.by_us(message, grace)

    def abort(self, violation: ProtocolViolation) -> None:
        """The peer broke a clause: say so and end (P-ERR-3)."""
        if self.lifecycle.state is not State.CLOSED:
            self.closing.by_violation(violation)

    # Drains

    def events(self) -> list[event.Event]:
        """What has happened since the last drain, in order."""
        drained = self.happened
        if drained:
            self.happened = []
        return drained

    def data_to_send(self) -> list[bytes]:
        """Chunks to be written in order, in one write if possible."""
        if self.outbox.drops and not self.calls.held:
            # A call that is held back may name a capability whose last owner has gone: its drop must not overtake it.
            self.outbox.take_drops()
        return self.outbox.take()

    @property
    def pending(self) -> bool:
        """Whether `data_to_send` has anything."""
        return bool(self.outbox.chunks or self.outbox.drops)

    def next_deadline(self) -> float | None:
        """When `handle_timeout` is due, or None."""
        return self.timers.next()

    # For the parts of the engine

    def emit(self, happened: event.Event) -> None:
        """Put an event before the driver."""
        self.happened.append(happened)

    def introduce_peer(self, hello: Hello, version: int) -> None:
        """The peer's hello is in: the handshake is done, and what was held for it goes out."""
        self.peer = hello
        self.reader.limit = self.limits.max_frame
        self._keep_to(hello.limits)
        self.timers.clear(Timer.HANDSHAKE)
        if self.limits.keepalive:
            self.timers.set(Timer.KEEPALIVE, self.now + self.limits.keepalive)
        if self.lifecycle.state is State.OPENING:
            self.lifecycle.move(State.OPEN)
        self.emit(event.PeerIntroduced(hello, version))
        self.send_held()

    def export_dropped(self, export: Export) -> None:
        """Say that the peer has given an export back; not while a call on it waits for a slot, which keeps it open."""
        if any(answer.export is export for answer in self.answers.queue):
            self.lingering.append(export)
        else:
            self.emit(event.ExportEnded(export, "dropped"))

    def take_back(self, call: Call, error: CapnetError | None) -> None:
        """A call that was held back will not be made: what it named is uncounted, and its token hears why."""
        call.frame = None
        self.exports.let_go(call.references)
        for export in self.exports.uncount(call.references):
            if export.revoked is None:
                self.emit(event.ExportEnded(export, "dropped"))
        if error is not None and call.token is not None:
            self.emit(event.CallFailed(call.token, error))
            call.token = None

    def send_held(self) -> None:
        """Send the calls that were held back, as far as the peer has room."""
        held = self.calls.held
        while held and len(self.calls) < self.calls.limit:
            call = held.popleft()
            payload = call.frame
            assert payload is not None
            if len(payload) > self.outbox.limit:
                self.take_back(call, self.outbox.too_long(payload))
                continue
            call.frame = None
            revoked = self.exports.let_go(call.references)
            self.outbox.put(payload)
            self.calls.sent(call)
            for export in revoked:
                self.outbox.send([Op.CAP_REVOKED, [export.id], cut_text(export.revoked or "")])

    def call_ended(self) -> None:
        """The peer has answered a call: there may be room for one that was held, or nothing left to wait for."""
        if self.calls.held:
            self.send_held()
        if self.lifecycle.state is State.DRAINING:
            self.closing.check_drained()

    def send_error(self, id: int, error: CapnetError) -> None:
        """Send the error terminal of a call; nothing for a one-way call."""
        if id == 0:
            return
        code, message, details = error.to_wire()
        frame: list[Any] = [Op.ERROR, id, code, message]
        if details is not None:
            frame.append(self._details(details))
        self.outbox.send(frame)

    def count_strike(self, reason: str) -> None:
        """Count a limit error of the peer; raises ProtocolViolation when they are too many."""
        self.emit(event.LimitReached(reason))
        self.strikes.add(self.now)

    def finish(self, cause: CloseCause) -> None:
        """End everything, each thing once, and the connection last. Later calls do nothing."""
        self.closing.finish(cause)

    # Private

    def _receive_slowly(self, data: bytes | bytearray | memoryview) -> None:
        """The same when a frame is under way, whose time limit must be kept, or the handshake is not done."""
        try:
            for frame in self.reader.frames(data):
                self.timers.clear(Timer.PARTIAL_FRAME)
                self.inbound.receive(frame)
                if self.lifecycle.state is State.CLOSED:
                    return
        except ProtocolViolation as violation:
            self.abort(violation)
            return
        if self.reader.held and not self.timers.is_set(Timer.PARTIAL_FRAME):
            self.timers.set(Timer.PARTIAL_FRAME, self.now + self.limits.partial_frame_timeout)

    def _introduce(self, hello: Hello) -> None:
        payload = self.codec.encode(hello.to_frame())
        if len(payload) > HANDSHAKE_FRAME:
            raise InvalidArgument(f"hello of {len(payload)} bytes, every peer takes {HANDSHAKE_FRAME}")
        self.outbox.put(payload)

    def _keep_to(self, announced: Limits) -> None:
        self.outbox.limit = min(announced.max_frame, self.limits.max_frame)
        self.exports.limit = min(announced.max_caps, self.limits.max_caps)
        self.calls.limit = announced.max_calls

    def _hold_or_send(self, call: Call, frame: list[Any], references: Sequence[Reference]) -> None:
        """The careful way: the peer may have no room, or may not have said yet how much it takes."""
        calls, outbox = self.calls, self.outbox
        payload = outbox.encode(frame, references)
        fits = len(payload) <= outbox.limit
        if fits and len(calls) < calls.limit and not calls.held:
            outbox.put(payload)
            calls.sent(call)
        elif not fits and self.peer is not None:
            self.exports.uncount(references)
            raise outbox.too_long(payload)
        elif len(calls.held) < self.limits.max_outgoing_calls:
            call.frame, call.references = payload, references
            self.exports.hold_back(references)
            calls.held.append(call)
        else:
            self.exports.uncount(references)
            raise ResourceExhausted(
                f"{self.limits.max_outgoing_calls} calls wait for the peer already", reason="max_concurrent_calls"
            )

    def _details(self, details: Mapping[str, Any]) -> dict[str, Any]:
        """The details of an error as they may travel: whole, or only what a caller must know to react."""
        try:
            plain: dict[str, Any]
            plain, references = lower(details, only_data, self.limits)
            if not references and len(self.codec.encode([plain])) <= MAX_ERROR_DETAILS:
                return plain
        except InvalidArgument:
            pass
        return {key: cut_text(str(details[key]), MAX_REASON) for key in ("reason", "retry") if key in details}

    def _finish_answer(self, answer: Answer) -> None:
        if answer.state is AnswerState.RUNNING:
            self.timers.unwatch(answer)
        elif answer.state is not AnswerState.ENDED:
            return  # the connection closed meanwhile
        self.answers.finish(answer)
        waiting = self.answers.next_queued() if self.answers.queue else None
        if waiting is not None:
            self.emit(event.CallArrived(waiting))
            self._end_lingering()
        elif self.lifecycle.state is State.DRAINING:
            self.closing.check_drained()

    def _end_lingering(self) -> None:
        if self.lingering:
            lingering, self.lingering = self.lingering, []
            for export in lingering:
                self.export_dropped(export)

    def _ring(self, timer: Timer) -> None:
        match timer:
            case Timer.HANDSHAKE:
                self.abort(ProtocolViolation("P-CONN-3", f"no hello in {self.limits.handshake_timeout:g} s"))
            case Timer.PARTIAL_FRAME:
                self.abort(ProtocolViolation("P-FRAME-2", "a frame was begun and not finished in time"))
            case Timer.GRACE:
                self.closing.grace_is_over()
            case _:
                self._keep_alive()

    def _keep_alive(self) -> None:
        """Ping after silence; give up when nothing at all came after the ping (P-CONN-5)."""
        ping_at = self.heard + self.limits.keepalive
        if self.pinged is not None and self.heard < self.pinged:
            self.finish(CloseCause("idle", f"not a byte for {self.now - self.heard:.0f} s"))
        elif self.now >= ping_at:
            self.ping()
            self.pinged = self.now
            self.timers.set(Timer.KEEPALIVE, self.now + self.limits.keepalive_timeout)
        else:
            self.timers.set(Timer.KEEPALIVE, ping_at)


def _meta(timeout: float | None, context: Mapping[str, str] | None) -> dict[str, Any]:
    meta: dict[str, Any] = {}
    if timeout is not None:
        # Rounded up: where caller and callee both keep the time, the caller's own scope is the first to notice.
        meta["deadline"] = ceil(min(max(timeout, 0.0), LONGEST) * 1000)
    if context:
        meta["context"] = dict(context)
    return meta
