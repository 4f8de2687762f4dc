"""`Held`: capabilities of the peer that are held here, and who wants to know when one breaks (P-REF-2).

A proxy or an end of a stream that is collected may be so at any moment, in any thread, even inside the engine. Its
finaliser only leaves a note here; the note is acted on before the next frames leave.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import get_ident
from typing import Any, Protocol

from capnet.engine.calls import Pipelined
from capnet.engine.imports import Import
from capnet.engine.stream import InStream, OutStream
from capnet.errors import CallCancelled, CapnetError, FailedPrecondition
from capnet.registry import Hosted

from .session import Session

__all__ = ["Held", "Passing"]

Watcher = Callable[[CapnetError], object]


class Passing(Protocol):
    """What passes capabilities that are held here on to other peers."""

    def of(self, target: Any) -> Hosted:
        """What stands for it there."""
        ...

    def granted(self, target: Any) -> list[Any]:
        """What they have of it."""
        ...

    def forget(self, imported: Import) -> None:
        """Nobody here can name it any more."""
        ...

    def broken(self, granted: list[Any], reason: str) -> None:
        """What they have of something answers nothing any more: `take_back` is to follow."""
        ...

    def take_back(self) -> None:
        """Those who watch have been told of what is broken: take back what leads to it."""
        ...


class Held:
    """The imports of one connection as its proxies see them; also promises of some, and streams of the peer's.

    Attributes:
        passing: passes them on.
        collected: notes of finalisers: one holder each that is gone.
    """

    __slots__ = ("_noted", "_session", "_thread", "_told", "_watchers", "collected", "passing")

    passing: Passing

    def __init__(self, session: Session) -> None:
        self._session = session
        self._noted = False
        self._thread = get_ident()
        self._watchers: dict[Import, list[Watcher]] = {}
        self._told: list[Callable[[], object]] = []  # who is told in the next turn
        self.collected: list[object] = []

    def hold(self, held: object) -> None:
        """One more local owner."""
        if isinstance(held, Import):
            if held.id > 1 and held.holders:
                self._session.engine.hold(held)
        elif isinstance(held, Pipelined) and held.call.kept:
            self._session.engine.hold(held)

    def release(self, held: object) -> None:
        """One local owner less; leaves with the next frames."""
        with self._session.must_succeed:
            self._let_go(held)
        self._session.driver.flush_soon()

    def note_collected(self, held: object) -> None:
        """A finaliser's note: let go of this soon. May come from any thread and at any moment."""
        self.collected.append(held)
        if not self._noted and not (self._session.driver.receiving and get_ident() == self._thread):
            self._noted = True
            self._session.loop.call_soon_threadsafe(self._act_on_notes)

    def release_collected(self) -> None:
        """Act on the notes that have come."""
        while self.collected:
            held = self.collected.pop()
            try:
                self._let_go(held)
            except Exception as error:  # as `must_succeed`, without another step
                self._session.crash(error)

    def watch(self, imported: object, callback: Watcher) -> Callable[[], None]:
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

    def _let_go(self, held: object) -> None:
        engine = self._session.engine
        if isinstance(held, Import):
            engine.release(held)
            if not held.holders:
                self._watchers.pop(held, None)
                self.passing.forget(held)
        elif isinstance(held, Pipelined):
            engine.release(held)
        elif isinstance(held, InStream):
            engine.streaming.stop(held)
        elif isinstance(held, OutStream):
            error = CallCancelled("the sink was dropped before its end", reason="abandoned")
            engine.streaming.end(held, error)
            self._session.publisher.stream_closed(held, error)

    def _act_on_notes(self) -> None:
        self._noted = False
        if self.collected:
            self._session.driver.flush()

    def _tell_soon(self, tell: Callable[[], object]) -> None:
        if not self._told:
            self._session.loop.call_soon(self._tell_watchers)
        self._told.append(tell)

    def _tell_watchers(self) -> None:
        told, self._told = self._told, []
        for tell in told:
            tell()
        self.passing.take_back()

    def _tell(self, callback: Watcher, error: CapnetError) -> None:
        try:
            callback(error)
        except Exception as raised:
            self._session.faults.unexpected("on_broken callback", raised)
