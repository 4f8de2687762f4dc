"""A bound stream socket as a `Listener`: one accept loop for every backend and every kind of address."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from contextlib import suppress

import anyio

from capnet.transport import Attestation, Listener, Transport
from capnet_transports.failures import EXHAUSTED, failure
from capnet_transports.sockets import attach

__all__ = ["SocketListener"]

_BATCH = 64
"""Connections accepted before other tasks get a turn."""
_PAUSE = 0.2
"""Seconds without accepting after the system had no room for one more connection."""
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
        self._socket = sock
        self._accept = accept
        self._attest = attest
        self._on_close = on_close
        self._closed = False

    async def serve(self) -> None:
        while not self._closed:
            try:
                await anyio.wait_readable(self._socket)
                self._accept_batch()
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

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        anyio.notify_closing(self._socket)
        with suppress(OSError):  # it is closed all the same
            self._socket.close()
        if self._on_close is not None:
            self._on_close()

    def _accept_batch(self) -> None:
        for _ in range(_BATCH):
            try:
                sock, _address = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            self._admit(sock)

    def _admit(self, sock: socket.socket) -> None:
        try:
            attestation = self._attest(sock)
        except OSError:
            attestation = None
        if attestation is None:
            sock.close()
        else:
            self._accept(attach(sock, attestation))
