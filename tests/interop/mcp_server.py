"""A server made with the MCP Python SDK: `python mcp_server.py` on standard input and output, or with a port by HTTP.

Run by test_mcp_server.py.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

servers: Any = import_module("mcp.server.mcpserver")  # is installed there only
server: Any = servers.MCPServer("adder")


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def slow(ctx: Any) -> str:
    await ctx.report_progress(1, 2)
    await ctx.report_progress(2, 2)
    return "done"


def fail() -> None:
    raise ValueError("it is broken")


if __name__ == "__main__":
    slow.__annotations__["ctx"] = servers.Context  # the SDK wants the class
    tools: list[Any] = [add, slow, fail]
    for tool in tools:
        server.add_tool(tool)
    if sys.argv[1:]:
        uvicorn: Any = import_module("uvicorn")
        uvicorn.run(server.streamable_http_app(), port=int(sys.argv[1]), log_level="warning")
    else:
        server.run()
