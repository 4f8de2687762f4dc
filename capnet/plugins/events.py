"""What a plugin host tells observers, in the form of all events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from capnet.observe import Event
from capnet.plugins.supervision import State

__all__ = ["Condition", "PluginChanged", "PluginEnded", "PluginSwapped", "PluginUnresponsive"]

Condition = Literal["runs", "waits", "stands still", "has ended", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginChanged(Event):
    """A plugin has another `state`; `reason` says why, where there is more to say than what it was told to do."""

    plugin: str
    state: State
    reason: str
    pid: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginUnresponsive(Event):
    """The loop of a plugin has not answered for `seconds`, `process` is what the system says of its process.

    A process that runs is busy, in Python or in C; one that waits is blocked in a system call, such as `sleep`; one
    that stands still was stopped by a signal or a debugger.
    """

    plugin: str
    seconds: float
    process: Condition


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginEnded(Event):
    """A process of a plugin has ended, and nothing that it obtained is left.

    `returncode` is its exit code, or the negative number of the signal that has ended it: -9 when it did not go by
    itself, nor by SIGTERM. `taken_back` is the number of capabilities that it still had.
    """

    plugin: str
    returncode: int | None
    taken_back: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginSwapped(Event):
    """A swap has ended: `committed`, or `rolled_back` for a `reason`."""

    plugin: str
    result: Literal["committed", "rolled_back"]
    reason: str
