"""Share: how the time of a host is divided among its connections (threat T8).

One loop serves them all, one after the other. While others want their turn, a connection's own is short; and when it
took long all the same, the connection waits until each of them has had as much. Nobody waits for those that want
nothing: when no other had a turn for a moment, it goes on.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Share", "Shares"]

SHORT_TURN: Final = 16
"""Frames of a turn while others want theirs."""
LONG: Final = 0.001
"""Seconds from which a turn is long."""
MOMENT: Final = 0.001
"""Seconds after which it is asked again; others may need as long to want their next turn."""
RECENT: Final = 0.02
"""Seconds for which one that had a turn counts among those that want one."""


class Shares:
    """The turns of all connections of one host."""

    __slots__ = ("latest", "spent", "turns")

    def __init__(self) -> None:
        self.turns = 0
        """How many there were."""
        self.spent = 0.0
        """Seconds that they took."""
        self.latest: dict[Share, float] = {}
        """When each connection had its last."""


class Share:
    """The turns of one connection."""

    __slots__ = ("_all", "_began", "_contended", "_due", "_patient", "_seen", "_turn")

    def __init__(self, of: Shares) -> None:
        self._all = of
        self._turn = self._seen = 0
        self._began = self._due = 0.0
        self._patient = False
        self._contended = False  # others have had a turn since the last one here

    def begin(self, now: float, most: int) -> int:
        """A turn begins; returns how many frames it has, of at most `most`."""
        everyone = self._all
        self._contended = everyone.turns != self._turn
        self._turn = everyone.turns = everyone.turns + 1
        self._began = now
        return min(most, SHORT_TURN) if self._contended else most

    def end(self, now: float) -> bool:
        """It is over; whether the next has to wait until others have had as much."""
        everyone = self._all
        took = now - self._began
        everyone.spent += took
        everyone.latest[self] = now
        if not self._contended or took < LONG:
            return False
        since = self._began - RECENT
        others = sum(latest > since for latest in everyone.latest.values()) - 1
        self._due = everyone.spent + others * took
        self._seen, self._patient = everyone.turns, False
        return others > 0

    def wait(self) -> float | None:
        """Seconds after which to ask again; None when the next turn may begin."""
        everyone = self._all
        if everyone.spent >= self._due:
            return None
        if everyone.turns == self._seen:
            if self._patient:
                return None
            self._patient = True
            return MOMENT
        self._seen, self._patient = everyone.turns, False
        return MOMENT

    def leave(self) -> None:
        """The connection is over."""
        self._all.latest.pop(self, None)
