"""`Names`: what the peer of one connection may ask for by name, and what the policy says to that (P-CAP-2, P-CAP-7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, cast

from anyio import Event as Signal
from anyio import move_on_after

from capnet.contract import CallContext
from capnet.errors import ResourceExhausted
from capnet.limits import bound
from capnet.policy.policy import Admission, Denied, Policy, refusal_of, settled
from capnet.registry import Fallback, Registration, Registry
from capnet.session.capacity import Capacity
from capnet.session.session import Session
from capnet.streams.pump import Pumps

from .services import Services

__all__ = ["Names", "names_of"]


class Whose(Protocol):
    """The connection."""

    capacity: Capacity | None
    """Of its host, and with it all of the host's connections; None of a connection that has none."""
    pumps: Pumps
    """Its streams."""

    @property
    def services(self) -> Services:
        """What it serves by itself."""
        ...

    def stats(self) -> dict[str, int]:
        """How much of each bounded thing there is now."""
        ...


class Names:
    """The names of one connection, and with it of its host.

    Args:
        whose: the connection.
        host: the names of its host.
        policy: is asked about each name.

    Attributes:
        registries: where to look, in this order: in its own, once it has one, then in its host's.
    """

    __slots__ = ("_pending", "_policy", "registries", "session", "whose")

    def __init__(self, session: Session, whose: Whose, host: Registry | None, policy: Policy | None) -> None:
        self.session = session
        self.whose = whose
        self.registries: tuple[Registry, ...] = () if host is None else (host,)
        self._policy = policy
        self._pending = 0  # questions of the peer that wait for the policy or for a name

    def find(self, name: str) -> Registration | None:
        """What a peer gets for a name: the connection's own registration first, then the host's."""
        for registry in self.registries:
            registration = registry.find(name)
            if registration is not None:
                return registration
        return None

    def __iter__(self) -> Iterator[Registration]:
        """Every registration the peer could ask for, each name once."""
        names: set[str] = set()
        for registry in self.registries:
            for registration in tuple(registry):
                if registration.name not in names:
                    names.add(registration.name)
                    yield registration

    def fallbacks(self) -> list[Fallback]:
        """Who is asked for a name that is not served: the connection's own handlers first, then the host's."""
        return [fallback for registry in self.registries for fallback in registry.fallbacks]

    def when_served(self, name: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` when the name begins to be served. Returns a function that ends it."""
        waiting = [registry.when_served(name, wake) for registry in self._all()]

        def forget() -> None:
            for end in waiting:
                end()

        return forget

    def when_changed(self, tell: Callable[[str], None]) -> Callable[[], None]:
        """Call `tell` with each name that is served, replaced or ended from now on. Returns a function that ends it."""
        following = [registry.when_changed(tell) for registry in self._all()]

        def forget() -> None:
            for end in following:
                end()

        return forget

    def _all(self) -> tuple[Registry, ...]:
        """The registries, with one for what the connection may serve later."""
        assert self.whose.services.registry is self.registries[0]
        return self.registries

    async def wait_served(self, name: str, seconds: float) -> None:
        """Until the name is served, or the time is over."""
        served = Signal()
        forget = self.when_served(name, served.set)
        try:
            with move_on_after(seconds):
                await served.wait()
        finally:
            forget()

    def begin_question(self) -> None:
        """The peer asks about names, in one of the questions that it may have at a time. `end_question` follows.

        Raises:
            ResourceExhausted: `max_pending_bootstraps`, with a strike.
        """
        most = self.session.limits.max_pending_bootstraps
        if self._pending >= most:
            self.session.strike("max_pending_bootstraps")
            text = f"too many bootstraps wait: {bound('max_pending_bootstraps', most, 'callee')}"
            raise ResourceExhausted(text, reason="max_pending_bootstraps")
        self._pending += 1

    def end_question(self) -> None:
        """It has its answer."""
        self._pending -= 1

    async def ask_policy(self, name: str, version: int | None) -> Denied | None:
        """The policy's no, or None when it admits."""
        policy = self._policy
        if policy is None:
            return None
        request = self.admission(name, version)
        session = self.session
        seconds = session.limits.policy_timeout
        answer = await settled(session.loop, session.faults, "admission policy", seconds, lambda: policy.admit(request))
        return refusal_of(answer)

    def admission(self, name: str, version: int | None, *, dry_run: bool = False) -> Admission:
        """The peer's question for a name, as a policy and fallback handlers get it."""
        session = self.session
        return Admission(name, version, session.attestation, session.peer_auth, session.peer_name, dry_run)


class _Named(Protocol):
    """What a call context calls the connection."""

    _names: Names


def names_of(ctx: CallContext) -> Names:
    """The names that whoever calls may ask for: for the capabilities that every connection has, which are made once."""
    return cast("_Named", ctx.connection)._names  # noqa: SLF001 - not for users, who hold the connection
