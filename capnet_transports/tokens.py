"""A token: a secret that both sides have, and that neither says.

That a peer is on this machine proves nothing: every program of every user can connect to a port, and can take one that
a host has left. So each side shows the other that it has the token, without telling it (as HMAC challenges go, such as
SCRAM's and those of `multiprocessing.connection`):

    listener   CHALLENGE ␠ 32 hexadecimal digits of chance ␊
    client     32 digits of its own, ␠, HMAC-SHA256(token, "client" ␠ both) ␊
    listener   HMAC-SHA256(token, "server" ␠ both) ␊

The client goes first: a stranger who connects is given nothing on which to try out what the token may be. All lines
have a fixed length, so nothing of what follows them is read. Whoever answers anything else is told what is spoken here.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Generator
from types import EllipsisType
from typing import Final, TypeAlias

from capnet.errors import InvalidArgument, Unauthenticated
from capnet_transports.handshakes import Refusal, Steps

__all__ = ["Token", "ask", "checked", "show"]

Token: TypeAlias = "str | EllipsisType | None"  # noqa: S105 (a type)
"""A secret; None where anybody may come; `...` where nobody has said which."""
CHALLENGE: Final = b"capnet-token/1"
SHORTEST: Final = 16
"""Letters that a token has at least; `secrets.token_urlsafe()` makes 43."""
_GOOD: Final = re.compile(r"[A-Za-z0-9._~-]{16,256}")
_NONCE: Final = 32
_PROOF: Final = 64
_GREETING: Final = len(CHALLENGE) + 1 + _NONCE + 1
_ANSWER: Final = _NONCE + 1 + _PROOF + 1
_WORDS: Final = b"capnet: this port wants a token: connect(url, token=...)\n"


def checked(token: Token, subject: str, whom: str) -> str | None:
    """The token that is to be used.

    Args:
        token: as the program gave it.
        subject: the address; opens the text of errors.
        whom: what None would mean, for the text of errors.

    Raises:
        InvalidArgument: none was given, or one that is easily guessed.
    """
    if token is None:
        return None
    if isinstance(token, EllipsisType):
        raise InvalidArgument(
            f"{subject}: a token is needed: to be on this machine, or to know the address, proves nothing",
            reason="token_needed",
            hint=f"token=secrets.token_urlsafe() on both sides, or token=None {whom}",
        )
    if not _GOOD.fullmatch(token):
        raise InvalidArgument(
            f"{subject}: a token has {SHORTEST} to 256 letters, digits and . _ ~ -",
            reason="weak_token",
            hint="secrets.token_urlsafe() makes one",
        )
    return token


def ask(token: str) -> Steps:
    """The listener's side: let in who has the token."""
    nonce = secrets.token_hex(_NONCE // 2).encode()
    answer = yield from _whole(CHALLENGE + b" " + nonce + b"\n", _ANSWER)
    theirs, _, proof = answer.removesuffix(b"\n").partition(b" ")
    both = nonce + b" " + theirs
    if len(answer) != _ANSWER or not hmac.compare_digest(proof, _proof(token, b"client", both)):
        raise Refusal(Unauthenticated("the peer does not have the token", reason="token"), _WORDS)
    yield _proof(token, b"server", both) + b"\n", 0


def show(token: str) -> Steps:
    """The client's side: see that the listener has the token, too."""
    greeting = yield from _whole(b"", _GREETING)
    words, _, nonce = greeting.removesuffix(b"\n").partition(b" ")
    if words != CHALLENGE or len(greeting) != _GREETING:
        raise Unauthenticated(
            "the listener does not ask for a token",
            reason="token",
            hint="is it the one that you mean? If it lets anybody in, connect with token=None",
        )
    mine = secrets.token_hex(_NONCE // 2).encode()
    both = nonce + b" " + mine
    answer = yield from _whole(mine + b" " + _proof(token, b"client", both) + b"\n", _PROOF + 1)
    if not hmac.compare_digest(answer.removesuffix(b"\n"), _proof(token, b"server", both)):
        raise Unauthenticated(
            "the listener has another token", reason="token", retry="never", hint="token= is the same on both sides"
        )


def _whole(out: bytes, size: int) -> Generator[tuple[bytes, int], bytes, bytes]:
    """Send `out` and read `size` bytes; fewer where a line ends before, or what comes is none of ours."""
    data = yield out, size
    while len(data) < size and data.isascii() and b"\n" not in data:
        data += yield b"", size - len(data)
    return data


def _proof(token: str, side: bytes, both: bytes) -> bytes:
    return hmac.digest(token.encode(), side + b" " + both, "sha256").hex().encode()
