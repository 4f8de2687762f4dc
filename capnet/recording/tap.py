"""`Tap`: a layer that listens in on a transport, and changes nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from capnet.transport import Receiver, Transport

__all__ = ["Listening", "Tap"]


class Listening(Protocol):
    """Who is told of all that is said. No method may raise or wait."""

    def sent(self, chunks: Sequence[bytes], /) -> None:
        """What goes to the peer."""

    def received(self, data: bytes | bytearray | memoryview, /) -> None:
        """What came from it; not to be kept."""

    def closed(self, error: Exception | None, /) -> None:
        """The end."""


class Tap(Transport, Receiver):
    """A transport that tells what goes through it.

    Args:
        inner: not started; belongs to the tap from here on.
        listening: is told first.
        inside: taps one that goes through this one, for its connection.
    """

    _receiver: Receiver

    def __init__(
        self, inner: Transport, listening: Listening, inside: Callable[[Transport], Transport] = lambda inner: inner
    ) -> None:
        self.inside = inside
        self.attestation = inner.attestation
        self.process = inner.process
        self.start_timeout = inner.start_timeout
        self.pump = inner.pump
        self.within = inner.within
        self._inner = inner
        self._listening = listening

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._inner.start(self)

    def send(self, chunks: Sequence[bytes]) -> None:
        self._listening.sent(chunks)
        self._inner.send(chunks)

    @property
    def backlog(self) -> int:
        return self._inner.backlog

    def pause(self) -> None:
        self._inner.pause()

    def resume(self) -> None:
        self._inner.resume()

    def close(self) -> None:
        self._inner.close()

    def abort(self) -> None:
        self._inner.abort()

    def data_received(self, data: bytes | bytearray | memoryview) -> None:
        self._listening.received(data)
        self._receiver.data_received(data)

    def writable(self) -> None:
        self._receiver.writable()

    def closed(self, error: Exception | None) -> None:
        self._listening.closed(error)
        self._receiver.closed(error)
