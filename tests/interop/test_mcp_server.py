"""Servers made with the MCP SDKs in a toolbox: as programs, and by HTTP."""

from __future__ import annotations

import socket
from pathlib import Path

import anyio
import pytest

from capnet import Internal
from capnet.gateways.mcp import McpTools, mcp_tools
from capnet.toolbox import Progress, toolbox
from tests.interop import counterparts
from tests.loops import ONE_LOOP

SERVER = str(Path(__file__).with_name("mcp_server.py"))


async def use(tools: McpTools) -> None:
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
async def test_a_program() -> None:
    await use(mcp_tools([counterparts.python(), SERVER]))


@pytest.mark.parametrize("which", ["new", "sdk"])
@ONE_LOOP
async def test_a_program_in_typescript(which: str) -> None:
    """Of the newer package, which speaks both protocols, and of the one that knows the older protocol alone."""
    await use(mcp_tools(counterparts.node("mcp_server.mjs", which)))


@ONE_LOOP
async def test_by_http() -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    async with await anyio.open_process([counterparts.python(), SERVER, str(port)], stderr=None) as server:
        try:
            with anyio.fail_after(120):
                while not await _answers(port):  # noqa: ASYNC110 (another program begins)
                    await anyio.sleep(0.1)
            await use(mcp_tools(f"http://127.0.0.1:{port}/mcp"))
        finally:
            server.kill()


async def _answers(port: int) -> bool:
    try:
        async with await anyio.connect_tcp("127.0.0.1", port):
            return True
    except OSError:
        return False
