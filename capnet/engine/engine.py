"""The engine: one connection's state, its inputs, intents and drains.

A driver does three things. It feeds inputs (`receive_data`, `receive_eof`, `handle_timeout`), it turns what users want
into intents, and after each of either it drains, in this order: `events()`, `data_to_send()`, `next_deadline()`.

The intents stand where their state does: calls we make in `calling`, calls we answer in `answering`, streams in
`streaming`, connections inside of this one in `virtual`, references that we hold in `importing`, capabilities of ours
in `exporting`, time that a peer may take up in `turn`. Those that everybody needs can be called here as well. What is
here by itself is for the connection as a whole: `strike`, `refused`, `close`, `abort`.

Values that an intent takes have been through `wire.values.lower`; the references it found are passed along, so that
nothing is searched twice. An intent that raises has changed nothing. After `Closed` every input is ignored, every
intent that would ask the peer for something raises what the close cause says, and the others do nothing.

The parts are given the tables (`tables.py`) and those parts that stand below them, never the engine.
"""

from __future__ import annotations

from typing import Any

from capnet.errors import DeadlineExceeded, ProtocolViolation, Unavailable
from capnet.wire.frames import check
from capnet.wire.framing import sole
from capnet.wire.hello import Hello

from .answering import Answering
from .calling import Calling
from .closing import Closing
from .conduct import Conduct
from .ending import Ending
from .events import Event, LimitReached
from .exporting import Exporting
from .handshake import Handshake
from .held_calls import HeldCalls
from .importing import Importing
from .inbound import HANDLERS, Inbound
from .keepalive import Keepalive
from .ledger import Ledger
from .lifecycle import CloseCause, State
from .streaming import Streaming
from .tables import Tables
from .timers import Timer, time_of
from .turn import VALUES_LIKE_A_FRAME
from .virtual import Virtual

__all__ = ["Engine"]


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
        "call",
        "call_charge",
        "calling",
        "calls",
        "cancel",
        "channels",
        "closing",
        "codec",
        "conduct",
        "ending",
        "exporting",
        "exports",
        "fail",
        "held_calls",
        "held_charge",
        "hold",
        "importing",
        "imports",
        "inbound",
        "keepalive",
        "lifecycle",
        "limits",
        "outbox",
        "partial_charge",
        "pipelines",
        "reader",
        "release",
        "release_all",
        "reply",
        "streaming",
        "streams",
        "strikes",
        "tables",
        "timers",
        "turn",
        "virtual",
    )

    def __init__(
        self, hello: Hello, now: float, *, bootstrap: Any = None, runtime: Any = None, whole: Ledger | None = None
    ) -> None:
        self.tables = tables = Tables(hello.limits, now, bootstrap, runtime, whole)
        self._have_at_hand(tables)
        # Each part is given those before it that it has do something.
        self.conduct = conduct = Conduct(tables)
        self.importing = importing = Importing(tables)
        self.ending = ending = Ending(tables)
        self.streaming = streaming = Streaming(tables, importing, conduct, ending)
        self.held_calls = held = HeldCalls(tables, importing, streaming, ending)
        self.calling = calling = Calling(tables, held, streaming)
        self.answering = answering = Answering(tables, importing, streaming, conduct, ending)
        self.exporting = Exporting(tables, answering, streaming)
        self.closing = closing = Closing(tables, held, answering, ending)
        self.keepalive = keepalive = Keepalive(tables, ending)
        self.virtual = virtual = Virtual(tables, conduct, ending)
        handshake = Handshake(hello, tables, self.reader, held, streaming, keepalive)
        self.inbound = Inbound(
            tables, conduct, handshake, held, calling, answering, streaming, keepalive, closing, virtual
        )
        # So is what everybody needs to be done.
        self.call, self.cancel, self.reply, self.fail = calling.call, calling.cancel, answering.reply, answering.fail
        self.hold, self.release, self.release_all = importing.hold, importing.release, streaming.release_all
        handshake.begin()

    def _have_at_hand(self, tables: Tables) -> None:
        """What drivers look into is found without another step."""
        self.limits, self.lifecycle = tables.limits, tables.lifecycle
        self.timers, self.turn, self.strikes = tables.timers, tables.turn, tables.strikes
        self.exports, self.imports = tables.exports, tables.imports
        self.calls, self.answers, self.pipelines = tables.calls, tables.answers, tables.pipelines
        self.call_charge, self.held_charge = tables.call_charge, tables.held_charge
        self.partial_charge = tables.partial_charge
        self.streams, self.channels = tables.streams, tables.channels
        self.codec, self.outbox, self.reader = tables.codec, tables.outbox, tables.reader

    # Inputs

    def receive_data(self, data: bytes | bytearray | memoryview, now: float) -> None:
        """Bytes from the peer, cut anywhere.

        At most `turn.frames` frames are acted on, fewer when they are large or lead to much; for the rest see
        `turn.unread`.
        """
        self.timers.now = self.keepalive.heard = now
        if self.lifecycle.state is State.CLOSED:
            return
        lifecycle, turn, reader = self.lifecycle, self.turn, self.reader
        codec, inbound = self.codec, self.inbound
        turn.unread = False
        turn.work = 0.0
        room = turn.frames
        under_way = bool(reader.held)
        if self.partial_charge.used:
            self.partial_charge.clear()  # it may be complete now
        # A chunk is one frame most of the time.
        frames = (None if under_way else sole(data, reader.limit)) or reader.frames(data)
        try:
            for payload in frames:
                if under_way:
                    under_way = False
                    self.timers.clear(Timer.PARTIAL_FRAME)
                if lifecycle.peer is None:
                    inbound.greet(payload)
                frame, references = codec.decode(payload)
                inbound.size = len(payload)
                if check(frame):
                    HANDLERS[frame[0]](inbound, frame, references)
                else:
                    self.conduct.count_control("frames that are ignored")
                if lifecycle.state is State.CLOSED:
                    return
                room -= 1 + codec.values // VALUES_LIKE_A_FRAME
                if room <= turn.work:
                    reader.leave(frames)
                    turn.unread = bool(reader.held)
                    return
        except ProtocolViolation as violation:
            self.abort(violation)
            return
        if reader.held:
            self._wait_for_the_rest(now)

    def receive_eof(
        self,
        now: float,
        message: str = "the peer's end of the transport closed",
        *,
        code: str = Unavailable.code,
        explained: bool = False,
    ) -> None:
        """The transport has ended; everything that waits is told (P-CONN-6).

        Args:
            now: the time.
            message: how it has ended.
            code: of the error that it has ended with.
            explained: that says all there is to say of a peer that has not introduced itself.
        """
        self.timers.now = now
        if self.peer is None and not explained:
            message += "; it had not said hello, so it may be no capnet, or have no place for us"
        self.finish(self.lifecycle.cause or CloseCause("lost", message, code=code))

    def handle_timeout(self, now: float) -> None:
        """The time is `now`; to be called when `next_deadline` has come, harmless otherwise."""
        self.timers.now = now
        for answer in self.timers.overdue(now):
            self.answering.end_answer(answer, DeadlineExceeded("the deadline that came with the call has passed"))
        for timer in self.timers.due(now):
            if self.lifecycle.state is not State.CLOSED:
                self._ring(timer)

    # Intents

    def strike(self, reason: str) -> None:
        """The peer ran into a limit that the driver keeps."""
        if self.lifecycle.state is State.CLOSED:
            return
        try:
            self.conduct.count_strike(reason)
        except ProtocolViolation as violation:
            self.abort(violation)

    def refused(self) -> None:
        """The driver has refused a call of the peer's before its handler began."""
        if self.lifecycle.state is State.CLOSED:
            return
        try:
            self.conduct.count_control("calls that are refused")
        except ProtocolViolation as violation:
            self.abort(violation)

    def close(self, message: str, grace: float, now: float, code: str = "unavailable") -> None:
        """Say goaway; what is in flight may end within `grace` seconds, then everything does (P-CONN-4).

        Calls that are still held back fail now: the peer would refuse them.

        Args:
            code: `unauthenticated` when the peer may not be here.
        """
        self.timers.now = now
        if self.lifecycle.state is not State.CLOSED:
            self.closing.by_us(message, grace, code)

    def abort(self, violation: ProtocolViolation) -> None:
        """The peer broke a clause: say so and end (P-ERR-3)."""
        if self.lifecycle.state is not State.CLOSED:
            self.closing.by_violation(violation)

    def finish(self, cause: CloseCause) -> None:
        """End everything, each thing once, and the connection last. Later calls do nothing."""
        self.ending.finish(cause)

    # Drains

    def events(self) -> list[Event]:
        """What has happened since the last drain, in order."""
        tables = self.tables
        drained = tables.happened
        if drained:
            tables.happened = []
        return drained

    def data_to_send(self) -> list[bytes]:
        """Chunks to be written in order, in one write if possible."""
        outbox = self.outbox
        if self.streams.ready:
            self.streaming.flush_all()
        if outbox.drops:
            outbox.take_drops()
        if self.calls.finished:
            self.calling.say_finished()
        if not outbox.chunks:
            return []
        chunks, outbox.chunks = outbox.chunks, []
        outbox.turn += 1
        return chunks

    def rest(self, now: float) -> float:
        """Seconds in which nothing more is to be read from the peer, by `call_rate` and `work_rate`."""
        return 0.0 if self.lifecycle.closed else self.turn.rest(now)

    def next_deadline(self) -> float | None:
        """When `handle_timeout` is due, or None."""
        return self.timers.next()

    @property
    def pending(self) -> bool:
        """Whether `data_to_send` has anything."""
        return bool(self.outbox.chunks or self.streams.ready or self.outbox.drops or self.calls.finished)

    # Figures

    @property
    def peer(self) -> Hello | None:
        """What the peer said of itself, once the handshake is done."""
        return self.lifecycle.peer

    @property
    def charge(self) -> int:
        """What the peer takes up here."""
        tables = self.tables
        coming_and_going = tables.partial_charge.used + tables.backlog_charge.used
        return tables.call_charge.used + tables.held_charge.used + coming_and_going

    def count_backlog(self, backlog: int) -> None:
        """So many bytes have left for the peer and are not read: they count with what it takes up here."""
        ledger = self.tables.backlog_charge
        ledger.clear()
        ledger.add(backlog)

    def _wait_for_the_rest(self, now: float) -> None:
        """A frame has begun and is not complete."""
        if not self.timers.is_set(Timer.PARTIAL_FRAME):
            self.timers.set(Timer.PARTIAL_FRAME, now + self.limits.partial_frame_timeout)
        if self.reader.waiting:
            self.partial_charge.add(self.reader.waiting)
            if self.partial_charge.crowded(0):
                self.tables.emit(LimitReached("max_host_charge"))

    def _ring(self, timer: Timer) -> None:
        match timer:
            case Timer.HANDSHAKE:
                late = time_of("handshake_timeout", self.limits)
                self.abort(ProtocolViolation("P-CONN-3", f"no hello, this may be no capnet: {late}"))
            case Timer.PARTIAL_FRAME:
                late = time_of("partial_frame_timeout", self.limits)
                self.abort(ProtocolViolation("P-FRAME-2", f"a frame was begun and not finished in time: {late}"))
            case Timer.CANCELS:
                self.calling.say_cancelled()
            case Timer.HELD:
                self.held_calls.look_at_held()
            case Timer.GRACE:
                self.closing.grace_is_over()
            case _:
                self.keepalive.ring()
