"""Toolboxes that a host serves, as the client of an MCP session sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from capnet import Cap, Host, Sink, Stream, call
from capnet.toolbox import Page, Progress, Rule, tool, toolbox
from tests.gateways.test_mcp_bridge import Client, client


@dataclass
class Blob:
    data: bytes
    size: int | None = None


class Thing(Cap, name="t.Thing"):
    @call
    async def name(self) -> str: ...


class MemThing(Thing):
    async def name(self) -> str:
        return "a thing"


@tool(tags=["x"], destructive=True)
async def store(blobs: list[Blob], *, dry_run: bool = False) -> list[Blob]:
    """Store blobs.

    Args:
        blobs: what to store
    """
    return [] if dry_run else [Blob(blob.data * 2, len(blob.data)) for blob in blobs]


async def rows(*, cursor: str | None = None) -> Page[int]:
    start = int(cursor or 0)
    return Page([start, start + 1], None if start else "2")


async def count(to: int) -> Stream[int]:
    for number in range(to):
        yield number


async def slow(*, progress: Sink[Progress] | None = None) -> str:
    if progress is not None:
        await progress.send(Progress(1, 2, "half"))
    return "done"


async def make() -> Thing:
    return MemThing()


async def ask(thing: Thing) -> str:
    return await thing.name()


def boxed() -> Host:
    host = Host()
    host.serve(MemThing())
    host.serve(toolbox(store, rows, count, slow, make, ask, rules={"slow": Rule(grants=["fast"])}))
    host.serve(toolbox(slow), name="more")
    return host


async def test_tools_of_toolboxes_are_tools() -> None:
    async with boxed() as host, client(host) as one:
        tools = await one.tools()
        assert {"store", "rows", "count", "slow", "make", "ask", "t.Thing.name", "capnet.next"} == set(tools)
        told = tools["store"]
        assert (told["description"], told["annotations"]) == ("Store blobs.", {"destructiveHint": True})
        assert list(told["inputSchema"]["properties"]) == ["blobs", "dry_run"]
        assert told["inputSchema"]["required"] == ["blobs"]
        assert told["outputSchema"]["properties"]["result"]["items"] == {"$ref": "#/$defs/Blob"}
        assert list(tools["rows"]["inputSchema"]["properties"]) == ["cursor"]
        assert tools["rows"]["outputSchema"]["properties"]["result"] == {"type": "array", "items": {"type": "integer"}}
        assert tools["count"]["outputSchema"]["properties"]["result"]["items"] == {"type": "integer"}
        host.unserve("more")
        assert "slow" not in await one.tools()  # the other one needs more than the client was granted


async def test_they_are_called_with_what_json_lacks() -> None:
    async with boxed() as host, client(host) as one:
        await one.tools()
        result = await used(one, "store", blobs=[{"data": "AQI="}, {"data": "", "size": 5.0}])
        assert result == {"result": [{"data": "AQIBAg==", "size": 2}, {"data": "", "size": 0}]}
        assert await used(one, "store", blobs=[], dry_run=True) == {"result": []}
        assert await used(one, "rows") == {"result": [0, 1], "next": "2"}
        assert await used(one, "rows", cursor="2") == {"result": [2, 3]}
        assert await used(one, "count", to=2) == {"result": [0, 1]}
        handle = (await used(one, "make"))["result"]
        assert await used(one, "ask", thing=handle) == {"result": "a thing"}
        assert await used(one, "t.Thing.name", cap=handle) == {"result": "a thing"}
        one.notices.clear()
        assert await used(one, "slow") == {"result": "done"}
        assert [notice["params"]["total"] for notice in one.notices] == [2]
        senseless: list[dict[str, Any]] = [{"blobs": [], "dry_run": 1}, {"blobs": 5}, {"blobs": [], "cursor": "1"}]
        for wrong in senseless:
            answer = await one.use("store", **wrong)
            assert answer["structuredContent"]["code"] == "invalid_argument"
        assert (await one.ask("tools/call", name="nothing"))["error"]["code"] == -32602


async def used(one: Client, tool: str, **arguments: object) -> dict[str, object]:
    result = await one.use(tool, **arguments)
    assert not result["isError"], result
    structured: dict[str, object] = result["structuredContent"]
    return structured
