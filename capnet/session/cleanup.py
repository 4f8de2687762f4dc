"""Cleanup: what is left to do when capabilities have ended or were replaced, of very many some in each turn.

What matters has happened in the engine already: nothing that was given back or revoked is reached any more, and no call
of ours leaves for what is broken. Left is to let go of what stood behind it, and to tell observers, watchers, and peers
that it was passed on to. One frame can say so of ten thousand. While there is something to do, nothing is read from the
peer whose frames have led to it, so no more than that piles up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, Protocol

from .driver import PER_TURN
from .session import Session

__all__ = ["Cleanup"]


class _Target(Protocol):
    """What has something to clean up."""

    cleanup: Cleanup


class Cleanup:
    """What one connection has still to do.

    Args:
        acts: what is to be done for each type of event, with some of them at once and `target` before them.

    Attributes:
        due: events that wait for a later turn, in order.
        left: for how many there is room in this turn.
    """

    __slots__ = ("_acts", "_session", "_target", "due", "left")

    def __init__(
        self, session: Session, target: Any, acts: Mapping[type, Callable[[Any, Sequence[Any]], None]]
    ) -> None:
        self._session = session
        self._target = target
        self._acts = acts
        self.due: list[Any] = []
        self.left = PER_TURN

    @staticmethod
    def see_to(target: _Target, event: Any) -> None:
        """Do it now if it is one of few, else when those before it are done."""
        self = target.cleanup
        due = self.due
        if due:
            due.append(event)
        elif self.left > 0:
            self.left -= 1
            self._acts[type(event)](self._target, (event,))
        else:
            self._session.loop.call_soon(self._turn)
            due.append(event)

    def _turn(self) -> None:
        session, due = self._session, self.due
        began = session.loop.now()
        portion = due[:PER_TURN]
        with session.must_succeed:
            for kind, some in groupby(portion, type):
                self._acts[kind](self._target, list(some))
        # What that has led to stands behind the others: they are taken out now, so that nothing is done before them.
        del due[: len(portion)]
        self.left = PER_TURN
        session.driver.drain()
        session.driver.worked(began)
        if due:
            session.loop.call_soon(self._turn)
        else:
            session.part_ended()
