"""A codec between a transport and its receiver: how TLS and WebSocket are spoken without a task, and without a socket.

    Layer(inner, codec)   is a Transport to the connection, and the Receiver of `inner`
      send(chunks)        inner.send(codec.encode(chunks))
      data_received       codec.feed, then codec.take while the receiver wants more; what must be answered goes out
      close()             inner.send(codec.farewell()), inner.close()
      closed(None)        before the peer's own farewell: what came was cut short, which is an error

What the receiver does not want yet stays in the codec, and `inner` is not read meanwhile: so no more than one read of
`inner` waits there. What a peer makes of one read is bounded as well: after `TURN` pieces the rest waits for the next
turn of the loop.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from capnet.errors import CapnetError, Unavailable
from capnet.transport import HIGH_WATER, Attestation, Receiver, Transport
from capnet_transports.handshakes import READ, Refusal, Steps, cut
from capnet_transports.loops import Schedule, later, soon
from capnet_transports.sockets import LINGER

__all__ = ["TURN", "Codec", "Layer", "through"]

TURN: Final = 1024
"""Pieces taken from a codec before other tasks get a turn."""


class Codec(ABC):
    """A protocol between two streams of bytes; knows neither loop nor socket.

    All that comes in is hostile until `handshake` is over, and bounded after it.
    """

    ended: bool = False
    """Whether the peer has said that nothing follows."""
    awaits_farewell: ClassVar[bool] = False
    """Whether a side that has said farewell waits for the peer's before it closes."""

    @abstractmethod
    def handshake(self) -> Steps:
        """What both sides say first."""

    @abstractmethod
    def encode(self, chunks: Sequence[bytes]) -> list[bytes]:
        """What is to be sent for `chunks`, after what was still to be answered."""

    @abstractmethod
    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Keep what has come; `data` is not looked at after the call."""

    @abstractmethod
    def take(self, most: int = READ) -> bytes | bytearray | memoryview | None:
        """The next piece of what has come.

        Returns:
            at most about `most` bytes, valid until the next call; none at all where what came was for the codec itself;
            None when there is no more, or the peer has `ended`.

        Raises:
            CapnetError: the peer breaks the protocol, or says that it will have no more of us.
        """

    @abstractmethod
    def answer(self, *, crowded: bool = False) -> list[bytes]:
        """What has to be sent because of what came.

        Args:
            crowded: the peer does not take what it was sent; what need not be said is left out.
        """

    @abstractmethod
    def farewell(self) -> list[bytes]:
        """What is sent last, after what was still to be answered."""


def through(codec: Codec, steps: Steps) -> Steps:
    """The handshake `steps`, spoken through a codec whose own handshake is over."""
    try:
        out, most = next(steps)
        while True:
            received = b""
            wire = codec.encode([out]) if out else codec.answer()
            while most and not received:
                piece = codec.take(most)
                if piece is not None:
                    received = bytes(piece)
                elif codec.ended:
                    raise cut()
                else:
                    codec.feed((yield b"".join(wire + codec.answer()), READ))
                    wire = []
            if wire := wire + codec.answer():
                yield b"".join(wire), 0
            out, most = steps.send(received)
    except StopIteration:
        return
    except Refusal as refusal:
        words = codec.encode([refusal.answer]) if refusal.answer else []
        raise Refusal(refusal.error, b"".join(words + codec.farewell())) from refusal.__cause__
    except CapnetError as error:
        raise Refusal(error, b"".join(codec.answer())) from error.__cause__


class _State(enum.Enum):
    OPEN = enum.auto()
    CLOSING = enum.auto()
    """We have said farewell."""
    ENDED = enum.auto()
    """The peer has, or has broken the protocol: nothing of it is delivered any more."""
    CLOSED = enum.auto()


class Layer(Transport):
    """A codec over a transport.

    Args:
        inner: not started; belongs to the layer from here on.
        codec: after its handshake; it may have been fed more than that.
        attestation: what is known of the peer.
    """

    def __init__(self, inner: Transport, codec: Codec, attestation: Attestation) -> None:
        self.attestation = attestation
        self.pump = inner.pump
        self._inner = inner
        self._codec = codec
        self._receiver: Receiver | None = None
        self._soon: Schedule | None = None
        self._state = _State.OPEN
        self._error: Exception | None = None
        self._paused = False
        """Whether the receiver wants no more for now."""
        self._more = True
        """Whether the codec may have something that was not delivered; then `inner` is not read."""
        self._delivering = False
        self._scheduled = False
        self._give_up: Callable[[], object] | None = None
        """Ends the patience with a peer that does not say farewell."""

    # --- the connection's side ---

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._soon = soon()
        self._inner.start(self)
        self._schedule()  # what came behind the handshake

    def send(self, chunks: Sequence[bytes]) -> None:
        if self._state is _State.OPEN and (encoded := self._codec.encode(chunks)):
            self._inner.send(encoded)

    @property
    def backlog(self) -> int:
        return self._inner.backlog

    def pause(self) -> None:
        if self._state is _State.OPEN and not self._paused:
            self._paused = True
            if self._receiver is not None:
                self._inner.pause()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            if self._more:
                self._schedule()
            elif self._state is not _State.CLOSED:
                self._inner.resume()

    def close(self) -> None:
        if self._state is not _State.OPEN:
            return
        self._state = _State.CLOSING
        self._inner.send(self._codec.farewell())
        if self._receiver is None or self._codec.ended or not self._codec.awaits_farewell:
            self._inner.close()
            return
        self._give_up = later(LINGER, self._inner.close)
        self._paused = False
        if self._more:
            self._schedule()
        else:
            self._inner.resume()

    def abort(self) -> None:
        if self._state in (_State.OPEN, _State.ENDED):
            self._state = _State.CLOSING
        self._inner.abort()

    # --- the side of `inner` ---

    def data_received(self, data: bytes | bytearray | memoryview) -> None:
        if self._state in (_State.OPEN, _State.CLOSING):
            self._codec.feed(data)
            self._more = True
            self._deliver()

    def writable(self) -> None:
        if self._receiver is not None and self._state is _State.OPEN:
            self._receiver.writable()

    def closed(self, error: Exception | None) -> None:
        while self._state is _State.OPEN and self._more and not self._paused:
            self._deliver()
        if self._give_up is not None:
            self._give_up()
        if self._state is _State.OPEN:
            self._error = error or Unavailable("the connection was cut: its end was not said", reason="truncated")
        self._state = _State.CLOSED
        if self._receiver is not None:
            self._receiver.closed(self._error)

    # --- steps ---

    def _schedule(self) -> None:
        """Have `_deliver` called in the next turn; never at once, for our caller may be the receiver."""
        if not self._scheduled and not self._delivering and self._soon is not None:
            self._scheduled = True
            self._soon(self._wake)

    def _wake(self) -> None:
        self._scheduled = False
        if self._state in (_State.OPEN, _State.CLOSING) and not self._delivering:
            self._deliver()

    def _deliver(self) -> None:
        """Hand over what has come until the receiver wants no more, it was enough for one turn, or it was all."""
        self._delivering = True
        try:
            self._take()
        except CapnetError as error:
            self._end(error, self._codec.answer())
            return
        finally:
            self._delivering = False
        if self._state not in (_State.OPEN, _State.CLOSING):
            return
        if answer := self._codec.answer(crowded=self._inner.backlog > HIGH_WATER):
            self._inner.send(answer)
        if self._more:
            self._inner.pause()
            if not self._paused:
                self._schedule()
        elif self._codec.ended:
            if self._state is _State.OPEN:
                self._end(None, self._codec.farewell())
            else:
                self._inner.close()
        elif not self._paused:
            self._inner.resume()

    def _take(self) -> None:
        assert self._receiver is not None
        codec, receiver = self._codec, self._receiver
        for _ in range(TURN):
            if self._paused or self._state not in (_State.OPEN, _State.CLOSING):
                return
            piece = codec.take()
            if piece is None:
                self._more = False
                return
            if piece and self._state is _State.OPEN:
                receiver.data_received(piece)

    def _end(self, error: Exception | None, last: list[bytes]) -> None:
        """The peer has said farewell, or has broken the protocol."""
        if self._state is _State.OPEN:
            self._state = _State.ENDED
            self._error = error
        if last:
            self._inner.send(last)
        self._inner.close()
