"""Fuzz target: what a client of MCP says, by lines and by HTTP, and what a server says to us.

An input decides who is talked to, and a script: messages made of parts that may be there, be wrong or be at a bound, or
any bytes at all; requests with such bodies under headers that say the same, something else or nothing; and what this
side does meanwhile, answering, reporting, telling news, giving up. Nothing is raised, all that is sent is JSON, a
request is answered once, the bounds hold at every step, and each request by HTTP has a whole answer.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from capnet import Host
from capnet.gateways.actions import Send
from capnet.gateways.bounds import Bounds
from capnet.gateways.framing import Lines
from capnet.gateways.mcp import mcp_app
from capnet.gateways.mcp.asking import Answered, Asking, Changed, Progressed, Reply
from capnet.gateways.mcp.session import MAX_SUBSCRIPTIONS, PREFIX, Action, Call, Cancel, List, Request, Session
from tests.fuzz.choices import Choices

__all__ = ["one_input"]

_MOST: Final = 400
_CALLS: Final = 3
_BOUNDS: Final = Bounds(max_message=_MOST, max_depth=8, max_values=32)
_NEW: Final = f'"_meta": {{"{PREFIX}protocolVersion": "2026-07-28"'
_IDS: Final = ("0", "1", "2", '"1"', "1.0", "null", "true", "[]", "9" * 30, '"' + "x" * 257 + '"', '"\\ud800"', "-1")
_METHODS: Final = (
    '"initialize"', '"ping"', '"server/discover"', '"tools/list"', '"tools/call"', '"subscriptions/listen"',
    '"notifications/initialized"', '"notifications/cancelled"', '"notifications/progress"',
    '"notifications/tools/list_changed"', '"resources/list"', "1", "null", '""', '"\\ud800"',
)  # fmt: skip
_PARTS: Final = (
    '"name": "a.b"', '"name": 1', '"arguments": {}', '"arguments": {"x": [1]}', '"arguments": []', '"cursor": "1"',
    '"cursor": "x"', '"cursor": "99999999999"', '"requestId": 1', '"requestId": "1"', '"requestId": []',
    '"notifications": {"toolsListChanged": true}', '"notifications": 1', '"protocolVersion": "2025-06-18"',
    '"clientInfo": {"name": "a"}', '"progressToken": 1', '"progress": 1', '"progress": NaN', '"total": "x"',
    '"message": "\\u0000"', _NEW + "}", _NEW + ', "progressToken": 1}',
    f'"_meta": {{"{PREFIX}protocolVersion": "2030"}}', '"_meta": {"progressToken": "p"}', '"_meta": 1',
    '"x": ' + "[" * 8 + "]" * 8, '"x": "' + "y" * 200 + '"',
)  # fmt: skip
_RESULTS: Final = (
    "{}", "[]", "null", '{"tools": []}', '{"supportedVersions": ["2026-07-28"]}', '{"resultType": "input_required"}',
    '{"content": [{"type": "text", "text": "a"}], "isError": true}', '{"code": -32601, "message": "no"}',
    '{"code": []}',
)  # fmt: skip
_KEYS: Final = ("id", "method", "params", "result", "error", "more")
_HEADERS: Final[dict[str, tuple[str, ...]]] = {
    "host": ("localhost", "localhost:1", "evil.example", ""),
    "origin": ("https://evil.example", "null"),
    "authorization": ("Bearer a", "Bearer ", "Basic x", "Bearer " + "x" * 9000),
    "content-type": ("application/json", "application/json; charset=utf-8", "text/plain"),
    "accept": ("application/json, text/event-stream", "application/json", "text/event-stream", "*/*", ""),
    "content-length": ("5", "-1", "9999999", "x", "9" * 20, "²"),
    "mcp-session-id": ("a", "x" * 300),
    "mcp-protocol-version": ("2026-07-28", "2025-06-18", "2030"),
    "mcp-method": ("tools/call", "tools/list", "server/discover"),
    "mcp-name": ("a.b", "=?base64?YS5i?=", "=?base64?!?=", "=?base64?/w==?="),
}
_USUAL: Final = ("host", "content-type", "accept", "mcp-protocol-version", "mcp-method")
_runner: Final = asyncio.Runner()
_log: Final = logging.getLogger("capnet.gateways.mcp")


def one_input(data: bytes) -> None:
    """Play one input."""
    choices = Choices(data)
    (_play_client, _play_server, _play_http)[choices.below(3)](choices)


def _play_client(choices: Choices) -> None:
    """A session, and the client that talks to it by lines."""
    session = Session("fuzz", "1", max_message=_MOST, max_calls=_CALLS, page=2)
    lines = Lines(_MOST)
    requests: list[Request] = []

    def follow(actions: Any) -> None:
        for action in actions:
            _follow(action, requests)

    while choices:
        match choices.below(8):
            case 0 if requests:
                request = requests.pop(choices.below(len(requests)))
                sent = _answer(session, request, choices)
                assert len(sent) == 1
                follow(sent)
                assert not session.progress(request, 1, "late"), "it was answered"
            case 1 if requests:
                follow(session.progress(requests[0], choices.below(9), "\ud800", 9.5))
            case 2:
                told = session.changed()
                assert len(told) <= MAX_SUBSCRIPTIONS + 1
                follow(told)
            case _:
                for message in lines.feed(_line(choices)):
                    follow(session.too_long() if message is None else session.feed(message))
        assert len(requests) <= _CALLS, "more is worked on than may be"
    with suppress(StopIteration):
        message = next(lines.end())
        follow(session.too_long() if message is None else session.feed(message))


def _answer(session: Session, request: Request, choices: Choices) -> Sequence[Send]:
    many = choices.below(6)
    match choices.below(4):
        case 0:
            return session.listed(request, [{"name": "a"}] * many)
        case 1:
            return session.called(request, "a" * many, {"result": many}, failed=bool(many % 2))
        case 2:
            return session.unknown(request, "no")
        case _:
            return session.broken(request, "no")


def _follow(action: Action, requests: list[Request]) -> None:
    match action:
        case Send(text):
            assert json.loads(text)["jsonrpc"] == "2.0"
            assert text.isascii() and "\n" not in text
        case List(request) | Call(request):
            ids = [(type(one.id), one.id) for one in requests]
            assert (type(request.id), request.id) not in ids, "it is worked on already"
            requests.append(request)
        case Cancel(request):
            requests.remove(request)


def _play_server(choices: Choices) -> None:
    """What we ask a server, and what it says."""
    asking = Asking("fuzz", "1", _BOUNDS)
    asked: list[int] = []
    while choices:
        match choices.below(6):
            case 0 if len(asked) < 8:
                request = (
                    asking.initialize() if choices.flag() else asking.request("tools/list", progress=choices.flag())
                )
                json.loads(request.text)
                assert request.id is not None
                asked.append(request.id)
            case 1 if asked:
                json.loads(asking.cancel(asked.pop()).text)
            case 2:
                versions: tuple[Any, ...] = ("2025-06-18", None, ["2026-07-28"], [[]])
                for version in versions:
                    asking.speaks(version)
                    asking.initialized({"protocolVersion": version})
            case _:
                for event in asking.feed(_line(choices).rstrip(b"\n")):
                    match event:
                        case Answered(number):
                            asked.remove(number)
                        case Progressed(number, done, total):
                            assert number in asked
                            assert type(done) in (int, float) and type(total) in (int, float, type(None))
                        case Reply(request):
                            json.loads(request.text)
                        case Changed():
                            pass


def _play_http(choices: Choices) -> None:
    """One request by HTTP after the other, to a host that is not open: whoever may come in hears that."""
    app = mcp_app(Host(), token=None, origins=[None, "https://good.example"], bounds=_BOUNDS)
    _log.setLevel(logging.CRITICAL)
    while choices:
        headers = {name: _HEADERS[name][0] for name in _USUAL}
        for _ in range(choices.below(4)):
            name = choices.one_of(tuple(_HEADERS))
            if choices.below(5):
                headers[name] = choices.one_of(_HEADERS[name])
            else:
                headers.pop(name, None)
        lines = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        if not choices.below(8):
            lines += lines[: choices.below(8)]
        body = _line(choices).rstrip(b"\n")
        scope: dict[str, Any] = {
            "type": "http",
            "method": ("POST", "POST", "POST", "POST", "GET", "DELETE", "OPTIONS", "PUT")[choices.below(8)],
            "path": "/mcp",
            "client": ("127.0.0.1", 1) if choices.flag() else None,
            "headers": lines,
        }
        _runner.run(_request(app, scope, body, gone=not choices.below(8)))


async def _request(app: Any, scope: dict[str, Any], body: bytes, *, gone: bool) -> None:
    """Send one, and look at the answer."""
    parts = [body[: len(body) // 2], body[len(body) // 2 :]]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not parts or (gone and len(parts) == 1):
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)

    await app(scope, receive, send)
    start, *rest = sent
    assert start["type"] == "http.response.start" and 200 <= start["status"] < 600
    assert rest and not rest[-1].get("more_body")
    if dict(start["headers"]).get(b"content-type") == b"application/json":
        assert json.loads(rest[0]["body"])["jsonrpc"] == "2.0"
    assert len(app.rooms) == 0


def _line(choices: Choices) -> bytes:
    """A message that may be one, or a part of it, or any bytes."""
    match choices.below(8):
        case 0:
            return choices.take(choices.below(64))
        case 1:
            return _message(choices)[: choices.below(64)].encode("latin-1")
        case 2:
            return f"[{_message(choices)}]\n".encode("latin-1")
        case _:
            return _message(choices).encode("latin-1") + b"\n"


def _message(choices: Choices) -> str:
    parts = [f'"jsonrpc": {choices.one_of(("2.0", chr(34) + "2.0" + chr(34), chr(34) + "2.0" + chr(34)))}']
    keys = (
        ("id", "method", "params"),
        ("id", "method", "params"),
        ("method", "params"),
        ("id", "result"),
        ("id", "error"),
    )
    for key in (*keys[choices.below(5)], *(choices.one_of(_KEYS) for _ in range(choices.below(2)))):
        if key == "params":
            value = f"{{{', '.join(choices.one_of(_PARTS) for _ in range(choices.below(4)))}}}"
        else:
            value = choices.one_of(_IDS if key == "id" else _METHODS if key == "method" else _RESULTS)
        parts.append(f'"{key}": {value}')
    return "{" + ", ".join(parts) + "}"
