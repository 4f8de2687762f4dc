"""Rooms: what each client has that comes by HTTP, from one request to the next.

A client of the older protocol has one for each session, one of the newer has one for all its requests: there it is
known by what it shows. Each room is one connection to the host.
"""

from __future__ import annotations

import secrets
from collections.abc import Hashable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from time import monotonic as clock
from typing import Any, Final, cast

from anyio import CancelScope, Event

from capnet import Attestation, CapnetError, Connection, Host, ResourceExhausted, Unavailable, connect
from capnet.gateways.bounds import Bounds, Share
from capnet.transport import Listener

from .held import Held

__all__ = ["Client", "Room", "Rooms"]

IDLE: Final = 15 * 60.0
"""Seconds that a room is kept without a request."""
_numbers: Final = count(1)


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
        followed: somebody reads the news of this session already.
    """

    def __init__(self, connection: Connection, key: Hashable, share: Share) -> None:
        self.held = Held(connection)
        self.key = key
        self.share = share
        self.running: dict[tuple[type, str | int], CancelScope] = {}
        self.open = 0
        self.used = clock()
        self.followed = False

    def use(self) -> None:
        """A request has come, or was answered."""
        self.used = clock()

    @property
    def connection(self) -> Connection:
        """Its own."""
        return self.held.connection


class Rooms:
    """All of them.

    Args:
        host: is open when the first client comes.
        bounds: of each principal.
    """

    def __init__(self, host: Host, bounds: Bounds) -> None:
        self._host = host
        self.bounds = bounds
        self._listener: Listener | None = None
        self._shares: dict[Hashable, Share] = {}
        self._of_sessions: dict[str, Room] = {}
        self._of_clients: dict[Hashable, Room] = {}
        self._opening: dict[Hashable, Event] = {}
        self._swept = 0.0

    def __len__(self) -> int:
        return len(self._of_sessions) + len(self._of_clients)

    async def begin(self, client: Client, name: str) -> str:
        """A room for a new session; returns the session's id.

        Raises:
            Unauthenticated: the host does not admit the client. ResourceExhausted: `max_sessions`. Unavailable: the
            host is not open.
        """
        room = await self._made(client, name)
        session = secrets.token_urlsafe(24)
        self._of_sessions[session] = room
        return session

    async def of_session(self, client: Client, session: str) -> Room | None:
        """The room of a session, when it is this client's and has not ended."""
        await self._sweep()
        room = self._of_sessions.get(session)
        if room is not None and room.connection.closed:
            await self.end(session)
            return None
        return room if room is not None and room.key == client.key else None

    async def of_client(self, client: Client) -> Room:
        """The room for the requests of a client that has no sessions.

        Raises:
            As `begin`.
        """
        await self._sweep()
        key = client.key
        while (room := self._of_clients.get(key)) is None or room.connection.closed:
            opening = self._opening.get(key)
            if opening is not None:  # another request was faster
                await opening.wait()
                continue
            opening = self._opening[key] = Event()
            try:
                self._of_clients[key] = await self._made(client, "")
            finally:
                del self._opening[key]
                opening.set()
        return room

    async def end(self, session: str) -> None:
        """A session is over."""
        await self._close(self._of_sessions.pop(session, None))

    async def aclose(self) -> None:
        """All are over."""
        for rooms in (self._of_sessions, self._of_clients):
            while rooms:
                await self._close(rooms.popitem()[1])
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.aclose()

    async def listen(self) -> None:
        """Have the host take clients.

        Raises:
            Unavailable: it is not open.
        """
        if self._listener is None:
            self._listener = await self._host.listen(f"memory:capnet.mcp-{next(_numbers)}")

    async def _made(self, client: Client, name: str) -> Room:
        await self._sweep()
        await self.listen()
        assert self._listener is not None
        auth: Any = None if client.token is None else {"token": client.token}
        connection = await connect(self._listener.url, name=name, auth=auth, attestation=client.attestation)
        try:
            principal = cast("str | None", (await connection.runtime().identity())["principal"])
            key: Hashable = client.key if principal is None else (principal,)
            share = self._shares.setdefault(key, Share())
            if share.sessions >= self.bounds.max_sessions:
                raise ResourceExhausted(f"there are {share.sessions} sessions already", reason="max_sessions")
            share.sessions += 1
        except BaseException:
            with CancelScope(shield=True), suppress(CapnetError):
                await connection.aclose(grace=0)
            raise
        return Room(connection, client.key, share)

    async def _sweep(self) -> None:
        """End what nobody has used for long, or what has ended by itself."""
        now = clock()
        if now < self._swept + 1.0:
            return
        self._swept = now
        over = [one for one in self if one.connection.closed or (not one.open and one.used < now - IDLE)]
        if not over:
            return
        for rooms in (self._of_sessions, self._of_clients):
            for key in [key for key, room in rooms.items() if room in over]:
                await self._close(cast("dict[Any, Room]", rooms).pop(key, None))

    def __iter__(self) -> Iterator[Room]:
        yield from self._of_sessions.values()
        yield from self._of_clients.values()

    async def _close(self, room: Room | None) -> None:
        if room is None:
            return
        room.share.sessions -= 1
        if not room.share.sessions:
            self._shares = {key: share for key, share in self._shares.items() if share.sessions}
        with suppress(Unavailable):
            await room.connection.aclose(grace=0)
