"""What all have in common that come through HTTP: who is let in, and how a stream becomes messages.

A browser lets every page on the web connect to every port of this machine; it says in `Origin` which page that is. A
name of the page's own can lead here (DNS rebinding), which shows in `Host`. So both are checked against lists. A
program may say in both what it likes: that it may come in, its token shows.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from capnet.errors import InvalidArgument

__all__ = [
    "LOOPBACK", "MESSAGE", "SUBPROTOCOL", "TOKEN", "WRONG_HOST", "WRONG_PATH", "WRONG_TOKEN", "checked_origins",
    "header_lines", "header_names", "host_name", "host_names", "is_shown", "messages",
]  # fmt: skip

SUBPROTOCOL: Final = "capnet.1"
TOKEN: Final = "capnet.token."  # noqa: S105 (what stands before one)
"""A client offers its token as a subprotocol of this name: pages can send no headers, and addresses get into logs."""
MESSAGE: Final = 256 * 1024
"""Bytes in a message that we send: servers in between may take whole ones only, and hold them until they are whole."""
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names that lead to this machine whoever it is."""
WRONG_TOKEN: Final = "this port wants a token: connect(url, token=...)\n"  # noqa: S105 (words)
WRONG_PATH: Final = "nothing is served at this path\n"
WRONG_HOST: Final = "this host has another name\n"


def host_name(header: str) -> str:
    """The name in a `Host` header, without the port: that of a page's own can be any."""
    name = header.strip().lower()
    return name.partition("]")[0].removeprefix("[") if name.startswith("[") else name.partition(":")[0]


def host_names(hosts: Collection[str], subject: str) -> frozenset[str]:
    """Names under which a host is known, as `host_name` has them.

    Raises:
        InvalidArgument: it is one text.
    """
    if isinstance(hosts, str):
        raise InvalidArgument(f"{subject}: hosts is a list of names")
    return frozenset(host.lower() if host.count(":") > 1 and "[" not in host else host_name(host) for host in hosts)


def checked_origins(origins: Sequence[str | None], subject: str) -> tuple[str | None, ...]:
    """Pages that may connect; None stands for programs.

    Raises:
        InvalidArgument: it is one text, or none.
    """
    if isinstance(origins, str) or not origins:
        raise InvalidArgument(f"{subject}: origins is a list, and where it is empty nobody can come")
    return tuple(origins)


def header_names(headers: Collection[str], subject: str) -> frozenset[str]:
    """Names of headers, in small letters.

    Raises:
        InvalidArgument: it is one text.
    """
    if isinstance(headers, str):
        raise InvalidArgument(f"{subject}: headers is a list of names")
    return frozenset(name.lower() for name in headers)


def header_lines(scope: Mapping[str, Any]) -> dict[str, list[str]]:
    """The lines of each header of an ASGI scope, under its name in small letters."""
    lines: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        lines.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return lines


def is_shown(token: str, offered: Iterable[str]) -> bool:
    """Whether the token is among the subprotocols that a client offers."""
    expected = (TOKEN + token).encode()
    return any(hmac.compare_digest(one.strip().encode(errors="replace"), expected) for one in offered)


def messages(chunks: Sequence[bytes]) -> list[bytes | memoryview]:
    """Chunks as messages, which end where chunks end unless one is larger than a message may be."""
    whole: list[bytes | memoryview] = []
    together: list[bytes] = []
    size = 0
    for chunk in chunks:
        if size + len(chunk) > MESSAGE and together:
            whole.append(b"".join(together))
            together, size = [], 0
        if len(chunk) > MESSAGE:
            view = memoryview(chunk)
            whole.extend(view[start : start + MESSAGE] for start in range(0, len(chunk), MESSAGE))
        elif chunk:
            together.append(chunk)
            size += len(chunk)
    if together:
        whole.append(b"".join(together) if len(together) > 1 else together[0])
    return whole
