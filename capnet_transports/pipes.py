"""Two descriptors in the place of a socket: standard input and output, and the pipes of other programs."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Sequence
from contextlib import suppress

from capnet_transports.loops import in_trio

__all__ = ["Pipes"]


class Pipes:
    """Two descriptors, to read from and to write to, with as much of a socket's methods as `SocketTransport` needs.

    Each is a pipe or a socket that other processes may have open as well. Whether such a thing blocks is the same for
    all of them, and one that does not expect it fails: so sockets are left as they are, and pipes are opened anew
    where the system can.

    Args:
        reading_end: descriptor of the first; both belong to the object.
        writing_end: of the second.
    """

    def __init__(self, reading_end: int, writing_end: int) -> None:
        self._coming = _end_of_ours(reading_end, os.O_RDONLY)
        self._going = _end_of_ours(writing_end, os.O_WRONLY)
        self.writing_end = self._going if isinstance(self._going, int) else self._going.fileno()
        self._open = [self._coming, self._going]

    def fileno(self) -> int:
        return self._coming if isinstance(self._coming, int) else self._coming.fileno()

    def setblocking(self, flag: bool, /) -> None:
        for end in self._open:
            if isinstance(end, int):
                os.set_blocking(end, flag)

    def recv_into(self, buffer: memoryview, /) -> int:
        if isinstance(self._coming, int):
            return os.readv(self._coming, [buffer])
        return self._coming.recv_into(buffer, 0, socket.MSG_DONTWAIT)

    def send(self, data: bytes | bytearray | memoryview, /) -> int:
        if isinstance(self._going, int):
            return os.write(self._going, data)
        return self._going.send(data, socket.MSG_DONTWAIT)

    def sendmsg(self, chunks: Sequence[bytes | bytearray | memoryview], /) -> int:
        if isinstance(self._going, int):
            return os.writev(self._going, chunks)
        return self._going.sendmsg(chunks, (), socket.MSG_DONTWAIT)

    def shutdown(self, _how: int, /) -> None:
        """End our side, whoever else may hold it."""
        if isinstance(self._going, socket.socket):
            with suppress(OSError):
                self._going.shutdown(socket.SHUT_WR)
        self._close(self._going)

    def close(self) -> None:
        for end in tuple(self._open):
            self._close(end)

    def _close(self, end: int | socket.socket) -> None:
        if end not in self._open:
            return
        self._open.remove(end)
        if in_trio():
            from trio.lowlevel import notify_closing

            notify_closing(end)
        if isinstance(end, socket.socket):
            end.close()
        else:
            os.close(end)


def _end_of_ours(end: int, mode: int) -> int | socket.socket:
    if stat.S_ISSOCK(os.fstat(end).st_mode):
        return socket.socket(fileno=end)
    with suppress(OSError):  # only Linux opens a pipe anew
        again = os.open(f"/proc/self/fd/{end}", mode | os.O_NONBLOCK | os.O_CLOEXEC)
        os.close(end)
        return again
    return end
