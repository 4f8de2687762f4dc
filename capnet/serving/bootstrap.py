"""The bootstrap dispatcher, cap-id 0: names become capabilities (P-CAP-2).

It is an ordinary contract with an ordinary handler, so its calls count, can be cancelled and have deadlines like all
others. The order of its checks is the point: the policy is asked before the registry is looked at, so that served and
unserved names look the same to those who may not have them; and nothing awaits between the last look and the answer.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from capnet.contract import INJECT, CallContext, Cap, ContractSpec, MethodSpec, call, contract_spec, differences
from capnet.contract.annotation import read_annotation
from capnet.errors import (
    CapnetError,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    VersionMismatch,
)
from capnet.limits import bound
from capnet.policy.policy import Admission, Denied, denial, refusal_of, settled
from capnet.references.proxy import make_proxy, reference_of
from capnet.registry import facet_of
from capnet.serving.fallback import Claim, unserved
from capnet.wire.references import is_name

if TYPE_CHECKING:
    from capnet.connection.connection import Connection

__all__ = ["Bootstrap", "BootstrapDispatcher", "ask_policy", "asking"]


class Bootstrap(Cap, name="capnet.Bootstrap"):
    """Cap-id 0 of every connection."""

    @call
    async def bootstrap(
        self, name: str, version: int | None = None, needs: dict[str, Any] | None = None, wait_ms: int = 0
    ) -> Cap:
        """The capability that is served as `name`.

        Args:
            version: of the contract the caller has; None is accepted by every server.
            needs: shape of the contract the caller has, for the structural check (P-CAP-3).
            wait_ms: milliseconds to wait for the name to be served.
        """
        ...


class Granting(MethodSpec):
    """`bootstrap` as it is called for a contract: what comes is a proxy of that."""

    def __init__(self, contract: Any) -> None:
        method = contract_spec(Bootstrap).methods["bootstrap"]
        vars(self).update(vars(method))
        self.result = read_annotation(contract, "bootstrap")
        self.result_contracts = self.result.contracts
        self._contract = contract

    def receive_result(self, value: Any) -> Any:
        """The proxy. Which interface it says it is does not matter: the shapes were compared (P-CAP-3)."""
        return make_proxy(reference_of(value), self._contract)


@lru_cache(maxsize=1024)
def granting(contract: Hashable) -> Granting:
    """The method that asks for a contract; one for each."""
    return Granting(contract)


class BootstrapDispatcher(Bootstrap):
    """The server side; one serves every connection, told by the call's context which."""

    async def bootstrap(
        self,
        name: str,
        version: int | None = None,
        needs: dict[str, Any] | None = None,
        wait_ms: int = 0,
        *,
        ctx: CallContext = INJECT,
    ) -> Cap:
        """See `Bootstrap`."""
        connection = cast("Connection", ctx.connection)
        try:
            implementation = await _grant(connection, name, version, needs, wait_ms)
        except CapnetError as error:
            connection.reports.bootstrapped(name, error)
            raise
        connection.reports.bootstrapped(name, None)
        return implementation


@contextmanager
def asking(connection: Connection) -> Generator[None]:
    """The peer asks about names, in one of the questions that it may have at a time.

    Raises:
        ResourceExhausted: `max_pending_bootstraps`, with a strike.
    """
    most = connection.limits.max_pending_bootstraps
    if connection.pending_bootstraps >= most:
        connection.strike("max_pending_bootstraps")
        text = f"too many bootstraps wait: {bound('max_pending_bootstraps', most, 'callee')}"
        raise ResourceExhausted(text, reason="max_pending_bootstraps")
    connection.pending_bootstraps += 1
    try:
        yield
    finally:
        connection.pending_bootstraps -= 1


async def _grant(
    connection: Connection, name: str, version: int | None, needs: dict[str, Any] | None, wait_ms: int
) -> Cap:
    limits = connection.limits
    if not is_name(name, limits.max_name_bytes) or wait_ms < 0:
        longest = bound("max_name_bytes", limits.max_name_bytes, "callee")
        raise InvalidArgument(f"a name is printable text, wait_ms is not negative; {longest}")
    with asking(connection):
        if connection.policy is not None:
            await _admit(connection, name, version)
        claim: Claim | None = None
        if connection.find_served(name) is None:
            claim = await unserved(connection, _admission(connection, name, version), wait_ms / 1000)
            if claim is None and connection.policy is not None and connection.find_served(name) is not None:
                await _admit(connection, name, version)  # what it said before the wait may be long ago
    registration = connection.find_served(name)
    granted = claim if registration is None else registration
    if granted is None:
        raise NotFound(f"{name!r} is not served")
    try:
        if needs is not None:
            check_needs(name, granted.spec, needs)
    except CapnetError:
        if claim is not None:
            claim.discard(connection.close_hosted)
        raise
    # Under what it is served as, also where another implementation with more methods answers by now.
    return granted.implementation if isinstance(granted, Claim) else facet_of(granted.hosted, granted.spec)


async def _admit(connection: Connection, name: str, version: int | None) -> None:
    denied = await ask_policy(connection, name, version)
    if denied is not None:
        connection.reports.denied(name, None, denied.reason)
        raise denial(repr(name), denied)


async def ask_policy(connection: Connection, name: str, version: int | None) -> Denied | None:
    """The policy's no, or None when it admits."""
    policy = connection.policy
    if policy is None:
        return None
    request = _admission(connection, name, version)
    seconds = connection.limits.policy_timeout
    return refusal_of(await settled(connection, "admission policy", seconds, lambda: policy.admit(request)))


def _admission(connection: Connection, name: str, version: int | None) -> Admission:
    return Admission(name, version, connection.attestation, connection.peer_auth, connection.peer_name)


def check_needs(name: str, spec: ContractSpec, needs: dict[str, Any]) -> None:
    """Whether what is served as `name` can do what a client declares.

    Raises:
        VersionMismatch: with a list of what it lacks. InvalidArgument: `needs` is no shape.
    """
    if needs == spec.shape:
        return
    lacking = differences(needs, spec.shape, offered_version=spec.version)
    if lacking:
        raise VersionMismatch(
            f"{name} lacks what the client declares: {'; '.join(lacking)}"[:1000],
            details={"differences": lacking[:50], "version": spec.version},
        )
