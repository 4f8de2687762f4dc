"""When a plugin is started, started again, or given up: the rules, without a clock, a process or a loop.

    stopped ─▶ starting ─▶ ready ◀─▶ swapping
       ▲           │          │
       │           └────┬─────┘  it failed, or ended
    draining            ▼
       ▲           backoff ─▶ starting
       └─ stop     quarantined, when that happens too often

The words are those of Erlang's supervisors. Whoever has a clock calls the methods, and does what `state` says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from capnet.plugins.spec import PluginSpec, Restart

__all__ = ["JITTER", "Rules", "State", "Supervision"]

State: TypeAlias = Literal["stopped", "starting", "ready", "swapping", "draining", "backoff", "quarantined"]

JITTER: Final = 0.25
"""So much of a pause is left to chance, up or down: what has failed together is not to start together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When what has ended is started again.

    Attributes:
        restart: whether at all.
        max_restarts: so many in a period; one more is too many.
        period: seconds.
        backoff: seconds before the first start again; twice as long before each other.
        max_backoff: seconds, never longer.
    """

    restart: Restart
    max_restarts: int
    period: float
    backoff: float
    max_backoff: float

    @classmethod
    def of(cls, spec: PluginSpec[Any]) -> Rules:
        """As a spec wants it."""
        return cls(
            restart=spec.restart,
            max_restarts=spec.max_restarts,
            period=spec.restart_period,
            backoff=spec.backoff,
            max_backoff=spec.max_backoff,
        )


class Supervision:
    """The state of one plugin.

    Args:
        rules: when it is started again.
        chance: numbers from 0 to 1.

    Attributes:
        rules: the same; another version of the plugin may have others.
        state: what it is doing.
        restarts: how often it has been started again.
        due: when it is to be started again; in `backoff` only.
    """

    def __init__(self, rules: Rules, chance: Callable[[], float]) -> None:
        self.rules = rules
        self.state: State = "stopped"
        self.restarts = 0
        self.due: float | None = None
        self._chance = chance
        self._recent: deque[float] = deque()
        """When it was to be started again, within the last period."""
        self._in_a_row = 0
        """How often it has failed without having run for a period in between."""
        self._ready_since: float | None = None

    @property
    def running(self) -> bool:
        """Whether there is a process that calls could go to."""
        return self.state in ("ready", "swapping")

    def start(self) -> None:
        """Somebody wants it to run: what was is forgotten."""
        assert self.state in ("stopped", "quarantined", "backoff")
        self._recent.clear()
        self._in_a_row = 0
        self._begin()

    def start_again(self) -> None:
        """The pause is over."""
        assert self.state == "backoff"
        self.restarts += 1
        self._begin()

    def is_ready(self, now: float) -> None:
        """It has started."""
        assert self.state == "starting"
        self.state = "ready"
        self._ready_since = now

    def swap_begins(self) -> None:
        """Another process is about to take its place; this one goes on."""
        assert self.state == "ready"
        self.state = "swapping"

    def swap_ends(self) -> None:
        """One of the two is there, and no other."""
        if self.state == "swapping":
            self.state = "ready"

    def ended(self, now: float, *, failed: bool) -> None:
        """It could not start, or its process has ended, or is to be ended because it does not answer.

        Args:
            now: seconds of whatever clock.
            failed: whether that is a failure: all but exit code 0.
        """
        assert self.state in ("starting", "ready", "swapping")
        if self._ready_since is not None and now - self._ready_since >= self.rules.period:
            self._in_a_row = 0
        self._ready_since = None
        if self.rules.restart == "never" or (self.rules.restart == "on-failure" and not failed):
            self.state = "stopped"
            return
        while self._recent and now - self._recent[0] >= self.rules.period:
            self._recent.popleft()
        if len(self._recent) >= self.rules.max_restarts:
            self.state = "quarantined"
            return
        self._recent.append(now)
        self.state, self.due = "backoff", now + self._pause()
        self._in_a_row += 1

    def stop(self) -> None:
        """Somebody wants it to end: what runs may end by itself."""
        self.due = None
        self.state = "draining" if self.state in ("starting", "ready", "swapping") else "stopped"

    def stopped(self) -> None:
        """It has."""
        self.state = "stopped"

    def _begin(self) -> None:
        self.state, self.due, self._ready_since = "starting", None, None

    def _pause(self) -> float:
        longest = self.rules.backoff * 2.0 ** min(self._in_a_row, 64)
        return min(longest, self.rules.max_backoff) * (1 + JITTER * (2 * self._chance() - 1))
