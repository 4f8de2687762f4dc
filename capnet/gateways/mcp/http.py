"""MCP over HTTP, as an ASGI application ("streamable HTTP"): `mcp_app(host)`.

A request is answered with JSON when nothing but the answer came, else with a stream of events. Of the older protocol
there are sessions, with a stream of news and an end; of the newer one each request stands for itself, and says in
headers what is in it.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping, Sequence
from types import EllipsisType
from typing import Any, Final, TypeAlias, cast

from capnet import Attestation, CapnetError, Host, InvalidArgument, ResourceExhausted, Unauthenticated
from capnet.gateways.bounds import Bounds
from capnet.gateways.jsonrpc.failures import INVALID, PARSE
from capnet.gateways.reading import Unreadable, weighed
from capnet_transports.lifespan import live
from capnet_transports.web import (
    LOOPBACK,
    WRONG_HOST,
    WRONG_PATH,
    checked_origins,
    header_lines,
    header_names,
    host_name,
    host_names,
)

from .exchange import Exchange, Reply
from .headers import Mismatch, check_headers, is_stateless, within
from .rooms import Client, Room, Rooms
from .tools import Names

__all__ = ["McpApp", "mcp_app"]

_Scope: TypeAlias = "MutableMapping[str, Any]"
_Receive: TypeAlias = "Callable[[], Awaitable[MutableMapping[str, Any]]]"
_Send: TypeAlias = "Callable[[dict[str, Any]], Awaitable[None]]"

JSON, EVENTS = "application/json", "text/event-stream"
MAX_HEADERS: Final = 8 * 1024
"""Letters in the headers that are kept of a client, and in its token."""
SESSION: Final = "mcp-session-id"
_log: Final = logging.getLogger("capnet.gateways.mcp")


def mcp_app(
    host: Host,
    *,
    token: str | EllipsisType | None = ...,
    origins: Sequence[str | None] = (None,),
    hosts: Collection[str] | None = None,
    path: str | None = None,
    headers: Collection[str] = (),
    name: str = "capnet",
    version: str = "",
    names: Names = "dotted",
    bounds: Bounds | None = None,
) -> McpApp:
    """An ASGI application that offers what a host serves to clients of MCP.

        app = mcp_app(host, token=os.environ["TOKEN"])  # uvicorn module:app

    Each client is a peer of the host like any other, by a connection of its own. Served by itself the application opens
    the host when the server starts, and closes it when the server stops; in another one the host has to be open.

    Args:
        host: open, or not yet.
        token: what clients show as `Authorization: Bearer …`. With None everybody may come: what a client shows is
            `token` in its `auth` then, for the host's policy.
        origins: pages that may call, such as `https://example.org`; None in it stands for programs, which name no page.
        hosts: names under which the server is known, without port. Those of the loopback when None.
        path: the only one that is served; any that leads to the application when None.
        headers: names of those that the attestation shall have.
        name: of the server, as clients show it.
        version: of the server.
        names: `underscore` writes the names of tools as `chat_Lobby_open` and with 64 letters at most, for hosts of
            models that take no others.
        bounds: of each session, and of all of one principal.

    Raises:
        InvalidArgument: no token, or other options that make no sense.
    """
    subject = "mcp_app"
    if isinstance(token, EllipsisType) or (token is not None and len(token) < 16):
        raise InvalidArgument(
            f"{subject}: a token of at least 16 letters is needed",
            reason="token_needed",
            hint="token=secrets.token_urlsafe(), or token=None to let anybody in, for the policy to tell apart",
        )
    if names not in ("dotted", "underscore"):
        raise InvalidArgument(f"{subject}: names is 'dotted' or 'underscore', not {names!r}"[:300])
    return McpApp(
        Rooms(host, bounds or Bounds()),
        host,
        token=token,
        origins=checked_origins(origins, subject),
        hosts=LOOPBACK if hosts is None else host_names(hosts, subject),
        path=path,
        headers=header_names(headers, subject),
        server=(name, version, names),
    )


class McpApp:
    """What `mcp_app` makes."""

    def __init__(
        self,
        rooms: Rooms,
        host: Host,
        *,
        token: str | None,
        origins: tuple[str | None, ...],
        hosts: frozenset[str],
        path: str | None,
        headers: frozenset[str],
        server: tuple[str, str, Names],
    ) -> None:
        self.rooms = rooms
        self._host = host
        self._token = token
        self._origins = origins
        self._hosts = hosts
        self._path = path
        self._headers = headers
        self._server = server

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """One request, or the life of the server: as ASGI has it."""
        if scope["type"] == "http":
            await self._request(scope, receive, Reply(send))
        elif scope["type"] == "lifespan":
            await live(self._host, self.rooms.listen, receive, send, end=self.rooms.aclose)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close"})

    async def aclose(self) -> None:
        """End all sessions, for where the server does not say when it stops. Idempotent."""
        await self.rooms.aclose()

    # --- one request ---

    async def _request(self, scope: _Scope, receive: _Receive, reply: Reply) -> None:
        lines = _lines(scope)
        status, words = self._judge(scope, lines)
        if status:
            _log.info("a client was turned away: %d %s", status, words.strip())
            await reply.words(status, words)
            return
        headers = {name: values[0] for name, values in lines.items()}
        if "origin" in headers:
            reply.headers = {
                "access-control-allow-origin": headers["origin"],
                "access-control-expose-headers": SESSION,
                "vary": "origin",
            }
        client = self._client(scope, headers)
        try:
            match scope["method"]:
                case "POST":
                    await self._post(client, headers, receive, reply)
                case "GET" if SESSION in headers:
                    await self._news(client, headers, receive, reply)
                case "DELETE" if SESSION in headers:
                    room = self.rooms.of_session(client, headers[SESSION])
                    if room is not None:
                        await room.end()
                    await reply.words(404 if room is None else 204, "")
                case "OPTIONS" if "origin" in headers:
                    await reply.words(204, "", _ALLOWED)
                case _:
                    await reply.words(405, "", {"allow": "POST"})
        except Unauthenticated as error:
            await reply.words(401, f"{error.message}\n", {"www-authenticate": "Bearer"})
        except ResourceExhausted as error:
            await reply.words(429, f"{error.message}\n")
        except CapnetError as error:
            await reply.words(503, f"{error.message}\n")
        except OSError:
            pass  # the client has gone

    async def _post(self, client: Client, headers: Mapping[str, str], receive: _Receive, reply: Reply) -> None:
        if headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
            await reply.words(415, f"a message is {JSON}\n")
            return
        accepted = _accepted(headers)
        if JSON not in accepted:
            await reply.words(406, f"the answer may be {JSON}\n")
            return
        body = await _body(headers, receive, self.rooms.bounds.max_message)
        if body is None:
            await reply.words(413, f"a message has at most {self.rooms.bounds.max_message} bytes\n")
            return
        try:
            message, weight = weighed(body, self.rooms.bounds)
            if not isinstance(message, dict):
                raise Unreadable("a message is one object", too_much=True)
            told = cast("dict[str, Any]", message)
            body = b""  # its value is there
            stateless = is_stateless(headers, told)
            if stateless:
                check_headers(headers, told)
        except Unreadable as error:
            await reply.failure(None, INVALID if error.too_much else PARSE, str(error), 400)
            return
        except Mismatch as error:
            await reply.failure(error.id, -32020, str(error), 400)
            return
        if told.get("method") == "subscriptions/listen" and EVENTS not in accepted:
            await reply.words(406, f"news are {EVENTS}\n")
            return
        exchange = Exchange(self._server, self.rooms.bounds, reply, events=EVENTS in accepted, stateless=stateless)
        room = await self._room(exchange, client, headers, told)
        if room is not None:
            await exchange.run(room, told, weight, receive)

    async def _room(
        self, exchange: Exchange, client: Client, headers: Mapping[str, str], told: Mapping[str, Any]
    ) -> Room | None:
        """What the client has; None when that was refused."""
        if exchange.stateless:
            return await self.rooms.of_client(client)
        room: Room | None = None
        if told.get("method") == "initialize" and SESSION not in headers:
            session = await self.rooms.begin(client, _name_of(told))
            exchange.reply.headers |= {SESSION: session}
            room = self.rooms.of_session(client, session)
        elif SESSION not in headers:
            await exchange.reply.failure(None, INVALID, "begin with initialize, and name the session from then on", 400)
            return None
        else:
            room = self.rooms.of_session(client, headers[SESSION])
        if room is None:
            await exchange.reply.failure(None, INVALID, "there is no such session", 404)
        return room

    async def _news(self, client: Client, headers: Mapping[str, str], receive: _Receive, reply: Reply) -> None:
        room = self.rooms.of_session(client, headers[SESSION])
        if EVENTS not in _accepted(headers):
            await reply.words(406, f"news are {EVENTS}\n")
        elif room is None:
            await reply.words(404, "there is no such session\n")
        elif room.followed:
            await reply.words(409, "the news of this session are read already\n")
        else:
            await Exchange(self._server, self.rooms.bounds, reply, events=True, stateless=False).news(room, receive)

    def _judge(self, scope: _Scope, lines: Mapping[str, list[str]]) -> tuple[int, str]:
        """The status by which a client is turned away before its message is read, and why; 0 for one that may come."""
        if any(len(lines.get(name, ())) > 1 for name in (*_ONCE, *self._headers)):
            return 400, "a header is there twice\n"
        if lines.get("origin", [None])[0] not in self._origins:
            return 403, "this page may not call: mcp_app(host, origins=[...])\n"
        if host_name(lines.get("host", [""])[0]) not in self._hosts:
            return 421, WRONG_HOST
        if self._path is not None and scope["path"] != self._path:
            return 404, WRONG_PATH
        kept = [value for name in (*self._headers, "authorization") for value in lines.get(name, ())]
        if sum(map(len, kept)) > MAX_HEADERS or len(scope["path"]) > MAX_HEADERS:
            return 431, f"headers that are kept have at most {MAX_HEADERS} letters\n"
        shown = _bearer(lines)
        if scope["method"] == "OPTIONS":  # a browser asks whether a page may call; it shows nothing yet
            return 0, ""
        if self._token is not None and not hmac.compare_digest((shown or "").encode(), self._token.encode()):
            return 401, "this server wants a token: Authorization: Bearer ...\n"
        return 0, ""

    def _client(self, scope: _Scope, headers: Mapping[str, str]) -> Client:
        address = scope.get("client")
        attestation = Attestation(
            transport="mcp",
            address=None if not address else f"{address[0]}:{address[1]}",
            origin=headers.get("origin"),
            path=scope["path"],
            headers={name: headers[name] for name in self._headers if name in headers},
        )
        token = None if self._token is not None else _bearer({name: [value] for name, value in headers.items()})
        return Client(attestation, token)


_ONCE: Final = (
    "authorization", "content-length", "content-type", "host", "mcp-method", "mcp-name", "mcp-protocol-version",
    "mcp-session-id", "origin",
)  # fmt: skip
"""Headers of which somebody else might read another one, if there were two."""
_ALLOWED: Final = {
    "access-control-allow-methods": "GET, POST, DELETE",
    "access-control-allow-headers": ", ".join(
        ("authorization", "content-type", "mcp-method", "mcp-name", "mcp-protocol-version", "mcp-session-id")
    ),
    "access-control-max-age": "600",
}
"""What a page may send that may call at all."""


def _lines(scope: _Scope) -> dict[str, list[str]]:
    """The lines of each header; all of `Accept` are one."""
    lines = header_lines(scope)
    if "accept" in lines:
        lines["accept"] = [",".join(lines["accept"])]
    return lines


def _bearer(lines: Mapping[str, Sequence[str]]) -> str | None:
    scheme, _, shown = lines.get("authorization", [""])[0].strip().partition(" ")
    return shown.strip() if scheme.lower() == "bearer" and shown.strip() else None


def _accepted(headers: Mapping[str, str]) -> frozenset[str]:
    """What of the two forms of an answer the client takes."""
    named = {one.partition(";")[0].strip().lower() for one in headers.get("accept", "*/*").split(",")}
    found = named & {JSON, EVENTS}
    if "*/*" in named or "application/*" in named:
        found |= {JSON}
    if "*/*" in named or "text/*" in named:
        found |= {EVENTS}
    return frozenset(found)


async def _body(headers: Mapping[str, str], receive: _Receive, most: int) -> bytes | None:
    """The message; None when it is too long, or the client has gone."""
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or len(length) > 15 or int(length) > most:
        return None
    parts, size = list[bytes](), 0
    while True:
        event = await receive()
        if event["type"] != "http.request":
            return None
        parts.append(event.get("body", b""))
        size += len(parts[-1])
        if size > most:
            return None
        if not event.get("more_body"):
            return b"".join(parts)


def _name_of(told: Mapping[str, Any]) -> str:
    """What a client calls itself, as far as that can be a name."""
    name = within(told, "params", "clientInfo", "name")
    return name if isinstance(name, str) and name.isprintable() and len(name.encode()) <= 100 else ""
