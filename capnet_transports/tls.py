"""`tls:HOST:PORT`: TLS 1.3 over TCP; each side knows the other by its certificate.

The listener lets in who has a certificate that it trusts; whoever connects, the same. What is trusted is an authority
(`ca`), or certificates themselves, which need none. TLS is the standard library's; it is a codec between the socket and
the receiver (`tls_codec.py`, `layers.py`).
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Any

from capnet.errors import InvalidArgument
from capnet.transport import Attestation, Listener, Transport, TransportScheme
from capnet_transports import inet, tokens
from capnet_transports.attach import attach
from capnet_transports.handshakes import converse, greet
from capnet_transports.layers import Layer, through
from capnet_transports.listeners import HandshakeListener
from capnet_transports.options import Identity, TlsListenOptions, TlsOptions, Trust, refuse_others
from capnet_transports.tcp import attest
from capnet_transports.tls_codec import TlsCodec
from capnet_transports.tls_context import connecting, listening
from capnet_transports.tokens import Token

__all__ = ["connect", "listen", "scheme"]


async def connect(
    address: str,
    *,
    certificate: Identity | None = None,
    key: str | os.PathLike[str] | None = None,
    ca: Trust | None = None,
    pins: Collection[str] = (),
    server_name: str | None = None,
    token: str | None = None,
) -> Transport:
    """A transport to the listener at `address`, once both sides have accepted each other.

    Args:
        address: `HOST:PORT`, with brackets around an address of IPv6.
        certificate: ours, if the listener wants one.
        key: the file of its key, if that is another one.
        ca: whom we trust; those whom the system trusts when None. The certificate must be for the host.
        pins: keys that the listener may have, as `spki-sha256:…`. Without `ca` nothing else is asked of its
            certificate.
        server_name: whom its certificate must be for, if that is not the host in the address.
        token: that of the listener, if it wants one.

    Raises:
        InvalidArgument: no such address; a certificate, key or pin that is none. Unavailable: nobody answers there, not
        in time, or in no TLS of version 1.3 (`tls`). Unauthenticated: we do not trust the listener's certificate, or it
        does not trust ours (`tls`); it has another key (`tls_pin`) or token (`token`).
    """
    where = inet.parse("tls", address)
    subject = f"tls:{where}"
    secret = tokens.checked(token, subject, "")
    side = connecting(where.host, subject, certificate=certificate, key=key, ca=ca, pins=pins, server_name=server_name)
    sock = await inet.reach(where, subject)
    try:
        attestation = replace(attest(sock), transport="tls")
        codec, attestation = await side.secure(sock, attestation, last=secret is None)
        if secret is not None:
            await greet(sock, through(codec, tokens.show(secret)))
        return Layer(attach(sock, attestation), codec, attestation)
    except BaseException:
        sock.close()
        raise


async def listen(
    address: str,
    accept: Callable[[Transport], object],
    *,
    certificate: Identity,
    key: str | os.PathLike[str] | None = None,
    ca: Trust | None = None,
    token: Token = ...,
    backlog: int = 128,
) -> Listener:
    """A listener at `address`, at all addresses of a name.

    Args:
        address: `HOST:PORT`; port 0 takes one that is free, `0.0.0.0` and `[::]` are all addresses of this machine.
        accept: takes each new transport, not yet started, after its handshake.
        certificate: ours.
        key: the file of its key, if that is another one.
        ca: whom we let in: who has one of these certificates, or one that such an authority has signed.
        token: what a peer must have, besides or in place of a certificate. Without `ca` it must be given; None lets
            anybody in who can reach the port.
        backlog: connections the system keeps until they are accepted.

    Raises:
        InvalidArgument: no such address; a certificate or key that is none; neither `ca` nor `token`. AlreadyExists:
        somebody listens there (`eaddrinuse`). Unavailable: it is no address of this machine.
    """
    where = inet.parse("tls", address, listening=True)
    subject = f"tls:{where}"
    if ca is not None and token is ...:
        token = None
    secret = tokens.checked(token, subject, "to let anybody in who can reach the port; or ca=, whose certificates do")
    context = listening(subject, certificate=certificate, key=key, ca=ca)
    sockets = await inet.bind(where, subject, backlog)
    url = f"tls:{inet.bound(where, sockets)}"
    return HandshakeListener(sockets, url, accept, attest, partial(_greet, context, secret))


async def _greet(
    context: ssl.SSLContext, token: str | None, sock: socket.socket, attestation: Attestation
) -> Transport:
    codec = TlsCodec(context)
    await converse(sock, codec.handshake())
    if token is not None:
        await converse(sock, through(codec, tokens.ask(token)))
    attestation = codec.proven(replace(attestation, transport="tls"))
    return Layer(attach(sock, attestation), codec, attestation)


class _TlsScheme:
    async def connect(self, rest: str, /, **options: Any) -> Transport:
        refuse_others("tls", options, TlsOptions)
        return await connect(rest, **options)

    async def listen(self, rest: str, accept: Callable[[Transport], object], /, **options: Any) -> Listener:
        refuse_others("tls", options, TlsListenOptions)
        if "certificate" not in options:
            raise InvalidArgument(
                f"tls:{rest}: to listen needs a certificate",
                hint="certificate=PATH, or one that capnet_transports.certificates.make has made",
            )
        return await listen(rest, accept, **options)


scheme: TransportScheme = _TlsScheme()
"""The scheme `tls`."""
