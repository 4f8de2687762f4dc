"""Reports: what a connection does, as events for observers (P-CAP-8).

Every report is made only when somebody observes; where nobody does, nothing is built. A start that was reported is
followed by its end, whatever happens in between.
"""

from __future__ import annotations

from capnet.engine.answers import Answer
from capnet.engine.calls import Call as EngineCall
from capnet.engine.exports import Export
from capnet.engine.imports import Import
from capnet.engine.lifecycle import CloseCause
from capnet.errors import CapnetError
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
    Event,
    LimitHit,
    ViolationSeen,
)
from capnet.registry import Hosted

__all__ = ["Reports"]


class Reports:
    """Publishes the events of one connection.

    Args:
        bus: where they go.
        number: of the connection, for the envelope.
    """

    __slots__ = ("_opened", "bus", "number", "peer_name")

    def __init__(self, bus: Bus, number: int) -> None:
        self.bus = bus
        self.number = number
        self.peer_name = ""
        """What the peer calls itself, once it has said so."""
        self._opened = False

    def publish(self, kind: type[Event], **fields: object) -> None:
        """Publish one event with the connection's envelope."""
        self.bus.publish(kind, connection=self.number, peer=self.peer_name, **fields)

    def opened(self, transport: str, version: int) -> None:
        """The handshake is done."""
        self._opened = True
        if self.bus.observed:
            self.publish(ConnectionOpened, transport=transport, version=version)

    def closing(self, cause: CloseCause) -> None:
        """Everything ends; a violation is told apart."""
        if cause.kind == "violation" and self.bus.observed:
            self.publish(ViolationSeen, clause=cause.clause or "", message=cause.message)

    def closed(self, cause: CloseCause) -> None:
        """Everything has ended."""
        if self._opened and self.bus.observed:
            self.publish(ConnectionClosed, cause=cause.kind, message=cause.message, clause=cause.clause)

    def bootstrapped(self, name: str, error: CapnetError | None) -> None:
        """How a bootstrap of the peer's ended."""
        if self.bus.observed:
            result, reason = _result(error)
            self.publish(Bootstrapped, name=name, result=result, reason=reason)

    def exported(self, exports: list[Export]) -> None:
        """The peer was given capabilities that it did not hold."""
        if self.bus.observed:
            for export in exports:
                self.publish(CapExported, cap=export.id, contract=export.interface)

    def export_ended(self, export: Export, reason: str) -> None:
        """The peer holds a capability of ours no longer."""
        if self.bus.observed:
            kind = CapRevoked if reason == "revoked" else CapDropped
            self.publish(kind, cap=export.id, contract=export.interface, reason=export.revoked or reason)

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

    def handler_started(self, answer: Answer) -> None:
        """A call of the peer's runs."""
        self.publish(
            CallStarted,
            direction="in",
            call=answer.id,
            contract=answer.interface,
            method=answer.method,
            generation=_generation(answer.export),
        )

    def handler_finished(self, answer: Answer, error: CapnetError | None, seconds: float) -> None:
        """It has ended."""
        result, reason = _result(error)
        self.publish(
            CallFinished,
            direction="in",
            call=answer.id,
            contract=answer.interface,
            method=answer.method,
            generation=_generation(answer.export),
            result=result,
            reason=reason,
            seconds=seconds,
        )

    def call_left(self, call: EngineCall, method: str) -> None:
        """A call of ours has left."""
        self.publish(CallStarted, direction="out", call=call.id, contract=call.target.interface, method=method)

    def call_answered(self, call: EngineCall, method: str, error: CapnetError | None, seconds: float) -> None:
        """It has ended."""
        result, reason = _result(error)
        self.publish(
            CallFinished,
            direction="out",
            call=call.id,
            contract=call.target.interface,
            method=method,
            result=result,
            reason=reason,
            seconds=seconds,
        )


def _result(error: CapnetError | None) -> tuple[str, str | None]:
    return ("ok", None) if error is None else (error.code, error.reason)


def _generation(export: Export | None) -> int:
    hosted: Hosted | None = None if export is None else export.subject
    return 0 if hosted is None else hosted.generation
