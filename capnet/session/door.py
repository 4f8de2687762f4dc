"""The door of a host: who comes has a share of its time with all others who come (threat T8).

A new connection has a share of its own, which owes nothing. So what it takes to open one, its first turns, and closing
it are paid for in one account: whoever comes and goes all the time has one share with all who do, not a new one each
time. While others want the host's time and this account owes some, who comes waits, and costs no more than a socket.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from capnet.loop import Loop
from capnet.transport import Transport

from .fair_share import LONG, FairShare, FairShares

__all__ = ["Door"]

AND_CLOSING: Final = 2
"""Opening and closing a connection take so many times what opening takes."""


class Door:
    """Lets peers in, one after the other.

    Args:
        shares: of the host's time.
        let_in: opens a connection for one; must not raise.
        most: how many may wait.
    """

    def __init__(self, shares: FairShares, let_in: Callable[[Transport], object], most: int) -> None:
        self._shares = shares
        self._share = FairShare(shares)
        self._let_in = let_in
        self._most = most
        self._line: deque[Transport] = deque()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._line)

    def come(self, transport: Transport, loop: Loop) -> bool:
        """One more: it is let in now, or in its turn. False when too many wait."""
        if len(self._line) >= self._most:
            return False
        self._line.append(transport)
        if len(self._line) == 1:
            self._open(loop)
        return True

    def close(self) -> None:
        """Who waits is turned away."""
        while self._line:
            self._line.popleft().abort()

    def _open(self, loop: Loop) -> None:
        while self._line:
            now = loop.now()
            wait = self._share.wait(now)
            if wait is not None:
                loop.call_at(now + wait, lambda: self._open(loop))
                return
            self._let_in(self._line.popleft())
            self._pay(AND_CLOSING * (loop.now() - now), now)

    def _pay(self, seconds: float, now: float) -> None:
        shares = self._shares
        shares.arriving += seconds
        if shares.arriving >= LONG:
            self._share.begin(now, 0)
            self._share.end(now + shares.arriving)
            shares.arriving = 0.0
