"""The protocol of one session, without input and output: `feed` takes a message and says what is to be done.

Two protocols have the name MCP. Up to 2025-11-25 a session begins with a handshake. From 2026-07-28 on each request
says its version in `_meta`, and there is none. A session takes both, request by request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeGuard, cast

from capnet.gateways.actions import Send
from capnet.gateways.bounds import Bounds
from capnet.gateways.jsonrpc.failures import INTERNAL, INVALID, METHOD, PARAMS, PARSE
from capnet.gateways.jsonrpc.texts import message_text
from capnet.gateways.reading import Unreadable, read

from .tools import Names

__all__ = ["Action", "Call", "Cancel", "List", "Request", "Send", "Session"]

HANDSHAKE: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Versions that begin with `initialize`; the newest is the last."""
STATELESS: Final = ("2026-07-28",)
PREFIX: Final = "io.modelcontextprotocol/"
VERSION: Final = -32022
MAX_ID: Final = 256
"""Characters in the id of a request."""
MAX_SUBSCRIPTIONS: Final = 16
"""Requests for news that one client has open."""

Json: TypeAlias = "dict[str, Any]"


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is not answered yet.

    Attributes:
        id: text or number, as the client wrote it.
        stateless: it is of the newer protocol.
        token: by which the client knows reports of progress; None when it wants none.
        cursor: where a list goes on.
    """

    id: str | int
    stateless: bool
    token: str | int | None = None
    cursor: int = 0

    @property
    def key(self) -> tuple[type, str | int]:
        """1 and "1" are two ids."""
        return type(self.id), self.id


@dataclass(frozen=True, slots=True)
class List:
    """Find the tools, and tell `Session.listed`."""

    request: Request


@dataclass(frozen=True, slots=True)
class Call:
    """Call a tool, and tell `Session.called`."""

    request: Request
    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cancel:
    """Give up what was begun for a request; nothing more is to be told of it."""

    request: Request


Action: TypeAlias = "Send | List | Call | Cancel"


class Refused(Exception):
    """A request that gets an error."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.error: Json = {"code": code, "message": message} | ({} if data is None else {"data": data})


class Session:
    """What one client has said, and is waiting for.

    Args:
        name: of the server, as clients show it.
        version: of the server.
        max_message: bytes of the longest message that is taken.
        max_calls: requests that are worked on at a time.
        page: tools in one answer to `tools/list`.
        names: `underscore` writes the names of tools without dots, and with 64 letters at most.
    """

    def __init__(
        self,
        name: str,
        version: str,
        *,
        max_message: int = 4 * 1024 * 1024,
        max_calls: int = 64,
        page: int = 100,
        names: Names = "dotted",
    ) -> None:
        self.max_message = max_message
        self.names: Final = names
        self._bounds = Bounds(max_message=max_message)
        self._info = {"name": name, "version": version}
        self._max_calls = max_calls
        self._page = page
        self._open: dict[tuple[type, str | int], Request] = {}
        self._subscribed: dict[tuple[type, str | int], Request] = {}
        self._greeted = False

    def feed(self, text: str | bytes) -> Sequence[Action]:
        """Take a message of the client's.

        Args:
            text: one JSON text; a line without its end. Blank ones are passed over.
        """
        if len(text) > self.max_message:
            return self.too_long()
        if not text.strip():
            return ()
        try:
            message: object = read(text, self._bounds)
        except Unreadable as error:
            return [_failure(None, Refused(INVALID if error.too_much else PARSE, str(error)))]
        return self.take(message)

    def take(self, message: object) -> Sequence[Action]:
        """The same, of a message that was read already: the value of a JSON text."""
        if not isinstance(message, dict):  # batches are no part of the protocol any more
            return [_failure(None, Refused(INVALID, "a message is one object"))]
        return self._message(cast("Json", message))

    def too_long(self) -> Sequence[Action]:
        """A message was too long to be kept, and was passed over."""
        return [_failure(None, Refused(INVALID, f"a message has at most {self.max_message} bytes"))]

    @property
    def listens(self) -> bool:
        """Whether the client waits for news by a request of the newer protocol."""
        return bool(self._subscribed)

    def listed(self, request: Request, tools: Sequence[Json]) -> Sequence[Send]:
        """Answer a `List`.

        Args:
            tools: all there are; the page that was asked for is sent.
        """
        end = request.cursor + self._page
        more = {"nextCursor": str(end)} if end < len(tools) else {}
        fresh = {"ttlMs": 0, "cacheScope": "private"} if request.stateless else {}
        return self._answer(request, {"tools": tools[request.cursor : end], **more, **fresh})

    def called(self, request: Request, text: str, structured: Any = None, *, failed: bool = False) -> Sequence[Send]:
        """Answer a `Call`.

        Args:
            text: what a model reads.
            structured: the same for programs.
            failed: the tool says no, and this is why.
        """
        result: Json = {"content": [{"type": "text", "text": text}], "isError": failed}
        return self._answer(request, result if structured is None else {**result, "structuredContent": structured})

    def unknown(self, request: Request, message: str) -> Sequence[Send]:
        """Answer a `Call` of what is no tool, or with what is no argument."""
        return self._refuse(request, Refused(PARAMS, message))

    def broken(self, request: Request, message: str) -> Sequence[Send]:
        """Answer a request that could not be worked on."""
        return self._refuse(request, Refused(INTERNAL, message))

    def progress(self, request: Request, done: float, message: str, total: float | None = None) -> Sequence[Send]:
        """Report how far a call is, if the client wants to know.

        Args:
            done: rises with each report.
            total: what it will be at the end, if that is known.
        """
        if request.token is None or request.key not in self._open:
            return ()
        report = {"progressToken": request.token, "progress": done, "message": message}
        return [_notice("notifications/progress", report if total is None else {**report, "total": total})]

    def changed(self) -> Sequence[Send]:
        """Tell the client that there are other tools now, if it wants to know."""
        method = "notifications/tools/list_changed"
        sends = [_notice(method, _about(one, {})) for one in self._subscribed.values()]
        return [_notice(method, {}), *sends] if self._greeted else sends

    def _message(self, message: Json) -> Sequence[Action]:
        method, params = message.get("method"), message.get("params", {})
        if "method" not in message and ("result" in message or "error" in message):
            return ()  # an answer, and we have asked nothing
        if "id" not in message:
            if message.get("jsonrpc") != "2.0" or not isinstance(method, str) or not isinstance(params, dict):
                return ()
            return self._notified(method, cast("Json", params))
        number = message["id"]
        if not _is_id(number):
            return [_failure(None, Refused(INVALID, "the id of a request is a short text or a whole number"))]
        try:
            if message.get("jsonrpc") != "2.0" or not isinstance(method, str):
                raise Refused(INVALID, "this is no request of JSON-RPC 2.0")
            if not isinstance(params, dict):
                raise Refused(PARAMS, "params is an object")
            return self._requested(number, method, cast("Json", params))
        except Refused as refused:
            return [_failure(number, refused)]

    def _notified(self, method: str, params: Json) -> Sequence[Action]:
        if method == "notifications/initialized":
            self._greeted = True
        number = params.get("requestId")
        if method != "notifications/cancelled" or not _is_id(number):
            return ()
        key = (type(number), number)
        self._subscribed.pop(key, None)
        request = self._open.pop(key, None)
        return () if request is None else [Cancel(request)]

    def _requested(self, number: str | int, method: str, params: Json) -> Sequence[Action]:
        meta: object = params.get("_meta", {})
        if not isinstance(meta, dict):
            raise Refused(PARAMS, "_meta is an object")
        told = cast("Json", meta)
        stateless = f"{PREFIX}protocolVersion" in told
        version = told.get(f"{PREFIX}protocolVersion")
        if stateless and version not in STATELESS:
            known = {"supported": [*STATELESS], "requested": version}
            raise Refused(VERSION, "this version of the protocol is not spoken here", known)
        token = told.get("progressToken")
        request = Request(number, stateless, token if _is_id(token) else None, _cursor(params))
        if request.key in self._open or request.key in self._subscribed:
            raise Refused(INVALID, "a request with this id is not answered yet")
        return self._begin(request, method, params)

    def _begin(self, request: Request, method: str, params: Json) -> Sequence[Action]:
        match method, request.stateless:
            case "initialize", False:
                asked = params.get("protocolVersion")
                version = asked if asked in HANDSHAKE else HANDSHAKE[-1]
                return self._answer(
                    request, {"protocolVersion": version, "capabilities": _CAPABILITIES, "serverInfo": self._info}
                )
            case "ping", False:
                return self._answer(request, {})
            case "server/discover", _:
                versions = {"supportedVersions": [*STATELESS], "capabilities": _CAPABILITIES}
                return self._answer(request, {**versions, "ttlMs": 0, "cacheScope": "private"})
            case "subscriptions/listen", True:
                return self._listen(request, params)
            case "tools/list", _:
                return [List(self._opened(request))]
            case "tools/call", _:
                tool, arguments = params.get("name"), params.get("arguments", {})
                if not isinstance(tool, str) or not isinstance(arguments, dict):
                    raise Refused(PARAMS, "a call has the name of a tool, and an object of arguments")
                return [Call(self._opened(request), tool, cast("Json", arguments))]
            case _:
                raise Refused(METHOD, "there is no such method here")

    def _listen(self, request: Request, params: Json) -> Sequence[Send]:
        wanted: object = params.get("notifications", {})
        if len(self._subscribed) >= MAX_SUBSCRIPTIONS:
            raise Refused(INTERNAL, f"{MAX_SUBSCRIPTIONS} such requests are open already")
        tools = isinstance(wanted, dict) and cast("Json", wanted).get("toolsListChanged") is True
        if tools:
            self._subscribed[request.key] = request
        given: Json = {"notifications": {"toolsListChanged": True} if tools else {}}
        return [_notice("notifications/subscriptions/acknowledged", _about(request, given))]

    def _opened(self, request: Request) -> Request:
        if len(self._open) >= self._max_calls:
            told = {"code": "resource_exhausted", "reason": "max_calls"}
            raise Refused(INTERNAL, f"{self._max_calls} requests are being worked on already", told)
        self._open[request.key] = request
        return request

    def _answer(self, request: Request, result: Json) -> Sequence[Send]:
        if request.stateless:
            result = {"resultType": "complete", **result, "_meta": {f"{PREFIX}serverInfo": self._info}}
        return self._close(request, {"result": result})

    def _refuse(self, request: Request, refused: Refused) -> Sequence[Send]:
        return self._close(request, {"error": refused.error})

    def _close(self, request: Request, answer: Json) -> Sequence[Send]:
        self._open.pop(request.key, None)
        return [_send({"id": request.id, **answer})]


_CAPABILITIES: Final[Json] = {"tools": {"listChanged": True}}


def _is_id(value: object) -> TypeGuard[str | int]:
    return (type(value) is str and len(value) <= MAX_ID) or (type(value) is int and abs(value) < 2**63)


def _cursor(params: Json) -> int:
    cursor = params.get("cursor")
    if cursor is None:
        return 0
    if not isinstance(cursor, str) or not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 9):
        raise Refused(PARAMS, "this is no cursor that was given here")
    return int(cursor)


def _about(request: Request, params: Json) -> Json:
    """What is sent for a request for news."""
    return {**params, "_meta": {f"{PREFIX}subscriptionId": request.id}}


def _notice(method: str, params: Json) -> Send:
    return _send({"method": method, **({"params": params} if params else {})})


def _failure(number: Any, refused: Refused) -> Send:
    return _send({"id": number, "error": refused.error})


def _send(message: Json) -> Send:
    return Send(message_text(message))
