"""`tls:HOST:PORT`: TLS 1.3 over TCP; each side knows the other by its certificate.

The listener lets in who has a certificate that it trusts; whoever connects, the same. What is trusted is an authority
(`ca`), or certificates themselves, which need none. TLS is the standard library's; it is a codec between the socket and
the receiver (`layers.py`).

In TLS 1.3 a client has ended its handshake before the server has looked at its certificate: one that is refused would
take itself for connected. So who connects waits for the first record of the server's, which is a session ticket or
the alert, and the alert becomes `Unauthenticated`.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final, cast

from capnet.errors import CapnetError, FailedPrecondition, InvalidArgument, Unauthenticated, Unavailable
from capnet.transport import Attestation, Listener, Transport, TransportScheme
from capnet_transports import inet, tokens
from capnet_transports.attach import attach
from capnet_transports.certificates import Certificate, key_of
from capnet_transports.handshakes import PATIENCE, READ, Refusal, Steps, converse, within
from capnet_transports.layers import Codec, Layer, through
from capnet_transports.listeners import HandshakeListener
from capnet_transports.options import Identity, TlsListenOptions, TlsOptions, Trust, refuse_others
from capnet_transports.sockets import shared_buffer
from capnet_transports.tcp import attest
from capnet_transports.tokens import Token

__all__ = ["Identity", "TlsCodec", "Trust", "connect", "connecting", "listen", "listening", "refused", "scheme"]


_ALPN: Final = "capnet/1"
_PIN: Final = re.compile(r"spki-sha256:[0-9a-f]{64}")
_RECORD: Final = 64 * 1024
"""Bytes encrypted before what came of it is taken out: so that no more is held twice."""
_RECORDS: Final = 64
"""Records that are read for one piece."""
_HANDSHAKE: Final = 0x16
"""The first byte of whoever speaks TLS."""
_ABOUT_US: Final = (
    "ALERT_ACCESS_DENIED",
    "ALERT_BAD_CERTIFICATE",
    "ALERT_CERTIFICATE_EXPIRED",
    "ALERT_CERTIFICATE_REQUIRED",
    "ALERT_CERTIFICATE_REVOKED",
    "ALERT_CERTIFICATE_UNKNOWN",
    "ALERT_DECRYPT_ERROR",
    "ALERT_UNKNOWN_CA",
    "ALERT_UNSUPPORTED_CERTIFICATE",
)
"""Alerts by which a peer refuses our certificate, or the lack of one."""
_ABOUT_THEM: Final = ("CERTIFICATE_VERIFY_FAILED", "PEER_DID_NOT_RETURN_A_CERTIFICATE")


class TlsCodec(Codec):
    """TLS between two streams of bytes.

    Args:
        context: for one side of it.
        hostname: whom the certificate must be for, on the side that connects; None on the other.
        last: whether nothing but the stream itself is above it; then the side that connects waits until it knows that
            it was let in.
    """

    def __init__(self, context: ssl.SSLContext, hostname: str | None = None, *, last: bool = True) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        serving = context.protocol == ssl.PROTOCOL_TLS_SERVER
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=serving, server_hostname=hostname)
        self._serving = serving
        self._confirms = last and not serving
        self._early = b""
        """What came before anybody wanted it."""
        self._buffer = shared_buffer()

    def handshake(self) -> Steps:
        received = b""
        try:
            while True:
                try:
                    self._tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    more = yield self._outgoing.read(), READ
                    if self._serving and not received and more[0] != _HANDSHAKE:
                        raise Refusal(
                            FailedPrecondition("the peer does not speak TLS", reason="not_tls"),
                            b"capnet: this port speaks TLS: connect to tls:HOST:PORT\n",
                        ) from None
                    received = more
                    self._incoming.write(more)
        except ssl.SSLError as error:
            raise Refusal(_refused(error), self._outgoing.read()) from error
        yield self._outgoing.read(), 0
        if self._confirms:
            yield from self._confirmed()

    def _confirmed(self) -> Steps:
        """Wait for the first record behind the server's handshake: with it the server lets us in, or says no."""
        record = self._incoming.read()
        while len(record) < 5 or len(record) < 5 + int.from_bytes(record[3:5], "big"):
            record += yield b"", READ
        self._incoming.write(record)
        try:
            self._early = bytes(self.take() or b"")
        except CapnetError as error:
            raise Refusal(error, self._outgoing.read()) from error.__cause__

    def encode(self, chunks: Sequence[bytes]) -> list[bytes]:
        pieces: list[bytes] = []
        if len(chunks) > 1 and sum(map(len, chunks)) <= _RECORD:
            chunks = (b"".join(chunks),)
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                rest = rest[self._tls.write(rest) :]
                if self._outgoing.pending >= _RECORD:
                    pieces.append(self._outgoing.read())
        return pieces + self.answer()

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        self._incoming.write(data)

    def take(self, most: int = READ) -> bytes | memoryview | None:
        if self._early:
            piece, self._early = self._early[:most], self._early[most:]
            return piece
        size = 0
        try:
            for _ in range(_RECORDS):
                if size == most or self.ended:
                    break
                read = cast("int", self._tls.read(most - size, cast("bytearray", self._buffer[size:])))
                size += read
                self.ended = not read
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError as error:
            if not size:
                raise _refused(error) from error
        return self._buffer[:size] if size else None

    def answer(self, *, crowded: bool = False) -> list[bytes]:
        return [self._outgoing.read()] if self._outgoing.pending else []

    def farewell(self) -> list[bytes]:
        with suppress(ssl.SSLError):  # it wants the peer's as well, which need not be waited for
            self._tls.unwrap()
        return self.answer()

    def proven(self, attestation: Attestation) -> Attestation:
        """An attestation with what the certificate of the peer proves, if it has shown one.

        Raises:
            Unauthenticated: the certificate is not written as it should be.
        """
        certificate = self._tls.getpeercert(binary_form=True)
        if certificate is None:
            return attestation
        try:
            key = key_of(certificate)
        except ValueError as error:
            raise Unauthenticated(f"the peer's certificate: {error}", reason="tls", retry="never") from None
        subject = _subject(cast("Mapping[str, Any] | None", self._tls.getpeercert()))
        return replace(attestation, tls_subject=subject, tls_key=key)


# --- both sides ---


class Connecting:
    """How this side speaks TLS with a listener. Made by `connecting`."""

    def __init__(self, context: ssl.SSLContext, hostname: str, pins: frozenset[str]) -> None:
        self.context = context
        self._hostname = hostname
        self._pins = pins

    async def secure(
        self, sock: socket.socket, attestation: Attestation, *, last: bool = True
    ) -> tuple[TlsCodec, Attestation]:
        """Have the handshake; gives the codec and who is there.

        Raises:
            CapnetError: see `connect`.
        """
        codec = TlsCodec(self.context, self._hostname, last=last)
        await within(PATIENCE, sock, codec.handshake())
        proven = codec.proven(attestation)
        if self._pins and proven.tls_key not in self._pins:
            raise Unauthenticated(
                f"the listener has another key: {proven.tls_key}",
                reason="tls_pin",
                retry="never",
                hint="if it has a new one, and you know that from elsewhere, put that into pins",
            )
        return codec, proven


def connecting(
    host: str,
    subject: str,
    *,
    certificate: Identity | None,
    key: str | os.PathLike[str] | None,
    ca: Trust | None,
    pins: Collection[str],
    server_name: str | None,
    alpn: str = _ALPN,
) -> Connecting:
    """The options of the side that connects, checked.

    Raises:
        InvalidArgument: see `connect`.
    """
    if isinstance(pins, str) or not all(_PIN.fullmatch(pin) for pin in pins):
        raise InvalidArgument(
            f"{subject}: pins is a list of texts such as spki-sha256: and 64 hexadecimal digits",
            hint="an attestation's tls_key and a Certificate's pin are such",
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca is not None:
        _trust(context, ca, subject)
    elif pins:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # the key is looked at before anything is said
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    _prepare(context, certificate, key, alpn, subject)
    return Connecting(context, server_name or host, frozenset(pins))


def listening(
    subject: str,
    *,
    certificate: Identity,
    key: str | os.PathLike[str] | None,
    ca: Trust | None,
    alpn: str = _ALPN,
) -> ssl.SSLContext:
    """The options of the side that listens, checked.

    Raises:
        InvalidArgument: see `listen`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        _trust(context, ca, subject)
    context.num_tickets = 1  # by it a client knows that it was let in
    _prepare(context, certificate, key, alpn, subject)
    return context


def _prepare(
    context: ssl.SSLContext,
    certificate: Identity | None,
    key: str | os.PathLike[str] | None,
    alpn: str,
    subject: str,
) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([alpn])
    if key is not None and (certificate is None or isinstance(certificate, Certificate)):
        raise InvalidArgument(f"{subject}: key= is the file of the key to a file in certificate=")
    if certificate is None:
        return
    try:
        if isinstance(certificate, Certificate):
            _load(context, certificate)
        else:
            context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        raise InvalidArgument(
            f"{subject}: the certificate or its key cannot be used: {_words(error)}",
            reason="certificate",
            hint="PEM files, the key without a password and that of the certificate",
        ) from error


def _no_password() -> str:
    raise ValueError("the key has a password")


def _load(context: ssl.SSLContext, certificate: Certificate) -> None:
    """The library takes files only; this one is ours, and gone when it has been read."""
    with tempfile.NamedTemporaryFile("w", prefix="capnet-", suffix=".pem") as file:
        file.write(certificate.private + certificate.public)
        file.flush()
        context.load_cert_chain(file.name)


def _trust(context: ssl.SSLContext, ca: Trust, subject: str) -> None:
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a certificate that is trusted needs no authority above
    trusted = (ca,) if isinstance(ca, Certificate | str | os.PathLike) else ca
    if not trusted:
        raise InvalidArgument(f"{subject}: ca is empty, so nobody would be trusted")
    for one in trusted:
        try:
            if isinstance(one, Certificate):
                context.load_verify_locations(cadata=one.public)
            else:
                context.load_verify_locations(cafile=one)
        except (OSError, ValueError) as error:
            raise InvalidArgument(
                f"{subject}: what ca names cannot be used: {_words(error)}",
                reason="certificate",
                hint="certificates in PEM files",
            ) from error


def refused(error: Exception, subject: str) -> CapnetError | None:
    """What it means that TLS has failed where somebody else has spoken it; None when it is another error."""
    if not isinstance(error, ssl.SSLError):
        return None
    failed = _refused(error)
    return type(failed)(f"{subject}: {failed.message}", reason=failed.reason, retry=failed.retry)


def _refused(error: ssl.SSLError) -> CapnetError:
    """What an error of the library's means."""
    reason = error.reason or ""
    if reason in _ABOUT_THEM:
        detail = getattr(error, "verify_message", "") or "it has none"
        return Unauthenticated(f"the peer's certificate is not trusted: {detail}", reason="tls", retry="never")
    if any(reason.endswith(alert) for alert in _ABOUT_US):
        return Unauthenticated(
            f"the peer does not trust our certificate: {_words(error)}",
            reason="tls",
            retry="never",
            hint="certificate= is what it must know, in its ca=",
        )
    return Unavailable(f"TLS with the peer fails: {_words(error)}", reason="tls", retry="never")


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


def _subject(certificate: Mapping[str, Any] | None) -> str | None:
    """The subject of a certificate that was verified, such as `CN=anna,O=Example`; None of one that was not."""
    names: Sequence[Sequence[tuple[str, str]]] = (certificate or {}).get("subject", ())
    parts = [f"{_SHORT.get(kind, kind)}={_escaped(value)}" for part in reversed(names) for kind, value in part]
    return ",".join(parts) or None


_SHORT: Final = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "userId": "UID",
}


def _escaped(value: str) -> str:
    """So that no value can look like two (RFC 4514)."""
    return re.sub(r'([,+"\\<>;=])|^([# ])|( )$', r"\\\1\2\3", value)


# --- the transport ---


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
            await within(PATIENCE, sock, through(codec, tokens.show(secret)))
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
