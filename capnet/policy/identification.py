"""`Identification`: a policy's say on who a peer is, before anything that the peer asks for is looked at (P-CAP-7)."""

from __future__ import annotations

from typing import Protocol

from anyio import CancelScope
from anyio import Event as Signal

from capnet.errors import Unauthenticated
from capnet.session.session import Session

from .policy import Denied, Introduction, Policy, asked_in, hook_of, identified, settled

__all__ = ["Identification"]


class Calls(Protocol):
    """Those of the peer."""

    def hold(self) -> None:
        """Have them wait."""
        ...

    def let_go(self) -> None:
        """Have them begin."""
        ...


class Identification:
    """Asks who the peer of one connection is.

    Args:
        policy: is asked.
        calls: of the peer.
    """

    __slots__ = ("_calls", "_policy", "_scope", "_session", "_stopped", "known")

    def __init__(self, session: Session, policy: Policy | None, calls: Calls) -> None:
        self._session = session
        self._policy = policy
        self._calls = calls
        self._stopped = False
        self._scope: CancelScope | None = None
        self.known: Signal | None = None
        """Set when it is known who the peer is, if that is asked."""

    def begin(self) -> None:
        """The peer has said hello: if the policy wants to know who it is, its calls wait for that."""
        if self._policy is not None and hook_of(self._policy, "identify") is not None:
            self.known = Signal()
            self._calls.hold()
            self._session.loop.spawn(self._run)

    def stop(self) -> None:
        """The connection is over: nobody needs to know any more."""
        self._stopped = True
        if self._scope is not None:
            self._scope.cancel()

    async def ask(self) -> bool:
        """Have the policy say who the peer is; one that it refuses is sent away. Whether it may stay."""
        session = self._session
        hook = hook_of(self._policy, "identify")
        if hook is None:
            return True
        introduction = Introduction(
            session.attestation, session.peer_auth, session.peer_name, asked_in(session.peer_auth)
        )
        seconds = session.limits.policy_timeout
        known = identified(
            introduction,
            await settled(session.loop, session.faults, "identification", seconds, lambda: hook(introduction)),
        )
        if isinstance(known, Denied):
            session.publisher.denied("", None, known.reason)
            with session.must_succeed:
                session.engine.close(known.reason, 0, session.loop.now(), Unauthenticated.code)
            session.driver.drain()
            return False
        session.attestation = known
        return True

    async def _run(self) -> None:
        if self._stopped:
            return
        with CancelScope() as self._scope:
            await self.ask()
        self._calls.let_go()
        if self.known is not None:
            self.known.set()
