"""`Publisher`: what a connection does, as events for observers (P-CAP-8), and the little of it that is logged.

Every report is made only when somebody observes; where nobody does, nothing is built. A start that was reported is
followed by its end, whatever happens in between. The log hears of connections and denials, and of names; calls are too
many for it.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, Protocol

from capnet.engine.answers import Answer
from capnet.engine.calls import Call as EngineCall
from capnet.engine.exports import Export
from capnet.engine.imports import Import
from capnet.engine.lifecycle import CloseCause
from capnet.engine.stream import InStream, OutStream, Stream
from capnet.errors import CapnetError, StreamStopped
from capnet.loop import Loop, TimerHandle
from capnet.observe import (
    Bootstrapped,
    Bus,
    CallFinished,
    CallStarted,
    CapBroken,
    CapDropped,
    CapExported,
    CapReplaced,
    CapRevoked,
    ConnectionClosed,
    ConnectionOpened,
    CreditStalled,
    Event,
    LimitHit,
    PolicyDenied,
    StreamClosed,
    StreamOpened,
    ViolationSeen,
)
from capnet.observe.log import NEWS, Level, Log, wanted
from capnet.registry import Hosted
from capnet.transport import Attestation

__all__ = ["CREDIT_STALL", "Publisher"]

CREDIT_STALL: Final = 1.0
"""Seconds that a producer may wait for credit until that is an event."""


class Known(Protocol):
    """A peer."""

    attestation: Attestation
    development: bool

    @property
    def peer_name(self) -> str: ...


class Publisher:
    """Publishes the events of one connection.

    Args:
        bus: where they go.
        number: of the connection, for the envelope.
        loop: whose clock tells how long things took.

    Attributes:
        known: what is known of the peer now; set by its `Session`.
    """

    __slots__ = ("_log", "_loop", "_opened", "bus", "event_streams", "known", "number", "streams")

    known: Known

    def __init__(self, bus: Bus, number: int, loop: Loop) -> None:
        self._log: Log | None = None
        self._loop = loop
        self.bus = bus
        self.number = number
        self._opened = False
        self.event_streams = 0
        """Streams of events that the peer has."""
        self.streams: dict[Stream, tuple[float, dict[str, Any]]] = {}
        """Streams whose opening was reported, and is to be followed by their end: since when, and of what."""

    def publish(self, kind: type[Event], **fields: object) -> None:
        """Publish one event with the connection's envelope."""
        peer, principal = self.known.peer_name, self.known.attestation.principal
        self.bus.publish(kind, connection=self.number, peer=peer, principal=principal, **fields)

    def tell(self, level: Level, event: str, **fields: object) -> None:
        """Log something with the connection's envelope."""
        known = self.known
        if not wanted(level, development=known.development):
            return
        if self._log is None:
            self._log = Log(NEWS, development=known.development)
        peer, principal = known.peer_name or None, known.attestation.principal
        self._log.tell(level, event, connection=self.number, peer=peer, principal=principal, **fields)

    def opened(self, transport: str, version: int) -> None:
        """The handshake is done."""
        self._opened = True
        self.tell("info", "connected", by=transport)
        if self.bus.observed:
            self.publish(ConnectionOpened, transport=transport, version=version)

    def closing(self, cause: CloseCause) -> None:
        """Everything ends; a violation is told apart. Only while somebody observes."""
        if cause.kind == "violation":
            self.publish(ViolationSeen, clause=cause.clause or "", message=cause.message)

    def closed(self, cause: CloseCause) -> None:
        """Everything has ended."""
        for stream in tuple(self.streams):
            self.stream_closed(stream, cause.error())
        self.tell("info", "closed", cause=str(cause))
        if self._opened and self.bus.observed:
            self.publish(ConnectionClosed, cause=cause.kind, message=cause.message, clause=cause.clause)

    def bootstrapped(self, name: str, error: CapnetError | None) -> None:
        """How a bootstrap of the peer's ended."""
        self.tell("debug", "was asked", name=name, result=error.code if error else "ok", reason=error and error.reason)
        if self.bus.observed:
            result, reason = _result(error)
            self.publish(Bootstrapped, direction="in", name=name, result=result, reason=reason)

    def bootstrap_answered(self, name: str, error: CapnetError | None) -> None:
        """How a bootstrap of ours ended that left while somebody observed."""
        result, reason = _result(error)
        self.publish(Bootstrapped, direction="out", name=name, result=result, reason=reason)

    def denied(self, name: str, method: str | None, reason: str) -> None:
        """The policy said no to the peer: to a name, or to a call on a contract of that name."""
        self.tell("info", "denied", name=name or None, method=method, reason=reason)
        if self.bus.observed:
            self.publish(PolicyDenied, name=name, method=method, reason=reason)

    def stream_opened(self, stream: Stream, hosted: Hosted | None = None) -> None:
        """A stream has an end here. Only while somebody observes.

        Args:
            hosted: the implementation that hands it out, if one does.
        """
        of = _registration(hosted)
        self.streams[stream] = self._loop.now(), of
        self.publish(StreamOpened, direction=_flow(stream), stream=stream.id, **of)
        if stream.ended if isinstance(stream, InStream) else stream.closed is not None and stream.id < 0:
            self.stream_closed(stream)  # before anybody here could see it, so nobody will be told

    def stream_changed(self, stream: Stream) -> None:
        """Something was said of a stream; maybe it was the last word of one that is read here."""
        if type(stream) is InStream and stream.ended:
            self.stream_closed(stream)

    def stream_closed(self, stream: Stream, error: CapnetError | None = None) -> None:
        """A stream has ended; of those whose opening was not reported, and the second time, nothing is told.

        Args:
            error: what its producer has ended it with, unless it knows itself.
        """
        opened = self.streams.pop(stream, None)
        if opened is None:
            return
        if isinstance(stream, OutStream):
            error = stream.closed or error
        else:
            error = stream.error if stream.ended and stream.error is not None else error
            error = StreamStopped() if error is None and stream.stopped else error
        result, reason = _result(error)
        self.publish(
            StreamClosed,
            direction=_flow(stream),
            stream=stream.id,
            **opened[1],
            items=stream.sent if isinstance(stream, OutStream) else stream.came,
            result=result,
            reason=reason,
            seconds=self._loop.now() - opened[0],
        )

    def credit_awaited(self, stream: OutStream) -> TimerHandle:
        """A producer waits for credit: tell when that takes long. To be cancelled when it waits no more."""
        return self._loop.call_at(self._loop.now() + CREDIT_STALL, partial(self._credit_stalled, stream, CREDIT_STALL))

    def exported(self, exports: list[Export]) -> None:
        """The peer was given capabilities that it did not hold. Only while somebody observes."""
        for export in exports:
            self.publish(CapExported, contract=export.interface, **_made_on(export))

    def export_ended(self, export: Export, reason: str) -> None:
        """The peer holds a capability of ours no longer. Only while somebody observes."""
        kind = CapRevoked if reason == "revoked" else CapDropped
        self.publish(kind, contract=export.interface, reason=export.revoked or reason, **_made_on(export))

    def import_broken(self, imported: Import, error: CapnetError) -> None:
        """A capability of the peer's answers nothing any more."""
        if self.bus.observed:
            self.publish(CapBroken, cap=imported.id, contract=imported.interface, code=error.code, reason=error.reason)

    def import_replaced(self, imported: Import) -> None:
        """The peer put a new implementation behind a capability that we hold."""
        if self.bus.observed:
            self.publish(CapReplaced, cap=imported.id, contract=imported.interface, generation=imported.generation)

    def limit_hit(self, limit: str) -> None:
        """The peer ran into a limit of ours."""
        if self.bus.observed:
            self.publish(LimitHit, limit=limit)

    @property
    def tells_calls(self) -> bool:
        """Whether somebody is told when calls start or end."""
        return self.bus.wants(CallStarted) or self.bus.wants(CallFinished)

    def handler_started(self, answer: Answer) -> None:
        """A call of the peer's runs."""
        if not self.bus.wants(CallStarted) or not answer.interface:
            return  # without a contract it went straight on with another, before anybody was to be told
        self.publish(
            CallStarted,
            direction="in",
            call=answer.id,
            contract=answer.interface,
            method=answer.method,
            **_made_on(answer.export),
        )

    def handler_finished(self, answer: Answer, error: CapnetError | None, seconds: float) -> None:
        """It has ended."""
        export = answer.export
        if export is None or not export.interface or not self.bus.wants(CallFinished):
            return
        result, reason = ("ok", None) if error is None else _result(error)
        self.publish(
            CallFinished,
            direction="in",
            call=answer.id,
            contract=export.interface,
            method=answer.method,
            **_made_on(export),
            result=result,
            reason=reason,
            seconds=seconds,
        )

    def call_left(self, call: EngineCall, method: str) -> None:
        """A call of ours has left."""
        if self.bus.wants(CallStarted) and call.target.interface:
            self.publish(
                CallStarted,
                direction="out",
                call=call.id,
                cap=call.target.id,
                contract=call.target.interface,
                method=method,
            )

    def call_answered(
        self, call: EngineCall, number: int, method: str, error: CapnetError | None, seconds: float
    ) -> None:
        """It has ended.

        Args:
            number: its id when it left; of one that was held back that may be another now.
        """
        if not self.bus.wants(CallFinished) or not call.target.interface:
            return
        result, reason = _result(error)
        self.publish(
            CallFinished,
            direction="out",
            call=number,
            cap=call.target.id,
            contract=call.target.interface,
            method=method,
            result=result,
            reason=reason,
            seconds=seconds,
        )

    def _credit_stalled(self, stream: OutStream, seconds: float) -> None:
        self.publish(CreditStalled, stream=stream.id, seconds=seconds)


def _flow(stream: Stream) -> str:
    return "in" if isinstance(stream, InStream) else "out"


def _result(error: CapnetError | None) -> tuple[str, str | None]:
    return ("ok", None) if error is None else (error.code, error.reason)


def _made_on(export: Export | None) -> dict[str, Any]:
    """What an export is, and what it is served as."""
    hosted: Hosted | None = None if export is None else export.subject
    if export is None or hosted is None:
        return {"cap": 0 if export is None else export.id}
    return {"cap": export.id, "generation": hosted.generation, "served": hosted.served}


def _registration(hosted: Hosted | None) -> dict[str, Any]:
    return {} if hosted is None else {"generation": hosted.generation, "served": hosted.served}
