"""The protocol of MCP, message by message, without input and output."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capnet.gateways.mcp.session import Action, Call, Cancel, List, Send, Session

VERSION = "io.modelcontextprotocol/protocolVersion"
NEW: dict[str, Any] = {"_meta": {VERSION: "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}}


def session(**bounds: Any) -> Session:
    return Session("office", "1", **bounds)


def message(method: str, params: Any = None, **more: Any) -> str:
    told = {"jsonrpc": "2.0", "method": method, **more}
    return json.dumps(told if params is None else told | {"params": params})


def sent(action: Action) -> dict[str, Any]:
    assert isinstance(action, Send)
    assert "\n" not in action.text
    told: dict[str, Any] = json.loads(action.text)
    return told


def error(session: Session, text: str) -> int:
    (action,) = session.feed(text)
    code: int = sent(action)["error"]["code"]
    return code


@pytest.mark.parametrize(
    ("asked", "spoken"),
    [("2024-11-05", "2024-11-05"), ("2025-06-18", "2025-06-18"), ("2099-01-01", "2025-11-25"), (None, "2025-11-25")],
)
def test_the_version_of_the_handshake(asked: str | None, spoken: str) -> None:
    (action,) = session().feed(message("initialize", {"protocolVersion": asked}, id="a"))
    answer = sent(action)
    assert answer["id"] == "a"
    assert answer["result"] == {
        "protocolVersion": spoken,
        "capabilities": {"tools": {"listChanged": True}},
        "serverInfo": {"name": "office", "version": "1"},
    }


def test_a_stateless_client_discovers() -> None:
    (action,) = session().feed(message("server/discover", NEW, id=1))
    result = sent(action)["result"]
    assert result["supportedVersions"] == ["2026-07-28"]
    assert result["resultType"] == "complete"
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "office"


def test_ping_is_of_the_handshake_only() -> None:
    (action,) = session().feed(message("ping", id=1))
    assert sent(action) == {"jsonrpc": "2.0", "id": 1, "result": {}}
    assert error(session(), message("ping", NEW, id=1)) == -32601


def test_an_unknown_stateless_version_is_told_those_that_are_spoken() -> None:
    (action,) = session().feed(message("tools/list", {"_meta": {VERSION: "2030-01-01"}}, id=1))
    told = sent(action)["error"]
    assert (told["code"], told["data"]) == (-32022, {"supported": ["2026-07-28"], "requested": "2030-01-01"})


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", -32700),
        ("[" * 100_000, -32600),
        ('{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":NaN}}', -32700),
        ("[]", -32600),
        ("1", -32600),
        ('{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600),
        ('{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600),
        ('{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600),
        ('{"id":1,"method":"ping"}', -32600),
        ('{"jsonrpc":"2.0","id":1}', -32600),
        ('{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', -32602),
        ('{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":1}}', -32602),
        ('{"jsonrpc":"2.0","id":1,"method":"resources/list"}', -32601),
        ('{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"x"}}', -32602),
        ('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":1}}', -32602),
        ('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":[]}}', -32602),
        (" " * 65, -32600),
    ],
)
def test_what_is_refused(text: str, code: int) -> None:
    """By the code that the table has, and the session goes on."""
    ours = session(max_message=64) if not text.strip() else session()
    assert error(ours, text) == code
    assert "result" in sent(ours.feed(message("ping", id=1))[0])


@pytest.mark.parametrize(
    "text", ["", "  ", '{"jsonrpc":"2.0","method":"notifications/other"}', '{"jsonrpc":"2.0","id":1,"result":{}}', "{}"]
)
def test_what_gets_no_answer(text: str) -> None:
    assert not session().feed(text)


def test_tools_come_in_pages() -> None:
    ours, tools = session(page=2), [{"name": str(number)} for number in range(5)]
    seen: list[Any] = []
    params: dict[str, Any] = {}
    for number in range(3):
        (action,) = ours.feed(message("tools/list", params, id=number))
        assert isinstance(action, List)
        result = sent(ours.listed(action.request, tools)[0])["result"]
        seen += result["tools"]
        params = {"cursor": result.get("nextCursor")}
    assert seen == tools
    assert params == {"cursor": None}


def test_a_call_reports_and_is_answered_once() -> None:
    ours = session()
    params = {"name": "a.b", "arguments": {"x": 1}, "_meta": {"progressToken": "p"}}
    (action,) = ours.feed(message("tools/call", params, id=1))
    assert isinstance(action, Call)
    assert (action.tool, action.arguments) == ("a.b", {"x": 1})
    report = sent(ours.progress(action.request, 1, "one")[0])
    assert report["params"] == {"progressToken": "p", "progress": 1, "message": "one"}
    answer = sent(ours.called(action.request, "two", {"result": 2})[0])
    assert answer["result"] == {
        "content": [{"type": "text", "text": "two"}],
        "isError": False,
        "structuredContent": {"result": 2},
    }
    assert not ours.progress(action.request, 2, "late")


def test_one_and_the_text_of_one_are_two_requests() -> None:
    ours = session()
    call = {"name": "a.b"}
    assert isinstance(ours.feed(message("tools/call", call, id=1))[0], Call)
    assert isinstance(ours.feed(message("tools/call", call, id="1"))[0], Call)
    assert error(ours, message("tools/call", call, id=1)) == -32600
    (action,) = ours.feed(message("notifications/cancelled", {"requestId": "1"}))
    assert isinstance(action, Cancel)
    assert action.request.id == "1"
    assert not ours.feed(message("notifications/cancelled", {"requestId": "1"}))


def test_calls_at_a_time_are_bounded() -> None:
    ours = session(max_calls=2)
    (first,) = ours.feed(message("tools/call", {"name": "a"}, id=1))
    assert isinstance(first, Call)
    ours.feed(message("tools/list", id=2))
    assert error(ours, message("tools/call", {"name": "a"}, id=3)) == -32603
    ours.called(first.request, "")
    assert isinstance(ours.feed(message("tools/call", {"name": "a"}, id=3))[0], Call)


def test_news_of_the_handshake_come_once_it_is_over() -> None:
    ours = session()
    assert not ours.changed()
    ours.feed(message("notifications/initialized"))
    assert [sent(one)["method"] for one in ours.changed()] == ["notifications/tools/list_changed"]


def test_stateless_news_come_on_a_subscription() -> None:
    ours = session()
    (action,) = ours.feed(message("subscriptions/listen", NEW | {"notifications": {"toolsListChanged": True}}, id=7))
    assert sent(action)["method"] == "notifications/subscriptions/acknowledged"
    (news,) = ours.changed()
    assert sent(news)["params"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": 7}
    ours.feed(message("notifications/cancelled", {"requestId": 7}))
    assert not ours.changed()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
METHODS = st.sampled_from(
    [
        "initialize",
        "ping",
        "tools/list",
        "tools/call",
        "server/discover",
        "subscriptions/listen",
        "notifications/cancelled",
    ]
)
PARAMS = JSON | st.fixed_dictionaries(
    {},
    optional={
        "name": JSON,
        "arguments": JSON,
        "cursor": JSON,
        "requestId": JSON,
        "notifications": JSON,
        "protocolVersion": JSON,
        "_meta": JSON
        | st.fixed_dictionaries({}, optional={VERSION: JSON | st.just("2026-07-28"), "progressToken": JSON}),
    },
)
MESSAGES = JSON | st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0") | JSON, "method": METHODS | JSON}, optional={"id": JSON, "params": PARAMS}
)


@settings(max_examples=100, deadline=None)
@given(st.lists(MESSAGES.map(json.dumps) | st.text(max_size=30) | st.binary(max_size=30), max_size=6))
def test_any_lines_leave_a_session_that_answers(lines: list[str | bytes]) -> None:
    """Whatever comes, nothing is raised, and all that is sent is JSON."""
    ours = session(max_calls=3)
    for line in lines:
        for action in ours.feed(line):
            if isinstance(action, Send):
                sent(action)
    assert "result" in sent(ours.feed(message("server/discover", NEW, id="the last one"))[0])
