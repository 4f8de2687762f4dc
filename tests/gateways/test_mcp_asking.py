"""What a client of MCP sends, and what it makes of what comes, message by message."""

from __future__ import annotations

import json
from typing import Any

import pytest

from capnet.gateways.bounds import Bounds
from capnet.gateways.mcp.asking import Answered, Asking, Changed, Progressed, Reply
from capnet.gateways.mcp.headers import check_headers

META = "io.modelcontextprotocol/"


def asking() -> Asking:
    return Asking("test", "1", Bounds(max_message=10_000))


def said(text: str) -> Any:
    return json.loads(text)


@pytest.mark.parametrize("name", ["t.open", "ä b", " x", "=?base64?eA==?=", "two\nlines"])
def test_a_request_of_the_newer_protocol_says_in_headers_what_is_in_it(name: str) -> None:
    request = asking().request("tools/call", {"name": name, "arguments": {}}, progress=True)
    message = said(request.text)
    assert message["params"]["_meta"]["progressToken"] == request.id
    assert message["params"]["_meta"][f"{META}protocolVersion"] == "2026-07-28"
    check_headers(request.headers, message)  # as a server does
    assert all(value.isascii() and value.isprintable() for value in request.headers.values())


def test_the_older_protocol_begins_with_a_handshake() -> None:
    ours = asking()
    request = ours.initialize()
    assert said(request.text)["params"]["protocolVersion"] == "2025-11-25"
    assert request.headers == {}
    assert ours.initialized({"protocolVersion": "1999-01-01"}) is None
    follows = ours.initialized({"protocolVersion": "2025-03-26"})
    assert follows is not None and said(follows.text)["method"] == "notifications/initialized"
    request = ours.request("tools/list")
    assert request.headers == {"mcp-protocol-version": "2025-03-26"}
    assert "params" not in said(request.text) or said(request.text)["params"] == {}


def test_answers_are_for_what_was_asked_and_once() -> None:
    ours = asking()
    first, second = ours.request("a"), ours.request("b")
    assert ours.feed(json.dumps({"id": second.id, "result": {"x": 1}})) == [Answered(second.id or 0, {"x": 1})]
    assert ours.feed(json.dumps({"id": second.id, "result": {}})) == ()
    assert ours.feed(json.dumps({"id": str(first.id), "result": {}})) == ()
    assert ours.feed(json.dumps({"id": True, "result": {}})) == ()
    error = {"code": -32601, "message": "no"}
    assert ours.feed(json.dumps({"id": first.id, "error": error})) == [Answered(first.id or 0, None, error)]
    third = ours.request("c")
    assert said(ours.cancel(third.id or 0).text)["params"] == {"requestId": third.id}
    assert ours.feed(json.dumps({"id": third.id, "result": {}})) == ()


def test_progress_and_news() -> None:
    ours = asking()
    number = ours.request("a", progress=True).id or 0

    def report(**params: Any) -> Any:
        return ours.feed(json.dumps({"method": "notifications/progress", "params": params}))

    assert report(progressToken=number, progress=1, total=2, message="x") == [Progressed(number, 1, 2, "x")]
    assert report(progressToken=number, progress=1.5) == [Progressed(number, 1.5, None, "")]
    for wrong in ({"progressToken": 99, "progress": 1}, {"progressToken": number, "progress": "1"}, {"progress": True}):
        assert report(**wrong) == ()
    assert ours.feed(json.dumps({"method": "notifications/tools/list_changed"})) == [Changed()]
    assert ours.feed(json.dumps({"method": "notifications/other", "params": 5})) == ()


def test_what_the_server_asks_is_answered() -> None:
    ours = asking()
    for method, key in (("ping", "result"), ("sampling/createMessage", "error")):
        (reply,) = ours.feed(json.dumps({"id": "s", "method": method}))
        assert isinstance(reply, Reply)
        assert said(reply.request.text)["id"] == "s" and key in said(reply.request.text)


@pytest.mark.parametrize("text", [b"\xff", "", "{", "[]", "5", "{}", "[" * 500, '{"id": 1}', "x" * 20_000])
def test_what_makes_no_sense_is_passed_over(text: str | bytes) -> None:
    assert asking().feed(text) == ()
