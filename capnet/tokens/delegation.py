"""Making tokens, verifying them, and what holds by one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from capnet.attenuation.restriction import Restriction, restrict
from capnet.errors import CapnetError, InvalidArgument, MissingExtra, Unauthenticated
from capnet.policy.policy import Denied, Identity, Introduction

from .chain import MAX_DEPTH, PREFIX, checked, links_of, parsed, public_key, refused, signed
from .claims import Held, as_data, checked_names, claims_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["Delegation", "delegate", "identity_of", "issue", "restricted", "verify"]

C = TypeVar("C")
SKEW: Final = 60.0
"""Seconds by which the clocks of two machines may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegation:
    """What a token stands for, once it was verified.

    Attributes:
        principal: whom it is about, as the first link says.
        grants: what all links grant.
        names: for each served name that all links name, the restrictions of all of them; None when none of them names
            any. A name without restrictions has none of them.
        audience: hosts for which it is good.
        until: when it ends.
        depth: links that it has.
        keys: public keys that have signed them, the host's own first.
    """

    principal: str | None
    grants: frozenset[str]
    names: Mapping[str, tuple[Restriction, ...]] | None
    audience: frozenset[str]
    until: datetime
    depth: int
    keys: tuple[str, ...]


def issue(
    key: Ed25519PrivateKey,
    *,
    audience: str | Collection[str],
    until: datetime | float,
    principal: str | None = None,
    grants: Collection[str] = (),
    names: Mapping[str, Restriction | Sequence[Restriction]] | None = None,
    to: str | None = None,
) -> str:
    """Make a token.

    Args:
        key: one that hosts trust.
        audience: names that hosts have for themselves; it is good at no other.
        until: an aware `datetime`, or seconds from now.
        principal: whom it is about.
        grants: what its bearer is granted.
        names: served names that it is about, each with what is held against calls; None for any.
        to: public key of who may delegate it further; nobody may when None.

    Raises:
        InvalidArgument: a value makes no sense, or the token would be too long. MissingExtra: `cryptography` is not
            installed.
    """
    said: dict[str, Any] = {
        "aud": sorted(checked_names((audience,) if isinstance(audience, str) else audience, "audience"))
    }
    if not said["aud"]:
        raise InvalidArgument("a token is for a host, or several: audience=…")
    if principal is not None:
        said["sub"] = principal
    said |= claims_of(until, grants, names, to)
    return signed(key, PREFIX, said)


def delegate(
    token: str,
    key: Ed25519PrivateKey,
    *,
    until: datetime | float | None = None,
    audience: str | Collection[str] | None = None,
    grants: Collection[str] | None = None,
    names: Mapping[str, Restriction | Sequence[Restriction]] | None = None,
    to: str | None = None,
) -> str:
    """A narrower token, made of one that was delegated to us. Nobody has to be asked.

    What is left out is as in the token; what is said holds beside what the token says, so nothing can be added.

    Args:
        token: its last link delegates to our key.
        key: ours.
        until, audience, grants, names, to: as for `issue`.

    Raises:
        InvalidArgument: the token is not delegated to this key, or a value makes no sense.
    """
    links = links_of(token)
    if len(links) >= MAX_DEPTH:
        raise InvalidArgument(f"a token has at most {MAX_DEPTH} links")
    if parsed(links[-1][1]).get("to") != public_key(key):
        raise InvalidArgument("this token is not delegated to this key", hint="delegate(…, to=public_key(key))")
    said: dict[str, Any] = {}
    if audience is not None:
        said["aud"] = sorted(checked_names((audience,) if isinstance(audience, str) else audience, "audience"))
    return signed(key, token, said | claims_of(until, grants, names, to))


def verify(token: str, *, keys: Collection[str], audience: str, now: datetime | None = None) -> Delegation:
    """What a token stands for.

    Args:
        token: from anybody.
        keys: public keys that may sign the first link.
        audience: the name of this host.
        now: the moment at which it must be good; this one when None.

    Raises:
        Unauthenticated: reason `token_depth`, it has more than 8 links; `token_invalid`, it is none, or not signed as
            it should be; `token_audience`, it is for another host; `token_expired`. MissingExtra: `cryptography` is not
            installed.
    """
    try:
        links = links_of(token)
        signers, said = checked(links, keys)
        held = Held()
        for link in said:
            held.add(link)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError, CapnetError) as error:
        if isinstance(error, Unauthenticated | MissingExtra):
            raise
        raise refused("token_invalid", "this is no token that is trusted here") from error
    if audience not in held.audience:
        raise refused("token_audience", "this token is for another host")
    if held.until is None or (now or datetime.now(UTC)) - timedelta(seconds=SKEW) > held.until:
        raise refused("token_expired", "the time of this token is over")
    return Delegation(
        principal=said[0].get("sub"),
        grants=held.grants,
        names=held.names,
        audience=held.audience,
        until=held.until,
        depth=len(links),
        keys=signers,
    )


def identity_of(introduction: Introduction, *, keys: Collection[str], audience: str) -> Identity | Denied:
    """Who a peer is by the token that it has shown: for the `identify` of a policy.

        def identify(self, introduction: Introduction) -> Identity | Denied:
            return identity_of(introduction, keys=[TRUSTED], audience="chat.example")

    The peer has the grants of the token, asked for or not. A token that is not good is a no, with the reason that
    `verify` gives; so is none at all (`token_missing`), and one that is about some names only (`token_names`): what it
    says of them is not what a peer is, and would be held by nobody. See `restricted` for these.

    Args:
        introduction: the peer's.
        keys, audience: as for `verify`.
    """
    if introduction.token is None:
        return Denied("token_missing")
    try:
        shown = verify(introduction.token, keys=keys, audience=audience)
    except Unauthenticated as error:
        return Denied(error.reason or "token_invalid")
    if shown.names is not None:
        return Denied("token_names")
    return Identity(principal=shown.principal, grants=shown.grants)


def restricted(capability: C, restrictions: Iterable[Restriction]) -> C:
    """A capability with restrictions as data held against its calls, as by `restrict`, one after another.

    Raises:
        As `restrict`. InvalidArgument: one has a condition on arguments, which is no data.
    """
    for one in restrictions:
        as_data(one)
        rules = {name: getattr(one, name) for name in ("methods", "rate", "until") if getattr(one, name) is not None}
        if one.uses is not None or one.uses_left is not None:
            rules["uses"] = min(uses for uses in (one.uses, one.uses_left) if uses is not None)
        if rules:
            capability = restrict(capability, **rules)
    return capability
