"""The client of the MCP Python SDK, in a Python of its own: `python mcp_client.py MODE COMMAND…` uses what is served.

Run by test_mcp_sdk.py. Says `used` when all was as it should be.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import anyio

mcp: Any = import_module("mcp")  # is installed there only


async def main(mode: str, command: list[str]) -> None:
    server = mcp.StdioServerParameters(command=command[0], args=command[1:], env=dict(os.environ))
    async with mcp.Client(mcp.stdio_client(server), mode=mode) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert {"odd.data", "office.Clerk.open", "capnet.next"} <= names
        result = await client.call_tool("odd.data", {"data": "AQI="})
        assert result.structured_content == {"result": {"data": "AQI=", "flag": False}}
        opened = await client.call_tool("office.Clerk.open", {"name": "tea"})
        handle = opened.structured_content["result"]
        counted = await client.call_tool("office.Clerk.count", {"reader": handle})
        assert counted.structured_content == {"result": 1}
        reports: list[float] = []

        async def told(done: float, total: float | None, message: str | None) -> None:
            reports.append(done)

        arguments = {"cap": handle, "count": 2}
        followed = await client.call_tool("office.File.follow", arguments, progress_callback=told)
        assert [note["text"] for note in followed.structured_content["result"]] == ["0", "1"]
        assert reports == [1, 2]
        missing = await client.call_tool("office.Clerk.open", {"name": "none"})
        assert (missing.is_error, missing.content[0].text) == (True, "not_found: no file 'none'")
    sys.stdout.write("used\n")


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2:])
