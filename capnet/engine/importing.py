"""What is done with references that we hold: who owns them here, and when they go back (P-REF-2, P-CALL-8)."""

from __future__ import annotations

from collections.abc import Iterable

from capnet.errors import CallCancelled

from .calls import Call, Target
from .imports import Import
from .lifecycle import State
from .tables import Tables

__all__ = ["Importing"]


class Importing:
    """The local owners of capabilities, and of promises of them."""

    __slots__ = ("_tables",)

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def hold(self, held: Target) -> None:
        """One more local owner of a capability, or of a promise of one, that is held already."""
        if isinstance(held, Import):
            assert held.holders, "only what is held can be held again"
            held.holders += 1
        else:
            assert held.call.users, "only what is held can be held again"
            held.call.users += 1

    def release(self, held: Target) -> None:
        """One local owner less; the last gives all references back. The built-in two are never given back."""
        if not isinstance(held, Import):
            self.release_call(held.call)
        elif held.id > 1:
            count = self._tables.imports.release(held)
            if count and self._tables.lifecycle.state is not State.CLOSED:
                self._tables.outbox.drop(held.id, count)

    def release_call(self, call: Call) -> None:
        """One user less of a call that is kept; after the last the peer is told that it is finished (P-CALL-8)."""
        call.users -= 1
        if call.users or not call.kept:
            return
        call.kept = False
        if call.frame is None and self._tables.calls.find(call.id) is not call:
            call.token = None  # it was answered; whoever still has the promise holds nothing more of it
        call.failure = call.failure or CallCancelled("what comes of this call was given back")
        if not self._tables.lifecycle.closed:
            self._tables.calls.finished.append(call)

    def name(self, named: Iterable[Target]) -> None:
        """A call that is held back names these: news that they are let go of must not overtake it."""
        for one in named:
            if isinstance(one, Import):
                one.named += 1
            else:
                self.hold(one)

    def name_no_more(self, named: Iterable[Target]) -> None:
        """It leaves, or never will."""
        for one in named:
            if isinstance(one, Import):
                one.named -= 1
                one.holders += 1  # until it is released
            self.release(one)
