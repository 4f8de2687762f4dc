"""Admission: whether a call of the peer's, whose frame is in order, may start (P-CALL, P-LIMIT)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from capnet.errors import CapnetError, NotFound, ResourceExhausted, Revoked, Unavailable
from capnet.limits import bound

from .answers import Answer
from .conduct import Conduct
from .events import LimitReached
from .exports import Export
from .ledger import call_charge, whole_charge
from .pipelines import Kept, Promises
from .tables import Tables

__all__ = ["Admission", "Sources"]

Sources = Mapping[int, Answer | Kept | None]
"""The answers that a call needs, by call id; None for one that is not kept."""


class Admission:
    """Looks for reasons to refuse calls."""

    __slots__ = ("_conduct", "_tables")

    def __init__(self, tables: Tables, conduct: Conduct) -> None:
        self._tables = tables
        self._conduct = conduct

    def sources(self, id: int, target: Any, promises: Promises | None) -> Sources:
        """The answers that a call needs, in the order it names them."""
        needed = promises or ()
        if type(target) is not int:
            needed = (target[0], *needed)
        return {source: self._tables.pipelines.find(source, id) for source in needed}

    def refusal(self, id: int, target: Any, export: Export | None, sources: Sources) -> CapnetError | None:
        """Why a call may not start, or None when it may."""
        if export is None and type(target) is int:
            self._conduct.count_strike("released")
            return NotFound(f"capability {target} was given back", reason="released")
        if export is not None and export.revoked is not None:
            return Revoked(export.revoked)
        if not self._tables.lifecycle.accepts_calls:
            return Unavailable("this side is closing", reason="peer_closing", retry="transparent")
        if None in sources.values():
            self._conduct.count_strike("released")
            return NotFound("the answer that the call needs is not kept", reason="released")
        if id and self._tables.answers.overfull:
            return self._overfull()
        return None

    def overcharged(self, id: int, charge: int) -> CapnetError | None:
        """There is no room for what a call would take up; a one-way call, which is small, is taken all the same."""
        if not id:
            self._tables.call_charge.add(charge)
            return None
        if self._tables.call_charge.crowded(charge):
            self._tables.emit(LimitReached("max_host_charge"))
            most = whole_charge(self._tables.call_charge, charge)
            text = f"all peers together have too much in flight: {most}"
            return ResourceExhausted(text, reason="max_host_charge")
        grown = sum(answer.growth for answer in self._tables.answers)
        if not self._tables.call_charge.has_room(charge - grown):  # else the peer has kept to what it knows
            self._conduct.count_strike("max_call_charge")
        return ResourceExhausted(call_charge(self._tables.call_charge), reason="max_call_charge")

    def _overfull(self) -> ResourceExhausted:
        self._conduct.count_strike("max_concurrent_calls")
        waits = bound("max_queued_calls", self._tables.limits.max_queued_calls, "callee")
        text = f"{self._tables.limits.max_calls} calls (Limits.max_calls) run, and too many wait: {waits}"
        return ResourceExhausted(text, reason="max_concurrent_calls")
