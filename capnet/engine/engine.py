"""The engine: one connection's state, its inputs, intents and drains.

A driver does three things. It feeds inputs (`receive_data`, `receive_eof`, `handle_timeout`), it turns what users want
into intents, and after each of either it drains, in this order: `events()`, `data_to_send()`, `next_deadline()`.

The intents stand where their state does: calls we make in `calling`, calls we answer in `answering`, streams in
`streaming`; the four that every call needs (`call`, `cancel`, `reply`, `fail`) are here as well, and so are those for
references (`hold`, `release`, `revoke`, `replace`) and for the connection (`ping`, `strike`, `close`, `abort`).

Values that an intent takes have been through `wire.values.lower`; the references it found are passed along, so that
nothing is searched twice. An intent that raises has changed nothing. After `Closed` every input is ignored, every
intent that would ask the peer for something raises what the close cause says, and the others do nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from capnet.errors import DeadlineExceeded, InvalidArgument, ProtocolViolation, ResourceExhausted, cut_text
from capnet.limits import EARLY, HANDSHAKE_FRAME, HONEST_BURST, HONEST_RATE, NOT_YET_KNOWN, FrameBounds, Limits, bound
from capnet.wire.codec import Codec
from capnet.wire.frames import Op
from capnet.wire.framing import FrameReader
from capnet.wire.hello import Hello
from capnet.wire.references import CapRef, Reference, StreamRef

from . import events as event
from .answering import Answering
from .answers import Answers
from .calling import Calling
from .calls import Calls, Target
from .closing import Closing
from .exports import CapTable, Export
from .imports import Import, ImportTable
from .inbound import Inbound
from .ledger import Ledger
from .lifecycle import CloseCause, Lifecycle, State
from .outbox import Outbox
from .pace import Pace
from .pipelines import Pipelines
from .streaming import Streaming
from .streams import Streams
from .strikes import Strikes
from .timers import Timer, Timers

__all__ = ["Engine"]

VALUES_LIKE_A_FRAME: Final = 512
"""So many values in a frame take as long as another small frame."""
LONGEST_REST: Final = 5.0
"""Seconds in which nothing is read, at most, whatever a peer has led to: one that is never heard is taken for dead."""


class Engine:
    """One side of one connection.

    Args:
        hello: what we say first; its limits are the ones we keep.
        now: the time at which the handshake begins.
        bootstrap: subject of cap-id 0, opaque here.
        runtime: subject of cap-id 1, opaque here.
        whole: counts what all connections of a host hold.

    Raises:
        InvalidArgument: the hello does not fit into the frame that every peer takes.
    """

    __slots__ = (
        "answering",
        "answers",
        "bounds",
        "call",
        "call_charge",
        "call_pace",
        "calling",
        "control_pace",
        "calls",
        "cancel",
        "closing",
        "codec",
        "exports",
        "fail",
        "heard",
        "held_charge",
        "imports",
        "inbound",
        "lifecycle",
        "limits",
        "now",
        "outbox",
        "paced",
        "peer",
        "ping_number",
        "pinged",
        "own_pace",
        "pipelines",
        "reader",
        "reply",
        "streaming",
        "streams",
        "strikes",
        "timers",
        "turn",
        "unread",
        "work",
        "work_pace",
        "lingering",
        "happened",
    )

    def __init__(
        self, hello: Hello, now: float, *, bootstrap: Any = None, runtime: Any = None, whole: Ledger | None = None
    ) -> None:
        self.limits: Limits = hello.limits
        self.now = self.heard = now
        self.bounds = NOT_YET_KNOWN
        """What our frames keep to."""
        self.peer: Hello | None = None
        """What the peer said of itself, once the handshake is done."""
        self.lifecycle = Lifecycle()
        self.exports = CapTable(bootstrap, runtime)
        self.imports = ImportTable(self.limits.max_caps)
        self.call_charge = Ledger(self.limits.max_call_charge, whole)
        """What the peer's calls take up that wait or run."""
        self.held_charge = Ledger(self.limits.max_held_charge, whole)
        """What its items that nobody has read take up, and results that are kept for it."""
        self.calls = Calls()
        self.streams = Streams(self.limits)
        self.answers = Answers(self.limits.max_calls, self.limits.max_queued_calls)
        self.pipelines = Pipelines(
            self.answers, self.exports, self.held_charge, self.limits.max_kept_bytes, self.limits.max_calls
        )
        self.timers = Timers()
        self.strikes = Strikes(self.limits)
        self.control_pace = Pace(self.limits.control_burst, self.limits.control_rate, now)
        """How many more cancels and pings the peer may send, and calls that are refused (P-LIMIT-4)."""
        self.own_pace = Pace(HONEST_BURST, HONEST_RATE, now)
        """The same for what we send."""
        self.call_pace = Pace(self.limits.call_burst, rate, now) if (rate := self.limits.call_rate) else None
        """How many more calls are taken from the peer now; it may be overdrawn by those of one turn."""
        self.work_pace = Pace(self.limits.work_burst, self.limits.work_rate, now)
        """How many more values the peer may have us handle beside those in its frames; it may be overdrawn likewise."""
        self.paced = self.call_pace is not None
        """Whether `rest` may be other than 0."""
        self.turn = self.limits.frames_per_turn
        """How many small frames are acted on in one turn."""
        self.unread = False
        """Frames wait here for another turn: `receive_data`, with nothing if need be, goes on with them."""
        self.work = 0.0
        """What the frames of this turn have led to, in small frames (`spend`)."""
        self.codec = Codec(self.limits)
        self.outbox = Outbox(self.codec, self.exports, self.streams)
        self.reader = FrameReader(HANDSHAKE_FRAME)
        self.calling = Calling(self)
        self.answering = Answering(self)
        self.streaming = Streaming(self)
        # What each call needs is found without another step.
        self.call, self.cancel = self.calling.call, self.calling.cancel
        self.reply, self.fail = self.answering.reply, self.answering.fail
        self.inbound = Inbound(self, hello)
        self.closing = Closing(self)
        self.ping_number = 0
        self.pinged: float | None = None
        """When a ping was sent because of silence."""
        self.lingering: dict[Export, None] = {}
        """Exports that were given back while something here still leads to them."""
        self.happened: list[event.Event] = []
        """Events that the driver has not drained."""
        self._keep_to(EARLY)
        self._introduce(hello)
        self.timers.set(Timer.HANDSHAKE, now + self.limits.handshake_timeout)

    # Inputs

    def receive_data(self, data: bytes | bytearray | memoryview, now: float) -> None:
        """Bytes from the peer, cut anywhere.

        At most `turn` frames are acted on, fewer when they are large or lead to much; for the rest see `unread`.
        """
        self.now = self.heard = now
        if self.lifecycle.closed:
            return
        self.unread = False
        self.work = 0.0
        reader, codec, room = self.reader, self.codec, self.turn
        under_way = bool(reader.held)
        frames = reader.frames(data)
        try:
            for frame in frames:
                if under_way:
                    under_way = False
                    self.timers.clear(Timer.PARTIAL_FRAME)
                self.inbound.receive(frame)
                if self.lifecycle.state is State.CLOSED:
                    return
                room -= 1 + codec.values // VALUES_LIKE_A_FRAME
                if room <= self.work:
                    reader.leave(frames)
                    self.unread = bool(reader.held)
                    return
        except ProtocolViolation as violation:
            self.abort(violation)
            return
        if reader.held and not self.timers.is_set(Timer.PARTIAL_FRAME):
            self.timers.set(Timer.PARTIAL_FRAME, now + self.limits.partial_frame_timeout)

    def receive_eof(
        self, now: float, message: str = "the peer's end of the transport closed", *, explained: bool = False
    ) -> None:
        """The transport has ended; everything that waits is told (P-CONN-6).

        Args:
            now: the time.
            message: how it has ended.
            explained: that says all there is to say of a peer that has not introduced itself.
        """
        self.now = now
        if self.peer is None and not explained:
            message += "; it had not said hello, so it may be no capnet, or have no place for us"
        self.finish(self.lifecycle.cause or CloseCause("lost", message))

    def handle_timeout(self, now: float) -> None:
        """The time is `now`; to be called when `next_deadline` has come, harmless otherwise."""
        self.now = now
        for answer in self.timers.overdue(now):
            self.answering.end_answer(answer, DeadlineExceeded("the deadline that came with the call has passed"))
        for timer in self.timers.due(now):
            if self.lifecycle.state is not State.CLOSED:
                self._ring(timer)

    # Intents: references

    def hold(self, held: Target) -> None:
        """One more local owner of a capability, or of a promise of one, that is held already."""
        if isinstance(held, Import):
            assert held.holders, "only what is held can be held again"
            held.holders += 1
        else:
            assert held.call.users, "only what is held can be held again"
            held.call.users += 1

    def release(self, held: Target) -> None:
        """One local owner less; the last gives all references back. The built-in two are never given back."""
        if isinstance(held, Import):
            self._release(held)
        else:
            self.calling.release(held.call)

    def _release(self, imported: Import) -> None:
        if imported.id > 1:
            count = self.imports.release(imported)
            if count and self.lifecycle.state is not State.CLOSED:
                self.outbox.drop(imported.id, count)

    def name(self, named: Iterable[Target]) -> None:
        """A call that is held back names these: news that they are let go of must not overtake it."""
        for one in named:
            if isinstance(one, Import):
                one.named += 1
            else:
                self.hold(one)

    def name_no_more(self, named: Iterable[Target]) -> None:
        """It leaves, or never will."""
        for one in named:
            if isinstance(one, Import):
                one.named -= 1
                one.holders += 1  # until it is released
            self.release(one)

    def release_all(self, references: Iterable[Reference]) -> None:
        """Release what references in a value that nobody will see brought along."""
        for reference in references:
            if type(reference) is CapRef and type(reference.subject) is Import:
                self._release(reference.subject)
            elif type(reference) is StreamRef:
                self.streaming.release(reference.subject)

    def revoke(self, exports: Iterable[Export], reason: str) -> None:
        """Take capabilities of ours back: calls on them are answered, the peer is told, later calls do not arrive.

        Those that are revoked already, or gone, and the built-in two stay as they are.
        """
        told: list[int] = []
        for export in exports:
            if export in self.lingering:
                del self.lingering[export]  # it ends here, not when what leads to it is gone
                export.subject, export.revoked = None, reason
            elif not self.exports.revoke(export, reason):
                continue
            self.happened.append(event.ExportEnded(export, "revoked"))
            if export.given:  # else the peer is told when the frame that mentions it leaves
                told.append(export.id)
        self.outbox.send_many(Op.CAP_REVOKED, told, cut_text(reason))
        self.answering.revoke()
        self.streaming.revoke()

    def exports_of(self, subject: Any) -> list[Export]:
        """Every user export behind which `subject` answers, also one given back whose calls or streams have not ended.

        It looks at every entry: for replacement, not for calls.
        """
        return [export for export in (*self.exports, *self.lingering) if export.subject is subject]

    def replace(self, exports: Sequence[Export], subject: Any, generation: int) -> None:
        """Put another subject behind the ids of live exports, for calls that have not started (P-CAP-5)."""
        replaced = [export for export in exports if self.exports.live(export)]
        for export in replaced:
            self.exports.replace(export, subject)
        for export in exports:
            if export in self.lingering:
                export.subject = subject
        self.tell_replaced(replaced, generation)

    def tell_replaced(self, exports: Iterable[Export], generation: int) -> None:
        """Say that something else answers behind the ids of exports, however that came about."""
        given = [export.id for export in exports if export.given and self.exports.live(export)]
        self.outbox.send_many(Op.CAP_REPLACED, given, generation)

    # Intents: the connection

    def ping(self) -> int:
        """Ask for a sign of life; `PongReceived` brings the returned number back.

        Raises:
            Unavailable: the connection is closing. ResourceExhausted: `rate_limited`, there have been many.
        """
        if self.lifecycle.state is State.CLOSED:
            raise self.closing.error()
        if not self.own_pace.take(self.now):
            text = (
                f"pings follow each other too fast: every peer takes {HONEST_BURST}, and {HONEST_RATE} a second after"
            )
            raise ResourceExhausted(text, reason="rate_limited")
        return self._ping()

    def _ping(self) -> int:
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

    def refused(self) -> None:
        """The driver has refused a call of the peer's before its handler began."""
        if self.lifecycle.state is State.CLOSED:
            return
        try:
            self.count_control("calls that are refused")
        except ProtocolViolation as violation:
            self.abort(violation)

    def close(self, message: str, grace: float, now: float, code: str = "unavailable") -> None:
        """Say goaway; what is in flight may end within `grace` seconds, then everything does (P-CONN-4).

        Calls that are still held back fail now: the peer would refuse them.

        Args:
            code: `unauthenticated` when the peer may not be here.
        """
        self.now = now
        if self.lifecycle.state is not State.CLOSED:
            self.closing.by_us(message, grace, code)

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
        if self.streaming.ready:
            self.streaming.flush_all()
        if self.outbox.drops:
            self.outbox.take_drops()
        if self.calls.finished:
            self.calling.say_finished()
        return self.outbox.take()

    def rest(self, now: float) -> float:
        """Seconds in which nothing more is to be read from the peer, by `call_rate` and `work_rate`."""
        if self.lifecycle.closed:
            return 0.0
        wait = min(self.work_pace.wait(now), LONGEST_REST)
        if self.call_pace is None:
            self.paced = wait > 0
            return wait
        return max(wait, self.call_pace.wait(now))

    def spend(self, values: int) -> None:
        """The peer has led to work, as much as the handling of so many values takes, beside what its frames hold.

        Its turn ends sooner for that, and where it is too much for its pace nothing is read from it for a while.
        """
        self.work += values / VALUES_LIKE_A_FRAME
        self.work_pace.spend(self.now, values)
        self.paced = True

    @property
    def charge(self) -> int:
        """What the peer takes up here."""
        return self.call_charge.used + self.held_charge.used

    @property
    def pending(self) -> bool:
        """Whether `data_to_send` has anything."""
        return bool(self.outbox.chunks or self.streaming.ready or self.outbox.drops or self.calls.finished)

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
        self.streaming.widen(hello.limits)
        self.reader.limit = self.limits.max_frame
        self._keep_to(hello.limits)
        self.timers.clear(Timer.HANDSHAKE)
        if self.limits.keepalive:
            self.timers.set(Timer.KEEPALIVE, self.now + self.limits.keepalive)
        if self.lifecycle.state is State.OPENING:
            self.lifecycle.move(State.OPEN)
        self.emit(event.PeerIntroduced(hello, version))
        self.calling.send_held()

    def answered_ping(self) -> None:
        """The peer lives: the next ping follows after the next silence."""
        if self.pinged is not None:
            self.pinged = None
            self.timers.set(Timer.KEEPALIVE, self.now + self.limits.keepalive)

    def count_strike(self, reason: str) -> None:
        """Count a limit error of the peer; raises ProtocolViolation when they are too many."""
        self.emit(event.LimitReached(reason))
        self.strikes.add(self.now)

    def count_control(self, what: str) -> None:
        """Count a frame of the peer's that costs it nothing.

        Raises:
            ProtocolViolation: P-LIMIT-4, more of them than an honest peer sends.
        """
        if not self.control_pace.take(self.now):
            raise self._too_fast(what)

    def check_pace(self) -> None:
        """Look whether calls that were refused late, and counted then, have become too many.

        Raises:
            ProtocolViolation: P-LIMIT-4, they have.
        """
        if self.control_pace.overdrawn(self.now):
            raise self._too_fast("calls that are refused")

    def finish(self, cause: CloseCause) -> None:
        """End everything, each thing once, and the connection last. Later calls do nothing."""
        self.closing.finish(cause)

    # Private

    def _too_fast(self, what: str) -> ProtocolViolation:
        limits = self.limits
        text = (
            f"{what}: more than {limits.control_burst} at once and {limits.control_rate} a second after "
            f"(Limits.control_burst and Limits.control_rate of the receiver)"
        )
        return ProtocolViolation("P-LIMIT-4", text)

    def _introduce(self, hello: Hello) -> None:
        payload = self.codec.encode(hello.to_frame())
        if len(payload) > HANDSHAKE_FRAME:
            raise InvalidArgument(f"hello of {len(payload)} bytes, every peer takes {HANDSHAKE_FRAME}")
        self.outbox.put(payload)

    def _keep_to(self, announced: Limits) -> None:
        self.bounds = self.outbox.bounds = self.exports.bounds = bounds = FrameBounds(self.limits, announced)
        self.outbox.limit = bounds.max_frame
        self.exports.limit = bounds.max_caps
        self.calls.one_way_room += announced.max_calls - self.calls.limit
        self.calls.limit = announced.max_calls
        self.calls.max_charge = announced.max_call_charge

    def _ring(self, timer: Timer) -> None:
        match timer:
            case Timer.HANDSHAKE:
                self.abort(
                    ProtocolViolation("P-CONN-3", f"no hello, this may be no capnet: {self._time('handshake_timeout')}")
                )
            case Timer.PARTIAL_FRAME:
                text = f"a frame was begun and not finished in time: {self._time('partial_frame_timeout')}"
                self.abort(ProtocolViolation("P-FRAME-2", text))
            case Timer.CANCELS:
                self.calling.say_cancelled()
            case Timer.HELD:
                self.calling.look_at_held()
            case Timer.GRACE:
                self.closing.grace_is_over()
            case _:
                self._keep_alive()

    def _time(self, field: str) -> str:
        return bound(field, f"{getattr(self.limits, field):g} s", "receiver")

    def _keep_alive(self) -> None:
        """Ping after silence; give up when nothing at all came after the ping (P-CONN-5)."""
        ping_at = self.heard + self.limits.keepalive
        if self.pinged is not None and self.heard < self.pinged:
            text = f"not a byte for {self.now - self.heard:.0f} s: {self._time('keepalive_timeout')}"
            self.finish(CloseCause("idle", text))
        elif self.now >= ping_at:
            self._ping()
            self.pinged = self.now
            self.timers.set(Timer.KEEPALIVE, self.now + self.limits.keepalive_timeout)
        else:
            self.timers.set(Timer.KEEPALIVE, ping_at)
