"""`Follower`: what a peer was given of what is served follows what happens to that: it is replaced, or revoked."""

from __future__ import annotations

from capnet.dispatch.dispatcher import Dispatcher
from capnet.engine.answers import AnswerState
from capnet.engine.exports import Export
from capnet.errors import CapnetError
from capnet.registry import Hosted, Registration
from capnet.revocation.lineage import Granted, Lineage, take_back, with_descendants
from capnet.session.session import Session
from capnet.streams.pump import Pumps

__all__ = ["Follower"]


class Follower:
    """The subscriber that one connection has at the registries: its own, and its host's."""

    __slots__ = ("__weakref__", "_dispatcher", "_lineage", "_pumps", "_session")

    def __init__(self, session: Session, lineage: Lineage, dispatcher: Dispatcher, pumps: Pumps) -> None:
        self._session = session
        self._lineage = lineage
        self._dispatcher = dispatcher
        self._pumps = pumps

    def registration_replaced(self, registration: Registration, old: Hosted) -> None:
        """What was bootstrapped from it answers with the new implementation."""
        exports = self.exports_of(registration, old)
        granted = self._granted_from(old, registration.spec.name)
        self._session.engine.exporting.replace(exports, registration.hosted, registration.generation)
        self._lineage.replaced(exports, registration.hosted)
        for one in granted:
            if not one.live:
                one.move(registration.hosted)
        if old.turns is not None:
            old.turns.dissolve()  # calls that wait for their turn go to the new one
        self._session.driver.drain()

    def registration_ended(self, registration: Registration, reason: str) -> None:
        """What was bootstrapped from it is revoked, and what came of that, here and elsewhere."""
        hosted, name = registration.hosted, registration.spec.name
        take_back(with_descendants(self._granted_from(hosted, name)), reason)

    def exports_of(self, registration: Registration, hosted: Hosted) -> list[Export]:
        """What the peer holds of an implementation under the contract that it is served under."""
        name = registration.spec.name
        return [export for export in self._session.engine.exporting.of(hosted) if export.interface == name]

    def end_calls_on(self, hosted: Hosted, error: CapnetError) -> tuple[int, int]:
        """See `Services`."""
        engine, calls = self._session.engine, 0
        own = self._dispatcher.running_here
        for answer in list(engine.answers):
            handled: Hosted | None = self._dispatcher.hosted_of(answer)
            stays = (own is not None and answer.handler is own) or self._leads_to(answer.export, hosted)
            if handled is hosted and answer.state is AnswerState.RUNNING and not stays:
                with self._session.must_succeed:
                    engine.answering.end_answer(answer, error.again())
                calls += 1
        streams = self._pumps.cut(hosted, error, lambda export: self._leads_to(export, hosted))
        self._session.driver.drain()
        return calls, streams

    def is_handling(self, hosted: Hosted) -> bool:
        """See `Services`."""
        own = self._dispatcher.running_here
        return own is not None and own.hosted is hosted

    def _leads_to(self, export: Export | None, hosted: Hosted) -> bool:
        """Whether new calls on an export go to this implementation."""
        return export is not None and export.subject is hosted and self._session.engine.exports.live(export)

    def _granted_from(self, hosted: Hosted, name: str) -> list[Granted]:
        """What this connection's peer, or one that is gone, was given of an implementation under a contract."""
        granted: list[Granted] = []
        for one in hosted.granted:
            session = one.session_ref()
            if one.interface == name and (session is None or session is self._session or session.over):
                granted.append(one)
        return granted
