"""Sockets of the Internet protocols: how an address is written, reached and listened at."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import anyio

from capnet.errors import CapnetError, InvalidArgument, Unavailable
from capnet_transports.failures import failure, unreached
from capnet_transports.handshakes import PATIENCE

__all__ = ["Address", "bind", "bound", "is_loopback", "parse", "peer_address", "prepare", "reach"]

HEAD_START: Final = 0.25
"""Seconds that one address of a name has before the next one is tried beside it (RFC 8305)."""
_MAX_ADDRESSES: Final = 16
"""Addresses of one name that are tried, or listened at."""
_ABSENT: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""Error numbers that say that an address, or all of its kind, is not one of this machine's."""
_KEEPALIVE: Final = {"TCP_KEEPIDLE": 60, "TCP_KEEPALIVE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""After a minute of silence the system asks whether the peer is still there, and gives it up after another. (macOS
calls the first of these by the second name.)"""
_Found: TypeAlias = "tuple[socket.AddressFamily, tuple[str | int, ...]]"


@dataclass(frozen=True, slots=True)
class Address:
    """A host, by name or number, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(scheme: str, text: str, *, port: int | None = None, listening: bool = False) -> Address:
    """What is written after the scheme: `HOST:PORT`, `[::1]:PORT`, with or without `//` before it.

    Args:
        scheme: for the text of errors.
        text: what is written.
        port: the one that is meant where none is written.
        listening: whether port 0, any that is free, makes sense.

    Raises:
        InvalidArgument: no host, no port, or something else.
    """
    written = text.removeprefix("//")
    host, separator, number = written.rpartition(":")
    if port is not None and (not separator or number.endswith("]")):
        host, number = written, str(port)
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    lowest = 0 if listening else 1
    if (
        not bare
        or (":" in bare) != bracketed
        or not bare.isprintable()
        or any(letter in bare for letter in " /?#@[]")
        or not (number.isascii() and number.isdecimal() and len(number) <= 5)
        or not lowest <= int(number) <= 0xFFFF
    ):
        every = " (0.0.0.0 and [::] stand for every address of this machine)" if listening else ""
        raise InvalidArgument(
            f"{scheme}: needs a host and a port, not {text[:300]!r}",
            hint=f"write {scheme}:HOST:PORT, such as {scheme}:127.0.0.1:9000 or {scheme}:[::1]:9000{every}",
        )
    return Address(bare, int(number))


async def reach(address: Address, subject: str) -> socket.socket:
    """A connected, non-blocking socket: the first of the addresses of a name that answers, each with a head start.

    Raises:
        Unavailable: there is no such name, nobody answers, or not within `PATIENCE` seconds.
    """
    found = _interleaved(await _resolve(address, subject, passive=False))
    race = _Race(subject)
    try:
        with anyio.move_on_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                for place in found:
                    lost = anyio.Event()
                    tasks.start_soon(race.run, place, lost, tasks.cancel_scope)
                    with anyio.move_on_after(HEAD_START):
                        await lost.wait()
    except BaseException:
        if race.winner is not None:
            race.winner.close()
        raise
    if race.winner is not None:
        return race.winner
    if race.failures:
        raise _worst(race.failures)
    raise Unavailable(f"{subject}: nobody has answered within {PATIENCE:g} seconds", reason="connect_timeout")


async def bind(address: Address, subject: str, backlog: int) -> list[socket.socket]:
    """A listening socket for each of the addresses of a name, all with the same port.

    Raises:
        AlreadyExists: somebody listens there (`eaddrinuse`). InvalidArgument: `backlog` makes no sense. Unavailable: it
        is no address of this machine.
    """
    if backlog < 1:
        raise InvalidArgument(f"{subject}: backlog must be at least 1")
    found = await _resolve(address, subject, passive=True)
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    try:
        port = address.port
        for family, place in found:
            try:
                sockets.append(sock := _listening(family, (place[0], port, *place[2:]), backlog))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error  # a name may have addresses of a family that this machine does not speak
            else:
                port = sock.getsockname()[1]
    except OSError as error:
        for sock in sockets:
            sock.close()
        failed = failure(error, subject)
        if error.errno == errno.EADDRINUSE:
            failed.add_note("hint: choose another port, or 0 for one that is free")
        raise failed from error
    if not sockets:
        raise failure(absent or OSError(errno.EADDRNOTAVAIL, "it has no address"), subject) from absent
    return sockets


def bound(address: Address, sockets: Sequence[socket.socket]) -> Address:
    """The address that was listened at, with the port that the system has chosen."""
    return Address(address.host, sockets[0].getsockname()[1])


def prepare(sock: socket.socket) -> None:
    """Have small messages leave at once, and the system look after a peer that is silent.

    Raises:
        OSError: the peer has gone.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in _KEEPALIVE.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)


def peer_address(sock: socket.socket) -> str:
    """Where the peer of a connected socket is.

    Raises:
        OSError: it has gone.
    """
    host, port, *_ = sock.getpeername()
    return str(Address(host, port))


def is_loopback(host: str) -> bool:
    """Whether a host, as it is written in an address, is this machine and reached from it alone."""
    return host == "localhost" or host == "::1" or (host.startswith("127.") and host.count(".") == 3)


async def _resolve(address: Address, subject: str, *, passive: bool) -> list[_Found]:
    flags = socket.AI_PASSIVE if passive else 0
    try:
        with anyio.fail_after(PATIENCE):
            answers = await anyio.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=flags)
    except TimeoutError:
        raise Unavailable(
            f"{subject}: the name was not resolved within {PATIENCE:g} seconds", reason="unknown_host"
        ) from None
    except (socket.gaierror, UnicodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "no such name is possible"
        raise Unavailable(f"{subject}: {words}", reason="unknown_host", hint="is the name written right?") from error
    found: dict[_Found, None] = {}
    for family, _kind, _protocol, _name, place in answers:
        if family in (socket.AF_INET, socket.AF_INET6):
            found[family, tuple(place)] = None
    return list(found)[:_MAX_ADDRESSES]


def _interleaved(found: Sequence[_Found]) -> list[_Found]:
    """One family after the other, beginning with the one that the system has put first."""
    first = [place for place in found if place[0] == found[0][0]]
    rest = [place for place in found if place[0] != found[0][0]]
    mixed = [place for pair in zip(first, rest, strict=False) for place in pair]
    return mixed + first[len(rest) :] + rest[len(first) :]


class _Race:
    """Several addresses of one name; the first that answers wins, and the others are let go."""

    def __init__(self, subject: str) -> None:
        self.winner: socket.socket | None = None
        self.failures: list[CapnetError] = []
        self._subject = subject

    async def run(self, place: _Found, lost: anyio.Event, rest: anyio.CancelScope) -> None:
        try:
            sock = _new_socket(place[0])
        except OSError as error:  # this system has no such family
            self._lose(error, lost)
            return
        try:
            await _connect(sock, place[1])
            prepare(sock)
        except OSError as error:
            self._lose(error, lost)
        else:
            if self.winner is None:
                self.winner = sock
            rest.cancel()
        finally:
            if self.winner is not sock:
                sock.close()

    def _lose(self, error: OSError, lost: anyio.Event) -> None:
        self.failures.append(unreached(error, self._subject))
        lost.set()


def _listening(family: socket.AddressFamily, place: tuple[str | int, ...], backlog: int) -> socket.socket:
    sock = _new_socket(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(place)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


async def _connect(sock: socket.socket, place: tuple[str | int, ...]) -> None:
    try:
        sock.connect(place)
    except BlockingIOError:
        await anyio.wait_writable(sock)
        if number := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(number, os.strerror(number)) from None
    if sock.getsockname() == sock.getpeername():  # the system gave us the very port that nobody listens at
        raise OSError(errno.ECONNREFUSED, "nobody listens there")


def _worst(failures: Sequence[CapnetError]) -> CapnetError:
    """Of several failures the one that says most: that a name has no route by one family says nothing of the other."""
    dull = {"enetunreach", "eafnosupport", "eaddrnotavail", "ehostunreach"}
    return next((error for error in failures if error.reason not in dull), failures[0])


def _new_socket(family: socket.AddressFamily) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock
