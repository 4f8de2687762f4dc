"""A connected stream socket as a `Transport`, on asyncio (uvloop included) and on trio.

`SocketTransport` does all that can be done without waiting: it reads when told that there is something, writes at once
what the system takes, and keeps the rest. Its two subclasses only tell it when the socket is ready, asyncio through
`add_reader` and `add_writer`, trio through the tasks of `pump`.

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
import os
import socket
import stat
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast
from weakref import WeakKeyDictionary

from capnet.transport import HIGH_WATER, LOW_WATER, Attestation, Receiver, Transport
from capnet_transports.failures import failure
from capnet_transports.loops import in_trio, running

if TYPE_CHECKING:
    import trio

__all__ = [
    "LINGER",
    "AsyncioSocketTransport",
    "Pipes",
    "SocketTransport",
    "TrioSocketTransport",
    "attach",
    "shared_buffer",
]

LINGER = 2.0
"""Seconds a closing transport waits for the peer to take a byte or to end its side."""
_BUFFER: Final = 256 * 1024
"""Bytes read at once; one such buffer serves all transports of a loop, because nobody keeps what it is handed."""
_SEND_BUFFER: Final = 256 * 1024
"""Bytes on their way that a unix socket may hold; the system may give less, or twice as much. More than most systems
begin with: the two sides wait for each other less often, and a megabyte travels in half the time."""
_LAST_READS: Final = 64
"""Reads of what a peer that is gone has left behind; a stranger who holds its end could write for ever."""
_REMINDER: Final = 0.05
"""Seconds from a read to the moment uvloop is asked again whether there is more."""
_JOIN: Final = 64 * 1024
"""Bytes up to which copying chunks together is cheaper than handing the system a list."""
_CHUNKS: Final = 1024
"""Chunks the system takes in one call (IOV_MAX on every system we know)."""


class _State(enum.Enum):
    OPEN = enum.auto()
    CLOSING = enum.auto()
    LEAVING = enum.auto()
    CLOSED = enum.auto()


def attach(
    sock: socket.socket | Pipes,
    attestation: Attestation,
    on_end: Callable[[], None] | None = None,
    before: Callable[[Receiver], Receiver] | None = None,
) -> SocketTransport:
    """A transport over a connected stream socket, or two pipes, for the loop that runs now.

    Args:
        sock: belongs to the transport from here on; becomes non-blocking. Nothing is read from it before `start`.
        attestation: what is known of the peer.
        on_end: called once when the socket has been closed, before `Receiver.closed`.
        before: given the receiver, says who is called in its place until `hand_over`.
    """
    if in_trio():
        transport: SocketTransport = TrioSocketTransport(sock, attestation, on_end)
    elif type(asyncio.get_running_loop()).__module__ == "uvloop":
        transport = UvloopSocketTransport(sock, attestation, on_end)
    else:
        transport = AsyncioSocketTransport(sock, attestation, on_end)
    transport.before = before
    return transport


class Pipes:
    """Two descriptors, to read from and to write to, with as much of a socket's methods as `SocketTransport` needs.

    Each is a pipe or a socket that other processes may have open as well. Whether such a thing blocks is the same for
    all of them, and one that does not expect it fails: so sockets are left as they are, and pipes are opened anew
    where the system can.

    Args:
        reading_end: descriptor of the first; both belong to the object.
        writing_end: of the second.
    """

    def __init__(self, reading_end: int, writing_end: int) -> None:
        self._coming = _end_of_ours(reading_end, os.O_RDONLY)
        self._going = _end_of_ours(writing_end, os.O_WRONLY)
        self.writing_end = self._going if isinstance(self._going, int) else self._going.fileno()
        self._open = [self._coming, self._going]

    def fileno(self) -> int:
        return self._coming if isinstance(self._coming, int) else self._coming.fileno()

    def setblocking(self, flag: bool, /) -> None:
        for end in self._open:
            if isinstance(end, int):
                os.set_blocking(end, flag)

    def recv_into(self, buffer: memoryview, /) -> int:
        if isinstance(self._coming, int):
            return os.readv(self._coming, [buffer])
        return self._coming.recv_into(buffer, 0, socket.MSG_DONTWAIT)

    def send(self, data: bytes | bytearray | memoryview, /) -> int:
        if isinstance(self._going, int):
            return os.write(self._going, data)
        return self._going.send(data, socket.MSG_DONTWAIT)

    def sendmsg(self, chunks: Sequence[bytes | bytearray | memoryview], /) -> int:
        if isinstance(self._going, int):
            return os.writev(self._going, chunks)
        return self._going.sendmsg(chunks, (), socket.MSG_DONTWAIT)

    def shutdown(self, _how: int, /) -> None:
        """End our side, whoever else may hold it."""
        if isinstance(self._going, socket.socket):
            with suppress(OSError):
                self._going.shutdown(socket.SHUT_WR)
        self._close(self._going)

    def close(self) -> None:
        for end in tuple(self._open):
            self._close(end)

    def _close(self, end: int | socket.socket) -> None:
        if end not in self._open:
            return
        self._open.remove(end)
        if in_trio():
            from trio.lowlevel import notify_closing

            notify_closing(end)
        if isinstance(end, socket.socket):
            end.close()
        else:
            os.close(end)


def _end_of_ours(end: int, mode: int) -> int | socket.socket:
    if stat.S_ISSOCK(os.fstat(end).st_mode):
        return socket.socket(fileno=end)
    with suppress(OSError):  # only Linux opens a pipe anew
        again = os.open(f"/proc/self/fd/{end}", mode | os.O_NONBLOCK | os.O_CLOEXEC)
        os.close(end)
        return again
    return end


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
            with suppress(OSError):  # some systems refuse when the peer has gone; reading will tell
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
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
        self._state = _State.OPEN
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
        if self._state is _State.CLOSED:
            self._announce_end()
        else:
            self._read(True)

    def send(self, chunks: Sequence[bytes]) -> None:
        if self._state is not _State.OPEN:
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
        if self._reading and self._state is not _State.CLOSING:
            self._read(False)

    def resume(self) -> None:
        if not self._reading and self._receiver is not None and self._state is not _State.CLOSED:
            self._read(True)

    def close(self) -> None:
        if self._state is _State.OPEN and self._receiver is not None:
            self._state = _State.CLOSING
            if not self._reading:
                self._read(True)  # the peer's end of file must be seen
            self._linger()
            if not self._queue:
                self._end_writing()
        elif self._state is not _State.CLOSING:
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
            if self._state is not _State.LEAVING or not self._reading:
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
        if self._state is not _State.CLOSING and self._receiver is not None:
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
            if self._state is _State.CLOSING:
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
            if self._receiver is not None and self._state is not _State.CLOSED:
                self._receiver.writable()

    def _end_by_peer(self, error: Exception | None) -> None:
        self.left |= self._state is _State.OPEN
        self._end(error)

    def _leave(self, error: Exception | None) -> None:
        if self._state is _State.OPEN:
            self.left = True
            self._state = _State.LEAVING
            self._error = error
            self._drop()
            self._linger()
        elif self._state is _State.CLOSING:
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
        self._start_timer()

    def _lingered_enough(self) -> None:
        """`LINGER` seconds are over: go on while the peer takes what is queued, else end."""
        if self._state is _State.CLOSING and self._backlog < self._lingered:
            self._linger()
        else:
            self._end(self._error)

    def _end(self, error: Exception | None) -> None:
        if self._state is _State.CLOSED:
            return
        self._state = _State.CLOSED
        self._error = error
        self._drop()
        if self._reading:
            self._read(False)
        # Not only close: a forked child may hold the socket too, and the peer must see the end all the same.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
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
    def _start_timer(self) -> None:
        """Have `_lingered_enough` called in `LINGER` seconds."""

    @abstractmethod
    def _close_socket(self) -> None:
        """Close the socket and let go of the loop."""

    @abstractmethod
    def _announce_end(self) -> None:
        """Have `Receiver.closed` called with `_error`, if there is a receiver."""


class AsyncioSocketTransport(SocketTransport):
    """On asyncio and uvloop; the loop calls it directly, there is no task."""

    def __init__(
        self, sock: socket.socket | Pipes, attestation: Attestation, on_end: Callable[[], None] | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        super().__init__(sock, attestation, on_end, _buffer_of(self._loop))
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

    def _start_timer(self) -> None:
        self._timer = self._loop.call_later(LINGER, self._lingered_enough)

    def _close_socket(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with suppress(OSError):  # it is closed all the same
            self._socket.close()

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
            self._reminder = self._loop.call_later(_REMINDER, self._remind)
        return more

    def _leave(self, error: Exception | None) -> None:
        super()._leave(error)
        if self._state is _State.LEAVING:
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


class TrioSocketTransport(SocketTransport):
    """On trio; `pump` waits for the socket and delivers `Receiver.closed`, also when it is cancelled."""

    def __init__(
        self, sock: socket.socket | Pipes, attestation: Attestation, on_end: Callable[[], None] | None = None
    ) -> None:
        import trio

        super().__init__(sock, attestation, on_end, _buffer_of(trio.lowlevel.current_trio_token()))
        self.pump: Callable[[], Awaitable[None]] | None = self._run
        self._readers = trio.lowlevel.ParkingLot()
        self._writers = trio.lowlevel.ParkingLot()
        self._lingering = trio.Event()
        self._ended = trio.Event()

    async def _run(self) -> None:
        import trio

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._reads)
                nursery.start_soon(self._writes)
                await self._lingering.wait()
                while not self._ended.is_set():
                    with trio.move_on_after(LINGER) as patience:
                        await self._ended.wait()
                    if patience.cancelled_caught:
                        self._lingered_enough()
        finally:
            self._end(None)
            if self._receiver is not None:
                self._receiver.closed(self._error)

    async def _reads(self) -> None:
        from trio import ClosedResourceError
        from trio.lowlevel import wait_readable

        with suppress(ClosedResourceError):
            while self._state is not _State.CLOSED:
                if not self._reading:
                    await self._readers.park()
                    continue
                await wait_readable(self._socket)
                if self._reading:
                    self._readable()

    async def _writes(self) -> None:
        from trio import ClosedResourceError
        from trio.lowlevel import wait_writable

        with suppress(ClosedResourceError):
            while self._state is not _State.CLOSED:
                if not self._writing:
                    await self._writers.park()
                    continue
                await wait_writable(self._writing_end)
                if self._writing:
                    self._writable()

    def _read(self, on: bool, /) -> None:
        self._reading = on
        self._readers.unpark_all()

    def _await_room(self, on: bool, /) -> None:
        self._writing = on
        self._writers.unpark_all()

    def _start_timer(self) -> None:
        self._lingering.set()

    def _close_socket(self) -> None:
        from trio.lowlevel import notify_closing

        notify_closing(self._socket)
        with suppress(OSError):  # it is closed all the same
            self._socket.close()
        self._readers.unpark_all()
        self._writers.unpark_all()
        self._lingering.set()
        self._ended.set()

    def _announce_end(self) -> None:
        """Nothing: `pump` tells it, last of all."""


def shared_buffer() -> memoryview:
    """The buffer that all transports of the running loop read into. Whoever was handed a part of it and has not
    returned yet may use it again, once it has looked at that part."""
    return _buffer_of(cast("asyncio.AbstractEventLoop | trio.lowlevel.TrioToken", running()))


_buffers: WeakKeyDictionary[asyncio.AbstractEventLoop | trio.lowlevel.TrioToken, memoryview] = WeakKeyDictionary()


def _buffer_of(loop: asyncio.AbstractEventLoop | trio.lowlevel.TrioToken) -> memoryview:
    """The buffer that all transports of `loop` read into; no two reads of one loop overlap."""
    buffer = _buffers.get(loop)
    if buffer is None:
        buffer = _buffers[loop] = memoryview(bytearray(_BUFFER))
    return buffer
