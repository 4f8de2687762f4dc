"""Where a server listens: `unix:<path>`, or `tcp:<host>:<port>` for what cannot listen on a unix socket.

Rows by another carrier have addresses that begin with its name (`carriers.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

__all__ = ["dial", "host_and_port", "listen", "path_of"]

P = TypeVar("P", bound=asyncio.Protocol)


def path_of(address: str) -> str:
    """The path of a unix socket."""
    return address.removeprefix("unix:")


def host_and_port(address: str) -> tuple[str, int]:
    """Where a TCP port is."""
    _, host, port = address.split(":")
    return host, int(port)


async def listen(protocol: Callable[[], asyncio.Protocol], path: str | None) -> tuple[asyncio.Server, str]:
    """Listen with asyncio on a unix socket at `path`, or on a TCP port of this machine; gives the address too."""
    loop = asyncio.get_running_loop()
    if path is not None:
        return await loop.create_unix_server(protocol, path), f"unix:{path}"
    server = await loop.create_server(protocol, "127.0.0.1", 0)
    return server, f"tcp:127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def dial(protocol: Callable[[], P], address: str) -> P:
    """Connect with asyncio."""
    loop = asyncio.get_running_loop()
    if address.startswith("unix:"):
        _, connected = await loop.create_unix_connection(protocol, path_of(address))
    else:
        _, connected = await loop.create_connection(protocol, *host_and_port(address))
    return connected
