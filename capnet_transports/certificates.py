"""Certificates that are made on the spot: for a host and its peers, and for tests.

Each is signed by itself, so there is no authority to be kept safe: a side trusts the other's certificate and no other
one. Needs the extra `tls` (the package `cryptography`); certificates from elsewhere do not.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from capnet.errors import InvalidArgument, MissingExtra

__all__ = ["Certificate", "key_of", "make"]

_SLACK = timedelta(minutes=5)
"""How far the clock of a peer may be behind ours."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its private key.

    Attributes:
        public: the certificate, as PEM; what a peer is given.
        private: the key, as PEM; it is not shown when the object is printed.
    """

    public: str
    private: str = field(repr=False)

    @property
    def pin(self) -> str:
        """`spki-sha256:` and the hash of its public key, as `pins=` takes it and attestations show it."""
        return key_of(ssl.PEM_cert_to_DER_cert(self.public))


def make(
    name: str,
    *,
    hosts: Sequence[str] = ("localhost", "127.0.0.1", "::1"),
    lifetime: timedelta = timedelta(days=1),
) -> Certificate:
    """A new key and a certificate for it, signed with it.

    Args:
        name: its subject; attestations of those who trust it show it as `CN=NAME`.
        hosts: names and addresses under which whoever has it is reached.
        lifetime: how long from now it is good.

    Raises:
        InvalidArgument: no name, or one longer than 64 letters; a lifetime that is none. MissingExtra: `cryptography`
        is not installed.
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise MissingExtra('to make certificates needs cryptography; pip install "capnet[tls]"') from error
    if not 1 <= len(name) <= 64 or not name.isprintable() or lifetime <= timedelta(0):
        raise InvalidArgument("a certificate needs a name of 1 to 64 letters, and a time to live")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if hosts:
        names: list[x509.GeneralName] = []
        for host in hosts:
            entry: x509.GeneralName = x509.DNSName(host)
            with suppress(ValueError):
                entry = x509.IPAddress(ipaddress.ip_address(host))
            names.append(entry)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signed = builder.sign(key, hashes.SHA256())
    return Certificate(
        signed.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
    )


def key_of(certificate: bytes) -> str:
    """`spki-sha256:` and the hash, in hexadecimal, of the public key in a certificate.

    Args:
        certificate: in DER.

    Raises:
        ValueError: it is written in another way, in which others might see another key than is seen here.
    """
    at, end = _content(certificate, 0, len(certificate), 0x30)  # Certificate
    at, end = _content(certificate, at, end, 0x30)  # TBSCertificate
    if certificate[at] == 0xA0:  # version, which may be left out
        at = _content(certificate, at, end, 0xA0)[1]
    for tag in (0x02, 0x30, 0x30, 0x30, 0x30):  # serial number, signature, issuer, validity, subject
        at = _content(certificate, at, end, tag)[1]
    return f"spki-sha256:{sha256(certificate[at : _content(certificate, at, end, 0x30)[1]]).hexdigest()}"


def _content(der: bytes, at: int, end: int, tag: int) -> tuple[int, int]:
    """Where the content of an element with that tag, which must be there before `end`, begins and ends."""
    head = der[at : min(at + 5, end)] + bytes(5)
    size, start = head[1], at + 2
    if size >= 0x80:
        digits = size & 0x7F
        size, start = int.from_bytes(head[2 : 2 + digits], "big"), start + digits
        if not 1 <= digits <= 3 or size < max(0x80, 1 << 8 * (digits - 1)):
            raise ValueError("not in DER")
    if head[0] != tag or start + size > end:
        raise ValueError("not in DER")
    return start, start + size
