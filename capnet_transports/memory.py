"""`memory:NAME`: two ends in one process and one loop; for tests, and for plugins that need no process of their own.

Chunks are handed over as they are, in a later turn of the loop, so that both ends behave as if a wire were between
them. What the other end has not been given yet is the sender's backlog.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import anyio

from capnet.errors import AlreadyExists, FailedPrecondition, InvalidArgument, Unavailable
from capnet.transport import HIGH_WATER, LOW_WATER, Attestation, Listener, Receiver, Transport, TransportScheme
from capnet_transports.loops import Schedule, running, soon
from capnet_transports.options import MemoryOptions, NoOptions, refuse_others

__all__ = ["MemoryTransport", "memory_pair", "scheme"]


def memory_pair() -> tuple[MemoryTransport, MemoryTransport]:
    """Two connected transports, each the other's peer. Both must be started in the same loop."""
    there, back = _Lane(), _Lane()
    return MemoryTransport(back, there), MemoryTransport(there, back)


class _Lane:
    """One direction: what its writer has sent and its reader has not been given."""

    def __init__(self) -> None:
        self.chunks: deque[bytes] = deque()
        self.size = 0
        self.ended = False
        """Whether one of the two is gone: nothing is added any more."""
        self.on_news: Callable[[], None] = _nothing
        """Tells the reader that there is something, or the end."""
        self.on_room: Callable[[], None] = _nothing
        """Tells the writer that something was taken."""

    def put(self, chunks: Sequence[bytes]) -> None:
        if not self.ended:
            self.chunks.extend(chunks)
            self.size += sum(map(len, chunks))
            self.on_news()

    def take(self) -> bytes:
        chunk = self.chunks.popleft()
        self.size -= len(chunk)
        return chunk

    def end(self) -> None:
        self.ended = True
        self.on_news()

    def drop(self) -> None:
        self.chunks.clear()
        self.size = 0


class MemoryTransport(Transport):
    """One end of a `memory_pair`."""

    def __init__(self, incoming: _Lane, outgoing: _Lane) -> None:
        self.attestation = Attestation(transport="memory", pid=os.getpid(), uid=_uid())
        self._receiver: Receiver | None = None
        self._soon: Schedule | None = None
        self._incoming = incoming
        self._outgoing = outgoing
        incoming.on_news = self._schedule
        outgoing.on_room = self._relieve
        self._paused = False
        self._scheduled = False
        self._ended = False
        self._crowded = False
        """Whether the backlog was above `HIGH_WATER` and has not fallen to `LOW_WATER` since."""

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._soon = soon()
        if self._ended:
            self._soon(lambda: receiver.closed(None))
        self._schedule()

    def send(self, chunks: Sequence[bytes]) -> None:
        self._outgoing.put(chunks)
        if self._outgoing.size > HIGH_WATER:
            self._crowded = True

    @property
    def backlog(self) -> int:
        return self._outgoing.size

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._schedule()

    def close(self) -> None:
        self._end()

    def abort(self) -> None:
        if not self._ended:
            self._outgoing.drop()
            self._end()

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._incoming.drop()
        self._incoming.ended = True
        self._outgoing.end()
        if self._soon is not None and (receiver := self._receiver) is not None:
            self._soon(lambda: receiver.closed(None))

    def _schedule(self) -> None:
        """Have `_deliver` run soon when there may be something to deliver."""
        if self._soon is None or self._scheduled or self._paused or self._ended:
            return
        if self._incoming.chunks or self._incoming.ended:
            self._scheduled = True
            self._soon(self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        lane = self._incoming
        while lane.chunks and not (self._paused or self._ended) and self._receiver is not None:
            if chunk := lane.take():
                self._receiver.data_received(chunk)
        lane.on_room()
        if lane.ended and not lane.chunks and not self._paused:
            self._end()

    def _relieve(self) -> None:
        if self._crowded and self.backlog <= LOW_WATER:
            self._crowded = False
            if self._receiver is not None and not self._ended:
                self._receiver.writable()


class MemoryListener(Listener):
    """A name that transports can be asked from. Made by `listen`."""

    def __init__(self, name: str, accept: Callable[[Transport], object]) -> None:
        self.url = f"memory:{name}"
        self.loop = running()
        self._name = name
        self._accept = accept
        self._waiting: deque[MemoryTransport] = deque()
        self._news = anyio.Event()
        self._closed = False

    def offer(self, transport: MemoryTransport) -> None:
        """Have `serve` accept `transport`."""
        self._waiting.append(transport)
        self._news.set()

    async def serve(self) -> None:
        while not self._closed:
            await self._news.wait()
            self._news = anyio.Event()
            while self._waiting and not self._closed:
                self._accept(self._waiting.popleft())

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            del _listeners[self._name]
            while self._waiting:
                self._waiting.popleft().abort()
            self._news.set()


class _MemoryScheme:
    async def connect(self, rest: str, /, **options: Any) -> Transport:
        refuse_others("memory", options, MemoryOptions)
        return connect(rest, **options)

    async def listen(self, rest: str, accept: Callable[[Transport], object], /, **options: Any) -> Listener:
        refuse_others("memory", options, NoOptions)
        return listen(rest, accept)


scheme: TransportScheme = _MemoryScheme()
"""The scheme `memory`."""


def connect(name: str, *, attestation: Attestation | None = None) -> Transport:
    """A transport to the listener called `name` in this process.

    Args:
        attestation: what the listener takes for proven about this end, where somebody else stands behind it.

    Raises:
        Unavailable: `no_listener`, there is none.
        FailedPrecondition: `another_loop`, there is one in another loop, which need not run any more.
    """
    listener = _listeners.get(name)
    if listener is None:
        raise Unavailable(
            f"memory:{name}: nothing in this process listens under that name",
            reason="no_listener",
            hint=f"start it first, or wait for it: connect('memory:{name}', wait=5)",
        )
    if listener.loop is not running():
        raise FailedPrecondition(
            f"memory:{name}: what listens under that name belongs to another event loop",
            reason="another_loop",
            hint="both ends of a memory: connection are in one loop; between two of them use unix:",
        )
    ours, theirs = memory_pair()
    if attestation is not None:
        theirs.attestation = attestation
    listener.offer(theirs)
    return ours


def listen(name: str, accept: Callable[[Transport], object]) -> Listener:
    """A listener called `name`.

    Raises:
        InvalidArgument: the name is empty.
        AlreadyExists: the name is taken (`eaddrinuse`).
    """
    if not name:
        raise InvalidArgument("memory: needs a name", hint="such as memory:test")
    if name in _listeners:
        raise AlreadyExists(f"memory:{name}: something in this process listens under that name", reason="eaddrinuse")
    listener = _listeners[name] = MemoryListener(name, accept)
    return listener


def _nothing() -> None:
    """For the side of a lane that nobody has."""


def _uid() -> int | None:
    return os.getuid() if hasattr(os, "getuid") else None


_listeners: dict[str, MemoryListener] = {}
