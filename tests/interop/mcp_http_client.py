"""The client of the MCP Python SDK by HTTP: `python mcp_http_client.py MODE URL TOKEN` uses what is served there.

Run by test_mcp_http.py. Says `used` when all was as it should be.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import anyio

mcp: Any = import_module("mcp")  # is installed there only
http: Any = import_module("mcp.client.streamable_http")
httpx: Any = import_module("httpx2")  # comes with it


async def main(mode: str, url: str, token: str) -> None:
    reports: list[float] = []

    async def told(done: float, total: float | None, message: str | None) -> None:
        reports.append(done)

    client = httpx.AsyncClient(headers={"authorization": f"Bearer {token}"})
    async with client, mcp.Client(http.streamable_http_client(url, http_client=client), mode=mode) as session:
        assert {"office.Clerk.open", "capnet.next"} <= {one.name for one in (await session.list_tools()).tools}
        opened = await session.call_tool("office.Clerk.open", {"name": "tea"})
        handle = opened.structured_content["result"]
        arguments = {"cap": handle, "count": 2}
        followed = await session.call_tool("office.File.follow", arguments, progress_callback=told)
        assert [note["text"] for note in followed.structured_content["result"]] == ["0", "1"]
        assert reports == [1, 2]
        missing = await session.call_tool("office.Clerk.open", {"name": "none"})
        assert (missing.is_error, missing.content[0].text) == (True, "not_found: no file 'none'")
    sys.stdout.write("used\n")


if __name__ == "__main__":
    mode, url, token = sys.argv[1:]
    anyio.run(main, mode, url, token)
