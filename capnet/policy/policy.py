"""Policy: who a peer is, which names it may have, and which calls it may make (P-CAP-7).

Every decision goes the same way: a hook of the program's is asked, within `Limits.policy_timeout`, and only what says
yes clearly is a yes. Anything else, an exception and silence among it, is a no.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from inspect import isawaitable
from typing import Any, Literal, Protocol, TypeAlias, cast

from anyio import move_on_after

from capnet.errors import PermissionDenied
from capnet.loop import Loop
from capnet.registry import Registration
from capnet.session.disclosure import goes_on
from capnet.session.faults import Faults
from capnet.transport import Attestation

__all__ = [
    "Admission",
    "Auth",
    "CallInfo",
    "Denied",
    "Explanation",
    "Identity",
    "Introduction",
    "Policy",
    "Verdict",
    "asked_in",
    "denial",
    "explain",
    "hook_of",
    "identified",
    "refusal_of",
    "settled",
]

Auth: TypeAlias = dict[str, Any] | list[Any] | str | bytes | int | float | bool | None
"""The plain data that a hello carries for a policy: whatever the peer has sent, so look before you use it."""


@dataclass(frozen=True, slots=True)
class Introduction:
    """A peer has said hello.

    Attributes:
        attestation: what the transport proves about it.
        auth: what its hello carried for the policy, unverified.
        peer: what it calls itself, unverified.
        asked: the grants it asks for, the texts under `grants` in its `auth`.
    """

    attestation: Attestation
    auth: Auth
    peer: str
    asked: frozenset[str]

    @property
    def token(self) -> str | None:
        """The text under `token` in `auth`, unverified; None when there is none."""
        found = self.auth.get("token") if isinstance(self.auth, dict) else None
        return found if isinstance(found, str) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a peer is. What it is granted is all of `grants`, and of `allowed` what it has asked for.

    Args:
        principal: its name in the program's own terms.
        allowed: what it gets if it asks for it.
        grants: what it gets in any case.
        level: how far it is trusted.
    """

    principal: str | None = None
    allowed: frozenset[str] = frozenset()
    grants: frozenset[str] = frozenset()
    level: Literal["untrusted", "trusted", "internal"] = "untrusted"


@dataclass(frozen=True, slots=True)
class Admission:
    """A peer asks for a name.

    Attributes:
        name: what it asks for; it may not be served.
        version: of the contract the peer has, or None.
        attestation: what is proven about the peer.
        auth: what the peer's hello carried for the policy, unverified.
        peer: what it calls itself, unverified.
        dry_run: nobody asks; somebody wants to know what the answer would be.
    """

    name: str
    version: int | None
    attestation: Attestation
    auth: Auth
    peer: str
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class CallInfo:
    """A peer makes a call on something it holds.

    Attributes:
        contract: under which it holds it.
        method: what it calls.
        arguments: by name, checked and rebuilt as the contract declares them; those left to their default are absent.
            Of a call that is only passed on, as they came.
        attestation: what is proven about the peer.
        peer: what it calls itself, unverified.
        metadata: text that came along with the call, unverified.
        dry_run: nobody calls; somebody wants to know what the answer would be.
        contracts: names of the contract and of all that it inherits. Of what is only passed on, and was passed on where
            no contract is declared, this program knows no more than the name.
    """

    contract: str
    method: str
    arguments: Mapping[str, Any]
    attestation: Attestation
    peer: str
    metadata: Mapping[str, str]
    dry_run: bool = False
    contracts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Denied:
    """A no that says why.

    Args:
        reason: stable word for programs.
        required: what would have been needed; told to the peer.
        granted: what it had; told to the peer.
    """

    reason: str = "denied"
    required: frozenset[str] = frozenset()
    granted: frozenset[str] = frozenset()


Verdict: TypeAlias = bool | Denied | Awaitable[bool | Denied]
"""What a policy says, at once or in time. Only a real `True` is a yes."""


class Policy(Protocol):
    """Who may have what.

    A policy may have two more methods, each plain or a coroutine. One that has none of them costs nothing.

    - `identify(introduction: Introduction) -> Identity | Denied`: who a peer is, before anything it asks for is looked
      at. Denied, it is sent away.
    - `guard(call: CallInfo) -> bool | Denied`: whether a call may be made, before its handler starts. While it waits,
      so do the later calls on the same reference, and no others.
    """

    def admit(self, request: Admission, /) -> Verdict:
        """Whether a peer may have a name."""
        ...


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would come of asking for a name, or of a call.

    Attributes:
        allowed: whether the policy says yes.
        served: whether the name is served now; a peer that is denied does not learn this.
        denied: the policy's no.
        by: which hook has said it, `admit` or `guard`.
    """

    allowed: bool
    served: bool
    denied: Denied | None
    by: Literal["admit", "guard"] | None


def hook_of(policy: Policy | None, name: Literal["identify", "guard"]) -> Callable[[Any], object] | None:
    """One of the hooks that a policy need not have."""
    return getattr(policy, name, None)


def refusal_of(verdict: object) -> Denied | None:
    """The no in what a hook has said, or None for a yes."""
    if verdict is True:
        return None
    return verdict if isinstance(verdict, Denied) else Denied()


async def settled(loop: Loop, faults: Faults, where: str, seconds: float, ask: Callable[[], object]) -> object:
    """What a hook says, at once or in time: a `Denied` when it raises or says nothing."""
    verdict: object = Denied("policy_timeout")
    try:
        answer = ask()
        if not isawaitable(answer):
            return answer
        with move_on_after(seconds):
            verdict = await answer
    except BaseException as error:
        if goes_on(loop, error):
            raise
        faults.unexpected(where, error)
        return Denied("policy_failed")
    return verdict


def denial(what: str, denied: Denied) -> PermissionDenied:
    """The error for a peer that may not."""
    late = " (its policy has said nothing within Limits.policy_timeout)" if denied.reason == "policy_timeout" else ""
    return PermissionDenied(
        f"{what} is not for you{late}",
        reason=denied.reason,
        details={"required": sorted(denied.required), "granted": sorted(denied.granted)},
    )


def identified(introduction: Introduction, verdict: object) -> Attestation | Denied:
    """What is proven about a peer once a policy has said who it is."""
    if isinstance(verdict, Identity):
        return replace(
            introduction.attestation,
            level=verdict.level,
            principal=verdict.principal,
            grants=(verdict.allowed & introduction.asked) | verdict.grants,
        )
    return verdict if isinstance(verdict, Denied) else Denied()


def asked_in(auth: object) -> frozenset[str]:
    """The grants that a hello asks for."""
    if isinstance(auth, dict):
        asked = cast("dict[object, object]", auth).get("grants")
        if isinstance(asked, list):
            return frozenset(grant for grant in cast("list[object]", asked) if isinstance(grant, str))
    return frozenset()


async def explain(
    loop: Loop,
    faults: Faults,
    policy: Policy | None,
    admission: Admission,
    registration: Registration | None,
    method: str | None,
    arguments: Mapping[str, Any],
    seconds: float,
) -> Explanation:
    """Ask a policy what it would say to a peer that asks for a name, and then calls a method of what it gets."""
    served = registration is not None
    if policy is not None:
        denied = refusal_of(await settled(loop, faults, "admission policy", seconds, lambda: policy.admit(admission)))
        if denied is not None:
            return Explanation(False, served, denied, "admit")
    guard = hook_of(policy, "guard")
    if guard is not None and method is not None:
        contract = admission.name if registration is None else registration.spec.name
        names = frozenset((contract,)) if registration is None else registration.spec.names
        call = CallInfo(contract, method, arguments, admission.attestation, admission.peer, {}, True, names)
        denied = refusal_of(await settled(loop, faults, "guard", seconds, lambda: guard(call)))
        if denied is not None:
            return Explanation(False, served, denied, "guard")
    return Explanation(True, served, None, None)
