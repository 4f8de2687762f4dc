"""Anything that may come from a client or a server of MCP: it is answered or passed over, and nothing else happens."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from capnet import CapnetError
from capnet.gateways.mcp.asking import Asking
from capnet.gateways.mcp.headers import Mismatch, check_headers, is_stateless
from capnet.gateways.mcp.session import PREFIX, Call, Cancel, List, Send, Session
from capnet.gateways.schemas import from_schema
from capnet.gateways.values import Handles

WORDS = st.sampled_from(
    [
        "initialize", "ping", "tools/list", "tools/call", "server/discover", "subscriptions/listen", "name",
        "arguments", "notifications/initialized", "notifications/cancelled", "notifications/progress", "2.0",
        "2026-07-28", "cursor",
        "notifications/tools/list_changed", f"{PREFIX}protocolVersion", "requestId", "progressToken", "progress", "1",
    ]
)  # fmt: skip
NAMES = st.sampled_from(["jsonrpc", "id", "method", "params", "result", "error", "_meta", "notifications"]) | WORDS
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=5),
    max_leaves=12,
)
META = st.fixed_dictionaries({f"{PREFIX}protocolVersion": st.sampled_from(["2026-07-28", "2025-06-18"])}) | VALUES
PARAMS = st.dictionaries(WORDS, VALUES, max_size=4).flatmap(lambda some: META.map(lambda meta: {**some, "_meta": meta}))
MESSAGES = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0") | VALUES, "method": WORDS | VALUES, "params": PARAMS | VALUES},
    optional={"id": st.integers(0, 3) | st.sampled_from(["0", "1"]) | VALUES, "result": VALUES, "error": VALUES},
)


@given(st.lists(MESSAGES | VALUES | st.binary(max_size=50), max_size=8))
@example([{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}])
def test_a_session_of_a_client_that_says_anything(messages: list[Any]) -> None:
    session = Session("test", "1", max_calls=3)
    answered = 0
    for message in messages:
        for action in session.feed(message if isinstance(message, bytes) else json.dumps(message)):
            match action:
                case Send(text):
                    told = json.loads(text)
                    assert told["jsonrpc"] == "2.0"
                    assert "\n" not in text
                    answered += "method" not in told
                case List(request):
                    answered += len(session.listed(request, []))
                case Call(request, tool, arguments):
                    answered += len(session.called(request, tool, dict(arguments)))
                case Cancel():
                    raise AssertionError("all was answered at once")
    assert answered <= len(messages)


@given(st.lists(MESSAGES | VALUES | st.binary(max_size=50), max_size=8))
def test_a_server_that_says_anything(messages: list[Any]) -> None:
    asking = Asking("test", "1")
    asking.request("tools/list", progress=True)
    answers = 0
    for message in messages:
        for event in asking.feed(message if isinstance(message, bytes) else json.dumps(message)):
            answers += type(event).__name__ == "Answered"
    assert answers <= 1


@given(
    MESSAGES, st.dictionaries(st.sampled_from(["mcp-method", "mcp-name", "mcp-protocol-version"]), WORDS | st.text())
)
def test_headers_that_say_anything(message: Any, headers: dict[str, str]) -> None:
    if is_stateless(headers, message):
        with suppress(Mismatch):
            check_headers(headers, message)


SCHEMAS = st.recursive(
    st.sampled_from(
        [
            {}, {"type": "string"}, {"type": "integer"}, {"type": "string", "contentEncoding": "base64"},
            {"type": "string", "format": "capnet-handle"}, {"$ref": "#/$defs/Self"}, {"$ref": "#/$defs/None"},
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda some: {"anyOf": some})
        | inner.map(lambda one: {"type": "array", "items": one})
        | st.dictionaries(WORDS, inner, max_size=3).map(lambda some: {"type": "object", "properties": some})
    ),
    max_leaves=6,
)  # fmt: skip


@given(VALUES, SCHEMAS)
def test_values_of_any_form(value: Any, schema: Any) -> None:
    definitions = {"Self": {"type": "object", "additionalProperties": {"$ref": "#/$defs/Self"}}}
    with suppress(CapnetError):
        from_schema(value, schema, definitions, Handles())
