"""A session with a peer, by way of a NATS server, as a `Transport`."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from capnet.errors import CapnetError, Unavailable
from capnet.transport import HIGH_WATER, LOW_WATER, Attestation, Receiver, Transport
from capnet_transports.nats_link import Link, Msg
from capnet_transports.sessions import Session
from capnet_transports.sockets import LINGER

__all__ = ["NatsTransport"]

_SILENCE: Final = 3.0
"""Seconds after which something is said to a peer to whom nothing was to be said: if he has gone, the server tells."""
_BROKEN: Final = frozenset({"lost_message", "session"})
"""Why a session ends that the peer takes for whole."""


class _State(enum.Enum):
    OPEN = enum.auto()
    CLOSING = enum.auto()
    """Nothing is delivered any more, and what is queued still leaves."""
    ENDED = enum.auto()
    """Nothing leaves any more; the receiver is told as soon as we have left the server."""
    CLOSED = enum.auto()


class NatsTransport(Transport):
    """One session, on either side.

    Args:
        link: the connection to the server.
        to: the subject of what we say.
        at: the subject of what we hear; who says something there when nobody hears it is told so.
        window: bytes that the peer may have under way to us.
        attestation: what is known of the peer.
        leave: called once, when nothing more is to be said or heard.
    """

    def __init__(
        self,
        link: Link,
        to: str,
        at: str,
        window: int,
        attestation: Attestation,
        leave: Callable[[NatsTransport], Awaitable[None]],
    ) -> None:
        self.attestation = attestation
        self._link = link
        self._to = to
        self._at = at
        self._session = Session(window, link.largest)
        self._leave = leave
        self._receiver: Receiver | None = None
        self._state = _State.OPEN
        self._error: Exception | None = None
        self._gone: CapnetError | None = None
        """Why nothing more comes, once what has come was delivered."""
        self._paused = False
        self._scheduled = False
        self._crowded = False
        """Whether the backlog was above `HIGH_WATER` and has not fallen to `LOW_WATER` since."""
        self._said = 0
        """Messages."""
        self._probing = False
        """Whether something has to be said because nothing was."""
        self._silence: asyncio.TimerHandle | None = None
        self._work = asyncio.Event()
        """For the task that sends."""
        self._loop = asyncio.get_running_loop()
        self._patience: asyncio.TimerHandle
        """With a server that takes nothing any more."""
        link.on_lost.add(self.lose)
        self._task = self._loop.create_task(self._live())

    # --- the connection's side ---

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver
        if self._state is _State.CLOSED:
            self._loop.call_soon(receiver.closed, self._error)
        self._schedule()

    def send(self, chunks: Sequence[bytes]) -> None:
        if self._state is not _State.OPEN or self._gone is not None:
            return
        self._session.queue(chunks)
        if self._session.backlog > HIGH_WATER:
            self._crowded = True
        self._work.set()

    @property
    def backlog(self) -> int:
        return self._session.backlog

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._schedule()

    def close(self) -> None:
        if self._state is _State.OPEN:
            self._state = _State.CLOSING
            if self._gone is not None or self._session.ended:  # there is nobody who could be told
                self._end(None)
                return
            self._let_go()
            self._work.set()
            self._loop.call_later(LINGER, self._lose_patience, self._said)

    def abort(self) -> None:
        self._end(None)

    # --- the peer's side ---

    @property
    def ended(self) -> bool:
        """Whether nothing leaves any more."""
        return self._state in (_State.ENDED, _State.CLOSED)

    def open(self, window: int) -> None:
        """The peer is there, and takes so much ahead."""
        self._session.open(window)
        self._work.set()
        self._break_silence(-1)

    def hear(self, message: Msg) -> None:
        """One of the peer's, or the server's word that nobody hears us."""
        if self.ended or self._gone is not None:
            return
        session = self._session
        try:
            if message.headers:
                if session.ended:
                    return
                raise Unavailable("the peer has gone", reason="connection_lost")
            session.receive(message.data)
        except CapnetError as error:
            self.lose(error)
            return
        if self._state is _State.CLOSING:
            self._let_go()
            if session.ended:
                self._end(None)
        else:
            self._schedule()
        if session.backlog:
            self._work.set()

    async def wait_left(self) -> None:
        """Wait until nothing is left to do."""
        await asyncio.wait([self._task])

    def lose(self, error: CapnetError) -> None:
        """Nothing more comes of the peer, and nothing reaches it."""
        if self._state is _State.CLOSING:
            self._end(None)
        elif self._state is _State.OPEN and self._gone is None:
            self._gone = error
            self._session.drop()
            self._schedule()

    # --- steps ---

    def _schedule(self) -> None:
        if self._receiver is not None and not self._scheduled and not self._paused:
            self._scheduled = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        receiver, session = self._receiver, self._session
        assert receiver is not None
        while self._state is _State.OPEN and not self._paused:
            data = session.take()
            if data is None:
                break
            receiver.data_received(data)
        if self._state is not _State.OPEN or self._paused:
            return
        if self._gone is not None or session.ended:
            self._end(self._gone)
        elif session.owes:
            self._work.set()

    def _let_go(self) -> None:
        while self._session.take() is not None:
            pass

    def _relieve(self) -> None:
        if self._crowded and self._session.backlog <= LOW_WATER:
            self._crowded = False
            if self._receiver is not None and self._state is _State.OPEN:
                self._loop.call_soon(self._tell_writable)

    def _tell_writable(self) -> None:
        if self._receiver is not None and self._state is _State.OPEN:
            self._receiver.writable()

    def _break_silence(self, said: int) -> None:
        if not self.ended:
            self._probing = self._said == said
            if self._probing:
                self._work.set()
            self._silence = self._loop.call_later(_SILENCE, self._break_silence, self._said)

    def _lose_patience(self, said: int) -> None:
        """A peer that takes nothing of what is to be said last is not waited for long."""
        if self._state is _State.CLOSING:
            if self._said == said:
                self._end(None)
            else:
                self._loop.call_later(LINGER, self._lose_patience, self._said)

    def _end(self, error: CapnetError | None) -> None:
        if not self.ended:
            self._state = _State.ENDED
            self._error = error
            self._session.drop()
            self._work.set()
            self._patience = self._loop.call_later(LINGER, self._task.cancel)

    # --- the task that sends ---

    async def _live(self) -> None:
        try:
            try:
                await self._send_all()
            except CapnetError as error:
                self.lose(error)
            while not self.ended:  # the receiver has still to take what has come
                await self._work.wait()
                self._work.clear()
        finally:
            self._end(None)
            self._link.on_lost.discard(self.lose)
            await self._depart()

    async def _send_all(self) -> None:
        session = self._session
        while not self.ended:
            await self._work.wait()
            self._work.clear()
            for message in session.messages():
                await self._say(message)
            if self._probing:
                self._probing = False
                await self._say(session.credit())
            self._relieve()
            if self._state is _State.CLOSING and not session.backlog:
                await self._say(session.last())
                await self._link.settle()
                self._end(None)
                return
        if not session.ended and (self._gone is None or self._gone.reason in _BROKEN):
            await self._say(session.abort())

    async def _say(self, message: bytes) -> None:
        await self._link.publish(self._to, message, self._at)
        self._said += 1

    async def _depart(self) -> None:
        try:
            await self._leave(self)
        finally:
            self._state = _State.CLOSED
            self._patience.cancel()
            if self._silence is not None:
                self._silence.cancel()
            if self._receiver is not None:
                self._loop.call_soon(self._receiver.closed, self._error)
