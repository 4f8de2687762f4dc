"""`VirtualTransport`: one end of a virtual connection, and two of them joined for somebody else (P-VIRT)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from capnet.engine.channels import CHANNEL_WINDOW, Channel
from capnet.engine.virtual import LONGEST_DATA
from capnet.session.session import Session
from capnet.transport import HIGH_WATER, LOW_WATER, Receiver, Transport

from .inside import Inside

__all__ = ["VirtualTransport", "join"]

RUN: Final = CHANNEL_WINDOW
"""Bytes that leave in one turn of the loop, so that what the connection around it says is soon between them."""


class VirtualTransport(Transport):
    """What a channel is to the connection that runs on it.

    Args:
        inside: of the connection that carries it.
        channel: opened by one side.
        acceptance: the frame that accepts it, when the peer has opened it; it leaves when the transport is started.
    """

    def __init__(self, inside: Inside, channel: Channel, acceptance: bytes | None = None) -> None:
        session = inside.session
        self.within = inside
        self.attestation = replace(session.attestation, metadata=channel.said)
        self._session: Session = session
        self._channel = channel
        self._acceptance = acceptance
        self._receiver: Receiver | None = None
        self._queue: deque[bytes | memoryview] = deque()
        self._size = 0
        self._marks = LOW_WATER, HIGH_WATER
        self._crowded = False
        """Whether the backlog was above the high mark and has not fallen to the low one since."""
        self._scheduled = False
        self._waiting = False
        """The connection around it is to catch up first."""
        self._paused = False
        self._closing = False
        self._over = False
        channel.token = self

    @property
    def around(self) -> Transport:
        """That of the connection which carries it."""
        return self._session.driver.transport

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver
        if self._over:
            self._tell_end(None)
            return
        self.accept()
        self.changed()

    def accept(self) -> None:
        """Let the peer begin, if it is to be told so."""
        if self._acceptance is not None:
            self._session.engine.virtual.accept(self._channel, self._acceptance)
            self._session.driver.flush_soon()
            self._acceptance = None

    def changed(self) -> None:
        """There are bytes, there is room, or the end: look in the next turn of the loop."""
        if not self._scheduled:
            self._scheduled = True
            self._session.loop.call_soon(self._go_on)

    def send(self, chunks: Sequence[bytes]) -> None:
        if self._closing or self._over:
            return
        self._queue.extend(chunks)
        self._size += sum(map(len, chunks))
        self._write()
        if self._size > self._marks[1]:
            self._crowded = True

    @property
    def backlog(self) -> int:
        return self._size

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self.changed()

    def close(self) -> None:
        self._closing = True
        if not self._size or self._receiver is None:
            self._end()

    def abort(self) -> None:
        self._end()

    def share_room(self) -> None:
        """Be crowded by whatever waits, and until nothing does: for who passes on what it does not keep."""
        self._marks = 0, 0

    def _go_on(self) -> None:
        self._scheduled = False
        receiver, channel = self._receiver, self._channel
        if self._over or receiver is None:
            return
        self._write()
        if not channel.open:
            self._queue.clear()
            self._size = 0
        if self._closing and not self._size:
            self._end()
            return
        if self._crowded and self._size <= self._marks[0]:
            self._crowded = False
            receiver.writable()
        self._read(receiver)

    def _read(self, receiver: Receiver) -> None:
        channel = self._channel
        if channel.data and not (self._paused or self._closing):
            data = self._session.engine.virtual.take(channel)
            self._session.driver.flush_soon()
            receiver.data_received(data)
        if (channel.heard or channel.left) and not (channel.data or self._paused):
            self._end(channel.error)

    def _write(self) -> None:
        """Send what there is room for, and let the connection around it have its turn."""
        channel, session = self._channel, self._session
        if not self._size or not channel.accepted or self._waiting:
            return
        left = RUN if session.driver.transport.backlog <= HIGH_WATER else 0
        while self._size and channel.open and channel.room:
            if left <= 0:
                self._wait_for_turn()
                break
            data = self._cut(min(channel.room, LONGEST_DATA))
            left -= len(data)
            session.engine.virtual.send(channel, data)
        session.driver.flush_soon()

    def _wait_for_turn(self) -> None:
        self._waiting = True
        self._session.loop.spawn(self._caught_up)

    async def _caught_up(self) -> None:
        driver = self._session.driver
        driver.flush()
        while driver.transport.backlog > HIGH_WATER and not driver.transport_closed:
            await driver.written()
        self._waiting = False
        self.changed()

    def _cut(self, most: int) -> bytes:
        """The next bytes of the queue, no more than that."""
        pieces: list[bytes | memoryview] = []
        size = 0
        while self._queue and size < most:
            chunk = self._queue.popleft()
            if len(chunk) > most - size:
                whole = memoryview(chunk)
                self._queue.appendleft(whole[most - size :])
                chunk = whole[: most - size]
            pieces.append(chunk)
            size += len(chunk)
        self._size -= size
        return b"".join(pieces)

    def _end(self, error: Exception | None = None) -> None:
        if self._over:
            return
        self._over = True
        self._queue.clear()
        self._size = 0
        session = self._session
        if self._acceptance is None:  # else whoever decides about it refuses it
            with session.must_succeed:
                session.engine.virtual.close(self._channel)
        session.driver.handle_events()  # it may have been the last that the connection around it waited for
        session.driver.flush_soon()
        if self._receiver is not None:
            self._tell_end(error)

    def _tell_end(self, error: Exception | None) -> None:
        receiver = self._receiver
        assert receiver is not None
        self._session.loop.call_soon(lambda: receiver.closed(error))


def join(one: VirtualTransport, other: VirtualTransport) -> None:
    """Pass on what comes on each of two transports, not started, to the other, and look at nothing of it.

    No more of it is here than either side has room for; when one ends, so does the other.
    """
    for transport in (one, other):
        transport.share_room()
    one.start(_Passing(one, other))
    other.start(_Passing(other, one))


class _Passing(Receiver):
    """Takes what comes from a transport, and sends it on."""

    def __init__(self, source: VirtualTransport, target: VirtualTransport) -> None:
        self._source = source
        self._target = target

    def data_received(self, data: bytes | bytearray | memoryview) -> None:
        self._target.send([bytes(data)])
        if self._target.backlog:
            self._source.pause()

    def writable(self) -> None:
        self._target.resume()

    def closed(self, error: Exception | None) -> None:
        self._target.close()
