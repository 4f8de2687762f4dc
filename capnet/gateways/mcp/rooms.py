"""Rooms: what each client has that comes by HTTP, from one request to the next.

A client of the older protocol has one for each session, one of the newer has one for all its requests: there it is
known by what it shows. Each room is one connection to the host, and a task that ends it.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import partial
from time import monotonic as clock
from typing import Final

from anyio import CancelScope, Event, Lock, move_on_after

from capnet import Attestation, CapnetError, Connection, Host, Unavailable
from capnet.gateways.bounds import Bounds, Share
from capnet.gateways.jsonrpc.pending import Pending
from capnet.gateways.sessions import Sessions
from capnet.gateways.tasks import tasks_of_block
from capnet.loop import spawn_detached

from .held import Held

__all__ = ["Client", "Room", "Rooms"]

IDLE = 15 * 60.0
"""Seconds that a room is kept without a request."""
_log: Final = logging.getLogger("capnet.gateways.mcp")


@dataclass(frozen=True, slots=True)
class Client:
    """Who has sent a request, as far as that can be told.

    Attributes:
        attestation: what is proven.
        token: what it has shown for the host's policy.
    """

    attestation: Attestation
    token: str | None

    @property
    def key(self) -> Hashable:
        """What all its requests have in common, and those of others do not."""
        seen = self.attestation
        address = None if self.token is not None or seen.address is None else seen.address.rpartition(":")[0]
        return self.token, address, seen.origin, tuple(sorted(seen.headers.items()))


class Room:
    """What one client has.

    Attributes:
        running: requests that are worked on, by id.
        pending: how many these are, and what they take up.
        followed: somebody reads the news of this session already.
    """

    def __init__(self, connection: Connection, key: Hashable, share: Share, bounds: Bounds) -> None:
        self.held = Held(connection, bounds.max_handles)
        self.key = key
        self.pending = Pending(bounds, share)
        self.running: dict[tuple[type, str | int], CancelScope] = {}
        self.open = 0
        self.used = clock()
        self.followed = False
        self._over, self._gone = Event(), Event()

    def use(self) -> None:
        """A request has come, or was answered."""
        self.used = clock()

    @property
    def connection(self) -> Connection:
        """Its own."""
        return self.held.connection

    @property
    def is_over(self) -> bool:
        """Nobody has used it for long, or the host has ended it."""
        return self.connection.closed or (not self.open and clock() > self.used + IDLE)

    async def stay(self) -> None:
        """Return when it is over, and its connection is closed."""
        async with tasks_of_block() as tasks:
            tasks.start_soon(self._watch)
            while not self._over.is_set() and not self.is_over:
                with move_on_after(IDLE if self.open else max(0.0, self.used + IDLE - clock()) + 0.001):
                    await self._over.wait()
        await self.connection.aclose(grace=0)

    def gone(self) -> None:
        """It is kept no more."""
        self._over.set()
        self._gone.set()

    async def end(self) -> None:
        """It is over; returns when all that was begun in it has ended."""
        self._over.set()
        await self._gone.wait()

    async def _watch(self) -> None:
        await self.connection.wait_closed()
        self._over.set()


class _Opening:
    """A room that is being opened, and who waits for it."""

    def __init__(self) -> None:
        self.settled = Event()
        self.scope = CancelScope()
        self.room: Room | None = None
        self.failure: CapnetError | None = None


class Rooms:
    """All of them.

    Args:
        host: is open when the first client comes.
        bounds: of each principal.
    """

    def __init__(self, host: Host, bounds: Bounds) -> None:
        self.bounds = bounds
        self._sessions = Sessions(host, bounds.max_sessions)
        self._listens = False
        self._lock = Lock()
        self._rooms: dict[Hashable, Room] = {}
        """By session or, where there is none, by what clients show."""
        self._opening: dict[Hashable, Event] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    def __iter__(self) -> Iterator[Room]:
        return iter(tuple(self._rooms.values()))

    async def begin(self, client: Client, name: str) -> str:
        """A room for a new session; returns the session's id.

        Raises:
            Unauthenticated: the host does not admit the client. ResourceExhausted: `max_sessions`. Unavailable: the
            host is not open.
        """
        session = secrets.token_urlsafe(24)
        await self._made(session, client, name)
        return session

    def of_session(self, client: Client, session: str) -> Room | None:
        """The room of a session, when it is this client's and has not ended."""
        room = self._rooms.get(session)
        return None if room is None or room.is_over or room.key != client.key else room

    async def of_client(self, client: Client) -> Room:
        """The room for the requests of a client that has no sessions.

        Raises:
            As `begin`.
        """
        key = client.key
        while (room := self._rooms.get(key)) is None or room.is_over:
            opening = self._opening.get(key)
            if opening is not None:  # another request was faster
                await opening.wait()
                continue
            opening = self._opening[key] = Event()
            try:
                await self._made(key, client, "")
            finally:
                del self._opening[key]
                opening.set()
        return room

    async def aclose(self) -> None:
        """All are over."""
        for room in self:
            await room.end()
        async with self._lock:
            if self._listens:
                self._listens = False
                await self._sessions.__aexit__(None, None, None)

    async def listen(self) -> None:
        """Have the host take clients.

        Raises:
            Unavailable: it is not open.
        """
        async with self._lock:
            if not self._listens:
                await self._sessions.__aenter__()  # until it is closed
                self._listens = True

    async def _made(self, key: Hashable, client: Client, name: str) -> None:
        await self.listen()
        opening = _Opening()
        spawn_detached(partial(self._live, key, client, name, opening))
        try:
            await opening.settled.wait()
        except BaseException:  # nobody would know that it is there
            opening.scope.cancel()
            raise
        try:
            if opening.failure is not None:
                raise opening.failure
        finally:
            opening.failure = None  # it would keep itself, by the frames it went through

    async def _live(self, key: Hashable, client: Client, name: str, opening: _Opening) -> None:
        """The life of a room, which no request lasts as long as."""
        auth = None if client.token is None else {"token": client.token}
        room: Room | None = None
        try:
            with opening.scope:
                async with self._sessions.open(client.attestation, name=name, auth=auth) as (connection, share):
                    room = self._rooms[key] = Room(connection, client.key, share, self.bounds)
                    opening.settled.set()
                    await room.stay()
        except CapnetError as error:
            opening.failure = error
        except Exception:
            _log.exception("what a client has could not be kept")
        finally:
            if room is None and opening.failure is None:
                opening.failure = Unavailable("the host could not be reached")
            opening.settled.set()
            if room is not None:
                if self._rooms.get(key) is room:
                    del self._rooms[key]
                room.gone()
