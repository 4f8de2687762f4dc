"""The clients of the MCP SDKs in front of `mcp_app`."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from capnet import Host
from capnet.gateways.mcp import mcp_app
from tests.connection.office import MemClerk, MemFile, Note
from tests.gateways.http_server import serving
from tests.interop import counterparts
from tests.loops import ONE_LOOP

TOKEN = "a-token-that-nobody-guesses"
CLIENT = str(Path(__file__).with_name("mcp_http_client.py"))


async def use(*command: str) -> None:
    """Have a program use a host, by its URL and a token."""
    async with Host(name="office") as host:
        host.serve(MemClerk({"tea": MemFile([Note("a")])}))
        app = mcp_app(host, token=TOKEN)
        async with serving(app) as url:
            with anyio.fail_after(120):
                done = await anyio.run_process([*command, url, TOKEN], stderr=None)
            assert done.stdout == b"used\n"
        await app.aclose()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@ONE_LOOP
async def test_the_python_sdk(mode: str) -> None:
    """Of both protocols: tools, handles, errors, streams with progress."""
    await use(counterparts.python(), CLIENT, mode)


@pytest.mark.parametrize("which", ["new", "old", "sdk"])
@ONE_LOOP
async def test_the_typescript_sdks(which: str) -> None:
    """The newer one with both protocols, and the one that knows the older protocol alone."""
    await use(*counterparts.node("mcp_client.mjs", which))
