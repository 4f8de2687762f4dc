"""MCP over HTTP, of both protocols, as an application sees what a server gives it."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from capnet import Cap, Denied, Host, Identity, Introduction, InvalidArgument, Stream, call, stream
from capnet.gateways.bounds import Bounds
from capnet.gateways.mcp import McpApp, mcp_app, rooms
from tests.attenuation.store import Clock
from tests.connection.shop import until
from tests.gateways.asgi_client import Answer, Browser, Request, browsing
from tests.loops import ONE_LOOP

TOKEN = "a token that nobody guesses"
META = "io.modelcontextprotocol/"
NEW = "2026-07-28"
CROWD = 20


class Box(Cap, name="t.Box"):
    @call
    async def get(self) -> str: ...


class Desk(Cap, name="t.Desk"):
    @call
    async def who(self) -> str: ...

    @call
    async def open(self, name: str) -> Box: ...

    @call
    async def read(self, box: Box) -> str: ...

    @call
    async def hang(self) -> None: ...

    @stream
    def count(self, to: int) -> Stream[int]: ...


class MemBox(Box):
    def __init__(self, name: str) -> None:
        self.name = name

    async def get(self) -> str:
        return self.name


class MemDesk(Desk):
    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0

    async def who(self, ctx: Any = None) -> str:
        return ""

    async def open(self, name: str) -> Box:
        return MemBox(name)

    async def read(self, box: Box) -> str:
        return await box.get()

    async def hang(self) -> None:
        self.begun += 1
        try:
            await anyio.sleep_forever()
        finally:
            self.ended += 1

    async def count(self, to: int) -> Stream[int]:
        for number in range(to):
            yield number


class Tokens:
    """Principals are what clients show."""

    def identify(self, introduction: Introduction) -> Identity | Denied:
        if introduction.attestation.transport != "mcp":
            return Denied()
        return Identity(principal=introduction.token) if introduction.token else Denied("no_token")

    def admit(self, request: Any) -> bool:
        return not request.name.startswith(f"not-{request.attestation.principal}")


@asynccontextmanager
async def serving(desk: MemDesk | None = None, **options: Any) -> AsyncGenerator[tuple[Host, McpApp, Browser]]:
    """A host behind HTTP, and a client that has the token."""
    policy = options.pop("policy", None)
    async with Host(policy=policy) as host:
        host.serve(desk or MemDesk())
        told: dict[str, Any] = {"token": TOKEN, "name": "desk", "version": "1", **options}
        app = mcp_app(host, **told)
        async with browsing(app, authorization=f"Bearer {TOKEN}") as browser:
            yield host, app, browser
        await app.aclose()
        assert len(app.rooms) == 0
        await until(lambda: not host.connections)


def message(method: str, number: Any = 1, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode()


async def ask(browser: Browser, method: str, session: str | None = None, **params: Any) -> Answer:
    """A request of the older protocol."""
    return await browser.send("POST", message(method, **params), mcp_session_id=session)


async def begin(browser: Browser) -> str:
    answer = await ask(browser, "initialize", protocolVersion="2025-06-18", clientInfo={"name": "test"})
    assert answer.status == 200
    assert answer.json["result"]["protocolVersion"] == "2025-06-18"
    return answer.headers["mcp-session-id"]


async def new(browser: Browser, method: str, number: Any = 1, headers: Any = None, **params: Any) -> Answer:
    """A request of the newer protocol."""
    return await begun(browser, method, number, headers, **params).until(lambda answer: answer.ended)


def begun(browser: Browser, method: str, number: Any = 1, headers: Any = None, **params: Any) -> Request:
    meta: dict[str, Any] = {f"{META}protocolVersion": NEW, f"{META}clientCapabilities": {}, **params.pop("_meta", {})}
    told = {"mcp-protocol-version": NEW, "mcp-method": method}
    if "name" in params:
        told["mcp-name"] = params["name"]
    return browser.begin("POST", message(method, number, **params, _meta=meta), {**told, **(headers or {})})


async def use(browser: Browser, tool: str, **arguments: Any) -> Any:
    answer = await new(browser, "tools/call", name=tool, arguments=arguments)
    result = (answer.events[-1] if answer.headers["content-type"] == "text/event-stream" else answer.json)["result"]
    assert not result["isError"], result
    return result["structuredContent"]["result"]


async def test_a_session_of_the_older_protocol() -> None:
    async with serving() as (host, app, browser):
        session = await begin(browser)
        note = json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}).encode()
        answer = await browser.send("POST", note, mcp_session_id=session)
        assert (answer.status, answer.body) == (202, b"")
        listed = await ask(browser, "tools/list", session)
        assert {tool["name"] for tool in listed.json["result"]["tools"]} >= {"t.Desk.open", "capnet.next"}
        opened = await ask(browser, "tools/call", session, name="t.Desk.open", arguments={"name": "tea"})
        handle = opened.json["result"]["structuredContent"]["result"]
        got = await ask(browser, "tools/call", session, name="t.Desk.read", arguments={"box": handle})
        assert got.json["result"]["structuredContent"] == {"result": "tea"}
        assert len(host.connections) == len(app.rooms) == 1
        other = await begin(browser)
        assert other != session
        got = await ask(browser, "tools/call", other, name="t.Desk.read", arguments={"box": handle})
        assert got.json["result"]["structuredContent"]["reason"] == "handle"  # it is the other session's
        assert (await browser.send("DELETE", mcp_session_id=session)).status == 204
        assert (await browser.send("DELETE", mcp_session_id=session)).status == 404
        assert (await ask(browser, "ping", session)).status == 404
        assert (await ask(browser, "ping", other)).json["result"] == {}


async def test_a_request_of_the_newer_protocol_stands_for_itself() -> None:
    async with serving() as (host, app, browser):
        answer = await new(browser, "server/discover")
        assert answer.status == 200
        assert NEW in answer.json["result"]["supportedVersions"]
        assert "mcp-session-id" not in answer.headers
        handle = await use(browser, "t.Desk.open", name="tea")
        assert await use(browser, "t.Desk.read", box=handle) == "tea"
        assert len(host.connections) == len(app.rooms) == 1
        answer = await new(browser, "nothing")
        assert (answer.status, answer.json["error"]["code"]) == (404, -32601)
        answer = await new(browser, "tools/call", name="nothing")
        assert (answer.status, answer.json["error"]["code"]) == (400, -32602)
        later = "2030-01-01"
        headers = {"mcp-protocol-version": later}
        answer = await new(browser, "server/discover", headers=headers, _meta={f"{META}protocolVersion": later})
        assert (answer.status, answer.json["error"]["code"]) == (400, -32022)


@pytest.mark.parametrize(
    "headers",
    [
        {"mcp-protocol-version": None},
        {"mcp-protocol-version": "2025-06-18"},
        {"mcp-method": "tools/list"},
        {"mcp-method": None},
        {"mcp-name": "t.Desk.open"},
        {"mcp-name": None},
        {"mcp-name": "=?base64?!?="},
    ],
)
async def test_headers_say_what_the_message_says(headers: dict[str, Any]) -> None:
    async with serving() as (_, _, browser):
        answer = await new(browser, "tools/call", 7, headers, name="t.Desk.who", arguments={})
        assert (answer.status, answer.json["error"]["code"], answer.json["id"]) == (400, -32020, 7)
        encoded = f"=?base64?{base64.b64encode(b't.Desk.who').decode()}?="
        assert (
            await new(browser, "tools/call", 7, {"mcp-name": encoded}, name="t.Desk.who", arguments={})
        ).status == 200


async def test_what_comes_before_the_answer_is_sent_as_events() -> None:
    async with serving() as (_, _, browser):
        request = {"name": "t.Desk.count", "arguments": {"to": 2}}
        answer = await new(browser, "tools/call", **request, _meta={"progressToken": "p"})
        assert [event.get("method") for event in answer.events] == ["notifications/progress"] * 2 + [None]
        assert answer.events[-1]["result"]["structuredContent"] == {"result": [0, 1]}
        answer = await new(browser, "tools/call", **request)
        assert answer.json["result"]["structuredContent"] == {"result": [0, 1]}
        alone = await new(
            browser, "tools/call", 1, {"accept": "application/json"}, **request, _meta={"progressToken": "p"}
        )
        assert alone.json["result"]["structuredContent"] == {"result": [0, 1]}


async def test_a_client_that_goes_ends_what_it_began() -> None:
    desk = MemDesk()
    async with serving(desk) as (_, _, browser):
        request = begun(browser, "tools/call", name="t.Desk.hang", arguments={})
        await until(lambda: desk.begun)
        request.gone.set()
        await until(lambda: desk.ended)
        session = await begin(browser)
        request = browser.begin("POST", message("tools/call", 5, name="t.Desk.hang"), {"mcp-session-id": session})
        await until(lambda: desk.begun == 2)
        other = await begin(browser)
        for owner, ended in ((other, 1), (session, 2)):
            note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}}
            assert (await browser.send("POST", json.dumps(note).encode(), mcp_session_id=owner)).status == 202
            await until(lambda: desk.ended == ended)  # noqa: B023
        answer = await request.until(lambda answer: answer.ended)
        assert answer.json["error"]["code"] == -32800


async def test_news_come_by_a_stream_of_the_session_or_by_a_request_for_them() -> None:
    async with serving() as (host, _, browser):
        session = await begin(browser)
        news = browser.begin("GET", headers={"mcp-session-id": session})
        await news.until(lambda answer: answer.status)
        assert (await browser.send("GET", mcp_session_id=session)).status == 409
        requests = [
            begun(browser, "subscriptions/listen", number, notifications={"toolsListChanged": True})
            for number in range(6)
        ]
        for request in requests:
            await request.until(lambda answer: answer.status and len(answer.events) == 1)
        await until(lambda: sum(one.stats()["streams"] for one in host.connections) == 2)
        host.serve(MemDesk(), name="more")
        await news.until(lambda answer: answer.events)
        assert news.answer.events[0]["method"] == "notifications/tools/list_changed"
        for number, request in enumerate(requests):
            await request.until(lambda answer: len(answer.events) == 2)
            assert request.answer.events[1]["params"]["_meta"][f"{META}subscriptionId"] == number
        requests[0].gone.set()  # it may have been the one that asked for all of them
        host.unserve("more")
        for request in requests[1:]:
            await request.until(lambda answer: len(answer.events) >= 3)
        await news.until(lambda answer: len(answer.events) >= 2)
        for request in (news, *requests):
            request.gone.set()
        await until(lambda: not sum(one.stats()["streams"] for one in host.connections))
        assert (await new(browser, "subscriptions/listen", headers={"accept": "application/json"})).status == 406


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "evil.example"}, 421),
        ({"host": None}, 421),
        ({"authorization": None}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": f"Basic {TOKEN}"}, 401),
        ({"authorization": "Bearer " + "x" * 10_000}, 431),
        ({"content-type": "text/plain"}, 415),
        ({"accept": "text/html"}, 406),
        ({"content-length": "5000000"}, 413),
        ({"content-length": "-1"}, 413),
    ],
)
async def test_who_may_not_come_is_turned_away(headers: dict[str, Any], status: int) -> None:
    async with serving() as (host, _, browser):
        assert (
            await browser.begin("POST", message("ping"), headers).until(lambda answer: answer.ended)
        ).status == status
        assert not host.connections


async def test_pages_may_call_that_are_named() -> None:
    async with serving(origins=["https://good.example"]) as (_, _, browser):
        asked = await browser.send("OPTIONS", origin="https://good.example", authorization=None)
        assert (asked.status, asked.headers["access-control-allow-origin"]) == (204, "https://good.example")
        assert "mcp-session-id" in asked.headers["access-control-allow-headers"]
        browser.headers["origin"] = "https://good.example"
        answer = await ask(browser, "initialize")
        assert answer.headers["access-control-expose-headers"] == "mcp-session-id"
        assert (await browser.send("OPTIONS", origin="https://evil.example")).status == 403
        assert (await browser.send("OPTIONS", origin=None)).status == 403  # no program may
    async with serving() as (_, _, browser):
        for method in ("PUT", "GET", "DELETE", "OPTIONS", "HEAD"):
            assert (await browser.send(method)).status == 405
        browser.path = "/other"
        assert (await browser.send("PUT")).status == 405
    async with serving(path="/mcp") as (_, _, browser):
        browser.path = "/other"
        assert (await ask(browser, "initialize")).status == 404


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"{", -32700), (b"[]", -32600), (b"5", -32600), (b"[" * 100 + b"]" * 100, -32600), (b"\xff", -32700)],
)
async def test_what_is_no_message(body: bytes, code: int) -> None:
    async with serving() as (_, _, browser):
        answer = await browser.send("POST", body)
        assert (answer.status, answer.json["error"]["code"], answer.json["id"]) == (400, code, None)


async def test_a_message_that_is_too_long_is_not_read_to_its_end() -> None:
    async with serving(bounds=Bounds(max_message=100)) as (_, _, browser):
        assert (await browser.send("POST", message("ping", text="x" * 200))).status == 413


async def test_a_session_belongs_to_who_began_it() -> None:
    async with serving(policy=Tokens(), token=None) as (host, _, browser):
        browser.headers["authorization"] = "Bearer ann"
        session = await begin(browser)
        assert {one.attestation.principal for one in host.connections} == {"ann"}
        browser.headers["authorization"] = "Bearer bob"
        assert (await ask(browser, "ping", session)).status == 404
        assert (await browser.send("GET", mcp_session_id=session)).status == 404
        assert (await browser.send("DELETE", mcp_session_id=session)).status == 404
        host.serve(MemDesk(), name="not-bob")
        names = {tool["name"] for tool in (await new(browser, "tools/list")).json["result"]["tools"]}
        assert "t.Desk.open" in names and "not-bob.open" not in names
        handle = await use(browser, "t.Desk.open", name="tea")
        browser.headers["authorization"] = "Bearer ann"
        answer = await new(browser, "tools/call", name="t.Desk.read", arguments={"box": handle})
        assert answer.json["result"]["structuredContent"]["reason"] == "handle"
        await host.close_all(principal="ann")
        assert (await ask(browser, "ping", session)).status == 404
        assert (await new(browser, "tools/list")).status == 200  # come anew
        del browser.headers["authorization"]
        assert (await new(browser, "tools/list")).status == 401


async def test_a_client_has_so_many_sessions_and_requests() -> None:
    desk = MemDesk()
    async with serving(desk, bounds=Bounds(max_sessions=2, max_calls=3)) as (_, _, browser):
        session, other = await begin(browser), await begin(browser)
        assert (await ask(browser, "initialize")).status == 429
        for number in range(3):
            browser.begin("POST", message("tools/call", number, name="t.Desk.hang"), {"mcp-session-id": session})
        await until(lambda: desk.begun == 3)
        assert (await ask(browser, "ping", session)).status == 429
        assert (await ask(browser, "ping", other)).status == 200
        assert (await browser.send("DELETE", mcp_session_id=session)).status == 204
        await until(lambda: desk.ended == 3)
        assert (await ask(browser, "initialize")).status == 200


async def test_what_requests_take_up_is_bounded_for_a_session_and_for_a_principal() -> None:
    desk = MemDesk()
    bounds = Bounds(max_pending=10_000, max_shared_pending=15_000)
    async with serving(desk, bounds=bounds) as (_, app, browser):
        sessions = [await begin(browser) for _ in range(3)]

        def ask_for(session: str, size: int) -> Request:
            body = message("tools/call", size, name="t.Desk.read", arguments={"box": "x" * size})
            return browser.begin("POST", body, {"mcp-session-id": session})

        await until(lambda: not any(room.open for room in app.rooms))
        assert (await ask_for(sessions[0], 20_000).until(lambda answer: answer.ended)).status == 429  # by itself
        await until(lambda: not any(room.open for room in app.rooms))
        hung = message("tools/call", name="t.Desk.hang", _meta={"padding": "x" * 6000})
        browser.begin("POST", hung, {"mcp-session-id": sessions[0]})
        await until(lambda: desk.begun == 1)
        assert (await ask_for(sessions[0], 5000).until(lambda answer: answer.ended)).status == 429
        assert (await ask_for(sessions[1], 5000).until(lambda answer: answer.ended)).status == 200
        await until(lambda: sum(room.open for room in app.rooms) == 1)
        browser.begin("POST", hung, {"mcp-session-id": sessions[1]})
        await until(lambda: desk.begun == 2)
        assert (await ask_for(sessions[2], 5000).until(lambda answer: answer.ended)).status == 429
        assert (await ask(browser, "ping", sessions[0])).status == 200
        for session in sessions:
            assert (await browser.send("DELETE", mcp_session_id=session)).status == 204
        session = await begin(browser)
        await until(lambda: not any(room.open for room in app.rooms))
        assert (await ask_for(session, 8000).until(lambda answer: answer.ended)).status == 200


async def test_a_client_that_takes_nothing_is_as_one_that_has_gone() -> None:
    desk = MemDesk()
    async with serving(desk, bounds=Bounds(write_timeout=0.02)) as (_, app, browser):
        parts = [message("tools/call", name="t.Desk.count", arguments={"to": 3}, _meta={"progressToken": 1})]
        session = await begin(browser)
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            if parts:
                return {"type": "http.request", "body": parts.pop()}
            await anyio.sleep_forever()
            raise AssertionError

        async def send(event: Any) -> None:
            sent.append(event)
            await anyio.sleep_forever()

        headers = [*browser.headers.items(), ("mcp-session-id", session)]
        scope = {"type": "http", "method": "POST", "path": "/mcp", "client": browser.client}
        with anyio.fail_after(60):
            lines = [(name.encode(), value.encode()) for name, value in headers]
            await app({**scope, "headers": lines}, receive, send)
        assert len(sent) == 1
        assert not any(room.open for room in app.rooms)
        assert (await ask(browser, "ping", session)).status == 200


async def test_what_is_not_used_for_long_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(rooms, "clock", clock)
    async with serving() as (_, app, browser):
        session = await begin(browser)
        await until(lambda: not any(room.open for room in app.rooms))
        clock.now += rooms.IDLE / 2
        await use(browser, "t.Desk.open", name="tea")
        await until(lambda: not any(room.open for room in app.rooms))
        clock.now += rooms.IDLE / 2 + 1
        assert (await ask(browser, "ping", session)).status == 404
        await use(browser, "t.Desk.open", name="tea")  # this one was used meanwhile


async def test_what_is_not_used_for_long_ends_though_nobody_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "IDLE", 0.01)
    desk = MemDesk()
    async with serving(desk) as (host, app, browser):
        request = begun(browser, "tools/call", name="t.Desk.hang", arguments={})
        await until(lambda: desk.begun and len(host.connections) == len(app.rooms) == 1)
        await anyio.sleep(0.05)
        assert not desk.ended  # what is worked on is used
        request.gone.set()
        await until(lambda: desk.ended and not host.connections and not len(app.rooms))


async def test_a_session_that_nobody_waits_for_is_not_kept() -> None:
    """The client has gone before the policy has said who it is."""
    asked, answered = anyio.Event(), anyio.Event()

    class Slow(Tokens):
        async def identify(self, introduction: Introduction) -> Identity:  # type: ignore[override]
            asked.set()
            await answered.wait()
            return Identity(principal="ann")

    async with serving(policy=Slow(), token=None) as (host, app, _):
        async with browsing(app) as other:
            other.begin("POST", message("initialize"))
            await asked.wait()
        answered.set()
        await until(lambda: not host.connections)
        assert len(app.rooms) == 0


async def test_a_host_that_is_not_open() -> None:
    host = Host()
    host.serve(MemDesk())
    async with browsing(mcp_app(host, token=None)) as browser:
        assert (await ask(browser, "initialize")).status == 503


async def test_the_application_opens_a_host_with_the_server() -> None:
    host = Host()
    host.serve(MemDesk())
    app = mcp_app(host, token=None)
    to_app, events = anyio.create_memory_object_stream[dict[str, Any]](2)
    told: list[dict[str, Any]] = []

    async def send(event: dict[str, Any]) -> None:
        told.append(event)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(app, {"type": "lifespan"}, events.receive, send)
        await to_app.send({"type": "lifespan.startup"})
        await until(lambda: told == [{"type": "lifespan.startup.complete"}])
        async with browsing(app) as browser:
            assert (await ask(browser, "initialize")).status == 200
        await to_app.send({"type": "lifespan.shutdown"})
    assert told[-1] == {"type": "lifespan.shutdown.complete"}
    assert not host.connections
    to_app.close()
    events.close()


def test_options_that_make_no_sense() -> None:
    senseless: list[dict[str, Any]] = [
        {},
        {"token": "short"},
        {"token": TOKEN, "origins": []},
        {"token": TOKEN, "headers": "x"},
    ]
    for wrong in senseless:
        with pytest.raises(InvalidArgument):
            mcp_app(Host(), **wrong)


@ONE_LOOP
async def test_a_crowd_is_served_whatever_one_of_them_does() -> None:
    """And what it has ends when the host says so; fifty clients at once are in test_mcp_hostile.py."""
    desk = MemDesk()
    async with serving(desk, policy=Tokens(), token=None) as (host, app, browser):
        for number in range(3):
            host.serve(MemDesk(), name=f"desk{number}")
        hostile = {"authorization": "Bearer eve"}
        flood = [
            begun(browser, "tools/call", number, hostile, name="t.Desk.hang", arguments={})
            for number in range(2 * Bounds().max_calls)
        ]
        await until(lambda: desk.begun == Bounds().max_calls)
        rest = [request for request in flood if request.answer.ended]
        assert {request.answer.status for request in rest} == {429}
        large = message("tools/call", "large", name="t.Desk.open", arguments={"name": "x" * 2**21})
        assert (await browser.begin("POST", large, hostile).until(lambda answer: answer.ended)).status != 200
        for wrong in (b"[" * 1000, b'{"id": ' + b"9" * 5000 + b"}", message("tools/call", name="x" * 5000)):
            for _ in range(20):
                browser.begin("POST", wrong, hostile)
        used: list[Any] = []

        async def use_it(number: int) -> None:
            me = {"authorization": f"Bearer client{number}"}
            answer = await begun(browser, "tools/list", 1, me).until(lambda answer: answer.ended)
            assert len(answer.json["result"]["tools"]) >= 20
            opened = {"name": f"desk{number % 3}.open", "arguments": {"name": str(number)}}
            answer = await begun(browser, "tools/call", 2, me, **opened).until(lambda answer: answer.ended)
            handle = answer.json["result"]["structuredContent"]["result"]
            read = {"name": "t.Desk.read", "arguments": {"box": handle}}
            answer = await begun(browser, "tools/call", 3, me, **read).until(lambda answer: answer.ended)
            used.append(answer.json["result"]["structuredContent"]["result"])

        async with anyio.create_task_group() as tasks:
            for number in range(CROWD):
                tasks.start_soon(use_it, number)
        assert sorted(used) == sorted(map(str, range(CROWD)))
        assert len(app.rooms) == len(host.connections) == CROWD + 1
        await host.close_all(principal="eve", grace=0)
        await until(lambda: desk.ended == desk.begun)
        assert len(host.connections) == CROWD
