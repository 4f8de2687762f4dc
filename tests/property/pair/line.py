"""Rules: what the line and the clock do, and what drivers do with the connection as a whole."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from .following import SIDES, Following

__all__ = ["LineRules"]


class LineRules(Following):
    """The line delays, splits, stalls and breaks."""

    @rule(name=SIDES)
    def ping(self, name: str) -> None:
        """A sign of life is asked for."""
        shadow = self.shadows[name]
        if not shadow.side.closed:
            shadow.pings.add(shadow.side.engine.ping())

    @rule(name=SIDES, grace=st.sampled_from([0.0, 3.0, 60.0]), luck=st.integers(0, 5))
    def goaway(self, name: str, grace: float, luck: int) -> None:
        """One side closes; not too often, or there would be nothing else."""
        if luck == 0:
            self.shadows[name].side.engine.close("on purpose", grace, self.pair.now)
            self.settle()

    @rule(name=SIDES, count=st.integers(1, 200))
    def deliver(self, name: str, count: int) -> None:
        """Some bytes arrive, cut anywhere."""
        self.pair.deliver(self.shadows[name].side, count)
        self.settle()

    @rule()
    def flush(self) -> None:
        """The line catches up."""
        self.catch_up(True)

    @rule(seconds=st.floats(0.01, 8.0))
    def advance(self, seconds: float) -> None:
        """Time passes and nothing arrives."""
        self.pair.advance(seconds)
        self.settle()

    @rule(luck=st.integers(0, 19))
    def cut(self, luck: int) -> None:
        """The line breaks."""
        if luck == 0:
            self.pair.cut()
            self.settle()
