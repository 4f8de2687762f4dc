"""A connected stream socket as a `Transport`, whatever the loop.

`SocketTransport` does all that can be done without waiting: it reads when told that there is something, writes at once
what the system takes, and keeps the rest. Its subclasses only tell it when the socket is ready: `asyncio_sockets.py`
through `add_reader` and `add_writer`, `trio_sockets.py` through the tasks of `pump`. `attach.py` takes the right one.

Why not asyncio's own transports: measured here between two processes on one core, with one buffer per loop and
`sendmsg`, messages of a megabyte travel six times as fast and small ones equally fast; a transport needs no turn of the
loop to come into being and no 64 KiB of its own; and what the peer sent before it closed is not lost when a write fails
first.

The life of a transport:

    OPEN ─── close() ────────▶ CLOSING   writes what is queued, ends its side, drops what comes in ───┐
      ├───── a write fails ──▶ LEAVING   the peer is gone; what it sent before is still delivered ────┤
      └───── end of file, abort() ────────────────────────────────────────────────────────────────────┴─▶ CLOSED

CLOSING and LEAVING end with the peer's end of file, or after `LINGER` seconds in which nothing moved. A side that
closes must not vanish at once: with unread bytes in it the system would answer the peer with a reset, and that can
overtake the last frames. There is no half-open state: who has ended its side reads no more, so what is queued for it is
dropped.
"""

from __future__ import annotations

import asyncio
import enum
import socket
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, cast
from weakref import WeakKeyDictionary

from capnet.transport import HIGH_WATER, LOW_WATER, Attestation, Receiver, Transport
from capnet_transports.failures import failure
from capnet_transports.loops import running
from capnet_transports.pipes import Pipes

if TYPE_CHECKING:
    import trio

__all__ = ["LINGER", "SocketTransport", "State", "buffer_of", "shared_buffer"]

LINGER = 2.0
"""Seconds a closing transport waits for the peer to take a byte or to end its side."""
_BUFFER: Final = 256 * 1024
"""Bytes read at once; one such buffer serves all transports of a loop, because nobody keeps what it is handed."""
_SEND_BUFFER: Final = 256 * 1024
"""Bytes on their way that a unix socket may hold; the system may give less, or twice as much. More than most systems
begin with: the two sides wait for each other less often, and a megabyte travels in half the time."""
_LAST_READS: Final = 64
"""Reads of what a peer that is gone has left behind; a stranger who holds its end could write for ever."""
_JOIN: Final = 64 * 1024
"""Bytes up to which copying chunks together is cheaper than handing the system a list."""
_CHUNKS: Final = 1024
"""Chunks the system takes in one call (IOV_MAX on every system we know)."""


class State(enum.Enum):
    """In the life of a transport."""

    OPEN = enum.auto()
    CLOSING = enum.auto()
    LEAVING = enum.auto()
    CLOSED = enum.auto()


class SocketTransport(Transport):
    """What both loops share. Made by `attach`."""

    def __init__(
        self,
        sock: socket.socket | Pipes,
        attestation: Attestation,
        on_end: Callable[[], None] | None,
        buffer: memoryview,
    ) -> None:
        sock.setblocking(False)
        if isinstance(sock, socket.socket) and sock.family == socket.AF_UNIX:  # TCP finds its own size
            try:  # noqa: SIM105 - which takes three calls, for each connection; likewise below
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            except OSError:
                pass  # some systems refuse when the peer has gone; reading will tell
        self.attestation = attestation
        self._socket = sock
        self._writing_end = sock.writing_end if isinstance(sock, Pipes) else sock.fileno()
        self._receive_into = sock.recv_into
        self._buffer = buffer
        self.before: Callable[[Receiver], Receiver] | None = None
        self.left = False
        """The end came from the peer, and not from us."""
        self._on_end = on_end
        self._receiver: Receiver | None = None
        self._state = State.OPEN
        self._error: Exception | None = None
        self._reading = False
        self._writing = False
        self._queue: list[bytes | bytearray | memoryview] = []
        self._backlog = 0
        self._crowded = False
        """Whether the backlog was above `HIGH_WATER` and has not fallen to `LOW_WATER` since."""
        self._lingered = 0
        """Backlog when `LINGER` last began."""

    # --- the interface ---

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver if self.before is None else self.before(receiver)
        if self._state is State.CLOSED:
            self._announce_end()
        else:
            self._read(True)

    def send(self, chunks: Sequence[bytes]) -> None:
        if self._state is not State.OPEN:
            return
        sent = 0
        if not self._queue:
            if len(chunks) > 1 and sum(map(len, chunks)) <= _JOIN:
                chunks = (b"".join(chunks),)
            try:
                sent = self._write(chunks)
            except OSError as error:
                self._leave(failure(error, "write"))
                return
            if len(chunks) == 1 and sent == len(chunks[0]):
                return
        self._keep(chunks, sent)

    @property
    def backlog(self) -> int:
        return self._backlog

    def pause(self) -> None:
        if self._reading and self._state is not State.CLOSING:
            self._read(False)

    def resume(self) -> None:
        if not self._reading and self._receiver is not None and self._state is not State.CLOSED:
            self._read(True)

    def close(self) -> None:
        if self._state is State.OPEN and self._receiver is not None:
            self._state = State.CLOSING
            if not self._reading:
                self._read(True)  # the peer's end of file must be seen
            self._linger()
            if not self._queue:
                self._end_writing()
        elif self._state is not State.CLOSING:
            self._end(None)

    def abort(self) -> None:
        self._end(None)

    def hand_over(self, receiver: Receiver) -> None:
        """From now on this one is called."""
        self._receiver = receiver

    def expect_end(self) -> None:
        """Told by who knows that the peer is gone: deliver what it sent, then end.

        No end of file need come: a child of the peer's may hold its end. While reading is paused the rest waits, for
        `LINGER` seconds at most.
        """
        self._leave(None)
        for _ in range(_LAST_READS):
            if self._state is not State.LEAVING or not self._reading:
                return
            if not self._readable():
                break
        if self._reading:
            self._end(None)

    # --- the socket is ready ---

    def _readable(self) -> bool:
        """Read once; whether something was read."""
        try:
            size = self._receive_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self._end_by_peer(failure(error, "read"))
            return False
        if not size:
            self._end_by_peer(None)
            return False
        if self._state is not State.CLOSING and self._receiver is not None:
            self._receiver.data_received(self._buffer[:size])
        return True

    def _writable(self) -> None:
        try:
            sent = self._write(self._queue[:_CHUNKS])
        except OSError as error:
            self._leave(failure(error, "write"))
            return
        self._backlog -= sent
        done, queue = 0, self._queue
        while done < len(queue) and sent >= len(queue[done]):
            sent -= len(queue[done])
            done += 1
        del queue[:done]
        if sent:
            queue[0] = memoryview(queue[0])[sent:]
        if not queue:
            self._await_room(False)
            if self._state is State.CLOSING:
                self._end_writing()
        self._relieve()

    # --- steps ---

    def _write(self, chunks: Sequence[bytes | bytearray | memoryview]) -> int:
        """Bytes of `chunks` that the system took, in one call."""
        try:
            if len(chunks) == 1:
                return self._socket.send(chunks[0])
            return self._socket.sendmsg(chunks[:_CHUNKS])
        except (BlockingIOError, InterruptedError):
            return 0

    def _keep(self, chunks: Sequence[bytes], sent: int) -> None:
        """Queue what is left of `chunks` after `sent` bytes."""
        for chunk in chunks:
            if sent >= len(chunk):
                sent -= len(chunk)
                continue
            self._put(memoryview(chunk)[sent:] if sent else chunk)
            self._backlog += len(chunk) - sent
            sent = 0
        if self._queue and not self._writing:
            self._await_room(True)
        if self._backlog > HIGH_WATER:
            self._crowded = True

    def _put(self, chunk: bytes | memoryview) -> None:
        """Queue one; small ones together, since each by itself would take several times its length."""
        queue = self._queue
        if len(chunk) >= _JOIN:
            queue.append(chunk)
        elif queue and type(queue[-1]) is bytearray and len(queue[-1]) < _JOIN:
            queue[-1] += chunk
        else:
            queue.append(bytearray(chunk))

    def _relieve(self) -> None:
        if self._crowded and self._backlog <= LOW_WATER:
            self._crowded = False
            if self._receiver is not None and self._state is not State.CLOSED:
                self._receiver.writable()

    def _end_by_peer(self, error: Exception | None) -> None:
        self.left |= self._state is State.OPEN
        self._end(error)

    def _leave(self, error: Exception | None) -> None:
        if self._state is State.OPEN:
            self.left = True
            self._state = State.LEAVING
            self._error = error
            self._drop()
            self._linger()
        elif self._state is State.CLOSING:
            self._end(None)

    def _drop(self) -> None:
        self._queue.clear()
        self._backlog = 0
        if self._writing:
            self._await_room(False)

    def _end_writing(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._end(None)  # there is no peer left whose end of file could be awaited

    def _linger(self) -> None:
        self._lingered = self._backlog
        self._start_timer(LINGER)

    def _lingered_enough(self) -> None:
        """`LINGER` seconds are over: go on while the peer takes what is queued, else end."""
        if self._state is State.CLOSING and self._backlog < self._lingered:
            self._linger()
        else:
            self._end(self._error)

    def _end(self, error: Exception | None) -> None:
        if self._state is State.CLOSED:
            return
        self._state = State.CLOSED
        self._error = error
        self._drop()
        if self._reading:
            self._read(False)
        # Not only close: a forked child may hold the socket too, and the peer must see the end all the same.
        try:  # noqa: SIM105
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._close_socket()
        if self._on_end is not None:
            self._on_end()
        self._announce_end()

    # --- what each loop does ---

    @abstractmethod
    def _read(self, on: bool, /) -> None:
        """Set `_reading`; have `_readable` called whenever there is something to read, or no longer."""

    @abstractmethod
    def _await_room(self, on: bool, /) -> None:
        """Set `_writing`; have `_writable` called whenever there is room to write, or no longer."""

    @abstractmethod
    def _start_timer(self, seconds: float, /) -> None:
        """Have `_lingered_enough` called in so many seconds."""

    @abstractmethod
    def _close_socket(self) -> None:
        """Close the socket and let go of the loop."""

    @abstractmethod
    def _announce_end(self) -> None:
        """Have `Receiver.closed` called with `_error`, if there is a receiver."""


def shared_buffer() -> memoryview:
    """The buffer that all transports of the running loop read into. Whoever was handed a part of it and has not
    returned yet may use it again, once it has looked at that part."""
    return buffer_of(cast("asyncio.AbstractEventLoop | trio.lowlevel.TrioToken", running()))


_buffers: WeakKeyDictionary[asyncio.AbstractEventLoop | trio.lowlevel.TrioToken, memoryview] = WeakKeyDictionary()


def buffer_of(loop: asyncio.AbstractEventLoop | trio.lowlevel.TrioToken) -> memoryview:
    """The buffer that all transports of `loop` read into; no two reads of one loop overlap."""
    buffer = _buffers.get(loop)
    if buffer is None:
        buffer = _buffers[loop] = memoryview(bytearray(_BUFFER))
    return buffer
