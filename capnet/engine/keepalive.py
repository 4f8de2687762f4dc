"""Keepalive: a ping after silence, and the end when nothing at all comes after it (P-CONN-5)."""

from __future__ import annotations

from capnet.errors import ProtocolViolation, ResourceExhausted
from capnet.limits import HONEST_BURST, HONEST_RATE
from capnet.wire.frames import Op

from .ending import Ending
from .events import PongReceived
from .lifecycle import CloseCause
from .tables import Tables
from .timers import Timer, time_of

__all__ = ["Keepalive"]


class Keepalive:
    """Signs of life."""

    __slots__ = ("_ending", "_tables", "heard", "number", "pinged")

    def __init__(self, tables: Tables, ending: Ending) -> None:
        self._tables = tables
        self._ending = ending
        self.heard = tables.timers.now
        """When bytes have come last."""
        self.number = 0
        """Of the last ping."""
        self.pinged: float | None = None
        """When a ping was sent because of silence."""

    def begin(self) -> None:
        """The peer is there: from now on it is asked for signs of life, if that is wanted."""
        if self._tables.limits.keepalive:
            self._tables.timers.set(Timer.KEEPALIVE, self._tables.timers.now + self._tables.limits.keepalive)

    def ping(self) -> int:
        """Ask for a sign of life; `PongReceived` brings the returned number back.

        Raises:
            Unavailable: the connection is closing. ResourceExhausted: `rate_limited`, there have been many.
        """
        if self._tables.lifecycle.closed:
            raise self._tables.lifecycle.error()
        if not self._tables.own_pace.take(self._tables.timers.now):
            text = (
                f"pings follow each other too fast: every peer takes {HONEST_BURST}, and {HONEST_RATE} a second after"
            )
            raise ResourceExhausted(text, reason="rate_limited")
        return self._ping()

    def answered(self, number: int) -> None:
        """The peer lives: the next ping follows after the next silence.

        Raises:
            ProtocolViolation: P-ID-4, no ping with that number was sent.
        """
        if not 0 < number <= self.number:
            raise ProtocolViolation("P-ID-4", f"answer to ping {number}, which was never sent")
        if self.pinged is not None:
            self.pinged = None
            self._tables.timers.set(Timer.KEEPALIVE, self._tables.timers.now + self._tables.limits.keepalive)
        self._tables.emit(PongReceived(number))

    def ring(self) -> None:
        """Ping after silence; give up when nothing at all came after the ping."""
        now, limits = self._tables.timers.now, self._tables.limits
        ping_at = self.heard + limits.keepalive
        if self.pinged is not None and self.heard < self.pinged:
            text = f"not a byte for {now - self.heard:.0f} s: {time_of('keepalive_timeout', limits)}"
            self._ending.finish(CloseCause("idle", text))
        elif now >= ping_at:
            self._ping()
            self.pinged = now
            self._tables.timers.set(Timer.KEEPALIVE, now + limits.keepalive_timeout)
        else:
            self._tables.timers.set(Timer.KEEPALIVE, ping_at)

    def _ping(self) -> int:
        self.number += 1
        self._tables.outbox.send([Op.PING, self.number])
        return self.number
