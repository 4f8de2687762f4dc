"""`fd:` in a program that a host has started by `exec:`: the socket that it inherited, and the end of its host.

The number of the socket alone proves nothing: helpers of the program inherit the variable too, and there the number may
be anything. So the host also says which socket it is.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

from capnet.errors import InvalidArgument, Unavailable
from capnet.transport import Attestation, Listener, Transport, TransportScheme
from capnet_transports.attach import attach
from capnet_transports.credentials import credentials
from capnet_transports.loops import soon_from_thread
from capnet_transports.sockets import SocketTransport
from capnet_transports.starting import NUMBER, high

__all__ = ["adopt", "environment_of", "inherited_scheme"]

_COOKIE: Final = b"CAPNET_PLUGIN"
_IDENTITY: Final = b"CAPNET_SOCKET"
_taken = False


def environment_of(sock: socket.socket) -> dict[bytes, bytes]:
    """What a program is told of the socket that it inherits, beside its number."""
    return {_COOKIE: b"1", _IDENTITY: _identity(sock.fileno())}


async def adopt() -> Transport:
    """The transport to the host that started this program. Can be taken once: the variables are removed.

    Raises:
        Unavailable: `not_a_plugin`, this program was not started by a capnet host; `taken`, it has taken it already.
    """
    global _taken
    sock = _inherited()
    if sock is None and _taken:
        raise Unavailable(
            "the connection to the host has been taken already",
            reason="taken",
            retry="never",
            hint='use the one from connect("fd:")',
        )
    if sock is None:
        raise Unavailable(
            "this program is a capnet plugin; start it from its host", reason="not_a_plugin", retry="never"
        )
    _taken = True
    for name in (_COOKIE, _IDENTITY, NUMBER):
        del os.environb[name]
    sock.set_inheritable(False)
    host = credentials(sock)
    transport = attach(sock, Attestation(transport="exec", uid=host.uid, pid=host.pid))
    if host.pid is not None:
        _watch(host.pid, transport)
    return transport


def _inherited() -> socket.socket | None:
    """The host's socket; None, and nothing touched, when what has its number is anything else."""
    number, identity = os.environb.get(NUMBER, b""), os.environb.get(_IDENTITY)
    if os.environb.get(_COOKIE) != b"1" or not number.isdigit():
        return None
    try:
        if _identity(int(number)) != identity:
            return None
        return socket.socket(fileno=int(number))
    except (OSError, ValueError, OverflowError):
        return None


def _identity(fd: int) -> bytes:
    status = os.fstat(fd)
    return b"%d:%d" % (status.st_dev, status.st_ino)


def _watch(pid: int, transport: SocketTransport) -> None:
    """End with the host, also when a child that it has forked holds its end of the socket; where one can be told."""
    if sys.platform != "linux":
        return
    try:
        host = high(os.pidfd_open(pid))
    except OSError:
        return  # it is gone, and then so is its end, or the system does not know how
    in_loop = soon_from_thread()

    def wait() -> None:
        poll = select.poll()  # unlike `select`, for any number of a descriptor
        poll.register(host, select.POLLIN)
        poll.poll()
        os.close(host)
        in_loop(transport.expect_end)

    threading.Thread(target=wait, name="capnet-host", daemon=True).start()


class _InheritedScheme:
    async def connect(self, rest: str, /, **options: Any) -> Transport:
        if rest or options:
            raise InvalidArgument("fd: takes neither a number nor options: CAPNET_FD says which descriptor it is")
        return await adopt()

    async def listen(self, rest: str, accept: Callable[[Transport], object], /, **options: Any) -> Listener:
        raise InvalidArgument("fd: is one connection and cannot be listened at")


inherited_scheme: TransportScheme = _InheritedScheme()
"""The scheme `fd`: the other end of `exec`."""
