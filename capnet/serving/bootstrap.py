"""The bootstrap dispatcher, cap-id 0: names become capabilities (P-CAP-2).

It is an ordinary contract with an ordinary handler, so its calls count, can be cancelled and have deadlines like all
others. The order of its checks is the point: the policy is asked before the registry is looked at, so that served and
unserved names look the same to those who may not have them; and nothing awaits between the last look and the answer.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Any

from capnet.contract import INJECT, CallContext, Cap, ContractSpec, MethodSpec, call, contract_spec, differences
from capnet.contract.annotation import read_annotation
from capnet.errors import (
    CapnetError,
    InvalidArgument,
    NotFound,
    VersionMismatch,
)
from capnet.limits import bound
from capnet.policy.policy import denial
from capnet.references.proxy import Proxy, make_proxy, reference_of
from capnet.registry import facet_of
from capnet.wire.references import is_name

from .fallback import Claim, unserved
from .names import Names, names_of

__all__ = ["Bootstrap", "BootstrapDispatcher", "granting"]


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
        if not isinstance(value, Proxy):
            raise InvalidArgument(f"Expected a capability of the peer's, got `{type(value).__name__}`")
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
        names = names_of(ctx)
        try:
            implementation = await _grant(names, name, version, needs, wait_ms)
        except CapnetError as error:
            names.session.publisher.bootstrapped(name, error)
            raise
        names.session.publisher.bootstrapped(name, None)
        return implementation


async def _grant(names: Names, name: str, version: int | None, needs: dict[str, Any] | None, wait_ms: int) -> Cap:
    session = names.session
    if not is_name(name, session.limits.max_name_bytes) or wait_ms < 0:
        longest = bound("max_name_bytes", session.limits.max_name_bytes, "callee")
        raise InvalidArgument(f"a name is printable text, wait_ms is not negative; {longest}")
    claim: Claim | None = None
    names.begin_question()
    try:
        await _admit(names, name, version)
        if names.find(name) is None:
            claim = await unserved(names, names.admission(name, version), wait_ms / 1000)
            if claim is None and names.find(name) is not None:
                await _admit(names, name, version)  # what it said before the wait may be long ago
    finally:
        names.end_question()
    registration = names.find(name)
    granted = claim if registration is None else registration
    if granted is None:
        raise NotFound(f"{name!r} is not served")
    try:
        if needs is not None:
            check_needs(name, granted.spec, needs)
    except CapnetError:
        if claim is not None:
            claim.discard(session.close_hosted)
        raise
    # Under what it is served as, also where another implementation with more methods answers by now.
    return granted.implementation if isinstance(granted, Claim) else facet_of(granted.hosted, granted.spec)


async def _admit(names: Names, name: str, version: int | None) -> None:
    denied = await names.ask_policy(name, version)
    if denied is not None:
        names.session.publisher.denied(name, None, denied.reason)
        raise denial(repr(name), denied)


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
