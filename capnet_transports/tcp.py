"""`tcp:HOST:PORT`: a plain connection over the network, or within this machine where there are no unix sockets.

Nothing proves who is there, and nothing is hidden from those in between: so both sides show that they have the same
token, unless `token=None` says that anybody may come. Between machines use `tls:`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from capnet.transport import Attestation, Listener, Transport, TransportScheme
from capnet_transports import inet, tokens
from capnet_transports.attach import attach
from capnet_transports.handshakes import converse, greet
from capnet_transports.listeners import HandshakeListener
from capnet_transports.options import TcpListenOptions, TcpOptions, refuse_others
from capnet_transports.tokens import Token

__all__ = ["connect", "listen", "scheme"]


async def connect(address: str, *, token: Token = ...) -> Transport:
    """A transport to the listener at `address`.

    Args:
        address: `HOST:PORT`, with brackets around an address of IPv6. Of a name's addresses the first that answers.
        token: that of the listener, which must show that it has it; None for one that lets anybody in, then anybody may
            be there.

    Raises:
        InvalidArgument: no such address, or no token. Unavailable: nobody answers there, or not in time.
        Unauthenticated: the other side has another token, or none (`token`).
    """
    where = inet.parse("tcp", address)
    subject = f"tcp:{where}"
    secret = tokens.checked(token, subject, "for a listener that lets anybody in")
    sock = await inet.reach(where, subject)
    try:
        attestation = attest(sock)
        if secret is not None:
            await greet(sock, tokens.show(secret))
        return attach(sock, attestation)
    except BaseException:
        sock.close()
        raise


async def listen(
    address: str, accept: Callable[[Transport], object], *, token: Token = ..., backlog: int = 128
) -> Listener:
    """A listener at `address`, at all addresses of a name.

    Args:
        address: `HOST:PORT`; port 0 takes one that is free, `0.0.0.0` and `[::]` are all addresses of this machine.
        accept: takes each new transport, not yet started, after its handshake.
        token: what a peer must have; None to let anybody in who can reach the port.
        backlog: connections the system keeps until they are accepted.

    Raises:
        InvalidArgument: no such address, or no token. AlreadyExists: somebody listens there (`eaddrinuse`).
        Unavailable: it is no address of this machine. PermissionDenied: the port is not for us.
    """
    where = inet.parse("tcp", address, listening=True)
    subject = f"tcp:{where}"
    secret = tokens.checked(token, subject, "to let anybody in who can reach the port")
    sockets = await inet.bind(where, subject, backlog)
    greet = None if secret is None else partial(_greet, secret)
    return HandshakeListener(sockets, f"tcp:{inet.bound(where, sockets)}", accept, attest, greet)


async def _greet(token: str, sock: socket.socket, attestation: Attestation) -> Transport:
    await converse(sock, tokens.ask(token))
    return attach(sock, attestation)


def attest(sock: socket.socket) -> Attestation:
    """What is known of the peer of a connected socket, which is made ready beside.

    Raises:
        OSError: it has gone.
    """
    inet.prepare(sock)
    return Attestation(transport="tcp", address=inet.peer_address(sock))


class _TcpScheme:
    async def connect(self, rest: str, /, **options: Any) -> Transport:
        refuse_others("tcp", options, TcpOptions)
        return await connect(rest, **options)

    async def listen(self, rest: str, accept: Callable[[Transport], object], /, **options: Any) -> Listener:
        refuse_others("tcp", options, TcpListenOptions)
        return await listen(rest, accept, **options)


scheme: TransportScheme = _TcpScheme()
"""The scheme `tcp`."""
