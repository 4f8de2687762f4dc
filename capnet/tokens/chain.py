"""Links as they are written and signed, one over all before it. What they say is not looked at here."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from capnet.errors import InvalidArgument, MissingExtra, Unauthenticated

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = [
    "MAX_DEPTH",
    "MAX_TOKEN",
    "PREFIX",
    "checked",
    "decoded",
    "links_of",
    "new_key",
    "parsed",
    "public_key",
    "refused",
    "signed",
]

MAX_DEPTH: Final = 8
"""Links of a token."""
MAX_TOKEN: Final = 8 * 1024
"""Letters of a token. A hello has room for less than half of that."""
PREFIX: Final = "capnet1"


def new_key() -> Ed25519PrivateKey:
    """A new private key.

    Raises:
        MissingExtra: `cryptography` is not installed.
    """
    return cast("Ed25519PrivateKey", _ed25519().Ed25519PrivateKey.generate())


def public_key(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """The public key of a private one, as text: by which it is trusted, or delegated to."""
    public: Any = key
    return encoded((public.public_key() if hasattr(public, "public_key") else public).public_bytes_raw())


def links_of(token: str) -> list[tuple[bytes, bytes, bytes]]:
    """Of each link what is signed, what it says, and the signature.

    Raises:
        Unauthenticated: `token_depth`. InvalidArgument: it is no token.
    """
    if not isinstance(cast("object", token), str) or not token.isascii() or len(token) > MAX_TOKEN:
        raise InvalidArgument("this is no token")
    prefix, *parts = token.split(".")
    if prefix != PREFIX or not parts or len(parts) % 2:
        raise InvalidArgument("this is no token")
    if len(parts) > 2 * MAX_DEPTH:
        raise refused("token_depth", f"a token has at most {MAX_DEPTH} links")
    links: list[tuple[bytes, bytes, bytes]] = []
    for index in range(0, len(parts), 2):
        before = ".".join((prefix, *parts[: index + 1]))
        try:
            links.append((before.encode(), decoded(parts[index]), decoded(parts[index + 1])))
        except ValueError as error:
            raise InvalidArgument("this is no token") from error
    return links


def checked(
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
        said.append(parsed(link))
        to = said[-1].get("to")
        trusted = () if to is None else (to,)
    return tuple(signers), said


def signed(key: Ed25519PrivateKey, before: str, said: Mapping[str, Any]) -> str:
    """A token with one link more, which says this.

    Raises:
        InvalidArgument: it would be too long.
    """
    message = f"{before}.{encoded(json.dumps(said, separators=(',', ':'), allow_nan=False).encode())}"
    token = f"{message}.{encoded(key.sign(message.encode()))}"
    if len(token) > MAX_TOKEN:
        raise InvalidArgument(f"a token has at most {MAX_TOKEN} letters, and this would have {len(token)}")
    return token


def parsed(link: bytes) -> dict[str, Any]:
    """What a link says.

    Raises:
        ValueError: it says nothing.
    """
    said: object = json.loads(link)
    if not isinstance(said, dict):
        raise ValueError("a link is a map")  # noqa: TRY004 - of whoever has sent it
    return cast("dict[str, Any]", said)


def _is_signed(key: str, message: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        _ed25519().Ed25519PublicKey.from_public_bytes(decoded(key)).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def encoded(data: bytes) -> str:
    """Bytes as they stand in a token."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def decoded(text: str) -> bytes:
    """The counterpart of `encoded`, of what that makes and of nothing else.

    Raises:
        ValueError: it is something else.
    """
    try:
        data = base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))
    except (binascii.Error, AttributeError) as error:
        raise ValueError("this is no base64") from error
    if encoded(data) != text:
        raise ValueError("this is no base64 as it is written here")
    return data


def refused(reason: str, message: str) -> Unauthenticated:
    """What whoever shows a token is told that is not good."""
    return Unauthenticated(message, reason=reason, retry="never")


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingExtra('tokens need cryptography; pip install "capnet[tokens]"') from error
    return ed25519
