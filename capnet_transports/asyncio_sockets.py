"""Sockets on asyncio and uvloop; the loop calls the transport directly, there is no task."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from capnet.transport import Attestation
from capnet_transports.pipes import Pipes
from capnet_transports.sockets import SocketTransport, State, buffer_of

__all__ = ["AsyncioSocketTransport", "UvloopSocketTransport"]

REMINDER: Final = 0.05
"""Seconds from a read to the moment uvloop is asked again whether there is more."""


class AsyncioSocketTransport(SocketTransport):
    """See `SocketTransport`."""

    def __init__(
        self, sock: socket.socket | Pipes, attestation: Attestation, on_end: Callable[[], None] | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        super().__init__(sock, attestation, on_end, buffer_of(self._loop))
        self._fd = sock.fileno()
        self._timer: asyncio.TimerHandle | None = None

    def _read(self, on: bool, /) -> None:
        self._reading = on
        if on:
            self._loop.add_reader(self._fd, self._readable)
        else:
            self._loop.remove_reader(self._fd)

    def _await_room(self, on: bool, /) -> None:
        self._writing = on
        if on:
            self._loop.add_writer(self._writing_end, self._writable)
        else:
            self._loop.remove_writer(self._writing_end)

    def _start_timer(self, seconds: float, /) -> None:
        self._timer = self._loop.call_later(seconds, self._lingered_enough)

    def _close_socket(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        try:  # noqa: SIM105 - as in sockets.py
            self._socket.close()
        except OSError:
            pass  # it is closed all the same

    def _announce_end(self) -> None:
        if self._receiver is not None:
            self._loop.call_soon(self._receiver.closed, self._error)


class UvloopSocketTransport(AsyncioSocketTransport):
    """On uvloop, which tells once of a socket with an error, and never again of what can be read after that, its end
    included: so a peer that dies with bytes unread would be missed. It is asked again a moment after it has told of
    something."""

    def __init__(
        self, sock: socket.socket | Pipes, attestation: Attestation, on_end: Callable[[], None] | None = None
    ) -> None:
        super().__init__(sock, attestation, on_end)
        self._reminder: asyncio.TimerHandle | None = None

    def _readable(self) -> bool:
        more = super()._readable()
        if self._reminder is None and self._reading:
            self._reminder = self._loop.call_later(REMINDER, self._remind)
        return more

    def _leave(self, error: Exception | None) -> None:
        super()._leave(error)
        if self._state is State.LEAVING:
            self._remind()

    def _remind(self) -> None:
        self._reminder = None
        if self._reading:
            if isinstance(self._socket, socket.socket):
                self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # reading it takes the error away
            self._read(False)
            self._read(True)

    def _close_socket(self) -> None:
        if self._reminder is not None:
            self._reminder.cancel()
            self._reminder = None
        super()._close_socket()
