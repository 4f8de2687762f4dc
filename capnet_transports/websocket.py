"""`ws://HOST:PORT/PATH` and `wss://…`: through what speaks HTTP, and to pages in a browser. Needs the extra `ws`.

The protocol is that of the package `websockets`, which does no input or output here: it is a codec between the socket,
or TLS, and the receiver (`websocket_codec.py`, `layers.py`). Messages are pieces of one stream of bytes; nothing is
compressed. Who is let in is said in `web.py`.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from capnet.errors import InvalidArgument
from capnet.transport import Attestation, Listener, Transport, TransportScheme
from capnet_transports import inet, tokens
from capnet_transports.attach import attach
from capnet_transports.handshakes import converse, greet
from capnet_transports.layers import Layer, through
from capnet_transports.listeners import HandshakeListener
from capnet_transports.options import Identity, Trust, WebSocketListenOptions, WebSocketOptions, refuse_others
from capnet_transports.tcp import attest
from capnet_transports.tls_codec import TlsCodec
from capnet_transports.tls_context import connecting, listening
from capnet_transports.tokens import Token
from capnet_transports.web import LOOPBACK, checked_origins, host_names
from capnet_transports.websocket_codec import ConnectingCodec, ListeningCodec

if TYPE_CHECKING:
    import os

__all__ = ["connect", "listen", "scheme", "secure_scheme"]

_PATH: Final = re.compile(r"/[!-\"$-~]*")


def _split(scheme: str, rest: str, *, listening: bool = False) -> tuple[inet.Address, str]:
    """Address and path of a URL."""
    authority, slash, path = rest.removeprefix("//").partition("/")
    if not _PATH.fullmatch(slash + path or "/"):
        raise InvalidArgument(f"{scheme}: a path has no spaces, no # and nothing but ASCII"[:300])
    default = 443 if scheme == "wss" else 80
    return inet.parse(scheme, authority, port=None if listening else default, listening=listening), slash + path or "/"


async def connect(
    rest: str,
    *,
    token: Token = ...,
    origin: str | None = None,
    secure: bool = False,
    certificate: Identity | None = None,
    key: str | os.PathLike[str] | None = None,
    ca: Trust | None = None,
    pins: Collection[str] = (),
    server_name: str | None = None,
) -> Transport:
    """A transport to the listener at `//HOST:PORT/PATH`.

    Args:
        rest: the URL without its scheme; without a port that is 80, or 443 with TLS.
        token: that of the listener; None for one that lets anybody in. Without TLS whoever has the port, or sits in
            between, can read it.
        origin: the page that we say we are, for a listener that lets in certain pages only.
        secure: whether it is spoken over TLS, to which the other options belong; see `tls.connect`.

    Raises:
        InvalidArgument: no such URL, or no token. Unavailable: nobody answers there, or not in WebSocket.
        Unauthenticated: the listener wants another token (`token`), or see `tls.connect`. PermissionDenied: it does not
        let us in as that page (`origin`) or under that name (`host`). NotFound: it serves another path (`path`).
    """
    scheme = "wss" if secure else "ws"
    where, path = _split(scheme, rest)
    url = f"{scheme}://{where}{path}"
    shown = tokens.checked(None if secure and token is ... else token, url, "for a listener that lets anybody in")
    side = None
    if secure:
        side = connecting(
            where.host,
            url,
            certificate=certificate,
            key=key,
            ca=ca,
            pins=pins,
            server_name=server_name,
            alpn="http/1.1",
        )
    codec = ConnectingCodec(url, shown, origin)
    sock = await inet.reach(where, url)
    try:
        attestation = replace(attest(sock), transport=scheme)
        if side is None:
            await greet(sock, codec.handshake())
            return Layer(attach(sock, attestation), codec, attestation)
        below, attestation = await side.secure(sock, attestation, last=False)
        await greet(sock, through(below, codec.handshake()))
        return Layer(Layer(attach(sock, attestation), below, attestation), codec, attestation)
    except BaseException:
        sock.close()
        raise


async def listen(
    rest: str,
    accept: Callable[[Transport], object],
    *,
    token: Token = ...,
    origins: Sequence[str | None] = (None,),
    hosts: Collection[str] | None = None,
    backlog: int = 128,
    secure: bool = False,
    certificate: Identity | None = None,
    key: str | os.PathLike[str] | None = None,
    ca: Trust | None = None,
) -> Listener:
    """A listener at `//HOST:PORT/PATH`, at all addresses of a name.

    Args:
        rest: the URL without its scheme; port 0 takes one that is free.
        accept: takes each new transport, not yet started, after its handshake.
        token: what a peer must have; None to let anybody in who can reach the port. Need not be given with `ca`.
        origins: pages that may connect, such as `https://example.org`; None in it stands for programs, which name no
            page.
        hosts: names under which this host is known. Those of the loopback, or the one in the URL, when None.
        backlog: connections the system keeps until they are accepted.
        secure: whether it is spoken over TLS.
        certificate: ours; see `tls.listen`.
        key: the file of its key.
        ca: whom we let in.

    Raises:
        InvalidArgument: no such URL, no token, no `hosts` where they are needed; a certificate that is none.
        AlreadyExists: somebody listens there (`eaddrinuse`). Unavailable: it is no address of this machine.
    """
    scheme = "wss" if secure else "ws"
    where, path = _split(scheme, rest, listening=True)
    subject = f"{scheme}://{where}{path}"
    if ca is not None and token is ...:
        token = None
    secret = tokens.checked(token, subject, "to let anybody in who can reach the port")
    known = _hosts(where, hosts, subject)
    pages = checked_origins(origins, subject)
    context = None
    if secure:
        if certificate is None:
            raise InvalidArgument(f"{subject}: to listen needs a certificate", hint="certificate=PATH")
        context = listening(subject, certificate=certificate, key=key, ca=ca, alpn="http/1.1")
    sockets = await inet.bind(where, subject, backlog)
    greet = partial(_greet, partial(ListeningCodec, path, known, pages, secret), context)
    return HandshakeListener(sockets, f"{scheme}://{inet.bound(where, sockets)}{path}", accept, attest, greet)


def _hosts(where: inet.Address, hosts: Collection[str] | None, subject: str) -> frozenset[str]:
    if hosts is not None:
        return host_names(hosts, subject)
    if inet.is_loopback(where.host):
        return LOOPBACK | {where.host}
    if where.host in ("0.0.0.0", "::"):  # noqa: S104 (the question is whether it is)
        raise InvalidArgument(
            f"{subject}: under which names is this host known?",
            reason="hosts_needed",
            hint="hosts=['example.org', …]: a page whose own name leads here must not come in",
        )
    return frozenset({where.host.lower()})


async def _greet(
    new_codec: Callable[[], ListeningCodec],
    context: ssl.SSLContext | None,
    sock: socket.socket,
    attestation: Attestation,
) -> Transport:
    codec = new_codec()
    if context is None:
        await converse(sock, codec.handshake())
        attestation = replace(attestation, transport="ws", origin=codec.origin)
        return Layer(attach(sock, attestation), codec, attestation)
    below = TlsCodec(context)
    await converse(sock, below.handshake())
    await converse(sock, through(below, codec.handshake()))
    attestation = below.proven(replace(attestation, transport="wss", origin=codec.origin))
    return Layer(Layer(attach(sock, attestation), below, attestation), codec, attestation)


class _WebSocketScheme:
    def __init__(self, *, secure: bool) -> None:
        self._secure = secure

    async def connect(self, rest: str, /, **options: Any) -> Transport:
        return await connect(rest, secure=self._secure, **self._checked(options, WebSocketOptions))

    async def listen(self, rest: str, accept: Callable[[Transport], object], /, **options: Any) -> Listener:
        return await listen(rest, accept, secure=self._secure, **self._checked(options, WebSocketListenOptions))

    def _checked(self, options: dict[str, Any], kind: type[Any]) -> dict[str, Any]:
        of_tls = sorted(options.keys() & {"certificate", "key", "ca", "pins", "server_name"})
        if of_tls and not self._secure:
            raise InvalidArgument(f"ws: has no {', '.join(of_tls)}", hint="use wss:")
        refuse_others("wss" if self._secure else "ws", options, kind)
        return options


scheme: TransportScheme = _WebSocketScheme(secure=False)
"""The scheme `ws`."""
secure_scheme: TransportScheme = _WebSocketScheme(secure=True)
"""The scheme `wss`."""
