"""Lineage: what was handed out on whose calls, so that revoking takes all that came of it (P-CAP-6).

Each export is a `Granted`. Its parents are the exports on whose calls it was handed out, on this connection or another;
one that was bootstrapped, or exported by a program on its own, stands alone. It falls when all its parents have: what a
peer has by another way as well, it keeps. One that was given back stays as a parent while something that came of it is
held.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final
from weakref import ref

from capnet.engine.exports import Export
from capnet.registry import Hosted

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Granted", "handling", "take_back", "with_descendants"]

handling: Final[ContextVar[Granted | None]] = ContextVar("capnet.handling", default=None)
"""What the running handler was called on: exports that it makes came of that."""


class Granted:
    """One export, and where it came from.

    Attributes:
        connection, export: the export.
        hosted: what answers behind it, while the peer holds it.
        alone: it came of nothing that could be revoked.
        parents: the exports it came of.
        children: those that came of it, as far as they matter still.
    """

    __slots__ = ("_ended", "alone", "children", "connection", "export", "hosted", "parents")

    def __init__(self, connection: Connection, export: Export, hosted: Hosted) -> None:
        self.connection = connection
        self.export = export
        self.hosted: Hosted | None = hosted
        self._ended: ref[Hosted] | None = None
        self.alone = False
        self.parents: dict[Granted, None] = {}
        self.children: dict[Granted, None] = {}
        hosted.granted[self] = None

    @property
    def live(self) -> bool:
        """Whether the peer holds it."""
        return self.hosted is not None

    def came_of(self, parent: Granted | None) -> None:
        """It was handed out on a call on `parent`, or on nobody's."""
        if parent is None:
            self.detach()
        elif not self.alone and parent is not self:
            self.parents[parent] = None
            parent.matters_to(self)

    def detach(self) -> None:
        """It stands alone from now on."""
        self.alone = True
        parents, self.parents = self.parents, {}
        for parent in parents:
            parent.matters_no_more_to(self)

    def move(self, hosted: Hosted) -> None:
        """Another implementation answers behind it."""
        if self.hosted is not None:
            del self.hosted.granted[self]
        self.hosted = hosted
        hosted.granted[self] = None

    def ended(self) -> None:
        """The peer holds it no longer. A handler that runs on it may still hand out what came of it."""
        assert self.hosted is not None
        self._ended, self.hosted = ref(self.hosted), None
        if not self.children:
            self._leave()

    def matters_to(self, child: Granted) -> None:
        """Something came of it."""
        if not self.children and not self.live:
            self._enter()
        self.children[child] = None

    def matters_no_more_to(self, child: Granted) -> None:
        """That is gone, or stands alone now."""
        self.children.pop(child, None)
        if not self.children and not self.live:
            self._leave()

    def _enter(self) -> None:
        hosted = None if self._ended is None else self._ended()
        if hosted is not None:
            hosted.granted[self] = None
        for parent in self.parents:
            parent.matters_to(self)

    def _leave(self) -> None:
        hosted = None if self._ended is None else self._ended()
        if hosted is not None:
            hosted.granted.pop(self, None)
        for parent in self.parents:
            parent.matters_no_more_to(self)


def with_descendants(roots: Iterable[Granted]) -> list[Granted]:
    """These exports and all that fall with them."""
    fallen = dict.fromkeys(roots)
    waiting = list(fallen)
    while waiting:
        for child in waiting.pop().children:
            if child not in fallen and all(parent in fallen for parent in child.parents):
                fallen[child] = None
                waiting.append(child)
    return list(fallen)


def take_back(granted: Iterable[Granted], reason: str) -> None:
    """Revoke these exports, each at its connection."""
    by_connection: dict[Connection, list[Export]] = {}
    for one in granted:
        if one.live:
            by_connection.setdefault(one.connection, []).append(one.export)
    for connection, exports in by_connection.items():
        connection.engine.revoke(exports, reason)
    for connection in by_connection:
        connection.driver.drain()
