"""Rules: what the line and the clock do, and what drivers do with the connection as a whole."""

from __future__ import annotations

from .asking import Asking

__all__ = ["LineRules"]


class LineRules(Asking):
    """The line delays, splits, stalls and breaks."""

    def ping(self, name: str) -> None:
        """A sign of life is asked for."""
        shadow = self.shadows[name]
        if not shadow.side.closed:
            self.steps += 1
            shadow.pings.add(shadow.side.engine.keepalive.ping())

    def goaway(self, name: str, grace: float) -> None:
        """One side closes."""
        self.steps += 1
        self.shadows[name].side.engine.close("on purpose", grace, self.pair.now)
        self.settle()

    def deliver(self, name: str, count: int) -> None:
        """Some bytes arrive, cut anywhere."""
        if name not in self.stalled:
            self.steps += 1
            self.pair.deliver(self.shadows[name].side, count)
            self.settle()

    def stall(self, name: str, stalled: bool) -> None:
        """Nothing more arrives at this side, whatever the rules say; or it does again."""
        (self.stalled.add if stalled else self.stalled.discard)(name)

    def flush(self) -> None:
        """The line catches up."""
        self.catch_up(True)

    def advance(self, seconds: float) -> None:
        """Time passes and nothing arrives."""
        self.steps += 1
        self.pair.advance(seconds)
        self.settle()

    def cut(self) -> None:
        """The line breaks."""
        self.steps += 1
        self.pair.cut()
        self.settle()
