"""A client of MCP that sends anything, by lines and by HTTP, to a host that others use; a seed says what is sent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable
from contextlib import aclosing
from dataclasses import dataclass
from random import Random
from time import perf_counter
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from capnet import Cap, Host, Sink, Stream, call, connect, stream
from capnet.gateways.bounds import Bounds
from capnet.gateways.mcp import Bridge, Session, mcp_app
from capnet.gateways.mcp.session import PREFIX
from capnet.toolbox import Page, Progress, tool, toolbox
from tests.connection.shop import until
from tests.cost import BARS
from tests.gateways.asgi_client import Browser, Request, browsing
from tests.gateways.test_hostile_clients import nothing_unexpected
from tests.gateways.test_mcp_http import Tokens
from tests.loops import ONE_LOOP

ROUNDS = 5000 if BARS else 250
LATEST = 0.1
"""Seconds of a call of somebody else that is made meanwhile, where the bars are held."""
NEW: dict[str, Any] = {f"{PREFIX}protocolVersion": "2026-07-28", f"{PREFIX}clientCapabilities": {}}
SCALARS: list[Any] = [
    None, True, 0, 1, -1, 2**53, 2**64, 10**40, 0.5, 1e308, "", "a", "AQI=", "\ud800", "\x00", "x" * 300, "ä" * 200,
    "2", "cap_" + "a" * 26,
]  # fmt: skip
METHODS = [
    "initialize", "ping", "server/discover", "tools/list", "tools/call", "tools/call", "tools/call", "tools/call",
    "subscriptions/listen", "notifications/initialized", "notifications/cancelled", "resources/list", "", "\ud800",
]  # fmt: skip
KEYS = [
    "name",
    "arguments",
    "cursor",
    "requestId",
    "notifications",
    "_meta",
    "cap",
    "number",
    "data",
    "",
    "\ud800",
    "blobs",
]
FITTING: dict[str, list[dict[str, Any]]] = {
    "t.Many.double": [{"number": 2}, {"number": 2, "data": "AQI="}],
    "t.Many.count": [{"to": 3}, {"to": 150}],
    "t.Many.total": [{"items": [1, 2]}, {"items": []}],
    "t.Many.make": [{}],
    "t.Many.give": [{"thing": "?"}],
    "t.Many.hang": [{}],
    "t.Many.fail": [{}],
    "t.Thing.get": [{"cap": "?"}],
    "capnet.next": [{"cap": "?"}],
    "store": [{"blobs": [{"data": "AQI="}]}, {"blobs": [], "dry_run": True}],
    "rows": [{}, {"cursor": "2"}],
    "slow": [{}],
}


class Thing(Cap, name="t.Thing"):
    @call
    async def get(self) -> str: ...


class Many(Cap, name="t.Many"):
    @call
    async def double(self, number: int, data: bytes = b"") -> tuple[int, bytes]: ...

    @stream
    def count(self, to: int) -> Stream[int]: ...

    @call
    async def total(self, items: AsyncIterable[int]) -> int: ...

    @call
    async def make(self) -> Thing: ...

    @call
    async def give(self, thing: Thing) -> str: ...

    @call
    async def hang(self) -> None: ...

    @call
    async def fail(self) -> None: ...


class MemThing(Thing):
    async def get(self) -> str:
        return "a thing"


class MemMany(Many):
    async def double(self, number: int, data: bytes = b"") -> tuple[int, bytes]:
        return 2 * number, 2 * data

    async def count(self, to: int) -> Stream[int]:
        for number in range(to):
            yield number

    async def total(self, items: AsyncIterable[int]) -> int:
        return sum([item async for item in items])

    async def make(self) -> Thing:
        return MemThing()

    async def give(self, thing: Thing) -> str:
        return await thing.get()

    async def hang(self) -> None:
        await anyio.sleep_forever()

    async def fail(self) -> None:
        raise RuntimeError


@dataclass
class Blob:
    data: bytes


@tool(tags=["x"])
async def store(blobs: list[Blob], *, dry_run: bool = False) -> int:
    return 0 if dry_run else len(blobs)


async def rows(*, cursor: str | None = None) -> Page[int]:
    return Page([1], None if cursor else "2")


async def slow(*, progress: Sink[Progress] | None = None) -> str:
    if progress is not None:
        await progress.send(Progress(1, 2, "half"))
    return "done"


def twice(text: str) -> str:
    return text + text


def twenty_tools(**options: Any) -> Host:
    host = Host(**options)
    host.serve(MemMany())
    host.serve(MemMany(), name="more")
    host.serve(MemThing(), name="thing")
    host.serve(toolbox(store, rows, slow, twice))
    return host


class Hostile:
    """Says anything, with what it has been given mixed in."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.given: list[str] = []
        self.sessions: list[str] = []
        self.requests: list[Request] = []
        self.results = 0

    def value(self, depth: int = 3) -> Any:
        match self.random.randrange(7 if depth else 5):
            case 5:
                return [self.value(depth - 1) for _ in range(self.random.randrange(4))]
            case 6:
                return {self.random.choice(KEYS): self.value(depth - 1) for _ in range(self.random.randrange(5))}
            case 4 if self.given:
                return self.random.choice(self.given)
            case _:
                return self.random.choice(SCALARS)

    def message(self) -> Any:
        method = self.random.choice(METHODS)
        params: Any = self.value()
        if method == "tools/call" and self.random.randrange(4):
            name = self.random.choice(list(FITTING))
            given = {
                key: self.random.choice(self.given or ["cap_"]) if value == "?" else value
                for key, value in self.random.choice(FITTING[name]).items()
            }
            params = {"name": name, "arguments": given if self.random.randrange(4) else self.value()}
        elif self.random.randrange(3):
            params = {"requestId": self.random.randrange(100), "notifications": {"toolsListChanged": True}}
        if isinstance(params, dict) and self.random.randrange(4):
            params["_meta"] = self.random.choice(
                [NEW, {**NEW, "progressToken": 1}, {"progressToken": "p"}, self.value()]
            )
        told: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
        if self.random.randrange(6):
            told["id"] = self.random.randrange(100)
        return told if self.random.randrange(10) else self.value()

    def line(self, most: int = 80) -> bytes:
        match self.random.randrange(16):
            case 0:
                return self.random.randbytes(self.random.randrange(50)).replace(b"\n", b"")
            case 1:
                return json.dumps(self.message()).encode()[: self.random.randrange(most)]
            case _:
                return json.dumps(self.message()).encode()

    def learn(self, text: str) -> None:
        """Keep handles."""
        self.results += '"result"' in text
        for part in text.split('"')[1::2]:
            if part.startswith("cap_") and len(self.given) < 50:
                self.given.append(part)

    async def ask_for_anything(self, browser: Browser) -> None:
        """By HTTP, until it is cancelled; what it waits for it gives up at some time."""
        while True:
            self.requests.append(self.request(browser))
            for _ in range(self.random.randrange(20)):
                await anyio.lowlevel.checkpoint()
            for request in [request for request in self.requests if request.answer.ended]:
                self.requests.remove(request)
                assert 200 <= request.answer.status < 600
                self.learn(request.answer.body.decode())
                self.sessions += [told for told in (request.answer.headers.get("mcp-session-id"),) if told]
            if len(self.requests) > 40:
                self.requests.pop(0).gone.set()

    def go(self) -> None:
        """Give up all of them."""
        for request in self.requests:
            request.gone.set()

    def request(self, browser: Browser) -> Request:
        """One by HTTP, whose headers may say what its message says."""
        body = self.line()
        headers: dict[str, str | None] = {"authorization": "Bearer eve"}
        try:
            message = json.loads(body)
            method, name = str(message["method"]), str(message["params"].get("name", ""))
        except (ValueError, LookupError, TypeError, AttributeError):
            method = name = ""
        if PREFIX in body.decode(errors="replace") and self.random.randrange(8):
            headers |= {"mcp-protocol-version": "2026-07-28", "mcp-method": _plain(method)}
            headers |= {"mcp-name": _plain(name)} if name else {}
        elif self.sessions and self.random.randrange(8):
            headers["mcp-session-id"] = self.random.choice(self.sessions)
        if not self.random.randrange(12):
            headers[self.random.choice(["accept", "content-type", "host", "origin", "content-length"])] = "?"
        how = "POST" if self.random.randrange(12) else self.random.choice(["GET", "DELETE", "OPTIONS", "PUT"])
        return browser.begin(how, body, headers)


def _plain(text: str) -> str:
    return text.encode("ascii", "replace").decode()


@pytest.mark.parametrize("seed", range(2))
async def test_by_lines(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing undeclared is raised, it is answered to the end, and nothing of it is left."""
    async with twenty_tools() as host:
        await host.listen("memory:hostile")
        async with connect("memory:hostile") as connection, anyio.create_task_group() as tasks:
            one = Hostile(seed)
            last: list[str] = []

            async def write(text: str) -> None:
                one.learn(text)
                last.append(text)
                del last[:-1]

            bridge = Bridge(connection, Session("hostile", "1", max_calls=16), write, tasks)
            tasks.start_soon(bridge.follow)
            for _ in range(ROUNDS):
                await bridge.feed(one.line())
                for _ in range(one.random.randrange(20)):
                    await anyio.lowlevel.checkpoint()
            assert one.results > ROUNDS / 20
            await bridge.feed('{"jsonrpc": "2.0", "id": "the last one", "method": "server/discover"}')
            assert "the last one" in last[0]
            tasks.cancel_scope.cancel()
        await until(lambda: not host.connections)
    nothing_unexpected(caplog.records)


@ONE_LOOP
async def test_by_http_beside_fifty_who_mean_no_harm(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each request has an answer or is given up, and all others are served: twenty tools, fifty clients at once."""
    times: list[float] = []
    async with twenty_tools(policy=Tokens()) as host:
        app = mcp_app(host, token=None, bounds=Bounds(max_calls=16, max_handles=20))
        async with browsing(app) as browser:

            async def honest(number: int, calls: int = 5) -> None:
                me = {"authorization": f"Bearer client-{number}"}
                session = ""
                asks: list[tuple[str, dict[str, Any]]] = [("initialize", {}), ("tools/list", {})]
                asks += [
                    ("tools/call", {"name": "t.Many.double", "arguments": {"number": turn}}) for turn in range(calls)
                ]
                for method, params in asks:
                    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
                    began = perf_counter()
                    asked = browser.begin("POST", body, me | ({"mcp-session-id": session} if session else {}))
                    answer = await asked.until(lambda answer: answer.ended)
                    times.append(perf_counter() - began)
                    session = session or answer.headers["mcp-session-id"]
                    result = answer.json["result"]
                    if method == "tools/list":
                        assert len(result["tools"]) == 20
                    if method == "tools/call":
                        assert result["structuredContent"]["result"][0] == 2 * params["arguments"]["number"]

            one = Hostile(3)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one.ask_for_anything, browser)
                async with anyio.create_task_group() as crowd:
                    for number in range(50):
                        crowd.start_soon(honest, number)
                assert len(times) == 50 * 7
                times.clear()
                await honest(0, ROUNDS // 10)
                while one.results <= 10:
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            assert len(app.rooms) <= 51 + Bounds().max_sessions
            await host.close_all(principal="eve", grace=0)
            async with aclosing(app):
                one.go()
        await until(lambda: not host.connections)
    nothing_unexpected(caplog.records)
    if BARS:
        with capsys.disabled():
            print(f"\ncalls beside a hostile client of MCP: {max(times) * 1000:.0f} ms at most")  # noqa: T201
        assert sorted(times)[len(times) * 99 // 100] <= LATEST
