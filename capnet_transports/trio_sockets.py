"""Sockets on trio: tasks wait for the socket, and tell the transport."""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import trio

from capnet.transport import Attestation
from capnet_transports.pipes import Pipes
from capnet_transports.sockets import SocketTransport, State, buffer_of

__all__ = ["TrioSocketTransport"]


class TrioSocketTransport(SocketTransport):
    """On trio; `pump` waits for the socket and delivers `Receiver.closed`, also when it is cancelled."""

    def __init__(
        self, sock: socket.socket | Pipes, attestation: Attestation, on_end: Callable[[], None] | None = None
    ) -> None:
        super().__init__(sock, attestation, on_end, buffer_of(trio.lowlevel.current_trio_token()))
        self.pump: Callable[[], Coroutine[Any, Any, None]] | None = self._run
        self._readers = trio.lowlevel.ParkingLot()
        self._writers = trio.lowlevel.ParkingLot()
        self._lingering = trio.Event()
        self._patience = 0.0
        self._ended = trio.Event()

    async def _run(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._reads)
                nursery.start_soon(self._writes)
                await self._lingering.wait()
                while not self._ended.is_set():
                    with trio.move_on_after(self._patience) as patience:
                        await self._ended.wait()
                    if patience.cancelled_caught:
                        self._lingered_enough()
        finally:
            self._end(None)
            if self._receiver is not None:
                self._receiver.closed(self._error)

    async def _reads(self) -> None:
        with suppress(trio.ClosedResourceError):
            while self._state is not State.CLOSED:
                if not self._reading:
                    await self._readers.park()
                    continue
                await trio.lowlevel.wait_readable(self._socket)
                if self._reading:
                    self._readable()

    async def _writes(self) -> None:
        with suppress(trio.ClosedResourceError):
            while self._state is not State.CLOSED:
                if not self._writing:
                    await self._writers.park()
                    continue
                await trio.lowlevel.wait_writable(self._writing_end)
                if self._writing:
                    self._writable()

    def _read(self, on: bool, /) -> None:
        self._reading = on
        self._readers.unpark_all()

    def _await_room(self, on: bool, /) -> None:
        self._writing = on
        self._writers.unpark_all()

    def _start_timer(self, seconds: float, /) -> None:
        self._patience = seconds
        self._lingering.set()

    def _close_socket(self) -> None:
        trio.lowlevel.notify_closing(self._socket)
        with suppress(OSError):  # it is closed all the same
            self._socket.close()
        self._readers.unpark_all()
        self._writers.unpark_all()
        self._lingering.set()
        self._ended.set()

    def _announce_end(self) -> None:
        """Nothing: `pump` tells it, last of all."""
