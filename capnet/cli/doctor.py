"""`capnet doctor`: what is installed, what runs, and what is wrong."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

import capnet
from capnet import native
from capnet.cli.exits import Exit, failure_of
from capnet.cli.output import Output
from capnet.cli.peer import Peer
from capnet.connection.connect import find_scheme, known_schemes
from capnet.errors import CapnetError, MissingExtra
from capnet_transports.socket_path import check_path

__all__ = ["Finding", "doctor"]

_LIBRARIES: Final = ("anyio", "cbor2", "msgspec", "structlog", "typing-extensions")
_EXTRAS: Final[Mapping[str, str]] = {
    "rich": "cli",
    "typer": "cli",
    "trio": "trio",
    "uvloop": "uvloop",
    "websockets": "ws",
    "cryptography": "tls",
}
"""What is optional, and the extra that brings it."""
FEW_FILES: Final = 1024
"""Open files, below which a host with many connections is short of them."""
WIDTH: Final = max(map(len, (*_LIBRARIES, *_EXTRAS)))
_MARKS: Final = {"ok": "✓", "note": "·", "wrong": "✗"}
_STYLES: Final = {"ok": "", "note": "dim", "wrong": "red"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        about: what it is.
        state: `ok`, `note` for what one may want to know, or `wrong`.
        text: what was found.
        hint: what to do about it.
        exit_code: of the command, because of this.
    """

    about: str
    state: Literal["ok", "note", "wrong"]
    text: str
    hint: str = ""
    exit_code: int = Exit.OK


@dataclass(frozen=True)
class MaybePeer(Peer):
    """A peer that need not be named."""

    url: Annotated[str, typer.Argument(metavar="[URL]", help="A peer to try.", show_default=False)] = ""


async def doctor(peer: MaybePeer, out: Output) -> int:
    """Tell what is installed, what runs, and what is wrong: Python and libraries, the code in C, transports, limits of
    the system, the directory for sockets, and whether a peer can be reached.
    """
    worst = Exit.OK
    async for finding in _findings(peer):
        if out.json:
            out.value(asdict(finding))
        else:
            out.line(f"{_MARKS[finding.state]} {finding.about:{WIDTH}} {finding.text}", _STYLES[finding.state])
            if finding.hint:
                out.line(f"  {'':{WIDTH}} hint: {finding.hint}")
        worst = max(worst, Exit(finding.exit_code))
    return worst


async def _findings(peer: MaybePeer) -> AsyncIterator[Finding]:
    for look in (_python, _libraries, _core, _transports, _files, _sockets):
        for finding in look():
            yield finding
    if peer.url:
        yield await _reached(peer)


def _python() -> Iterator[Finding]:
    yield Finding("capnet", "ok", f"{capnet.__version__} in {Path(capnet.__file__).parent}")
    yield Finding("python", "ok", f"{platform.python_implementation()} {platform.python_version()}, {sys.executable}")
    yield Finding("system", "ok", f"{platform.system()} {platform.release()}, {platform.machine()}")


def _libraries() -> Iterator[Finding]:
    for name in _LIBRARIES:
        found = _version(name)
        if found is None:
            yield Finding(name, "wrong", "not installed", f"pip install {name}", Exit.FAILED)
        else:
            yield Finding(name, "ok", found)
    for name, extra in _EXTRAS.items():
        found = _version(name)
        if found is None:
            yield Finding(name, "note", "not installed", f'pip install "capnet[{extra}]"')
        else:
            yield Finding(name, "ok", found)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _core() -> Iterator[Finding]:
    if native.RUNS:
        yield Finding("code in C", "ok", "it runs")
    else:
        yield Finding("code in C", "note", f"it does not run, so frames are handled in Python: {native.why()}")


def _transports() -> Iterator[Finding]:
    for scheme in known_schemes():
        try:
            find_scheme(f"{scheme}:")
        except MissingExtra as error:
            yield Finding(f"{scheme}:", "note", str(error))
        except Exception as error:  # of a package of somebody else's
            yield Finding(f"{scheme}:", "wrong", f"{type(error).__name__}: {error}", exit_code=Exit.FAILED)
        else:
            yield Finding(f"{scheme}:", "ok", "can be used")


def _files() -> Iterator[Finding]:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = "no bound" if soft == resource.RLIM_INFINITY else str(soft)
    if soft != resource.RLIM_INFINITY and soft < FEW_FILES:
        yield Finding("open files", "note", f"{most} at most", f"each connection is one: ulimit -n {hard}")
    else:
        yield Finding("open files", "ok", f"{most} at most")


def _sockets() -> Iterator[Finding]:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    for directory in filter(None, (runtime, tempfile.gettempdir())):
        try:
            check_path(directory, (os.geteuid(), 0))
        except CapnetError as error:
            failure = failure_of(error)
            hints = failure.hints if failure is not None else ()
            yield Finding("sockets", "wrong", error.message, " ".join(hints), Exit.FAILED)
        except OSError as error:
            yield Finding("sockets", "wrong", f"{directory}: {error.strerror}", exit_code=Exit.FAILED)
        else:
            yield Finding("sockets", "ok", f"nobody can put another socket in the place of one below {directory}")


async def _reached(peer: MaybePeer) -> Finding:
    try:
        async with peer.open() as connection:
            seconds = await connection.ping()
            who = connection.attestation
            known = who.principal or who.tls_subject or (f"user {who.uid}" if who.uid is not None else who.transport)
            return Finding("peer", "ok", f"{peer.url} answers in {1000 * seconds:.1f} ms; it is {known}")
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            raise
        return Finding("peer", "wrong", f"{peer.url}: {failure}", " ".join(failure.hints), failure.exit_code)
