"""Who comes in through HTTP: which page, under which name of ours, with which token. It is decided before anything of
what is said is read: a browser lets every page on the web send a batch anywhere, and asks nobody first."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from typing import Any, Final, TypeAlias

from capnet import Attestation, InvalidArgument
from capnet_transports.web import (
    LOOPBACK,
    TOKEN,
    WRONG_HOST,
    checked_origins,
    header_names,
    host_name,
    host_names,
    is_shown,
)

__all__ = ["Door", "Scope", "chosen"]

Scope: TypeAlias = MutableMapping[str, Any]

MAX_HEADERS: Final = 8 * 1024
"""Letters in the headers that are kept."""
MAX_PATH: Final = 2048


class Door:
    """Decides who comes in, and says what is proven about them.

    Args:
        token: what a client must have; None to let anybody in, for the policy to tell apart.
        origins: pages that may connect; None in it stands for programs, which name no page.
        hosts: names under which the server is known, without port; those of the loopback when None.
        headers: names of those that the attestation has.

    Raises:
        InvalidArgument: one text where there should be a list, or nobody could come.
    """

    def __init__(
        self,
        token: str | None,
        origins: Sequence[str | None],
        hosts: Collection[str] | None,
        headers: Collection[str],
    ) -> None:
        subject = "capnweb"
        if token is not None and not (token and token.isascii() and token.isprintable()):
            raise InvalidArgument(f"{subject}: a token is printable ASCII")
        self._token = token
        self._origins = checked_origins(origins, subject)
        self._hosts = LOOPBACK if hosts is None else host_names(hosts, subject)
        self._headers = header_names(headers, subject)

    def judge(self, scope: Scope, headers: Mapping[str, list[str]]) -> tuple[int, str]:
        """The status by which a client is turned away, and why; 0 for one that may come in."""
        origins, names = headers.get("origin", []), headers.get("host", [])
        if len(origins) > 1 or len(names) > 1:
            return 400, "one Origin and one Host are enough\n"
        if (origins[0] if origins else None) not in self._origins:
            return 403, "this page may not connect: capnweb(host, origins=[...])\n"
        if (host_name(names[0]) if names else "") not in self._hosts:
            return 421, WRONG_HOST
        if self._token is not None and not self._is_shown(scope, headers):
            return 401, "this host wants a token\n"
        if len(scope["path"]) > MAX_PATH or not scope["path"].isprintable():
            return 414, f"a path has at most {MAX_PATH} letters\n"
        if sum(len(line) for name in self._headers for line in headers.get(name, ())) > MAX_HEADERS:
            return 431, f"headers that are kept have at most {MAX_HEADERS} letters\n"
        return 0, ""

    def attestation(self, scope: Scope, headers: Mapping[str, list[str]]) -> Attestation:
        """What is proven about a client that was let in."""
        host, port = scope.get("client") or ("", 0)
        address = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}") if port else host
        return Attestation(
            transport="capnweb",
            address=address or None,
            origin=headers.get("origin", [None])[0],
            path=scope["path"],
            headers={name: ", ".join(headers[name]) for name in self._headers if name in headers},
        )

    def allows(self, origin: str | None) -> bool:
        """Whether a page may read what is answered."""
        return origin is not None and origin in self._origins

    def _is_shown(self, scope: Scope, headers: Mapping[str, list[str]]) -> bool:
        token = self._token or ""
        if scope["type"] == "websocket":
            return is_shown(token, scope.get("subprotocols", ()))
        shown = [one.partition(" ")[2].strip() for one in headers.get("authorization", [])]
        return any(hmac.compare_digest(one.encode(errors="replace"), token.encode()) for one in shown)


def chosen(offered: Sequence[str]) -> str | None:
    """The subprotocol that a WebSocket gets, for browsers want one of those that they offer: if it can be, no token."""
    return next((one for one in offered if not one.startswith(TOKEN)), offered[0] if offered else None)
