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
        self._nursery: trio.Nursery | None = None
        self._resumed: trio.Event | None = None
        self._waits_for_room = False
        self._patience = 0.0
        """Seconds that it was to linger before `pump` ran."""

    async def _run(self) -> None:
        try:
            async with trio.open_nursery() as self._nursery:
                if self._writing:
                    self._await_room(True)
                if self._patience and self._state is not State.CLOSED:
                    self._start_timer(self._patience)
                await self._reads()
        finally:
            self._nursery = None
            self._end(None)
            if self._receiver is not None:
                self._receiver.closed(self._error)

    async def _reads(self) -> None:
        with suppress(trio.ClosedResourceError):
            while self._state is not State.CLOSED:
                if not self._reading:
                    self._resumed = trio.Event()
                    await self._resumed.wait()
                    continue
                await trio.lowlevel.wait_readable(self._socket)
                if self._reading:
                    self._readable()

    async def _writes(self) -> None:
        with suppress(trio.ClosedResourceError):
            while self._writing:
                await trio.lowlevel.wait_writable(self._writing_end)
                if self._writing:
                    self._writable()
        self._waits_for_room = False

    async def _lingers(self, seconds: float) -> None:
        await trio.sleep(seconds)
        self._lingered_enough()

    def _read(self, on: bool, /) -> None:
        self._reading = on
        if on and self._resumed is not None:
            self._resumed.set()
            self._resumed = None

    def _await_room(self, on: bool, /) -> None:
        self._writing = on
        if on and self._nursery is not None and not self._waits_for_room:
            self._waits_for_room = True
            self._nursery.start_soon(self._writes)

    def _start_timer(self, seconds: float, /) -> None:
        if self._nursery is None:
            self._patience = seconds
        else:
            self._nursery.start_soon(self._lingers, seconds)

    def _close_socket(self) -> None:
        trio.lowlevel.notify_closing(self._socket)
        with suppress(OSError):  # it is closed all the same
            self._socket.close()
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def _announce_end(self) -> None:
        """Nothing: `pump` tells it, last of all."""
