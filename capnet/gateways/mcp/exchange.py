"""One request by HTTP and its answer: a session of the protocol that lasts as long."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

from anyio import CancelScope, Event, Lock, move_on_after
from anyio.abc import TaskGroup

from capnet import CapnetError
from capnet.gateways.bounds import Bounds
from capnet.gateways.jsonrpc.failures import CANCELLED, INTERNAL, METHOD
from capnet.gateways.jsonrpc.pending import Load
from capnet.gateways.tasks import tasks_of_block

from .bridge import Bridge
from .headers import within
from .rooms import Room
from .session import Session
from .tools import Names

__all__ = ["Exchange", "Reply"]

_Receive: TypeAlias = "Callable[[], Awaitable[MutableMapping[str, Any]]]"
_Send: TypeAlias = "Callable[[dict[str, Any]], Awaitable[None]]"

PING: Final = 15.0
"""Seconds without a word after which a stream of events gets an empty one, for what stands between not to end it."""
_STATUS: Final[Mapping[int, int]] = {METHOD: 404, INTERNAL: 200}
"""By the code of an error, in the newer protocol; 400 for all others."""


class Reply:
    """What is sent back: words, one JSON text, or events.

    Args:
        send: as ASGI has it.
    """

    def __init__(self, send: _Send) -> None:
        self._send = send
        self.headers: dict[str, str] = {}
        """More of them, for the beginning."""
        self.streams = False
        """Events are sent."""
        self.done = False

    async def words(self, status: int, words: str, headers: Mapping[str, str] | None = None) -> None:
        """A text for people, unless something was sent already."""
        if not self.streams and not self.done:
            await self._whole(status, "text/plain", words, headers or {})

    async def json(self, text: str, status: int = 200) -> None:
        """One JSON text."""
        await self._whole(status, "application/json", text, {})

    async def failure(self, number: Any, code: int, message: str, status: int) -> None:
        """An error of the protocol, for a message that was not worked on."""
        error = {"code": code, "message": message}
        await self.json(json.dumps({"jsonrpc": "2.0", "id": number, "error": error}), status)

    async def event(self, text: str | None) -> None:
        """A message as an event; an empty one for None."""
        if not self.streams:
            self.streams = True
            told = {"cache-control": "no-cache, no-transform", "x-accel-buffering": "no", **self.headers}
            await self._start(200, {"content-type": "text/event-stream", **told})
        data = b": \r\n\r\n" if text is None else f"event: message\r\ndata: {text}\r\n\r\n".encode()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        """No more events."""
        if not self.done:
            self.done = True
            await self._send({"type": "http.response.body", "body": b""})

    async def _whole(self, status: int, kind: str, text: str, headers: Mapping[str, str]) -> None:
        self.done = True
        body = text.encode()
        told = {"content-type": kind, "content-length": str(len(body))} if body else {}
        await self._start(status, {**told, **headers, **self.headers})
        await self._send({"type": "http.response.body", "body": body})

    async def _start(self, status: int, headers: Mapping[str, str]) -> None:
        lines = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": lines})


class Exchange:
    """One request, from its message to the end of its answer.

    Args:
        server: name and version of the server, and how the names of tools are written.
        bounds: of the client.
        reply: what is sent back.
        events: the client takes events.
        stateless: it is of the newer protocol.
    """

    def __init__(
        self, server: tuple[str, str, Names], bounds: Bounds, reply: Reply, *, events: bool, stateless: bool
    ) -> None:
        self.reply = reply
        self.stateless = stateless
        self._bounds = bounds
        self._events = events
        name, version, names = server
        self._session = Session(name, version, max_message=bounds.max_message, names=names)
        self._sending = Lock()
        self._done = Event()

    async def run(self, room: Room, message: Mapping[str, Any], weight: int, receive: _Receive) -> None:
        """Work on a message of the client's, until it is answered or the client has gone.

        Args:
            weight: bytes that the message takes up.

        Raises:
            ResourceExhausted: too much is worked on already.
        """
        number: Any = message.get("id")
        if number is None or "method" not in message:
            self._notified(room, message)
            await self.reply.words(202, "")
            return
        key = _key(number)
        load = Load(weight)
        refusal = room.pending.refusal(load)
        if refusal is not None:
            raise refusal
        async with _counted(room, load), tasks_of_block() as tasks:
            scope = CancelScope()
            with scope:
                if not self.stateless and key not in room.running:
                    room.running[key] = scope
                try:
                    await self._worked(room, message, receive, tasks)
                finally:
                    if room.running.get(key) is scope:
                        del room.running[key]
            if scope.cancelled_caught and not self.reply.done:
                await self._told(json.dumps({"jsonrpc": "2.0", "id": number, "error": _GIVEN_UP}), last=True)

    async def news(self, room: Room, receive: _Receive) -> None:
        """Tell of a session what belongs to no request, until the client has gone."""
        room.followed = True
        try:
            async with _counted(room, Load(0)), tasks_of_block() as tasks:
                await self.reply.event(None)
                greeting = {"jsonrpc": "2.0", "method": "notifications/initialized"}
                await self._worked(room, greeting, receive, tasks, follows=True)
        finally:
            room.followed = False

    async def _worked(
        self, room: Room, message: object, receive: _Receive, tasks: TaskGroup, *, follows: bool = False
    ) -> None:
        bridge = Bridge(room.connection, self._session, self._write, tasks, room.held)
        tasks.start_soon(self._watch, receive)
        await bridge.act(self._session.take(message))
        if follows or self._session.listens:
            tasks.start_soon(self._follow, bridge)
        while not self._done.is_set():
            with move_on_after(PING):
                await self._done.wait()
            if not self._done.is_set() and self._events:
                async with self._sending, self._in_time():
                    await self.reply.event(None)

    async def _follow(self, bridge: Bridge) -> None:
        try:
            await bridge.follow()
        except CapnetError:  # the host has ended the connection: there will be no news
            await self.reply.end()
            self._done.set()

    async def _watch(self, receive: _Receive) -> None:
        """When the client has gone, nobody waits for the answer."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._done.set()

    async def _write(self, text: str) -> None:
        await self._told(text, last="method" not in json.loads(text))

    async def _told(self, text: str, *, last: bool) -> None:
        async with self._sending, self._in_time():
            if self.reply.done or not (last or self._events):
                return
            if last and not self.reply.streams:
                await self.reply.json(text, self._status(text))
            else:
                await self.reply.event(text)
            if last:
                if self.reply.streams:
                    await self.reply.end()
                self._done.set()

    @asynccontextmanager
    async def _in_time(self) -> AsyncGenerator[None]:
        """A client that does not take what it is sent is as one that has gone."""
        with move_on_after(self._bounds.write_timeout) as scope:
            yield
        if scope.cancelled_caught:
            self.reply.done = True
            self._done.set()

    def _status(self, text: str) -> int:
        error = json.loads(text).get("error")
        return 200 if error is None or not self.stateless else _STATUS.get(error["code"], 400)

    def _notified(self, room: Room, message: Mapping[str, Any]) -> None:
        """A client of a session may give up its own requests; of the newer protocol it ends the answer instead."""
        if message.get("method") == "notifications/cancelled" and not self.stateless:
            number = within(message, "params", "requestId")
            scope = room.running.get(_key(number))
            if scope is not None:
                scope.cancel()


def _key(number: Any) -> tuple[type, Any]:
    """1 and "1" are two ids; what is none is nobody's."""
    return (type(number), number) if isinstance(number, str | int) else (type(None), None)


_GIVEN_UP: Final = {"code": CANCELLED, "message": "the client has given it up"}


@asynccontextmanager
async def _counted(room: Room, load: Load) -> AsyncGenerator[None]:
    """A request is among those that a room works on."""
    room.open += 1
    room.pending.add(load)
    try:
        yield
    finally:
        room.open -= 1
        room.pending.remove(load)
        room.use()
