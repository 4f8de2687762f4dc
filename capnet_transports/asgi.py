"""`mount(host)`: a host as an application for ASGI servers, alone or in a web framework, for clients of `ws:`, `wss:`.

The server has the socket, HTTP and TLS; here a transport is two loops in the task that the server runs for each
connection: one asks it for what has come, unless the receiver wants no more for now, one gives it what is to be sent.
Who is let in is said in `web.py`, and decided before the connection is accepted.

What binds the two is a listener like any other: the mount has the host listen at `asgi:`, which hands it the host's
`accept`.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, Protocol, TypeAlias

import anyio

from capnet.errors import CapnetError, InvalidArgument, Unavailable
from capnet.transport import HIGH_WATER, LOW_WATER, Attestation, Listener, Receiver, Transport, TransportScheme
from capnet_transports import tokens
from capnet_transports.loops import in_trio, soon
from capnet_transports.sockets import LINGER
from capnet_transports.tokens import Token
from capnet_transports.web import (
    LOOPBACK,
    SUBPROTOCOL,
    WRONG_HOST,
    WRONG_PATH,
    WRONG_TOKEN,
    checked_origins,
    host_name,
    host_names,
    is_shown,
    messages,
)

__all__ = ["AsgiTransport", "Mount", "mount", "scheme"]

_Scope: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
_Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"

MAX_PATH: Final = 2048
"""Letters in the path of a connection."""
MAX_HEADERS: Final = 8 * 1024
"""Letters in the headers that are kept of a connection."""
UNIX: Final = "unix"
"""Stands, among the addresses of proxies, for those that come through a unix socket."""

_ENDED: Final = frozenset({1000, 1005, 1006})
"""Codes of an end. Servers tell the last two also of peers that have said farewell, or that have not, so they are no
error here; a connection knows by its own farewell whether it was cut."""
_NORMAL: Final = 1000
_UNSUPPORTED: Final = 1003
_log = logging.getLogger("capnet.transports")


class _Host(Protocol):
    """What is asked of a `capnet.Host`."""

    async def listen(self, url: str, *, mount: Any) -> Listener: ...

    async def __aenter__(self) -> object: ...

    async def __aexit__(self, *exc_info: object) -> None: ...


def mount(
    host: _Host,
    *,
    token: Token = ...,
    origins: Sequence[str | None] = (None,),
    hosts: Collection[str] | None = None,
    path: str | None = None,
    headers: Collection[str] = (),
    proxies: Collection[str] = (),
) -> Mount:
    """An ASGI application whose WebSocket connections are peers of `host`.

    Served by itself it opens the host when the server starts, and closes it when the server stops. In another
    application the host has to be open before the first peer comes: `async with host:` in that one's lifespan.

    Args:
        host: open, or not yet.
        token: what a peer must have; None to let anybody in, for the policy to tell apart.
        origins: pages that may connect, such as `https://example.org`; None in it stands for programs, which name no
            page.
        hosts: names under which the server is known, without port. Those of the loopback when None.
        path: the only one that is served; any that leads to the application when None.
        headers: names of those that the attestation shall have.
        proxies: addresses, or networks, of the reverse proxies in front, `unix` for one that comes through a unix
            socket. What they tell in `X-Forwarded-For` is believed, what others tell there is not.

    Raises:
        InvalidArgument: no token, or other options that make no sense.
    """
    subject = "asgi"
    return Mount(
        host,
        token=tokens.checked(token, subject, "to let anybody in who can reach the server"),
        origins=checked_origins(origins, subject),
        hosts=LOOPBACK if hosts is None else host_names(hosts, subject),
        path=_checked_path(path, subject),
        headers=_header_names(headers, subject),
        proxies=_networks(proxies, subject),
    )


def _checked_path(path: str | None, subject: str) -> str | None:
    if path is not None and not path.startswith("/"):
        raise InvalidArgument(f"{subject}: a path begins with /, not as {path[:100]!r}")
    return path


def _header_names(headers: Collection[str], subject: str) -> frozenset[str]:
    if isinstance(headers, str):
        raise InvalidArgument(f"{subject}: headers is a list of names")
    return frozenset(name.lower() for name in headers)


def _networks(proxies: Collection[str], subject: str) -> tuple[_Network | str, ...]:
    if isinstance(proxies, str):
        raise InvalidArgument(f"{subject}: proxies is a list of addresses")
    try:
        return tuple(one if one == UNIX else ipaddress.ip_network(one, strict=False) for one in proxies)
    except ValueError as error:
        raise InvalidArgument(
            f"{subject}: proxies are addresses, networks such as 10.0.0.0/8, or {UNIX!r}: {error}"[:300]
        ) from error


class Mount(Listener):
    """What `mount` makes: an ASGI application, and a listener of the host."""

    def __init__(
        self,
        host: _Host,
        *,
        token: str | None,
        origins: tuple[str | None, ...],
        hosts: frozenset[str],
        path: str | None,
        headers: frozenset[str],
        proxies: tuple[_Network | str, ...],
    ) -> None:
        self.url = f"asgi:{path or ''}"
        self._host = host
        self._token = token
        self._origins = origins
        self._hosts = hosts
        self._path = path
        self._headers = headers
        self._proxies = proxies
        self._accept: Callable[[Transport], object] | None = None
        """The host's, while it listens here."""
        self._closed: anyio.Event | None = None

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """One connection, one request, or the life of the server: as ASGI has it."""
        if scope["type"] == "websocket":
            await self._connection(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await _answer(send, "http.response", 426, "this path speaks WebSocket: connect to ws://HOST:PORT/PATH\n")

    # --- the host's side ---

    def bind(self, accept: Callable[[Transport], object]) -> Listener:
        """Hand what comes to `accept` from now on."""
        self._accept = accept
        self._closed = anyio.Event()
        return self

    async def serve(self) -> None:
        if self._closed is not None:
            await self._closed.wait()

    async def aclose(self) -> None:
        self._accept = None
        if self._closed is not None:
            self._closed.set()

    # --- the server's side ---

    async def _lifespan(self, receive: _Receive, send: _Send) -> None:
        await receive()
        began = False
        try:
            async with AsyncExitStack() as stack:
                try:
                    await self._listen()
                except Unavailable:  # nobody has opened the host
                    await stack.enter_async_context(self._host)
                    await self._listen()
                began = True
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except Exception as error:
            ended = "shutdown" if began else "startup"
            await send({"type": f"lifespan.{ended}.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.shutdown.complete"})

    async def _listen(self) -> None:
        if self._closed is None:
            await self._host.listen("asgi:", mount=self)

    async def _connection(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        await receive()
        headers = _headers_of(scope)
        address = _address(scope, headers.get("x-forwarded-for", []), self._proxies)
        status, words = self._judge(scope, headers)
        if status:
            await self._turn_away(scope, send, status, words, address)
            return
        try:
            await self._listen()
        except CapnetError as error:
            _log.warning("%s: nobody can come in: %s", self.url, error)
        origin = headers.get("origin", [None])[0]
        transport = AsgiTransport(
            Attestation(
                transport="asgi",
                address=address,
                origin=origin,
                path=scope["path"],
                headers={name: ", ".join(headers[name]) for name in self._headers if name in headers},
            )
        )
        if self._accept is None:
            await self._turn_away(scope, send, 503, "the host is not open\n", address)
            return
        self._accept(transport)
        if transport.was_aborted:
            transport.end()
            await self._turn_away(scope, send, 503, "the host has no room\n", address)
            return
        chosen = SUBPROTOCOL if SUBPROTOCOL in scope.get("subprotocols", ()) else None
        await transport.run(receive, send, chosen)

    def _judge(self, scope: _Scope, headers: Mapping[str, list[str]]) -> tuple[int, str]:
        """The status by which a peer is turned away, and why; 0 for one that may come in."""
        origins, names = headers.get("origin", []), headers.get("host", [])
        if len(origins) > 1 or len(names) > 1:
            return 400, "one Origin and one Host are enough\n"
        if (origins[0] if origins else None) not in self._origins:
            return 403, "this page may not connect: mount(host, origins=[...])\n"
        if (host_name(names[0]) if names else "") not in self._hosts:
            return 421, WRONG_HOST
        path = scope["path"]
        if (self._path is not None and path != self._path) or not path.isprintable():
            return 404, WRONG_PATH
        if self._token is not None and not is_shown(self._token, scope.get("subprotocols", ())):
            return 401, WRONG_TOKEN
        if len(path) > MAX_PATH:
            return 414, f"a path has at most {MAX_PATH} letters\n"
        if sum(len(line) for name in self._headers for line in headers.get(name, ())) > MAX_HEADERS:
            return 431, f"headers that are kept have at most {MAX_HEADERS} letters\n"
        return 0, ""

    async def _turn_away(self, scope: _Scope, send: _Send, status: int, words: str, address: str | None) -> None:
        _log.info("%s: %s turned away: %d %s", self.url, address or "a peer", status, words.strip())
        try:
            if "websocket.http.response" in (scope.get("extensions") or {}):
                await _answer(send, "websocket.http.response", status, words)
            else:
                await send({"type": "websocket.close"})
        except OSError:  # it has gone meanwhile
            pass


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
        self._code = _NORMAL
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
        self._drop()
        self._scope.cancel()

    # --- the server's side ---

    async def run(self, receive: _Receive, send: _Send, subprotocol: str | None) -> None:
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
        self._ended = True
        self._drop()
        if (receiver := self._receiver) is not None:
            _tell(lambda: receiver.closed(self._error))

    async def _read(self, receive: _Receive) -> None:
        while True:
            await self._until_wanted()
            event = await receive()
            if event["type"] != "websocket.receive":
                self._disconnected(event)
                return
            if data := event.get("bytes"):
                await self._deliver(data)
            elif event.get("text") is not None and not self._closing:
                self._error = Unavailable("the peer has sent a text message", reason="websocket")
                self._code = _UNSUPPORTED
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

    async def _write(self, send: _Send) -> None:
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
        self._scope.cancel()

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
        if not self._closing and code not in _ENDED:
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


async def _answer(send: _Send, kind: str, status: int, words: str) -> None:
    body = words.encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"capnet"))
    if status == 426:
        headers.append((b"upgrade", b"websocket"))
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})


def _headers_of(scope: _Scope) -> dict[str, list[str]]:
    """The lines of each header, under its name in small letters."""
    lines: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        lines.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return lines


def _address(scope: _Scope, forwarded: Sequence[str], proxies: Sequence[_Network | str]) -> str | None:
    """Where the peer is: what the nearest proxy that is not ours would be called, or the peer itself.

    Each proxy adds at the end whom it has the connection from, so that list is believed from its end on, as long as it
    names proxies of ours.
    """
    host, port = scope.get("client") or ("", 0)
    told = [entry for line in forwarded for entry in line.split(",")]
    while told and _is_proxy(host, proxies):
        entry = told.pop().strip()
        try:
            host, port = str(ipaddress.ip_address(_without_port(entry))), 0
        except ValueError:
            break
    if not host:
        return None
    if not port:
        return str(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _without_port(entry: str) -> str:
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry


def _is_proxy(host: str, proxies: Sequence[_Network | str]) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a unix socket has none
        return UNIX in proxies and (not host or host.startswith("unix:"))
    return any(not isinstance(one, str) and address in one for one in proxies)


class _AsgiScheme:
    async def connect(self, rest: str, /, **options: Any) -> Transport:
        raise InvalidArgument(
            "asgi: is for hosts that a web server serves", hint="connect to it at ws://HOST:PORT/PATH, or wss:"
        )

    async def listen(self, rest: str, accept: Callable[[Transport], object], /, **options: Any) -> Listener:
        application = options.pop("mount", None)
        if not isinstance(application, Mount) or options or rest:
            raise InvalidArgument(
                "asgi: needs a web server that serves the host",
                hint="app = capnet_transports.asgi.mount(host, token=...), which an ASGI server is given",
            )
        return application.bind(accept)


scheme: TransportScheme = _AsgiScheme()
"""The scheme `asgi`."""
