"""What is worked on for one client: how many requests, and what they take up as long as they have no answer."""

from __future__ import annotations

from dataclasses import dataclass

from capnet import ResourceExhausted
from capnet.gateways.bounds import Bounds, Share

__all__ = ["Load", "Pending"]


@dataclass(eq=False, slots=True)
class Load:
    """A message, as long as something in it is worked on.

    Attributes:
        weight: bytes that it takes up.
        requests: of it that are worked on.
    """

    weight: int
    requests: int = 0


class Pending:
    """Requests and notifications that are worked on.

    Args:
        bounds: of the session.
        share: what its principal has.
    """

    def __init__(self, bounds: Bounds, share: Share) -> None:
        self._bounds = bounds
        self._share = share
        self._calls = self._weight = 0

    def refusal(self, load: Load) -> ResourceExhausted | None:
        """Why a request of a message may not begin."""
        bounds, share = self._bounds, self._share
        if self._calls >= bounds.max_calls or share.calls >= bounds.max_shared_calls:
            return ResourceExhausted("too many requests are worked on already", reason="max_calls")
        if load.requests:
            return None  # what it is in is there already
        for weight, most in ((self._weight, bounds.max_pending), (share.pending, bounds.max_shared_pending)):
            if weight + load.weight > most:
                return ResourceExhausted("what is worked on takes up too much", reason="max_pending")
        return None

    def add(self, load: Load) -> None:
        """A request of a message begins."""
        self._count(1, 0 if load.requests else load.weight)
        load.requests += 1

    def remove(self, load: Load) -> None:
        """It is over."""
        load.requests -= 1
        self._count(-1, 0 if load.requests else -load.weight)

    def clear(self) -> None:
        """All of them are."""
        self._count(-self._calls, -self._weight)

    def _count(self, calls: int, weight: int) -> None:
        self._calls += calls
        self._share.calls += calls
        self._weight += weight
        self._share.pending += weight
