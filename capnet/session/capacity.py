"""Capacity: what all peers of one host may take together, and who goes when it is too much (reliability §2)."""

from __future__ import annotations

from collections.abc import Collection

from capnet.engine.ledger import Ledger
from capnet.errors import ProtocolViolation, ResourceExhausted
from capnet.limits import HostLimits, bound
from capnet.observe import Bus, LimitHit

from .fair_share import FairShares
from .session import Session

__all__ = ["Capacity"]


class Capacity:
    """The bounds of one host.

    Args:
        bus: where it is told that a bound was hit.
    """

    def __init__(self, limits: HostLimits, bus: Bus) -> None:
        self.ledger = Ledger(limits.max_charge)
        """What all peers' calls, unread items, kept results and unread answers take up."""
        self.ledger.recount = self._count_backlogs
        self.shares = FairShares()
        self.limits = limits
        self._bus = bus
        self._sessions: dict[int, Session] = {}
        self._strangers: dict[int, Session] = {}
        self._relieving = False

    @property
    def charge(self) -> int:
        """What all peers take up now."""
        self._count_backlogs()
        return self.ledger.used

    @property
    def sessions(self) -> Collection[Session]:
        """All connections, by rising number."""
        return self._sessions.values()

    def session(self, number: int) -> Session | None:
        """The connection of that number, if there is one."""
        return self._sessions.get(number)

    def begun(self, session: Session) -> None:
        """One more connection."""
        self._sessions[session.number] = session

    def ended(self, session: Session) -> None:
        """One less."""
        self._sessions.pop(session.number, None)
        self._strangers.pop(session.number, None)

    def turns_away(self, waiting: int) -> bool:
        """Whether a listener's next peer finds no place, behind those who wait; observers are told."""
        if len(self._sessions) + waiting < self.limits.max_connections:
            return False
        self._bus.publish(LimitHit, limit="max_connections")
        return True

    def arrived(self, session: Session) -> None:
        """A peer has connected and has not said who it is: of too many such, the one that waits longest has to go."""
        self._strangers[session.number] = session
        if len(self._strangers) <= self.limits.max_strangers:
            return
        self._strangers = {
            number: stranger for number, stranger in self._strangers.items() if stranger.engine.peer is None
        }
        if len(self._strangers) > self.limits.max_strangers:
            oldest = self._strangers.pop(next(iter(self._strangers)))
            oldest.publisher.limit_hit("max_strangers")
            most = bound("HostLimits.max_strangers", self.limits.max_strangers, "host")
            oldest.engine.abort(ProtocolViolation("P-CONN-3", f"no hello so far, and others wait: {most}"))
            oldest.driver.drain()

    def relieve(self, session: Session) -> None:
        """One of the peers was refused for want of room: the one that takes up most has to go.

        Args:
            session: of the one that was refused.
        """
        if not self._relieving:  # what it sent may be refused many times in one turn
            self._relieving = True
            session.loop.call_soon(self._close_largest)

    def _count_backlogs(self) -> None:
        """Count what peers have not read, of which they have read more since it was sent."""
        for session in self._sessions.values():
            if not session.driver.closing:
                session.engine.count_backlog(session.driver.transport.backlog)

    def _close_largest(self) -> None:
        self._relieving = False
        if not self.ledger.has_room(self.ledger.wanted):
            largest = max(self._sessions.values(), key=lambda session: session.charge)
            unread = largest.driver.transport.backlog
            largest.publisher.limit_hit("max_host_charge")
            with largest.must_succeed:
                most = bound("HostLimits.max_charge", self.ledger.limit, "host")
                largest.engine.close(
                    f"takes up too much of this host: {most}", 0.0, largest.loop.now(), ResourceExhausted.code
                )
            largest.driver.drain()
            if unread:
                largest.driver.transport.abort()  # it would not read that we close either
            if not self.ledger.has_room(0):  # what has come already of frames is counted in any case
                self.relieve(largest)
