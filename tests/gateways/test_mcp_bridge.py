"""What a host serves, as the client of an MCP session sees it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from capnet import Cap, Connection, Host, NotFound, Stream, call, connect, stream
from capnet.gateways.mcp import Bridge, Session
from tests.connection.office import MemClerk, MemFile, Note


class Odd(Cap, name="odd.Odd"):
    @call
    async def double(self, number: int, data: bytes = b"") -> tuple[int, bytes]:
        """Twice as much."""
        ...

    @call
    async def fail(self, kind: str) -> None: ...

    @stream
    def count(self, to: int) -> Stream[int]: ...


class MemOdd(Odd):
    async def double(self, number: int, data: bytes = b"") -> tuple[int, bytes]:
        return 2 * number, 2 * data

    async def fail(self, kind: str) -> None:
        if kind == "not_found":
            raise NotFound("no such thing", reason="thing", details={"which": 7})
        raise RuntimeError("a secret")

    async def count(self, to: int) -> Stream[int]:
        for number in range(to):
            yield number


class Client:
    """One who speaks MCP."""

    def __init__(self, connection: Connection, tasks: anyio.abc.TaskGroup, **options: Any) -> None:
        self._send, self._lines = anyio.create_memory_object_stream[str](1000)
        self.bridge = Bridge(connection, Session("office", "1", **options), self._send.send, tasks)
        self.notices: list[dict[str, Any]] = []
        self._last = 0

    def close(self) -> None:
        self._send.close()
        self._lines.close()

    async def tell(self, method: str, **params: Any) -> None:
        await self.bridge.feed(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}))

    async def begin(self, method: str, **params: Any) -> int:
        self._last += 1
        await self.bridge.feed(json.dumps({"jsonrpc": "2.0", "id": self._last, "method": method, "params": params}))
        return self._last

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        number = await self.begin(method, **params)
        while True:
            message = await self.read()
            if message.get("id") == number:
                return message
            self.notices.append(message)

    async def read(self) -> dict[str, Any]:
        with anyio.fail_after(60):
            message: dict[str, Any] = json.loads(await self._lines.receive())
            return message

    async def use(self, tool: str, **arguments: Any) -> dict[str, Any]:
        answer = await self.ask("tools/call", name=tool, arguments=arguments, _meta={"progressToken": 1})
        result: dict[str, Any] = answer["result"]
        return result

    async def result(self, tool: str, **arguments: Any) -> Any:
        result = await self.use(tool, **arguments)
        assert not result["isError"], result
        return result["structuredContent"]["result"]

    async def tools(self) -> dict[str, Any]:
        return {one["name"]: one for one in (await self.ask("tools/list"))["result"]["tools"]}


@asynccontextmanager
async def client(host: Host, url: str = "memory:mcp", auth: Any = None, **options: Any) -> AsyncGenerator[Client]:
    await host.listen(url)
    async with connect(url, auth=auth) as connection, anyio.create_task_group() as tasks:
        one = Client(connection, tasks, **options)
        try:
            yield one
            tasks.cancel_scope.cancel()
        finally:
            one.close()


def office() -> Host:
    host = Host(name="office")
    host.serve(MemClerk({"tea": MemFile([Note("a")])}))
    host.serve(MemOdd(), name="odd")
    return host


async def test_methods_are_tools_with_schemas() -> None:
    async with office() as host, client(host) as one:
        tools = await one.tools()
        assert tools["odd.double"]["description"] == "Twice as much."
        assert tools["odd.double"]["inputSchema"]["required"] == ["number"]
        assert tools["odd.double"]["outputSchema"]["properties"]["result"]["prefixItems"][0] == {"type": "integer"}
        assert tools["odd.count"]["outputSchema"]["properties"]["result"] == {
            "type": "array",
            "items": {"type": "integer"},
        }
        assert "office.Clerk.each" not in tools  # it needs a function
        assert "capnet.next" in tools


async def test_values_go_there_and_back() -> None:
    async with office() as host, client(host) as one:
        result = await one.use("odd.double", number=3.0, data="AQI=")
        assert result["structuredContent"] == {"result": [6, "AQIBAg=="]}
        assert json.loads(result["content"][0]["text"]) == [6, "AQIBAg=="]


async def test_errors_are_results_and_tell_no_secrets() -> None:
    async with office() as host, client(host) as one:
        result = await one.use("odd.fail", kind="not_found")
        assert result["isError"]
        assert result["structuredContent"] == {"code": "not_found", "reason": "thing", "details": {"which": 7}}
        assert result["content"] == [{"type": "text", "text": "not_found: no such thing"}]
        result = await one.use("odd.fail", kind="other")
        assert result["isError"]
        assert "secret" not in json.dumps(result)
        for arguments in ({}, {"number": "x"}, {"number": 1, "more": 1}, {"number": 1, "data": "!"}):
            result = await one.use("odd.double", **arguments)
            assert result["structuredContent"]["code"] == "invalid_argument"
        answer = await one.ask("tools/call", name="odd.missing")
        assert answer["error"]["code"] == -32602


async def test_a_reference_is_a_handle_that_can_be_called_and_passed_back() -> None:
    async with office() as host, client(host) as one:
        handle = await one.result("office.Clerk.open", name="tea")
        assert handle.startswith("cap_") and len(handle) == 30
        assert (await one.tools())["office.File.read"]["inputSchema"]["required"] == ["cap"]
        assert [note["text"] for note in await one.result("office.File.read", cap=handle)] == ["a"]
        assert await one.result("office.Clerk.count", reader=handle) == 1
        assert [note["text"] for note in await one.result("office.File.follow", cap=handle, count=2)] == ["0", "1"]
        assert await one.result("office.File.append", cap=handle, lines=[{"text": "b"}, {"text": "c"}])
        assert await one.result("office.Clerk.count", reader=handle) == 3
        result = await one.use("office.File.read", cap="cap_" + "a" * 26)
        assert result["structuredContent"]["code"] == "not_found"


async def test_what_is_served_under_the_name_of_a_contract_takes_handles_too() -> None:
    async with office() as host, client(host) as one:
        host.serve(MemFile())
        handle = await one.result("office.Clerk.open", name="tea")
        assert (await one.tools())["office.File.read"]["inputSchema"]["required"] == []
        assert await one.result("office.File.read") == []
        assert [note["text"] for note in await one.result("office.File.read", cap=handle)] == ["a"]


async def test_handles_are_of_their_session() -> None:
    async with office() as host, client(host) as one, client(host, "memory:mcp-2") as other:
        handle = await one.result("office.Clerk.open", name="tea")
        result = await other.use("office.Clerk.count", reader=handle)
        assert result["structuredContent"]["reason"] == "handle"


async def test_a_stream_is_reported_collected_and_read_on() -> None:
    async with office() as host, client(host) as one:
        result = (await one.use("odd.count", to=150))["structuredContent"]
        assert result["result"] == list(range(100))
        assert [notice["params"]["progress"] for notice in one.notices] == list(range(1, 101))
        rest = (await one.use("capnet.next", cap=result["next"]))["structuredContent"]
        assert rest == {"result": list(range(100, 150))}
        assert (await one.use("capnet.next", cap=result["next"]))["isError"]


async def test_a_cancelled_call_is_cancelled_at_the_host_and_not_answered() -> None:
    begun, ended = anyio.Event(), anyio.Event()

    class Slow(MemClerk):
        async def hang(self) -> None:
            begun.set()
            try:
                await anyio.sleep_forever()
            finally:
                ended.set()

    async with Host() as host:
        host.serve(Slow({}))
        async with client(host) as one:
            number = await one.begin("tools/call", name="office.Clerk.hang")
            with anyio.fail_after(60):
                await begun.wait()
                await one.tell("notifications/cancelled", requestId=number)
                await ended.wait()
            assert (await one.ask("ping"))["result"] == {}
            assert one.notices == []


async def test_serve_and_unserve_are_told() -> None:
    async with office() as host, client(host) as one, anyio.create_task_group() as tasks:
        await one.tell("notifications/initialized")
        tasks.start_soon(one.bridge.follow)
        await one.tools()
        host.serve(MemOdd(), name="more")
        assert (await one.read())["method"] == "notifications/tools/list_changed"
        assert "more.double" in await one.tools()
        host.unserve("more")
        assert (await one.read())["method"] == "notifications/tools/list_changed"
        assert "more.double" not in await one.tools()
        tasks.cancel_scope.cancel()
