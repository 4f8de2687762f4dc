"""Fair shares: how the time of a host is divided among its connections (threat T8).

One loop serves them all, one after the other. While others want their turn, a connection's own is short; and when it
took long all the same, or what it has led to did, the connection waits until each of them has had as much, or could
have. Nobody waits for those that want nothing: when no other had a turn for a moment, it goes on.
"""

from __future__ import annotations

from typing import Final

__all__ = ["FIRST_TURNS", "LONG", "FairShare", "FairShares"]

FIRST_TURNS: Final = 3
"""Turns of a connection in which its peer still arrives: a hello, and what it asks for first."""

SHORT_TURN: Final = 16
"""Frames of a turn while others want theirs."""
LONG: Final = 0.001
"""Seconds from which a turn is long."""
MOMENT: Final = 0.001
"""Seconds after which it is asked again; others may need as long to want their next turn."""
RECENT: Final = 0.02
"""Seconds for which one that had a turn counts among those that want one, at least."""
LONG_AGO: Final = 0.5
"""Seconds at most: whoever had a turn since this one's last turn counts, unless that is longer ago."""


class FairShares:
    """The turns of all connections of one host."""

    __slots__ = ("arriving", "latest", "spent", "turns")

    def __init__(self) -> None:
        self.turns = 0
        """How many there were."""
        self.spent = 0.0
        """Seconds that they took, and the handlers that went on after them."""
        self.latest: dict[FairShare, float] = {}
        """When each connection had its last; those who still arrive count as one (`door.py`)."""
        self.arriving = 0.0
        """Seconds that those who arrive took, and have not been told of."""


class FairShare:
    """The turns of one connection.

    Args:
        first: how many turns its peer arrives in.
    """

    __slots__ = ("_all", "_before", "_began", "_contended", "_due", "_first", "_patient", "_seen", "_turn", "_until")

    def __init__(self, of: FairShares, *, first: int = 0) -> None:
        self._all = of
        self._first = first
        self._turn = self._seen = 0
        self._before = self._began = self._due = self._until = 0.0
        self._patient = False
        self._contended = False  # others have had a turn since the last one here

    def begin(self, now: float, most: int) -> int:
        """A turn begins; returns how many frames it has, of at most `most`."""
        everyone = self._all
        self._contended = everyone.turns != self._turn
        self._turn = everyone.turns = everyone.turns + 1
        self._before, self._began = self._began, now
        return min(most, SHORT_TURN) if self._contended else most

    def end(self, now: float) -> bool:
        """It is over; whether the next has to wait until others have had as much."""
        if self._first:
            self._first -= 1
            self._all.arriving += now - self._began
        else:
            self._all.latest[self] = now
        seconds = now - self._began
        if self._contended and seconds >= LONG:
            return self._took(seconds, now, contended=True)
        everyone = self._all
        everyone.spent += seconds  # `_took`, without another step
        return now < self._until and everyone.spent < self._due

    def worked(self, seconds: float, now: float) -> bool:
        """What its turns have led to took so long after them; whether the next has to wait."""
        return self._took(seconds, now, contended=self._contended or self._all.turns != self._turn)

    def _took(self, seconds: float, now: float, *, contended: bool) -> bool:
        everyone = self._all
        everyone.spent += seconds
        if not contended or seconds < LONG:
            return now < self._until and everyone.spent < self._due
        since = self._began - max(RECENT, min(LONG_AGO, self._began - self._before))
        others = sum(latest > since for share, latest in everyone.latest.items() if share is not self)
        self._due = max(self._due, everyone.spent) + others * seconds
        self._until = max(self._until, now) + others * seconds
        self._seen, self._patient = everyone.turns, False
        return others > 0

    def wait(self, now: float) -> float | None:
        """Seconds after which to ask again; None when the next turn may begin."""
        everyone = self._all
        if everyone.spent >= self._due or now >= self._until:
            return None
        if everyone.turns == self._seen:
            if self._patient:
                self._due = self._until = 0.0  # the others want nothing
                return None
            self._patient = True
            return MOMENT
        self._seen, self._patient = everyone.turns, False
        return MOMENT

    def leave(self) -> None:
        """The connection is over."""
        self._all.latest.pop(self, None)
