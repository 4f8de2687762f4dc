"""`unix:PATH`: a socket file that only its owner can open, and peers known by user and process.

Three walls stand before a stranger on the same machine: no directory on the way to the file may be open to others
(`socket_path.py`), the file has mode 0600 from its first instant, and a peer whose user is not allowed is turned away
even so. Abstract names (`unix:@name`) have neither directory nor mode and are refused.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import sys
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import anyio

from capnet.errors import AlreadyExists, CapnetError, FailedPrecondition, InvalidArgument, PermissionDenied, Unavailable
from capnet.transport import Attestation, Listener, Transport, TransportScheme
from capnet_transports.attach import attach
from capnet_transports.credentials import credentials
from capnet_transports.failures import failure, unreached
from capnet_transports.listeners import SocketListener
from capnet_transports.options import UnixListenOptions, UnixOptions, refuse_others
from capnet_transports.socket_path import check_path

__all__ = ["connect", "listen", "scheme"]

_ROOT: Final = 0
MAX_PATH: Final = 107 if sys.platform == "linux" else 103
"""Longest path a socket can have (sun_path), in bytes."""
_PATIENCE = 5.0
"""Seconds to wait for a listener with a full queue, or for another process that is binding to the same path."""
_RETRY = 0.01
"""Seconds between two tries."""


async def connect(path: str, *, allow_uids: Collection[int] = ()) -> Transport:
    """A transport to the listener at `path`, relative or absolute; its attestation says who listens there.

    Args:
        path: where it listens.
        allow_uids: users, beside ourselves and root, who may listen there and own what is on the way.

    Raises:
        InvalidArgument: no path, an abstract one, or one that is too long.
        Unavailable: nothing there, nobody listens, or its queue stayed full for 5 s.
        PermissionDenied: another user listens there (`other_user`), owns the file or something on the way to it, or
        could put another one in its place (`unsafe_directory`).
    """
    _check(path)
    owners = frozenset((os.geteuid(), _ROOT, *allow_uids))
    sock: socket.socket | None = None
    try:
        sock = _new_socket()
        check_path(path, owners)
        await _reach(sock, path)
        attestation = _attestation(sock)
        if attestation.uid is not None and attestation.uid not in owners:
            raise PermissionDenied(
                f"unix:{path}: user {attestation.uid} listens there",
                reason="other_user",
                hint="name that user in allow_uids, if it is the one you mean",
            )
        return attach(sock, attestation)
    except BaseException as error:
        if sock is not None:
            sock.close()
        if isinstance(error, OSError) and not isinstance(error, CapnetError):  # some of ours are OSErrors too
            raise unreached(error, f"unix:{_absolute(path)}") from error
        raise


async def listen(
    path: str, accept: Callable[[Transport], object], *, allow_uids: Collection[int] | None = None, backlog: int = 128
) -> Listener:
    """A listener at `path`. A socket file there that nobody listens at is replaced; anything else is left alone.

    Args:
        path: relative or absolute; its directory is made with mode 0700 when it is missing.
        accept: takes each new transport, not yet started.
        allow_uids: users that may connect, our own when None; others are turned away without a word.
        backlog: connections the system keeps until they are accepted.

    Raises:
        InvalidArgument: no path, an abstract one, or one that is too long.
        AlreadyExists: somebody listens there (`eaddrinuse`).
        FailedPrecondition: what is there is not a socket (`not_a_socket`).
        PermissionDenied: a directory or link on the way is another user's, or a directory is open to others
        (`unsafe_directory`); or it is not ours to write.
    """
    _check(path)
    allowed = frozenset((os.geteuid(),) if allow_uids is None else allow_uids)
    try:
        path = _lasting(path)
        sock, identity = await _bind(path, backlog)
    except CapnetError:
        raise  # some of ours are OSErrors too
    except OSError as error:
        raise failure(error, f"unix:{path}") from error

    def attest(peer: socket.socket) -> Attestation | None:
        attestation = _attestation(peer)
        # Where the system does not tell, the file's mode alone decides.
        return attestation if attestation.uid is None or attestation.uid in allowed else None

    return SocketListener(sock, f"unix:{path}", accept, attest, lambda: _remove(path, identity))


class _UnixScheme:
    async def connect(self, rest: str, /, **options: Any) -> Transport:
        refuse_others("unix", options, UnixOptions)
        return await connect(rest, **options)

    async def listen(self, rest: str, accept: Callable[[Transport], object], /, **options: Any) -> Listener:
        refuse_others("unix", options, UnixListenOptions)
        return await listen(rest, accept, **options)


scheme: TransportScheme = _UnixScheme()
"""The scheme `unix`."""


def _new_socket() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


def _attestation(sock: socket.socket) -> Attestation:
    peer = credentials(sock)
    return Attestation(transport="unix", uid=peer.uid, pid=peer.pid)


# --- paths ---


def _check(path: str) -> None:
    if not path or "\0" in path:
        raise InvalidArgument(f"unix: needs the path of a socket, not {path!r}", hint="such as unix:run/app.sock")
    if path.startswith("@"):
        raise InvalidArgument(
            f"unix:{path}: abstract socket names have no owner and no mode, so they are not supported",
            hint=f"for a file of that name write unix:./{path}",
        )
    if len(os.fsencode(path)) > MAX_PATH:
        raise InvalidArgument(
            f"unix:{path}: the path is longer than the {MAX_PATH} bytes a socket can have",
            reason="enametoolong",
            hint="use a path relative to the working directory, or a shorter directory such as $XDG_RUNTIME_DIR",
        )


def _lasting(path: str) -> str:
    """`path` made absolute, so that it outlives a change of directory; as it is where that would be too long."""
    absolute = _absolute(path)
    return absolute if len(os.fsencode(absolute)) <= MAX_PATH else path


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except FileNotFoundError:  # the working directory was removed
        return path


# --- binding and connecting ---


async def _bind(path: str, backlog: int) -> tuple[socket.socket, tuple[int, int]]:
    """A listening socket at `path`, and the identity of its file."""
    directory = os.path.dirname(path) or os.curdir
    check_path(directory, (os.geteuid(), _ROOT), make=True)
    sock = _new_socket()
    try:
        async with _alone_at(path):
            _clear(path)
            _bind_private(sock, path)
            sock.listen(backlog)
            return sock, _identity(os.lstat(path))
    except BaseException:
        sock.close()
        raise


@asynccontextmanager
async def _alone_at(path: str) -> AsyncGenerator[None]:
    """Two starting hosts that find the same stale file must not remove each other's new one.

    What is locked is a file of ours beside the socket, for as long as we bind: a directory could be locked by whoever
    may read it.
    """
    directory, name = os.path.split(path)
    lock = os.path.join(directory, f".{name}.capnet-lock")
    fd: int | None = None
    with anyio.move_on_after(_PATIENCE):
        while (fd := _locked(lock)) is None:  # noqa: ASYNC110 (nothing tells when another process is done)
            await anyio.sleep(_RETRY)
    if fd is None:
        raise Unavailable(f"{lock}: another process has kept this file locked", reason="locked")
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(lock)  # before anybody else can have it
        os.close(fd)


def _locked(path: str) -> int | None:
    """The lock file at `path`, open and locked by us; None while somebody else has it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise PermissionDenied(
                f"{path}: this is not a file of ours, so others could keep it locked",
                reason="unsafe_directory",
                hint="remove it, or use a directory of your own",
            )
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _identity(os.lstat(path)) == _identity(status):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass  # it was unlocked and removed in between, if it is not locked
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _clear(path: str) -> None:
    """Remove a socket file that nobody listens at; raise when anything else is there."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise FailedPrecondition(
            f"unix:{path}: what is there is not a socket, so it is left alone",
            reason="not_a_socket",
            hint="choose another path, or remove it yourself",
        )
    if _is_live(path):
        raise AlreadyExists(
            f"unix:{path}: somebody listens there already",
            reason="eaddrinuse",
            hint="choose another path, or end that one",
        )
    _remove(path, _identity(status))


def _is_live(path: str) -> bool:
    with _new_socket() as probe:
        try:
            probe.connect(path)
        except BlockingIOError:
            return True  # its queue is full
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        return True


def _bind_private(sock: socket.socket, path: str) -> None:
    if sys.platform == "linux":
        os.fchmod(sock.fileno(), 0o600)  # the file that bind() makes takes the socket's mode
        sock.bind(path)
    else:
        umask = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(umask)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _remove(path: str, identity: tuple[int, int]) -> None:
    """Remove the socket file unless it is another one by now."""
    with suppress(OSError):
        if _identity(os.lstat(path)) == identity:
            os.unlink(path)


async def _reach(sock: socket.socket, path: str) -> None:
    if _try_connect(sock, path):
        return
    with anyio.move_on_after(_PATIENCE) as patience:
        while not _try_connect(sock, path):  # noqa: ASYNC110 (the system does not tell when there is room)
            await anyio.sleep(_RETRY)
    if patience.cancelled_caught:
        raise OSError(errno.EAGAIN, "its queue of new connections is full")


def _try_connect(sock: socket.socket, path: str) -> bool:
    """Connect, unless the listener's queue is full just now."""
    try:
        sock.connect(path)
    except BlockingIOError:
        return False
    return True
