"""Which socket transport a loop takes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from capnet.transport import Attestation, Receiver
from capnet_transports.asyncio_sockets import AsyncioSocketTransport, UvloopSocketTransport
from capnet_transports.loops import in_trio
from capnet_transports.pipes import Pipes
from capnet_transports.sockets import SocketTransport

__all__ = ["attach"]


def attach(
    sock: socket.socket | Pipes,
    attestation: Attestation,
    on_end: Callable[[], None] | None = None,
    before: Callable[[Receiver], Receiver] | None = None,
) -> SocketTransport:
    """A transport over a connected stream socket, or two pipes, for the loop that runs now.

    Args:
        sock: belongs to the transport from here on; becomes non-blocking. Nothing is read from it before `start`.
        attestation: what is known of the peer.
        on_end: called once when the socket has been closed, before `Receiver.closed`.
        before: given the receiver, says who is called in its place until `hand_over`.
    """
    if in_trio():
        from capnet_transports.trio_sockets import TrioSocketTransport

        transport: SocketTransport = TrioSocketTransport(sock, attestation, on_end)
    elif type(asyncio.get_running_loop()).__module__ == "uvloop":
        transport = UvloopSocketTransport(sock, attestation, on_end)
    else:
        transport = AsyncioSocketTransport(sock, attestation, on_end)
    transport.before = before
    return transport
