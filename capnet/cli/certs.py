"""`capnet certs`: a private set of certificates, for a host and its peers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from capnet.cli.exits import Stop
from capnet.cli.files import write_new
from capnet.cli.output import Output
from capnet_transports.certificates import Certificate, make

__all__ = ["certs"]


def certs(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where they go; made with mode 0700 if missing.")],
    out: Output,
    *,
    host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name or address by which the host is reached; may be repeated."),
    ] = None,
    peer: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A peer that gets a certificate; may be repeated.")
    ] = None,
    days: Annotated[int, typer.Option(metavar="N", min=1, max=3650, help="How long they are good.")] = 365,
) -> None:
    """Make certificates for TLS: one for a host, and one for each peer, each signed by itself.

    host.pem and PEER.pem have a certificate with its key, and belong to that side alone. host.crt is what peers trust
    (--ca), peers.crt whom the host lets in. The host is reached as localhost unless others are named. Files that are
    there are left alone.
    """
    names = list(peer or ["peer"])
    for name in names:
        _check(name, names)
    hosts: Sequence[str] = host or ("localhost", "127.0.0.1", "::1")
    lifetime = timedelta(days=days)
    own = make("host", hosts=hosts, lifetime=lifetime)
    theirs = {name: make(name, hosts=(), lifetime=lifetime) for name in names}
    files = {
        "host.pem": own.private + own.public,
        "host.crt": own.public,
        "peers.crt": "".join(certificate.public for certificate in theirs.values()),
        **{f"{name}.pem": certificate.private + certificate.public for name, certificate in theirs.items()},
    }
    write_new(directory, files, private=[name for name in files if name.endswith(".pem")])
    _tell(directory, own, list(theirs), out)


def _check(name: str, names: Sequence[str]) -> None:
    if name in ("host", "peers") or names.count(name) > 1:
        raise Stop(f"--peer {name} is taken", hint="each peer has a name of its own, and none is called host or peers")
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name.startswith("."):
        raise Stop(f"--peer {name!r} cannot name a file", hint="letters, digits, and - _ . between them")


def _tell(directory: Path, own: Certificate, peers: Sequence[str], out: Output) -> None:
    if out.json:
        out.value({"directory": str(directory), "pin": own.pin, "peers": list(peers)})
        return
    out.line(f"{directory}/host.pem   the host: certificate and key; its pin is {own.pin}")
    out.line(f"{directory}/host.crt   what peers trust")
    out.line(f"{directory}/peers.crt  whom the host lets in")
    for name in peers:
        out.line(f"{directory}/{name}.pem  {name}: certificate and key")
    out.line()
    out.line("host  capnet run … --listen tls:HOST:PORT --certificate host.pem --ca peers.crt")
    out.line(f"peer  capnet watch tls:HOST:PORT --certificate {peers[0]}.pem --ca host.crt")
