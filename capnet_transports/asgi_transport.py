"""A WebSocket connection of an ASGI server as a `Transport`.

It is two loops in the task that the server runs for each connection: one asks it for what has come, unless the receiver
wants no more for now, one gives it what is to be sent. A server may shield what it does for a peer that takes nothing:
so the receiver is told of an abort at once, and the task goes when the server lets it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final, TypeAlias

import anyio

from capnet.errors import Unavailable
from capnet.transport import HIGH_WATER, LOW_WATER, Attestation, Receiver, Transport
from capnet_transports.loops import in_trio, soon
from capnet_transports.sockets import LINGER
from capnet_transports.web import messages

__all__ = ["AsgiTransport", "Receive", "Send"]

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]

ENDED: Final = frozenset({1000, 1005, 1006})
"""Codes of an end. Servers tell the last two also of peers that have said farewell, or that have not, so they are no
error here; a connection knows by its own farewell whether it was cut."""
NORMAL: Final = 1000
UNSUPPORTED: Final = 1003


class AsgiTransport(Transport):
    """One WebSocket connection of a server; `run` carries what comes and goes.

    Args:
        attestation: what is known of the peer.
    """

    def __init__(self, attestation: Attestation) -> None:
        self.attestation = attestation
        self._receiver: Receiver | None = None
        self._chunks: list[bytes] = []
        self._backlog = 0
        self._sent = 0
        """Messages that the server has taken."""
        self._crowded = False
        """Whether the backlog was above `HIGH_WATER` and has not fallen to `LOW_WATER` since."""
        self._paused = False
        self._closing = False
        """Whether nothing is delivered any more, and nothing more is taken to be sent."""
        self._unheard = False
        """Whether the server takes nothing more to be sent."""
        self._code = NORMAL
        self._error: Exception | None = None
        self._scope = anyio.CancelScope()
        """All of `run`; cancelled by `abort`."""
        self._work = anyio.Event()
        """For the loop that sends."""
        self._change = anyio.Event()
        """For those that wait for the receiver to want more, or for a close."""
        self.was_aborted = False
        self._ended = False

    # --- the connection's side ---

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver
        if self._ended:
            soon()(lambda: receiver.closed(self._error))
        self._changed()

    def send(self, chunks: Sequence[bytes]) -> None:
        if self._closing or self._unheard or self._ended:
            return
        self._chunks.extend(chunks)
        self._backlog += sum(map(len, chunks))
        if self._backlog > HIGH_WATER:
            self._crowded = True
        self._work.set()

    @property
    def backlog(self) -> int:
        return self._backlog

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._changed()

    def close(self) -> None:
        self._closing = True
        self._changed()
        self._work.set()

    def abort(self) -> None:
        self._closing = True
        self.was_aborted = True
        self._scope.cancel()
        soon()(self.end)

    # --- the server's side ---

    async def run(self, receive: Receive, send: Send, subprotocol: str | None) -> None:
        """Accept the connection, and carry what comes and goes until it ends; in the application's own task."""
        try:
            with self._scope:
                await send({"type": "websocket.accept", "subprotocol": subprotocol})
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._write, send)
                    tasks.start_soon(self._lose_patience)
                    await self._read(receive)
                    tasks.cancel_scope.cancel()
        except OSError as error:
            self._lose(error)
        except BaseException as error:
            self._lose(error)
            raise
        finally:
            self.end()

    def end(self) -> None:
        """Tell the receiver, once: nothing comes or goes any more."""
        if self._ended:
            return
        self._ended = True
        self._drop()
        if (receiver := self._receiver) is not None:
            _tell(lambda: receiver.closed(self._error))

    async def _read(self, receive: Receive) -> None:
        while True:
            await self._until_wanted()
            try:
                event = await receive()
            except OSError as error:
                self._lose(error)
                return
            if event["type"] != "websocket.receive":
                self._disconnected(event)
                return
            if data := event.get("bytes"):
                await self._deliver(data)
            elif event.get("text") is not None and not self._closing:
                self._error = Unavailable("the peer has sent a text message", reason="websocket")
                self._code = UNSUPPORTED
                self._drop()
                self.close()

    async def _deliver(self, data: bytes) -> None:
        """Hand over what has come as soon as the receiver wants it."""
        done = anyio.Event()
        handed_over = False

        def hand_over() -> None:
            nonlocal handed_over
            handed_over = self._closing or not self._paused
            try:
                if handed_over and not self._closing and self._receiver is not None:
                    self._receiver.data_received(data)
            finally:
                done.set()

        while not handed_over:
            await self._until_wanted()
            done = anyio.Event()
            _tell(hand_over)
            await done.wait()

    async def _write(self, send: Send) -> None:
        try:
            while not (self._closing and not self._chunks):
                await self._work.wait()
                self._work = anyio.Event()
                while self._chunks:
                    chunks, self._chunks = self._chunks, []
                    for message in messages(chunks):
                        await send({"type": "websocket.send", "bytes": bytes(message)})
                        self._has_sent(len(message))
            await send({"type": "websocket.close", "code": self._code})
        except OSError:  # the peer is gone; what it sent before is still delivered, and then the server says so
            self._unheard = True
            self._drop()

    async def _lose_patience(self) -> None:
        """A peer that does not take what is sent last, or does not say farewell, is not waited for long."""
        while not self._closing:
            await self._change.wait()
        sent = -1
        while sent != self._sent:
            sent = self._sent
            await anyio.sleep(LINGER)
        self.abort()

    async def _until_wanted(self) -> None:
        """Wait until the receiver takes what comes, or nobody does."""
        while not self._closing and (self._receiver is None or self._paused):
            await self._change.wait()

    # --- steps ---

    def _changed(self) -> None:
        self._change.set()
        self._change = anyio.Event()

    def _has_sent(self, size: int) -> None:
        self._sent += 1
        self._backlog = max(self._backlog - size, 0)
        if self._crowded and self._backlog <= LOW_WATER:
            self._crowded = False
            _tell(self._relieve)

    def _relieve(self) -> None:
        if self._receiver is not None and not self._closing:
            self._receiver.writable()

    def _disconnected(self, event: Mapping[str, Any]) -> None:
        code = event.get("code") or 1005
        if not self._closing and code not in ENDED:
            reason = event.get("reason") or ""
            self._error = Unavailable(f"the peer has closed with {code} {reason}".rstrip(), reason="websocket_close")

    def _lose(self, error: BaseException) -> None:
        if not self._closing:
            words = str(error) or type(error).__name__
            self._error = Unavailable(f"the server has dropped the connection: {words}"[:300], reason="truncated")
        self._closing = True

    def _drop(self) -> None:
        self._chunks.clear()
        self._backlog = 0
        self._crowded = False


def _tell(callback: Callable[[], object]) -> None:
    """Have the receiver told something: on asyncio in a callback of the loop, for nothing that waits in another task
    can go on while a task has the turn."""
    if in_trio():
        callback()
    else:
        soon()(callback)
