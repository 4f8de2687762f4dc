"""TLS 1.3 as a codec between a stream and what is above it; what its errors mean, and whom a certificate names.

In TLS 1.3 a client has ended its handshake before the server has looked at its certificate: one that is refused would
take itself for connected. So who connects waits for the first record of the server's, which is a session ticket or
the alert, and the alert becomes `Unauthenticated`.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, cast

from capnet.errors import CapnetError, FailedPrecondition, Unauthenticated, Unavailable
from capnet.transport import Attestation
from capnet_transports.certificates import key_of
from capnet_transports.handshakes import READ, SAME, Refusal, Steps
from capnet_transports.layers import Codec
from capnet_transports.sockets import shared_buffer

__all__ = ["TlsCodec", "refused", "words_of"]

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


def refused(error: Exception, subject: str) -> CapnetError | None:
    """What it means that TLS has failed where somebody else has spoken it; None when it is another error."""
    if not isinstance(error, ssl.SSLError):
        return None
    return _refused(error, f"{subject}: ")


def _refused(error: ssl.SSLError, about: str = "") -> CapnetError:
    """What an error of the library's means; `about` opens the text."""
    reason = error.reason or ""
    if reason in _ABOUT_THEM:
        detail = getattr(error, "verify_message", "") or "it has none"
        return Unauthenticated(
            f"{about}the peer's certificate is not trusted: {detail}",
            reason="tls",
            retry="never",
            hint="ca= has whom you trust, that certificate itself or who has signed it; server_name= whom it is for",
        )
    if any(reason.endswith(alert) for alert in _ABOUT_US):
        return Unauthenticated(
            f"{about}the peer does not trust our certificate: {words_of(error)}",
            reason="tls",
            retry="never",
            hint="certificate= is what it must know, in its ca=",
        )
    return Unavailable(f"{about}TLS with the peer fails: {words_of(error)}", reason="tls", retry="never", hint=SAME)


def words_of(error: Exception) -> str:
    """An error of the library's or the system's, in words."""
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
