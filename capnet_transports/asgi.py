"""`mount(host)`: a host as an application for ASGI servers, alone or in a web framework, for clients of `ws:`, `wss:`.

The server has the socket, HTTP and TLS; `asgi_transport.py` has what moves the bytes of a connection. Who is let in is
said in `web.py`, and decided before the connection is accepted.

What binds the two is a listener like any other: the mount has the host listen at `asgi:`, which hands it the host's
`accept`.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

import anyio

from capnet.errors import CapnetError, InvalidArgument
from capnet.transport import Attestation, Listener, Transport, TransportScheme
from capnet_transports import tokens
from capnet_transports.asgi_transport import AsgiTransport, Receive, Send
from capnet_transports.lifespan import live
from capnet_transports.tokens import Token
from capnet_transports.web import (
    LOOPBACK,
    SUBPROTOCOL,
    WRONG_HOST,
    WRONG_PATH,
    WRONG_TOKEN,
    checked_origins,
    header_lines,
    header_names,
    host_name,
    host_names,
    is_shown,
)

__all__ = ["Mount", "mount", "scheme"]

_Scope: TypeAlias = MutableMapping[str, Any]
_Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"

MAX_PATH: Final = 2048
"""Letters in the path of a connection."""
MAX_HEADERS: Final = 8 * 1024
"""Letters in the headers that are kept of a connection."""
UNIX: Final = "unix"
"""Stands, among the addresses of proxies, for those that come through a unix socket."""

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
        headers=header_names(headers, subject),
        proxies=_networks(proxies, subject),
    )


def _checked_path(path: str | None, subject: str) -> str | None:
    if path is not None and not path.startswith("/"):
        raise InvalidArgument(f"{subject}: a path begins with /, not as {path[:100]!r}")
    return path


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

    async def __call__(self, scope: _Scope, receive: Receive, send: Send) -> None:
        """One connection, one request, or the life of the server: as ASGI has it."""
        if scope["type"] == "websocket":
            await self._connection(scope, receive, send)
        elif scope["type"] == "lifespan":
            await live(self._host, self._listen, receive, send)
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

    async def _listen(self) -> None:
        if self._closed is None:
            await self._host.listen("asgi:", mount=self)

    async def _connection(self, scope: _Scope, receive: Receive, send: Send) -> None:
        await receive()
        headers = header_lines(scope)
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

    async def _turn_away(self, scope: _Scope, send: Send, status: int, words: str, address: str | None) -> None:
        _log.info("%s: %s turned away: %d %s", self.url, address or "a peer", status, words.strip())
        try:
            if "websocket.http.response" in (scope.get("extensions") or {}):
                await _answer(send, "websocket.http.response", status, words)
            else:
                await send({"type": "websocket.close"})
        except OSError:  # it has gone meanwhile
            pass


async def _answer(send: Send, kind: str, status: int, words: str) -> None:
    body = words.encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"capnet"))
    if status == 426:
        headers.append((b"upgrade", b"websocket"))
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})


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
