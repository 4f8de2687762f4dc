"""Delegation tokens: who has a right passes a part of it on, without asking anybody.

A token is a chain of links. The first is signed by a key that the host trusts, each other one by the key to which the
link before it delegates. Every link can only take away: what holds is what all of them say. Verifying one needs no
server and no state.

    capnet1.LINK.SIGNATURE.LINK.SIGNATURE…        base64 without padding; a link is JSON

A signature is over all that stands before it, so no link can be taken out, put elsewhere, or used in another chain.
Needs the extra `tokens` (the package `cryptography`).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from capnet.attenuation.restriction import Bucket, Restriction, restrict
from capnet.errors import CapnetError, InvalidArgument, MissingExtra, Unauthenticated
from capnet.policy.policy import Denied, Identity, Introduction

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = ["Delegation", "delegate", "identity_of", "issue", "new_key", "public_key", "restricted", "verify"]

C = TypeVar("C")
MAX_DEPTH: Final = 8
"""Links of a token."""
MAX_TOKEN: Final = 8 * 1024
"""Letters of a token. A hello has room for less than half of that."""
SKEW: Final = 60.0
"""Seconds by which the clocks of two machines may differ."""
_PREFIX: Final = "capnet1"
_KEY: Final = 32
_SAID: Final = frozenset({"aud", "exp", "grants", "names", "to"})
"""What links may say; the first one also whom it is about."""


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


def new_key() -> Ed25519PrivateKey:
    """A new private key.

    Raises:
        MissingExtra: `cryptography` is not installed.
    """
    return cast("Ed25519PrivateKey", _ed25519().Ed25519PrivateKey.generate())


def public_key(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """The public key of a private one, as text: by which it is trusted, or delegated to."""
    public: Any = key
    return _text((public.public_key() if hasattr(public, "public_key") else public).public_bytes_raw())


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
    said: dict[str, Any] = {"aud": sorted(_names((audience,) if isinstance(audience, str) else audience, "audience"))}
    if not said["aud"]:
        raise InvalidArgument("a token is for a host, or several: audience=…")
    if principal is not None:
        said["sub"] = principal
    said |= _said(until, grants, names, to)
    return _signed(key, _PREFIX, said)


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
    links = _links(token)
    if len(links) >= MAX_DEPTH:
        raise InvalidArgument(f"a token has at most {MAX_DEPTH} links")
    if _parsed(links[-1][1]).get("to") != public_key(key):
        raise InvalidArgument("this token is not delegated to this key", hint="delegate(…, to=public_key(key))")
    said: dict[str, Any] = {}
    if audience is not None:
        said["aud"] = sorted(_names((audience,) if isinstance(audience, str) else audience, "audience"))
    return _signed(key, token, said | _said(until, grants, names, to))


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
        links = _links(token)
        signers, said = _checked(links, keys)
        held = _Held()
        for link in said:
            held.add(link)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError, CapnetError) as error:
        if isinstance(error, Unauthenticated | MissingExtra):
            raise
        raise _refused("token_invalid", "this is no token that is trusted here") from error
    if audience not in held.audience:
        raise _refused("token_audience", "this token is for another host")
    if held.until is None or (now or datetime.now(UTC)) > held.until + timedelta(seconds=SKEW):
        raise _refused("token_expired", "the time of this token is over")
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
    `verify` gives; so is none at all (`token_missing`).

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
    return Identity(principal=shown.principal, grants=shown.grants)


def restricted(capability: C, restrictions: Iterable[Restriction]) -> C:
    """A capability with restrictions as data held against its calls, as by `restrict`, one after another.

    Raises:
        As `restrict`. InvalidArgument: one has a condition on arguments, which is no data.
    """
    for one in restrictions:
        _data(one)
        rules = {name: getattr(one, name) for name in ("methods", "rate", "until") if getattr(one, name) is not None}
        if one.uses is not None or one.uses_left is not None:
            rules["uses"] = one.uses if one.uses_left is None else one.uses_left
        if rules:
            capability = restrict(capability, **rules)
    return capability


class _Held:
    """What all links say together."""

    def __init__(self) -> None:
        self.audience: frozenset[str] = frozenset()
        self.grants: frozenset[str] = frozenset()
        self.names: dict[str, tuple[Restriction, ...]] | None = None
        self.until: datetime | None = None
        self._first = True

    def add(self, link: Mapping[str, Any]) -> None:
        """One more; it can only take away."""
        first, self._first = self._first, False
        if not link.keys() <= (_SAID | {"sub"} if first else _SAID):
            raise ValueError("a link says what is not known here, which may be a restriction")
        if first or "aud" in link:
            said = _names(link["aud"], "aud")
            self.audience = said if first else self.audience & said
        if first or "grants" in link:
            said = _names(link.get("grants", ()), "grants")
            self.grants = said if first else self.grants & said
        if first or "exp" in link:
            until = _moment(link["exp"])
            self.until = until if self.until is None else min(self.until, until)
        if "names" in link:
            told = {_name(name): _restrictions(some) for name, some in link["names"].items()}
            if self.names is None:
                self.names = told
            else:
                self.names = {name: self.names[name] + told[name] for name in self.names if name in told}
        if not isinstance(link.get("sub", ""), str):
            raise TypeError("sub")


def _checked(
    links: Sequence[tuple[bytes, bytes, bytes]], keys: Collection[str]
) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """Who has signed each link, and what it says. Nothing is read before its signature is found good.

    Raises:
        ValueError: one is not signed as it should be.
    """
    signers: list[str] = []
    said: list[dict[str, Any]] = []
    trusted: Collection[str] = keys
    for before, link, signature in links:
        signer = next((key for key in trusted if _is_signed(key, before, signature)), None)
        if signer is None:
            raise ValueError("a link is signed by nobody who could")
        signers.append(signer)
        said.append(_parsed(link))
        to = said[-1].get("to")
        trusted = () if to is None else (to,)
    return tuple(signers), said


def _is_signed(key: str, message: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        _ed25519().Ed25519PublicKey.from_public_bytes(_bytes(key)).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _links(token: str) -> list[tuple[bytes, bytes, bytes]]:
    """Of each link what is signed, what it says, and the signature.

    Raises:
        Unauthenticated: `token_depth`. InvalidArgument: it is no token.
    """
    if not isinstance(cast("object", token), str) or not token.isascii() or len(token) > MAX_TOKEN:
        raise InvalidArgument("this is no token")
    prefix, *parts = token.split(".")
    if prefix != _PREFIX or not parts or len(parts) % 2:
        raise InvalidArgument("this is no token")
    if len(parts) > 2 * MAX_DEPTH:
        raise _refused("token_depth", f"a token has at most {MAX_DEPTH} links")
    links: list[tuple[bytes, bytes, bytes]] = []
    for index in range(0, len(parts), 2):
        signed = ".".join((prefix, *parts[: index + 1]))
        try:
            links.append((signed.encode(), _bytes(parts[index]), _bytes(parts[index + 1])))
        except ValueError as error:
            raise InvalidArgument("this is no token") from error
    return links


def _signed(key: Ed25519PrivateKey, before: str, said: Mapping[str, Any]) -> str:
    message = f"{before}.{_text(json.dumps(said, separators=(',', ':'), allow_nan=False).encode())}"
    token = f"{message}.{_text(key.sign(message.encode()))}"
    if len(token) > MAX_TOKEN:
        raise InvalidArgument(f"a token has at most {MAX_TOKEN} letters, and this would have {len(token)}")
    return token


def _said(
    until: datetime | float | None,
    grants: Collection[str] | None,
    names: Mapping[str, Restriction | Sequence[Restriction]] | None,
    to: str | None,
) -> dict[str, Any]:
    """What a link says, of what it is given.

    Raises:
        InvalidArgument: a value makes no sense.
    """
    said: dict[str, Any] = {}
    if until is not None:
        if not isinstance(until, datetime):
            if not 0 < until < 1e9:
                raise InvalidArgument(f"until is an aware datetime, or seconds above 0, not {until!r}")
            until = datetime.now(UTC) + timedelta(seconds=until)
        said["exp"] = _told(until)
    if grants is not None:
        said["grants"] = sorted(_names(grants, "grants"))
    if names is not None:
        some = {name: [one] if isinstance(one, Restriction) else list(one) for name, one in names.items()}
        said["names"] = {_name(name): [_data(one) for one in each] for name, each in some.items()}
    if to is not None:
        try:
            known = len(_bytes(to)) == _KEY
        except ValueError:
            known = False
        if not known:
            raise InvalidArgument("to is a public key: public_key(key)")
        said["to"] = to
    return said


def _data(restriction: Restriction) -> dict[str, Any]:
    """A restriction as JSON has it.

    Raises:
        InvalidArgument: it has a condition on arguments, which is no data; or a value makes no sense.
    """
    if restriction.where:
        raise InvalidArgument("a condition on arguments (`where`) is no data", hint="say it in methods, rate, until")
    told = {field.name: getattr(restriction, field.name) for field in fields(Restriction)}
    del told["where"]
    if restriction.methods is not None:
        told["methods"] = sorted(restriction.methods)
    if restriction.until is not None:
        told["until"] = _told(restriction.until)
    data = {name: value for name, value in told.items() if value is not None}
    _restriction(data)
    return data


def _restrictions(some: Any) -> tuple[Restriction, ...]:
    if not isinstance(some, list):
        raise InvalidArgument("restrictions are a list")
    return tuple(_restriction(one) for one in cast("Any", some))


def _restriction(data: Mapping[str, Any]) -> Restriction:
    """The counterpart of `_data`.

    Raises:
        InvalidArgument: it is none, or says what is not known here: that would be left out.
    """
    told = dict(data)
    kinds = {"methods": list, "rate": str, "uses": int, "uses_left": int, "until": str}
    if not all(type(value) is kinds.get(name) for name, value in told.items()):
        raise InvalidArgument("this is no restriction")
    if "rate" in told:
        Bucket(told["rate"])
    if "methods" in told:
        told["methods"] = _names(told["methods"], "methods")
    if "until" in told:
        told["until"] = _moment(told["until"])
    return Restriction(**told)


def _told(moment: datetime) -> str:
    if moment.utcoffset() is None:
        raise InvalidArgument("a moment has a time zone", hint="datetime.now(UTC) + …")
    return moment.isoformat()


def _moment(text: Any) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.utcoffset() is None:
        raise InvalidArgument("a moment has a time zone")
    return moment


def _names(names: Any, what: str) -> frozenset[str]:
    if not isinstance(names, list | tuple | set | frozenset):
        raise InvalidArgument(f"{what} is a list of texts")
    return frozenset(map(_name, cast("Iterable[Any]", names)))


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name or not name.isprintable():
        raise InvalidArgument(f"{name!r} is no name"[:200])
    return name


def _parsed(link: bytes) -> dict[str, Any]:
    said: object = json.loads(link)
    if not isinstance(said, dict):
        raise ValueError("a link is a map")  # noqa: TRY004 - of whoever has sent it
    return cast("dict[str, Any]", said)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    """The counterpart of `_text`, of what that makes and of nothing else.

    Raises:
        ValueError: it is something else.
    """
    try:
        data = base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))
    except (binascii.Error, AttributeError) as error:
        raise ValueError("this is no base64") from error
    if _text(data) != text:
        raise ValueError("this is no base64 as it is written here")
    return data


def _refused(reason: str, message: str) -> Unauthenticated:
    return Unauthenticated(message, reason=reason, retry="never")


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingExtra('tokens need cryptography; pip install "capnet[tokens]"') from error
    return ed25519
