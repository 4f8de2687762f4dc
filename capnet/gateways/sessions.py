"""Foreign clients as peers of a host: each has a connection of its own, with what is proven about it."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncGenerator, Callable, Hashable, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Final, Self, cast

from anyio import TypedAttributeProvider
from anyio.abc import SocketAttribute

from capnet import Attestation, Connection, Host, ResourceExhausted, connect
from capnet.transport import Listener

from .bounds import Share

__all__ = ["Sessions", "attested"]

_numbers: Final = count(1)
_CREDENTIALS: Final = struct.Struct("3i")
"""What the system keeps of who is at the other end of a socket: process, user, group."""


class Sessions:
    """Gives foreign clients connections to a host, inside of this process.

        async with Sessions(host, 64) as sessions, sessions.open(attestation) as (connection, share):
            ...

    To the host each is a peer like any other: its policy and limits hold, and it can be seen and closed there.

    Args:
        host: is open.
        max_sessions: of one principal.
        strangers_share: those that nobody can tell apart, at one address, count as one principal; behind a proxy that
            hides addresses these are all.

    Raises:
        Unavailable: the host is not open.
    """

    def __init__(self, host: Host, max_sessions: int, *, strangers_share: bool = True) -> None:
        self._host = host
        self._strangers_share = strangers_share
        self._max_sessions = max_sessions
        self._url = f"memory:capnet.gateway-{next(_numbers)}"
        self._listener: Listener | None = None
        self._shares: dict[Hashable, Share] = {}

    async def __aenter__(self) -> Self:
        self._listener = await self._host.listen(self._url)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._listener is not None
        await self._listener.aclose()

    @asynccontextmanager
    async def open(
        self, attestation: Attestation, *, name: str = "", auth: Any = None
    ) -> AsyncGenerator[tuple[Connection, Share]]:
        """The connection of one client, and what its principal has at the moment.

        Args:
            attestation: what is proven about the client; nothing in it may be what only the client says.
            name: what the client calls itself.
            auth: what it has said for the host's policy.

        Raises:
            Unauthenticated: the host does not admit it. ResourceExhausted: `max_sessions`.
        """
        async with connect(self._url, name=name, auth=auth, attestation=attestation) as connection:
            identity = await connection.runtime().identity()
            principal = cast("str | None", identity["principal"])
            key = _key(principal, attestation) if principal is not None or self._strangers_share else object()
            share = self._shares.setdefault(key, Share())
            if share.sessions >= self._max_sessions:
                raise ResourceExhausted(f"this principal has {share.sessions} sessions already", reason="max_sessions")
            share.sessions += 1
            try:
                yield connection, share
            finally:
                share.sessions -= 1
                if not share.sessions:
                    del self._shares[key]


def attested(stream: TypedAttributeProvider, transport: str) -> Attestation:
    """What a socket says of who is at its other end.

    Args:
        stream: one of anyio's.
        transport: as it is called in the attestation.
    """
    told: Mapping[Any, Callable[[], Any]] = cast("Any", stream).extra_attributes
    address = told[SocketAttribute.remote_address]() if SocketAttribute.remote_address in told else None
    host = f"{address[0]}:{address[1]}" if isinstance(address, tuple) else None
    connected = told[SocketAttribute.raw_socket]() if SocketAttribute.raw_socket in told else None
    pid = uid = None
    if connected is not None and hasattr(socket, "SO_PEERCRED") and connected.family == socket.AF_UNIX:
        credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(credentials)
    return Attestation(transport=transport, address=host, pid=pid, uid=uid)


def _key(principal: str | None, attestation: Attestation) -> Hashable:
    """Who shares: a principal, or those that nobody can tell apart."""
    if principal is not None:
        return principal
    host = None if attestation.address is None else attestation.address.rpartition(":")[0] or attestation.address
    return attestation.uid, host
