"""What is said on a socket before it becomes a transport.

Each handshake is a generator that knows no socket and no loop. It yields what is to be sent, and how many bytes at most
are to be read then; it is sent what was read, and returns when it is over. Nothing is read beyond that number, so what
the peer says next waits in the system. One that refuses its peer raises a `Refusal`, which carries the last words.
"""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import suppress
from typing import Final, TypeAlias

import anyio

from capnet.errors import CapnetError, Unavailable
from capnet.transport import Attestation
from capnet_transports.attach import attach
from capnet_transports.failures import failure

__all__ = ["PATIENCE", "READ", "SAME", "Refusal", "Steps", "converse", "cut", "greet"]

PATIENCE: Final = 10.0
"""Seconds that the side which connects gives an address to answer, and then its handshake."""
READ: Final = 64 * 1024
"""Bytes that a handshake reads at once when it can put back what came too much."""

SAME: Final = "does the other side speak the same protocol at that address?"
"""What helps where a handshake does not come to an end."""

Steps: TypeAlias = "Generator[tuple[bytes, int], bytes, None]"
"""A handshake: yields bytes to send and how many to read at most, 0 for none; is sent what was read."""


class Refusal(Exception):
    """The peer is not let in, or is not what we look for.

    Args:
        error: what is said here.
        answer: what the peer is told, in the words of the protocol that it speaks.
    """

    def __init__(self, error: CapnetError, answer: bytes = b"") -> None:
        super().__init__(error, answer)
        self.error = error
        self.answer = answer


def cut() -> Unavailable:
    """What it means that the peer has closed before the end of a handshake."""
    return Unavailable("the peer has closed during the handshake", reason="handshake", hint=SAME)


async def converse(sock: socket.socket, steps: Steps) -> None:
    """Run a handshake over a connected, non-blocking socket. The socket stays open whatever comes of it.

    Raises:
        CapnetError: what the handshake says. Unavailable: the peer has left.
    """
    try:
        out, most = next(steps)
        while True:
            await _send(sock, out)
            received = await _receive(sock, most) if most else b""
            if most and not received:
                raise cut()
            out, most = steps.send(received)
    except StopIteration:
        return
    except Refusal as refusal:
        await _part(sock, refusal.answer)
        raise refusal.error from refusal.__cause__
    except CapnetError:
        raise  # some of ours are OSErrors too
    except OSError as error:
        raise failure(error, "handshake") from error


async def greet(sock: socket.socket, steps: Steps) -> None:
    """`converse`, as the side that connects: for `PATIENCE` seconds at most.

    Raises:
        CapnetError: see `converse`. Unavailable: the peer was too slow, reason `handshake_timeout`.
    """
    with anyio.move_on_after(PATIENCE) as patience:
        await converse(sock, steps)
    if patience.cancelled_caught:
        raise Unavailable(
            f"the handshake was not over within {PATIENCE:g} seconds",
            reason="handshake_timeout",
            hint=SAME,
        )


async def _send(sock: socket.socket, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[sock.send(rest) :]
        except (BlockingIOError, InterruptedError):
            await anyio.wait_writable(sock)


async def _receive(sock: socket.socket, most: int) -> bytes:
    while True:
        try:
            return sock.recv(most)
        except (BlockingIOError, InterruptedError):
            await anyio.wait_readable(sock)


async def _part(sock: socket.socket, answer: bytes) -> None:
    """Say the last words, and stay until the peer has had the time to read them.

    Whoever closes at once with bytes unread has the system answer with a reset, which overtakes what was said.
    """
    with suppress(OSError):
        transport = attach(sock.dup(), Attestation())
        leaving = _Leaving()
        transport.start(leaving)
        try:
            transport.send([answer])
            transport.close()
            if transport.pump is not None:
                await transport.pump()
            await leaving.over.wait()
        finally:
            transport.abort()


class _Leaving:
    """Receives nothing more."""

    def __init__(self) -> None:
        self.over = anyio.Event()

    def data_received(self, data: bytes | bytearray | memoryview) -> None:
        """Too late."""

    def writable(self) -> None:
        """Nothing waits."""

    def closed(self, error: Exception | None) -> None:
        self.over.set()
