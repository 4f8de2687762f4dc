"""`Inside`: what one connection knows of those inside of it (P-VIRT)."""

from __future__ import annotations

from capnet.engine.channels import Channel
from capnet.engine.ledger import Budget, Ledger
from capnet.engine.timers import Timer
from capnet.errors import CapnetError
from capnet.session.session import Session

__all__ = ["Inside"]


class Inside:
    """The connections that one carries, as far as it has to do with them.

    Args:
        session: of the one that carries.
        whole: counts what all connections of a host hold.
        within: the same of the one around it.

    Attributes:
        depth: 1, and 1 more for each connection around it.
    """

    __slots__ = ("_sessions", "_whole", "depth", "session")

    def __init__(self, session: Session, whole: Ledger | None, within: Inside | None) -> None:
        self.session = session
        self.depth: int = 1 if within is None else within.depth + 1
        self._whole = whole
        self._sessions: dict[int, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def budget(self) -> Budget:
        """What they hold together of what comes on them."""
        engine = self.session.engine
        return engine.channels.charge(engine.limits.max_virtual_charge, self._whole)

    def begun(self, session: Session) -> None:
        """One more."""
        self._sessions[session.number] = session

    def ended(self, session: Session) -> None:
        """One less. Who breaks the protocol there does it here as well, as far as a limit is broken by that."""
        del self._sessions[session.number]
        cause = session.engine.lifecycle.cause
        if cause is not None and cause.kind == "violation" and cause.by_peer:
            self.session.strike("virtual_violation")
            self.session.driver.flush_soon()
        self.session.part_ended()

    def close(self, channel: Channel, error: CapnetError | None = None) -> None:
        """Say the last word on a channel. It may be what the connection around it has waited for."""
        session = self.session
        with session.must_succeed:
            session.engine.virtual.close(channel, error)
        session.driver.handle_events()
        session.driver.flush_soon()

    def draining(self) -> None:
        """Nothing new starts: neither does it in them, and what runs there has as long as what runs here."""
        for session in tuple(self._sessions.values()):
            cause = self.session.engine.lifecycle.cause
            assert cause is not None
            grace = self.session.engine.timers.left(Timer.GRACE)
            with session.must_succeed:
                session.engine.close(cause.message, grace, session.loop.now())
            session.driver.drain()
