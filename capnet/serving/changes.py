"""`NameChanges`: news for a peer that what it may ask for by name is something else now (P-CAP-9)."""

from __future__ import annotations

from typing import Final

from anyio import Event as Signal

from capnet.contract import Reader

from .event_stream import EventStreams
from .names import Names

__all__ = ["NameChanges"]

MAX_ASKED: Final = 64
"""Names that the policy is asked about for one item; of more some will be among them that the peer may have."""


class NameChanges(Reader[int]):
    """A number for each change; those that come faster than they are read are one.

    Args:
        names: of the connection whose peer asks.

    Raises:
        ResourceExhausted: `max_event_streams`.
    """

    __slots__ = ("__weakref__", "_changed", "_count", "_forget", "_names", "_news", "_open", "_streams")

    def __init__(self, names: Names) -> None:
        self._open = False
        self._names = names
        self._streams = EventStreams(names.session)
        self._streams.take()
        self._open = True
        self._changed: dict[str, None] = {}
        self._count = 0
        self._news = Signal()
        self._forget = names.when_changed(self._note)

    async def __anext__(self) -> int:
        while self._open:
            if not self._changed:
                await self._news.wait()
                continue
            changed, self._changed = self._changed, {}
            self._news = Signal()
            if await self._concerns(changed):
                self._count += 1
                return self._count
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Want no more. Idempotent."""
        self._close()

    def __del__(self) -> None:
        self._close()  # a stream whose call ended before it could begin

    def _close(self) -> None:
        if self._open:
            self._open = False
            self._forget()
            self._streams.give()
            self._news.set()

    def _note(self, name: str) -> None:
        if len(self._changed) <= MAX_ASKED:
            self._changed[name] = None
        self._news.set()

    async def _concerns(self, changed: dict[str, None]) -> bool:
        """Whether the peer may have one of the names."""
        if len(changed) > MAX_ASKED:
            return True
        for name in changed:
            if await self._names.ask_policy(name, None) is None:
                return True
        return False
