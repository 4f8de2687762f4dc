"""Bound stream sockets as a `Listener`: one accept loop for every backend and every kind of address.

A `SocketListener` hands over what it accepts at once. A `HandshakeListener` does so after the handshake: as many as
`HANDSHAKES` go on at once, each for a bounded time, and whoever comes then waits in the system's queue. So a stranger
costs no more than one of these places for a moment, and the program behind never hears of those that fail.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, TypeAlias

import anyio
from anyio.abc import TaskGroup

from capnet.errors import CapnetError
from capnet.transport import Attestation, Listener, Transport
from capnet_transports.arrivals import Arrivals
from capnet_transports.attach import attach
from capnet_transports.failures import EXHAUSTED, failure
from capnet_transports.loops import in_trio

__all__ = ["HANDSHAKES", "HANDSHAKE_TIME", "HURRY", "HandshakeListener", "SocketListener"]

HANDSHAKES: Final = 64
"""Handshakes of one listener that go on at once."""
HANDSHAKE_TIME: Final = 5.0
"""Seconds that each may take."""
HURRY: Final = 1.0
"""Seconds that each may take while all places are taken: peers that say nothing must not keep others out for long."""
_BATCH = 64
"""Connections accepted before other tasks get a turn."""
_PAUSE = 0.2
"""Seconds without accepting after the system had no room for one more connection."""
_Greet: TypeAlias = "Callable[[socket.socket, Attestation], Awaitable[Transport]]"
_log = logging.getLogger("capnet.transports")


class SocketListener(Listener):
    """Accepts from a listening socket.

    When the system has no room (no descriptors, no memory) it waits and tries again; peers queue in the kernel
    meanwhile.

    Args:
        sock: bound and listening; belongs to the listener from here on.
        url: where peers connect to.
        accept: takes each new transport, not yet started; must not raise.
        attest: says who the peer is; None, or an `OSError`, turns it away.
        on_close: called once when the socket has been closed.
    """

    def __init__(
        self,
        sock: socket.socket,
        url: str,
        accept: Callable[[Transport], object],
        attest: Callable[[socket.socket], Attestation | None],
        on_close: Callable[[], None] | None = None,
    ) -> None:
        sock.setblocking(False)
        self.url = url
        self._sockets: Sequence[socket.socket] = (sock,)
        self._accept = accept
        self._attest = attest
        self._on_close = on_close
        self._closed = False
        self._arrivals: Arrivals | None = None

    async def serve(self) -> None:
        await self._accept_from(self._sockets[0])

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._arrivals is not None:
            self._arrivals.end()
        for sock in self._sockets:
            anyio.notify_closing(sock)
            with suppress(OSError):  # it is closed all the same
                sock.close()
        if self._on_close is not None:
            self._on_close()

    async def _accept_from(self, listening: socket.socket) -> None:
        while not self._closed:
            try:
                await self._accept_some(listening)
            except anyio.ClosedResourceError:
                return
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise failure(error, self.url) from error
                _log.warning("%s: cannot accept now: %s", self.url, error.strerror)
                await anyio.sleep(_PAUSE)
            except MemoryError:
                _log.warning("%s: cannot accept now: no memory", self.url)
                await anyio.sleep(_PAUSE)

    async def _accept_some(self, listening: socket.socket) -> None:
        """Accept who comes; returns after a while, or when the listener is closed."""
        if in_trio():
            await anyio.wait_readable(listening)
            self._accept_batch(listening)
        else:
            self._arrivals = Arrivals(listening, partial(self._accept_batch, listening))
            await self._arrivals.ended()

    def _accept_batch(self, listening: socket.socket) -> None:
        for _ in range(_BATCH):
            if not self._has_room():
                return
            try:
                sock, _address = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            self._admit(sock)

    def _has_room(self) -> bool:
        """Whether one more can be taken now."""
        return True

    def _admit(self, sock: socket.socket) -> None:
        try:
            attestation = self._attest(sock)
        except OSError:
            attestation = None
        if attestation is None:
            sock.close()
        else:
            self._welcome(sock, attestation)

    def _welcome(self, sock: socket.socket, attestation: Attestation) -> None:
        self._accept(attach(sock, attestation))


class HandshakeListener(SocketListener):
    """Accepts from one or more listening sockets, and hands over what has come through its handshake.

    Args:
        sockets: bound and listening; belong to the listener from here on.
        url: where peers connect to.
        accept: takes each new transport, not yet started; must not raise.
        attest: says who the peer is before the handshake; None, or an `OSError`, turns it away.
        greet: has the handshake and makes the transport, to which the socket belongs then. An error turns the peer
            away. None where there is no handshake.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        url: str,
        accept: Callable[[Transport], object],
        attest: Callable[[socket.socket], Attestation | None],
        greet: _Greet | None,
    ) -> None:
        super().__init__(sockets[0], url, accept, attest)
        self._sockets = tuple(sockets)
        for sock in sockets:
            sock.setblocking(False)
        self._greet = greet
        self._tasks: TaskGroup | None = None
        self._handshakes: dict[anyio.CancelScope, float] = {}
        """Those that go on, oldest first, and when each began."""
        self._room = anyio.Event()

    async def serve(self) -> None:
        failed: list[CapnetError] = []
        async with anyio.create_task_group() as self._tasks:
            for sock in self._sockets:
                self._tasks.start_soon(self._accept_until_closed, sock, failed)
        if failed:
            raise failed[0]

    async def aclose(self) -> None:
        await super().aclose()
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()

    async def _accept_until_closed(self, listening: socket.socket, failed: list[CapnetError]) -> None:
        try:
            await self._accept_from(listening)
        except CapnetError as error:
            failed.append(error)
        assert self._tasks is not None
        self._tasks.cancel_scope.cancel()

    async def _accept_some(self, listening: socket.socket) -> None:
        while not self._has_room():
            self._hurry()
            await self._room.wait()
        await anyio.wait_readable(listening)
        self._accept_batch(listening)

    def _has_room(self) -> bool:
        return len(self._handshakes) < HANDSHAKES

    def _hurry(self) -> None:
        for scope, began in self._handshakes.items():
            scope.deadline = min(scope.deadline, began + HURRY)

    def _welcome(self, sock: socket.socket, attestation: Attestation) -> None:
        if self._greet is None:
            super()._welcome(sock, attestation)
            return
        assert self._tasks is not None
        sock.setblocking(False)
        began = anyio.current_time()
        scope = anyio.CancelScope(deadline=began + HANDSHAKE_TIME)
        self._handshakes[scope] = began
        self._tasks.start_soon(self._shake_hands, scope, self._greet, sock, attestation)

    async def _shake_hands(
        self, scope: anyio.CancelScope, greet: _Greet, sock: socket.socket, attestation: Attestation
    ) -> None:
        transport: Transport | None = None
        try:
            with scope:
                transport = await greet(sock, attestation)
        except Exception as error:  # of one peer: the others are not concerned
            _log.info("%s: %s turned away: %s", self.url, attestation.address or "a peer", error)
        finally:
            del self._handshakes[scope]
            self._room.set()
            self._room = anyio.Event()
            if transport is None:
                sock.close()
        if transport is not None:
            self._accept(transport)
