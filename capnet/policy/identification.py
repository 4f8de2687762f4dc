"""Identifying: a policy's say on who a peer is, before anything that the peer asks for is looked at (P-CAP-7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import CancelScope

from capnet.errors import Unauthenticated
from capnet.policy.policy import Denied, Introduction, asked_in, hook_of, identified, settled

if TYPE_CHECKING:
    from capnet.connection.connection import Connection

__all__ = ["Identifying"]


class Identifying:
    """Asks who the peer of one connection is."""

    __slots__ = ("_connection", "_scope")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._scope: CancelScope | None = None

    def begin(self) -> None:
        """The peer has said hello: if the policy wants to know who it is, its calls wait for that."""
        connection = self._connection
        if hook_of(connection.policy, "identify") is not None:
            connection.dispatcher.hold()
            connection.loop.spawn(self._run)

    def stop(self) -> None:
        """The connection is over: nobody needs to know any more."""
        if self._scope is not None:
            self._scope.cancel()

    async def ask(self) -> bool:
        """Have the policy say who the peer is; one that it refuses is sent away. Whether it may stay."""
        connection = self._connection
        hook = hook_of(connection.policy, "identify")
        if hook is None:
            return True
        introduction = Introduction(
            connection.attestation, connection.peer_auth, connection.peer_name, asked_in(connection.peer_auth)
        )
        seconds = connection.limits.policy_timeout
        known = identified(
            introduction, await settled(connection, "identification", seconds, lambda: hook(introduction))
        )
        if isinstance(known, Denied):
            connection.reports.denied("", None, known.reason)
            with connection.contained:
                connection.engine.close(known.reason, 0, connection.loop.now(), Unauthenticated.code)
            connection.driver.drain()
            return False
        connection.attestation = known
        return True

    async def _run(self) -> None:
        dispatcher = self._connection.dispatcher
        if dispatcher.stopping:
            return
        with CancelScope() as self._scope:
            await self.ask()
        dispatcher.let_go()
