"""Servers made with the MCP Python SDK in a toolbox, where that is installed: `pip install mcp uvicorn`."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from capnet import Internal
from capnet.gateways.mcp import mcp_tools
from capnet.toolbox import Progress, toolbox
from tests.connection.shop import until
from tests.loops import ONE_LOOP

servers: Any = pytest.importorskip("mcp.server.mcpserver")
uvicorn: Any = pytest.importorskip("uvicorn")

SERVER = """
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("adder")


@server.tool()
def add(a: int, b: int) -> int:
    \"\"\"Add two numbers.\"\"\"
    return a + b


@server.tool()
async def slow(ctx: Context) -> str:
    await ctx.report_progress(1, 2)
    await ctx.report_progress(2, 2)
    return "done"


@server.tool()
def fail() -> None:
    raise ValueError("it is broken")


if __name__ == "__main__":
    server.run()
"""


async def use(tools: Any) -> None:
    async with toolbox(tools) as box:
        assert {one.name for one in (await box.discover()).items} == {"add", "fail", "slow"}
        told = await box.describe("add")
        assert told.doc == "Add two numbers."
        assert set(told.parameters["required"]) == {"a", "b"}
        assert (await box.call("add", {"a": 1, "b": 2})).value == {"result": 3}
        steps = [step async for step in box.run("slow", {})]
        assert [step.progress for step in steps[:-1]] == [Progress(1, 2), Progress(2, 2)]
        with pytest.raises(Internal) as raised:
            await box.call("fail", {})
        assert raised.value.reason == "tool" and "fail" in raised.value.message


@ONE_LOOP
async def test_a_program(tmp_path: Path) -> None:
    program = tmp_path / "server.py"
    program.write_text(SERVER, encoding="utf-8")
    await use(mcp_tools([sys.executable, str(program)]))


@ONE_LOOP
async def test_by_http() -> None:
    names: dict[str, Any] = {"__name__": "adder"}
    exec(compile(SERVER, "adder", "exec"), names)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        app = names["server"].streamable_http_app()
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve, [listening])
            await until(lambda: server.started)
            await use(mcp_tools(f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"))
            server.should_exit = True
