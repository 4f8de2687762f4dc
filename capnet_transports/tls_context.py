"""The two sides of TLS: who each is, and whom it trusts."""

from __future__ import annotations

import os
import re
import socket
import ssl
import tempfile
from collections.abc import Collection
from typing import Final

from capnet.errors import InvalidArgument, Unauthenticated
from capnet.transport import Attestation
from capnet_transports.certificates import Certificate
from capnet_transports.handshakes import greet
from capnet_transports.options import Identity, Trust
from capnet_transports.tls_codec import TlsCodec, words_of

__all__ = ["Connecting", "connecting", "listening"]

_ALPN: Final = "capnet/1"
_PIN: Final = re.compile(r"spki-sha256:[0-9a-f]{64}")


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
            CapnetError: see `tls.connect`.
        """
        codec = TlsCodec(self.context, self._hostname, last=last)
        await greet(sock, codec.handshake())
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
        InvalidArgument: see `tls.connect`.
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
        InvalidArgument: see `tls.listen`.
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
            f"{subject}: the certificate or its key cannot be used: {words_of(error)}",
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
                f"{subject}: what ca names cannot be used: {words_of(error)}",
                reason="certificate",
                hint="certificates in PEM files",
            ) from error
