"""Clients as peers of a host, each with a connection of its own and with what is proven about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count
from typing import Final

from anyio import Lock

from capnet import Attestation, Connection, Host, ResourceExhausted, connect
from capnet.transport import Listener

__all__ = ["Guests"]

_numbers: Final = count(1)


class Guests:
    """Gives clients connections to a host, inside of this process.

    Args:
        host: open when the first client comes.
        most: sessions of one principal at once.
    """

    def __init__(self, host: Host, most: int) -> None:
        self._host = host
        self._most = most
        self._url = f"memory:capnet.capnweb-{next(_numbers)}"
        self._listener: Listener | None = None
        self._lock = Lock()
        self._sessions: Counter[str | None] = Counter()

    async def listen(self) -> None:
        """Be ready for them.

        Raises:
            Unavailable: the host is not open.
        """
        async with self._lock:
            if self._listener is None:
                self._listener = await self._host.listen(self._url)

    @asynccontextmanager
    async def open(self, attestation: Attestation) -> AsyncGenerator[Connection]:
        """The connection of one client.

        Args:
            attestation: what is proven about the client.

        Raises:
            Unavailable: the host is not open, or has no room. Unauthenticated: it does not admit the client.
            ResourceExhausted: `max_sessions`.
        """
        await self.listen()
        async with connect(self._url, attestation=attestation) as connection:
            principal = (await connection.runtime().identity())["principal"]
            if principal is not None and self._sessions[principal] >= self._most:
                raise ResourceExhausted(f"a principal has at most {self._most} sessions", reason="max_sessions")
            self._sessions[principal] += 1
            try:
                yield connection
            finally:
                self._sessions[principal] -= 1
                self._sessions += Counter()  # those that have none are not kept
