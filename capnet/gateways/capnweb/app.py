"""`capnweb(host)`: an ASGI application for clients of Cap'n Web, by WebSocket and by batches in HTTP requests."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, MutableMapping, Sequence
from contextlib import AsyncExitStack
from io import StringIO
from sys import getsizeof
from typing import Any, Final, TypeAlias

from anyio import Event, Lock, create_task_group, current_time, fail_after, move_on_after, sleep
from anyio.abc import TaskGroup

from capnet import Attestation, Cap, CapnetError, Connection, Host, ResourceExhausted, Unauthenticated, Unavailable
from capnet.gateways.sessions import Sessions
from capnet_transports.lifespan import live
from capnet_transports.web import header_lines

from .bounds import Bounds
from .bridge import Bridge
from .door import Door, Scope, chosen
from .lending import lent_kinds
from .session import Session

__all__ = ["Capnweb", "capnweb"]

_Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]

ABORTED: Final = 3000
"""The code with which the protocol closes a WebSocket."""
TOO_MUCH: Final = 4
"""How many times `max_backlog` ends a session at once."""
_log: Final = logging.getLogger("capnet.gateways.capnweb")


def capnweb(
    host: Host,
    main: str | None = None,
    *,
    token: str | None,
    origins: Sequence[str | None] = (None,),
    hosts: Collection[str] | None = None,
    headers: Collection[str] = (),
    contracts: Collection[type[Cap]] = (),
    bounds: Bounds | None = None,
) -> Capnweb:
    """An ASGI application that serves clients of Cap'n Web, each as a peer of `host`.

    Served by itself it opens the host when the server starts, and closes it when the server stops. In another
    application the host has to be open before the first client comes: `async with host:` in that one's lifespan.

    Args:
        host: open, or not yet.
        main: the served name that a client has from the start; when None it has all names: `api["chat.Lobby"]`.
        token: what a client must have: in a batch `Authorization: Bearer TOKEN`, with a WebSocket the subprotocol
            `capnet.token.TOKEN`. None lets anybody in, for the policy to tell apart.
        origins: pages that may connect, such as `https://example.org`; None in it stands for programs, which name no
            page.
        hosts: names under which the server is known, without port. Those of the loopback when None.
        headers: names of those that the attestation shall have, for the policy.
        contracts: those that clients may fill in: where one is declared they can pass an object of their own.
        bounds: of each session.

    Raises:
        InvalidArgument: options that make no sense. ContractError: one of `contracts` is none.
    """
    return Capnweb(host, main, Door(token, origins, hosts, headers), contracts, bounds or Bounds())


class Capnweb:
    """What `capnweb` makes: an ASGI application."""

    def __init__(
        self, host: Host, main: str | None, door: Door, contracts: Collection[type[Cap]], bounds: Bounds
    ) -> None:
        self._host = host
        self._main = main
        self._door = door
        self._kinds = lent_kinds(contracts)
        self._bounds = bounds
        self._sessions = Sessions(host, bounds.max_sessions, strangers_share=False)
        self._listens = False
        self._lock = Lock()

    async def __call__(self, scope: Scope, receive: _Receive, send: _Send) -> None:
        """One connection, one request, or the life of the server: as ASGI has it."""
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        elif scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "lifespan":
            await live(self._host, self._listen, receive, send)

    async def _listen(self) -> None:
        async with self._lock:
            if not self._listens:
                await self._sessions.__aenter__()  # until the host closes
                self._listens = True

    # --- WebSocket ---

    async def _socket(self, scope: Scope, receive: _Receive, send: _Send) -> None:
        await receive()
        headers = header_lines(scope)
        status, words = self._door.judge(scope, headers)
        if not status:
            async with AsyncExitStack() as stack:
                attestation = self._door.attestation(scope, headers)
                found = await self._enter(stack, attestation)
                if isinstance(found, Connection):
                    await send({"type": "websocket.accept", "subprotocol": chosen(scope.get("subprotocols", ()))})
                    await Socket(found, self._session(True), receive, send).run(self._main, self._kinds)
                    return
            status, words = found
        _log.info("%s turned away: %d %s", (scope.get("client") or ("a client",))[0], status, words.strip())
        if "websocket.http.response" in (scope.get("extensions") or {}):
            await _answer(send, "websocket.http.response", status, words.encode())
        else:
            await send({"type": "websocket.close"})

    async def _enter(self, stack: AsyncExitStack, attestation: Attestation) -> Connection | tuple[int, str]:
        """A connection to the host, or the status by which a client is turned away, and why."""
        try:
            await self._listen()
            connection, _ = await stack.enter_async_context(self._sessions.open(attestation))
        except Unauthenticated:
            return 401, "the host does not admit this client\n"
        except ResourceExhausted:
            return 429, "this client has too many sessions\n"
        except Unavailable:
            return 503, "the host is not open, or has no room\n"
        except CapnetError as error:
            _log.warning("a client cannot come in: %s", error)
            return 403, "the host does not admit this client\n"
        return connection

    def _session(self, reachable: bool) -> Session:
        return Session(self._bounds, reachable=reachable)

    # --- batches ---

    async def _request(self, scope: Scope, receive: _Receive, send: _Send) -> None:
        headers = header_lines(scope)
        origin = headers.get("origin", [None])[0]
        shown = _for_pages(origin) if self._door.allows(origin) else []
        if scope["method"] == "OPTIONS" and shown:
            await _answer(send, "http.response", 204, b"", shown)
            return
        status, words = self._door.judge(scope, headers)
        if not status and scope["method"] != "POST":
            status, words = 405, "a batch is a POST request; a session is a WebSocket\n"
        body = b"" if status else await _body(receive, self._bounds.max_message)
        if body is None:
            status, words = 413, f"a batch has at most {self._bounds.max_message} bytes\n"
        if not status:
            async with AsyncExitStack() as stack:
                found = await self._enter(stack, self._door.attestation(scope, headers))
                if isinstance(found, Connection):
                    lines = await self._batch(found, (body or b"").decode(errors="replace"))
                    await _answer(send, "http.response", 200, "\n".join(lines).encode(), shown)
                    return
                status, words = found
        await _answer(send, "http.response", status, words.encode(), shown)

    async def _batch(self, connection: Connection, body: str) -> list[str]:
        """What a batch is answered with: what the client waits for, as far as it was there in time."""
        session, lines, size, news = self._session(False), list[str](), 0, Event()

        def send(text: str) -> None:
            nonlocal size, news
            size += getsizeof(text)
            lines.append(text)
            news.set()
            if size > TOO_MUCH * self._bounds.max_backlog:
                session.abort("the answers are too large for a batch")

        bridge = Bridge(connection, session, send, lambda _: news.set(), main=self._main, kinds=self._kinds)
        async with bridge:
            pace = _Pace(session)
            with move_on_after(self._bounds.batch_timeout) as scope:
                for line in StringIO(body):
                    if line.strip():
                        bridge.feed(line)
                    await pace.keep()
                while session.waited_for:
                    news = Event()
                    await news.wait()
            if scope.cancelled_caught:
                session.abort(f"a batch has {self._bounds.batch_timeout:g} seconds")
                bridge.act()
        return lines


class Socket:
    """One WebSocket connection.

    Args:
        connection: to the host, of this client alone.
        session: of the client.
        receive: what comes, as ASGI has it.
        send: takes what is to be sent.
    """

    def __init__(self, connection: Connection, session: Session, receive: _Receive, send: _Send) -> None:
        self._connection = connection
        self._session = session
        self._receive = receive
        self._send = send
        self._lines: list[str] = []
        self._size = 0
        self._reason: str | None = None
        self._work = Event()
        self._taken = Event()

    async def run(self, main: str | None, kinds: Any) -> None:
        """Carry what comes and goes until one side ends it."""
        bridge = Bridge(self._connection, self._session, self._put, self._close, main=main, kinds=kinds)
        async with create_task_group() as tasks, bridge:
            tasks.start_soon(self._write, tasks)
            tasks.start_soon(self._follow, bridge)
            await self._read(bridge)
            tasks.cancel_scope.cancel()

    async def _read(self, bridge: Bridge) -> None:
        pace = _Pace(self._session)
        while True:
            while self._size > self._session.bounds.max_backlog:
                self._taken = Event()
                await self._taken.wait()
            event = await self._receive()
            if event["type"] != "websocket.receive":
                return
            text = event.get("text")
            if text is None:
                self._session.abort("a message is text")
                bridge.act()
            else:
                bridge.feed(text)
            await pace.keep()

    async def _follow(self, bridge: Bridge) -> None:
        """The host may end the connection."""
        cause = await self._connection.wait_closed()
        self._session.abort(f"the host has closed: {cause}"[:200])
        bridge.act()

    async def _write(self, tasks: TaskGroup) -> None:
        bounds = self._session.bounds
        try:
            while self._lines or self._reason is None:
                await self._work.wait()
                self._work = Event()
                lines, self._lines = self._lines, []
                for line in lines:
                    with fail_after(bounds.write_timeout if self._size > bounds.max_backlog else None):
                        await self._send({"type": "websocket.send", "text": line})
                    self._size -= getsizeof(line)
                    self._taken.set()
            with move_on_after(bounds.write_timeout):
                await self._send({"type": "websocket.close", "code": ABORTED, "reason": self._reason})
        except (OSError, TimeoutError):
            pass  # the client is gone, or does not take what it has asked for
        tasks.cancel_scope.cancel()

    def _put(self, text: str) -> None:
        self._lines.append(text)
        self._size += getsizeof(text)
        self._work.set()
        if self._size > TOO_MUCH * self._session.bounds.max_backlog:
            self._session.close("what was asked for is not taken")

    def _close(self, reason: str) -> None:
        self._reason = reason
        self._work.set()


class _Pace:
    """How fast a session may have work done that its messages do not show.

    Args:
        session: which counts it.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._left = float(session.bounds.work_burst)
        self._at = current_time()

    async def keep(self) -> None:
        """Wait as long as there was too much; in any case others have their turn."""
        counts, bounds, now = self._session.counts, self._session.bounds, current_time()
        more = (now - self._at) * bounds.work_rate
        self._left = min(self._left + more, float(bounds.work_burst)) - counts.work
        self._at, counts.work = now, 0
        await sleep(max(0.0, -self._left / bounds.work_rate))


async def _body(receive: _Receive, most: int) -> bytes | None:
    """What a request brings; None when it is too much."""
    body = bytearray()
    while True:
        event = await receive()
        if event["type"] != "http.request":
            return b""
        body += event.get("body", b"")
        if len(body) > most:
            return None
        if not event.get("more_body"):
            return bytes(body)


def _for_pages(origin: str | None) -> list[tuple[bytes, bytes]]:
    """Headers by which a browser lets a page of another origin read the answer."""
    return [
        (b"access-control-allow-origin", (origin or "").encode("latin-1")),
        (b"access-control-allow-headers", b"authorization, content-type"),
        (b"access-control-allow-methods", b"POST"),
        (b"vary", b"origin"),
    ]


async def _answer(send: _Send, kind: str, status: int, body: bytes, more: Sequence[tuple[bytes, bytes]] = ()) -> None:
    headers = [(b"content-type", b"text/plain;charset=UTF-8"), (b"content-length", str(len(body)).encode()), *more]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 405:
        headers.append((b"allow", b"POST"))
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})
