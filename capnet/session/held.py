"""Holdings: capabilities of the peer that are held here, and who wants to know when one breaks (P-REF-2).

A proxy or an end of a stream that is collected may be so at any moment, in any thread, even inside the engine. Its
finaliser only leaves a note here; the note is acted on before the next frames leave.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING

from capnet.calls.dependent import Late
from capnet.engine.calls import Pipelined, Target
from capnet.engine.imports import Import
from capnet.engine.streams import InStream, OutStream
from capnet.errors import CallCancelled, CapnetError, FailedPrecondition

if TYPE_CHECKING:
    from capnet.connection.connection import Connection

__all__ = ["Holdings"]

Watcher = Callable[[CapnetError], object]
Held = Target | Late | InStream | OutStream


class Holdings:
    """The imports of one connection as its proxies see them."""

    __slots__ = ("_connection", "_noted", "_thread", "_told", "_watchers", "collected")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._noted = False
        self._thread = get_ident()
        self._watchers: dict[Import, list[Watcher]] = {}
        self._told: list[Callable[[], object]] = []  # who is told in the next turn
        self.collected: deque[Held] = deque()
        """Notes of finalisers: one holder each that is gone."""

    def hold(self, held: Target | Late) -> None:
        """One more local owner."""
        if isinstance(held, Import):
            if held.id > 1 and held.holders:
                self._connection.engine.hold(held)
        elif isinstance(held, Pipelined) and held.call.kept:
            self._connection.engine.hold(held)

    def release(self, held: Target | Late) -> None:
        """One local owner less; leaves with the next frames."""
        with self._connection.contained:
            self._let_go(held)
        self._connection.driver.flush_soon()

    def note_collected(self, held: Held) -> None:
        """A finaliser's note: let go of this soon. May come from any thread and at any moment."""
        self.collected.append(held)
        if not self._noted and not (self._connection.driver.receiving and get_ident() == self._thread):
            self._noted = True
            self._connection.loop.call_soon_threadsafe(self._act_on_notes)

    def release_collected(self) -> None:
        """Act on the notes that have come."""
        while self.collected:
            held = self.collected.popleft()
            with self._connection.contained:
                self._let_go(held)

    def watch(self, imported: Target | Late, callback: Watcher) -> Callable[[], None]:
        """See `proxy.on_broken`."""
        if not isinstance(imported, Import):
            raise FailedPrecondition("a promise cannot be watched", reason="promise", hint="await the call first")
        # One that is registered twice is told twice; each `forget` ends its own.
        watcher = partial(self._tell, callback)
        if imported.broken is not None:
            self._tell_soon(partial(watcher, imported.broken))
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
            self._tell_soon(partial(watcher, error))

    def _let_go(self, held: Held) -> None:
        engine = self._connection.engine
        if isinstance(held, Import):
            engine.release(held)
            if not held.holders:
                self._watchers.pop(held, None)
                self._connection.forwarders.forget(held)
        elif isinstance(held, Pipelined):
            engine.release(held)
        elif isinstance(held, InStream):
            engine.streaming.stop(held)
        elif isinstance(held, OutStream):
            error = CallCancelled("the sink was dropped before its end", reason="abandoned")
            engine.streaming.end(held, error)
            self._connection.reports.stream_closed(held, error)

    def _act_on_notes(self) -> None:
        self._noted = False
        if self.collected:
            self._connection.driver.flush()

    def _tell_soon(self, tell: Callable[[], object]) -> None:
        if not self._told:
            self._connection.loop.call_soon(self._tell_watchers)
        self._told.append(tell)

    def _tell_watchers(self) -> None:
        told, self._told = self._told, []
        for tell in told:
            tell()
        self._connection.forwarders.take_back()

    def _tell(self, callback: Watcher, error: CapnetError) -> None:
        try:
            callback(error)
        except Exception as raised:
            self._connection.unexpected("on_broken callback", raised)
