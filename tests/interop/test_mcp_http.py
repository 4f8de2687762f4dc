"""The clients of the MCP Python SDK in front of `mcp_app`, where that is installed: `pip install mcp uvicorn`."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from capnet import Host
from capnet.gateways.mcp import mcp_app
from tests.connection.office import MemClerk, MemFile, Note
from tests.connection.shop import until
from tests.loops import ONE_LOOP

mcp: Any = pytest.importorskip("mcp")
http: Any = pytest.importorskip("mcp.client.streamable_http")
httpx: Any = pytest.importorskip("httpx2")  # of the SDK
uvicorn: Any = pytest.importorskip("uvicorn")
TOKEN = "a token that nobody guesses"


@asynccontextmanager
async def serving() -> AsyncGenerator[tuple[Host, str]]:
    """A host behind a server on a port of this machine."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        async with Host(name="office") as host:
            host.serve(MemClerk({"tea": MemFile([Note("a")])}))
            app = mcp_app(host, token=TOKEN)
            server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning"))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(server.serve, [listening])
                await until(lambda: server.started)
                yield host, f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
                server.should_exit = True
            await app.aclose()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@ONE_LOOP
async def test_the_sdk_uses_what_a_host_serves_by_http(mode: str) -> None:
    """Of both protocols: tools, handles, errors, streams with progress, news."""
    async with serving() as (host, url):
        client = httpx.AsyncClient(headers={"authorization": f"Bearer {TOKEN}"})
        async with client, mcp.Client(http.streamable_http_client(url, http_client=client), mode=mode) as session:
            assert {"office.Clerk.open", "capnet.next"} <= {one.name for one in (await session.list_tools()).tools}
            opened = await session.call_tool("office.Clerk.open", {"name": "tea"})
            handle = opened.structured_content["result"]
            assert len(host.connections) == 1
            reports: list[float] = []

            async def told(done: float, total: float | None, message: str | None) -> None:
                reports.append(done)

            followed = await session.call_tool(
                "office.File.follow", {"cap": handle, "count": 2}, progress_callback=told
            )
            assert [note["text"] for note in followed.structured_content["result"]] == ["0", "1"]
            assert reports == [1, 2]
            missing = await session.call_tool("office.Clerk.open", {"name": "none"})
            assert (missing.is_error, missing.content[0].text) == (True, "not_found: no file 'none'")
