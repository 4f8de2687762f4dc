"""Holdings: capabilities of the peer that are held here, and who wants to know when one breaks (P-REF-2).

A proxy that is collected may be so at any moment, in any thread, even inside the engine. Its finaliser only leaves a
note here; the note is acted on before the next frames leave.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING

from capnet.engine.imports import Import
from capnet.errors import CapnetError

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Holdings"]

Watcher = Callable[[CapnetError], object]


class Holdings:
    """The imports of one connection as its proxies see them."""

    __slots__ = ("_connection", "_noted", "_thread", "_watchers", "collected")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._noted = False
        self._thread = get_ident()
        self._watchers: dict[Import, list[Watcher]] = {}
        self.collected: deque[Import] = deque()
        """Notes of finalisers: one holder each that is gone."""

    def hold(self, imported: Import) -> None:
        """One more local owner."""
        if imported.id > 1 and imported.holders:
            self._connection.engine.hold(imported)

    def release(self, imported: Import) -> None:
        """One local owner less; leaves with the next frames."""
        self._let_go(imported)
        self._connection.driver.flush_soon()

    def note_collected(self, imported: Import) -> None:
        """A finaliser's note: release this soon. May come from any thread and at any moment."""
        self.collected.append(imported)
        if not self._noted and not (self._connection.driver.receiving and get_ident() == self._thread):
            self._noted = True
            self._connection.loop.call_soon_threadsafe(self._act_on_notes)

    def release_collected(self) -> None:
        """Act on the notes that have come."""
        while self.collected:
            self._let_go(self.collected.popleft())

    def watch(self, imported: Import, callback: Watcher) -> Callable[[], None]:
        """See `proxy.on_broken`."""
        # One that is registered twice is told twice; each `forget` ends its own.
        watcher = partial(self._tell, callback)
        if imported.broken is not None:
            self._connection.loop.call_soon(partial(watcher, imported.broken))
            return lambda: None
        watchers = self._watchers.setdefault(imported, [])
        watchers.append(watcher)

        def forget() -> None:
            if watcher in watchers:
                watchers.remove(watcher)

        return forget

    def broken(self, imported: Import, error: CapnetError) -> None:
        """Tell those who watch it, soon and once."""
        for watcher in self._watchers.pop(imported, ()):
            self._connection.loop.call_soon(partial(watcher, error))

    def _let_go(self, imported: Import) -> None:
        self._connection.engine.release(imported)
        if not imported.holders:
            self._watchers.pop(imported, None)

    def _act_on_notes(self) -> None:
        self._noted = False
        if self.collected:
            self._connection.driver.flush()

    def _tell(self, callback: Watcher, error: CapnetError) -> None:
        try:
            callback(error)
        except Exception as raised:
            self._connection.unexpected("on_broken callback", raised)
