"""Aftermath: what is left to do when capabilities have ended or were replaced, of very many some in each turn.

What matters has happened in the engine already: nothing that was given back or revoked is reached any more, and no call
of ours leaves for what is broken. Left is to let go of what stood behind it, and to tell observers, watchers, and peers
that it was passed on to. One frame can say so of ten thousand. While there is something to do, nothing is read from the
peer whose frames have led to it, so no more than that piles up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from capnet.connection.connection import Connection

__all__ = ["PER_TURN", "Aftermath"]

PER_TURN: Final = 200
"""Capabilities that are seen to in one turn of the loop."""


class Aftermath:
    """What one connection has still to do.

    Args:
        acts: what is to be done for each type of event, with some of them at once.

    Attributes:
        due: events that wait for a later turn, in order.
        left: for how many there is room in this turn.
    """

    __slots__ = ("_acts", "_connection", "due", "left")

    def __init__(
        self, connection: Connection, acts: Mapping[type, Callable[[Connection, Sequence[Any]], None]]
    ) -> None:
        self._connection = connection
        self._acts = acts
        self.due: deque[Any] = deque()
        self.left = PER_TURN

    def see_to(self, event: Any) -> None:
        """Do it now if it is one of few, else when those before it are done."""
        due = self.due
        if due:
            due.append(event)
        elif self.left > 0:
            self.left -= 1
            self._acts[type(event)](self._connection, (event,))
        else:
            self._connection.loop.call_soon(self._turn)
            due.append(event)

    def _turn(self) -> None:
        connection, due = self._connection, self.due
        began = connection.loop.now()
        portion = [due[index] for index in range(min(PER_TURN, len(due)))]
        with connection.contained:
            for kind, some in groupby(portion, type):
                self._acts[kind](connection, list(some))
        # What that has led to stands behind the others: they are taken out now, so that nothing is done before them.
        for _ in portion:
            due.popleft()
        self.left = PER_TURN
        connection.driver.drain()
        connection.driver.worked(began)
        if due:
            connection.loop.call_soon(self._turn)
        else:
            connection.finish_if_over()
