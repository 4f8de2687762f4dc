"""Capacity: what all peers of one host may take together, and who goes when it is too much (reliability §2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from capnet.engine.ledger import Ledger
from capnet.errors import ProtocolViolation, ResourceExhausted
from capnet.limits import HostLimits, bound
from capnet.observe import Bus, LimitHit
from capnet.session.fair_share import Shares

if TYPE_CHECKING:
    from capnet.connection.connection import Connection

__all__ = ["Capacity"]


class Capacity:
    """The bounds of one host.

    Args:
        connections: the host's, by number, oldest first.
        bus: where it is told that a bound was hit.
    """

    def __init__(self, limits: HostLimits, connections: Mapping[int, Connection], bus: Bus) -> None:
        self.ledger = Ledger(limits.max_charge)
        """What all peers' calls, unread items and kept results take up."""
        self.shares = Shares()
        self._limits = limits
        self._connections = connections
        self._bus = bus
        self._strangers: dict[int, Connection] = {}
        self._relieving = False

    def turns_away(self) -> bool:
        """Whether a listener's next peer finds no place; observers are told."""
        if len(self._connections) < self._limits.max_connections:
            return False
        self._bus.publish(LimitHit, limit="max_connections")
        return True

    def arrived(self, connection: Connection) -> None:
        """A peer has connected and has not said who it is: of too many such, the one that waits longest has to go."""
        self._strangers[connection.number] = connection
        connection.on_close(lambda _: self._strangers.pop(connection.number, None))
        if len(self._strangers) <= self._limits.max_strangers:
            return
        self._strangers = {
            number: stranger for number, stranger in self._strangers.items() if stranger.engine.peer is None
        }
        if len(self._strangers) > self._limits.max_strangers:
            oldest = self._strangers.pop(next(iter(self._strangers)))
            oldest.reports.limit_hit("max_strangers")
            most = bound("HostLimits.max_strangers", self._limits.max_strangers, "host")
            oldest.engine.abort(ProtocolViolation("P-CONN-3", f"no hello so far, and others wait: {most}"))
            oldest.driver.drain()

    def relieve(self, connection: Connection) -> None:
        """One of the peers was refused for want of room: the one that takes up most has to go.

        Args:
            connection: of the one that was refused.
        """
        if not self._relieving:  # what it sent may be refused many times in one turn
            self._relieving = True
            connection.loop.call_soon(self._close_largest)

    def _close_largest(self) -> None:
        self._relieving = False
        if not self.ledger.has_room(self.ledger.wanted):
            largest = max(self._connections.values(), key=lambda connection: connection.charge)
            largest.reports.limit_hit("max_host_charge")
            with largest.contained:
                most = bound("HostLimits.max_charge", self.ledger.limit, "host")
                largest.engine.close(
                    f"takes up too much of this host: {most}", 0.0, largest.loop.now(), ResourceExhausted.code
                )
            largest.driver.drain()
