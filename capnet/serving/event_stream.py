"""`EventStream`: events as plain data for a peer that asks for them (P-CAP-9).

A peer is told of its own connection; of the whole host only while its attestation has the grant `EVENTS_GRANT`. What it
is told is numbers and short text: an exception, argument or result is never in a record. It reads at its own pace, and
where it is too slow the oldest are dropped and the number of them takes their place.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

from capnet.contract import Reader
from capnet.errors import InvalidArgument, PermissionDenied, ResourceExhausted, cut_text
from capnet.observe import (
    CallFinished,
    CallStarted,
    CreditStalled,
    Event,
    HandlerFailed,
    NameReplaced,
    NameServed,
    NameUnserved,
    StreamClosed,
    StreamOpened,
)
from capnet.observe import events as known
from capnet.session.session import Session

from .names import Names

__all__ = ["EVENTS_GRANT", "MAX_EVENT_STREAMS", "EventStream", "EventStreams", "check_grant"]

EVENTS_GRANT: Final = "capnet.events"
"""The grant with which a peer sees the events of the host and of all its connections."""
MAX_EVENT_STREAMS: Final = 4
"""Streams of events that one peer may have at a time."""
_KINDS: Final[dict[str, type[Event]]] = {
    name: kind
    for name in known.__all__
    if isinstance(kind := getattr(known, name), type) and issubclass(kind, Event) and kind is not Event
}
_ENVELOPE: Final = frozenset(field.name for field in fields(Event))


class EventStreams:
    """The streams of news that one peer has of its connection; there are few of them."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def check(self) -> None:
        """Nothing, while there may be one more.

        Raises:
            ResourceExhausted: `max_event_streams`.
        """
        if self._session.publisher.event_streams >= MAX_EVENT_STREAMS:
            self._session.strike("max_event_streams")
            raise ResourceExhausted(
                f"{MAX_EVENT_STREAMS} streams of events are open already", reason="max_event_streams"
            )

    def take(self) -> None:
        """One more.

        Raises:
            ResourceExhausted: `max_event_streams`.
        """
        self.check()
        self._session.publisher.event_streams += 1

    def give(self) -> None:
        """One less."""
        self._session.publisher.event_streams -= 1


class EventStream(Reader[dict[str, Any]]):
    """The events from now on, one record each.

    Args:
        names: of the connection whose peer asks.
        call: id of the call that it asks with; of that and of this stream it is not told.
        kinds: names of event types; all when there are none.

    Raises:
        InvalidArgument: `unknown_event`. ResourceExhausted: `max_event_streams`, `max_observers`.
    """

    __slots__ = (
        "__weakref__",
        "_call",
        "_feed",
        "_names",
        "_open",
        "_session",
        "_stream",
        "_streams",
        "_told",
        "_wide",
    )

    def __init__(self, names: Names, call: int, kinds: Sequence[str]) -> None:
        session = names.session
        self._open = False
        self._names = names
        self._session = session
        self._call = call
        self._stream = 0
        self._told = 0
        self._wide = session.bus.parent is not None and EVENTS_GRANT in session.attestation.grants
        bus = session.bus.parent if self._wide and session.bus.parent is not None else session.bus
        self._feed = bus.feed(tuple({_kind(name): None for name in kinds}))
        self._streams = EventStreams(session)
        self._streams.check()
        try:
            self._feed.open()
        except ValueError as error:
            raise ResourceExhausted("too many observe already", reason="max_observers") from error
        self._open = True
        self._streams.take()

    async def __anext__(self) -> dict[str, Any]:
        if not self._stream:
            self._stream = self._names.whose.pumps.id_of(self)
        while True:
            dropped = self._feed.dropped - self._told
            if dropped:
                self._told += dropped
                return self._dropped(dropped)
            event = await anext(self._feed)
            if await self._may_see(event):
                return self._record(event)

    async def aclose(self) -> None:
        """Listen no more. Idempotent."""
        self._close()

    def _close(self) -> None:
        if self._open:
            self._open = False
            self._feed.close()
            self._streams.give()

    def __del__(self) -> None:
        self._close()  # a stream whose call ended before it could begin

    async def _may_see(self, event: Event) -> bool:
        """Whether the peer is told of it: whatever this stream itself causes it is not, or it would never end."""
        if event.connection == self._session.number:
            if isinstance(event, CallStarted | CallFinished) and event.direction == "in" and event.call == self._call:
                return False
            if isinstance(event, StreamOpened | StreamClosed | CreditStalled) and event.stream == self._stream:
                return False
        if self._wide:
            check_grant(self._session)
            return True
        if isinstance(event, NameServed | NameReplaced | NameUnserved):
            return await self._names.ask_policy(event.name, None) is None
        return True

    def _record(self, event: Event) -> dict[str, Any]:
        told = {name: _plain(getattr(event, name)) for name in _told_of(type(event), self._wide)}
        return {
            "kind": type(event).__name__,
            "time": event.time,
            "connection": event.connection,
            "peer": event.peer,
            "principal": event.principal if self._wide else None,  # it may say what the program thinks of a peer
            "sequence": event.sequence,
            "generation": event.generation,
            "served": event.served if self._wide else "",  # it may have other names, which the peer may not have
            "fields": told,
        }

    def _dropped(self, number: int) -> dict[str, Any]:
        """What takes the place of events that were not read in time."""
        return {
            "kind": "Dropped",
            "time": time.time(),
            "connection": self._session.number,
            "peer": self._session.peer_name,
            "principal": None,
            "sequence": 0,
            "generation": 0,
            "served": "",
            "fields": {"dropped": number},
        }


def check_grant(session: Session) -> None:
    """Whether the peer of a connection may know of the whole host.

    Raises:
        PermissionDenied: `denied`.
    """
    if EVENTS_GRANT not in session.attestation.grants:
        raise PermissionDenied(
            f"you were not granted {EVENTS_GRANT}",
            reason="denied",
            details={"required": [EVENTS_GRANT], "granted": []},
        )


def _kind(name: str) -> type[Event]:
    kind = _KINDS.get(name)
    if kind is None:
        raise InvalidArgument(
            f"there are no events of the kind {name!r}"[:200], reason="unknown_event", hint=", ".join(sorted(_KINDS))
        )
    return kind


def _told_of(kind: type[Event], wide: bool) -> tuple[str, ...]:
    """Which fields of an event are told."""
    hidden = _ENVELOPE
    if issubclass(kind, HandlerFailed):
        hidden |= {"error"} if wide else {"error", "where"}  # it may name classes of ours
    return tuple(field.name for field in fields(kind) if field.name not in hidden)


def _plain(value: object) -> Any:
    """Numbers and text that can travel; of anything else only what it is."""
    if isinstance(value, str):
        return cut_text(value)
    return value if value is None or isinstance(value, bool | int | float) else type(value).__name__
