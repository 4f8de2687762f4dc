"""The client of the MCP Python SDK in front of `capnet mcp`, where it is installed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.processes import COMMAND, ROOT, environment
from tests.loops import ONE_LOOP

mcp: Any = pytest.importorskip("mcp")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """Of a host in another process."""
    scratch = tmp_path_factory.mktemp("host")
    listens = f"unix:{scratch}/host.sock"
    host = [sys.executable, "-m", "tests.cli.office_host", listens]
    with subprocess.Popen(host, cwd=ROOT, env=environment(scratch), stdout=subprocess.PIPE) as served:
        assert served.stdout is not None
        try:
            assert served.stdout.readline() == b"listens\n"
            yield listens
        finally:
            served.kill()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@ONE_LOOP
async def test_the_sdk_uses_what_a_host_serves(url: str, tmp_path: Path, mode: str) -> None:
    """Of both protocols: tools, values, handles, errors."""
    await use(mode, [*COMMAND, "mcp", url], environment(tmp_path))


async def use(mode: str, command: list[str], variables: dict[str, str]) -> None:
    server = mcp.StdioServerParameters(command=command[0], args=command[1:], env=variables, cwd=ROOT)
    async with mcp.Client(mcp.stdio_client(server), mode=mode) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert {"odd.data", "office.Clerk.open", "capnet.next"} <= names
        result = await client.call_tool("odd.data", {"data": "AQI="})
        assert result.structured_content == {"result": {"data": "AQI=", "flag": False}}
        opened = await client.call_tool("office.Clerk.open", {"name": "tea"})
        handle = opened.structured_content["result"]
        counted = await client.call_tool("office.Clerk.count", {"reader": handle})
        assert counted.structured_content == {"result": 1}
        missing = await client.call_tool("office.Clerk.open", {"name": "none"})
        assert (missing.is_error, missing.content[0].text) == (True, "not_found: no file 'none'")
