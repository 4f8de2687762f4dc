"""Who the operating system says is at the other end of a unix socket."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

__all__ = ["Credentials", "credentials"]


class Credentials(NamedTuple):
    """Process and user of a peer when it connected; None where this system does not tell."""

    pid: int | None
    uid: int | None


def credentials(sock: socket.socket) -> Credentials:
    """The peer of a connected unix socket.

    Linux answers with the process and the effective user that called `connect`, `listen` or `socketpair`; the BSDs and
    macOS with the user alone.

    Raises:
        OSError: the peer is gone already.
    """
    if hasattr(socket, "SO_PEERCRED"):
        pid, uid, _gid = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return Credentials(pid or None, uid)
    option = getattr(socket, "LOCAL_PEERCRED", None)
    if option is None:
        return Credentials(None, None)
    # struct xucred: version, effective user, groups …; level 0 is SOL_LOCAL.
    _version, uid = struct.unpack_from("II", sock.getsockopt(0, option, 256))
    return Credentials(None, uid)
