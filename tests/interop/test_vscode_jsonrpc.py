"""The library that editors and language servers use, `vscode-jsonrpc`, as a client and as a server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from capnet import CallCancelled, Cap, Connection, NotFound, Unimplemented, call
from capnet.gateways.jsonrpc import LSP, Foreign, Remote, Settings, connected, foreign
from tests.cli.processes import COMMAND, ROOT, environment
from tests.interop.counterparts import hosting, node


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """Of a host in another process."""
    node("jsonrpc_client.mjs")  # without it nothing has to be started
    with hosting("tests.cli.office_host", tmp_path_factory.mktemp("host")) as listens:
        yield listens


def test_a_client_uses_what_a_host_serves(url: str, tmp_path: Path) -> None:
    """By names and by places; handles, functions of the client's, errors, and requests that are given up."""
    gateway = [*COMMAND, "jsonrpc", url, "--framing", "headers", "--dialect", "lsp"]
    client = [*node("jsonrpc_client.mjs"), *gateway]
    ended = subprocess.run(client, cwd=ROOT, env=environment(tmp_path), capture_output=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert json.loads(ended.stdout) == {
        "named": {"data": "AQI=", "flag": True},
        "placed": {"data": "AQI=", "flag": False},
        "read": [{"text": "a", "when": "2026-01-01"}],
        "argument": 1,
        "callback": 1,
        "missing": [-32001, "not_found"],
        "unknown": [-32601, "unimplemented"],
        "cancelled": [-32800, "cancelled"],
    }


class Texts(Cap, name="text.Texts"):
    @call
    async def upper(self, text: str, *, times: int = 1) -> str: ...

    @call
    async def placed(self, text: str) -> str: ...


class Own(Cap, name="own.Own"):
    @call
    async def double(self, number: int) -> int: ...


class MemOwn(Own):
    async def double(self, number: int) -> int:
        return 2 * number


class _Process:
    """Its streams, as one."""

    def __init__(self, process: anyio.abc.Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self.send, self.receive = process.stdin.send, process.stdout.receive


@asynccontextmanager
async def server() -> AsyncGenerator[Connection]:
    settings = Settings(
        dialect=LSP, framing="headers", remotes=[Remote(Texts, prefix="text/", methods={"placed": "none/such"})]
    )
    async with await anyio.open_process(node("jsonrpc_server.mjs"), stderr=None) as process:
        async with connected(_Process(process), settings) as connection:
            yield connection
        assert process.stdin is not None
        await process.stdin.aclose()
        assert await process.wait() == 0


async def test_a_server_is_called_through_a_contract_and_by_name() -> None:
    async with server() as connection:
        connection.serve(MemOwn())
        texts = await foreign(connection, Texts)
        assert await texts.upper("a", times=3) == "AAA"
        with pytest.raises(Unimplemented):
            await texts.placed("a")
        other = await connection.bootstrap(Foreign)
        assert await other.request("text/placed", ["ab", 2]) == "abab"
        with pytest.raises(NotFound) as caught:
            await other.request("fail")
        assert caught.value.details == {"number": -32001, "data": {"which": 7}}
        assert await other.request("ask", ["own.Own.double", {"number": 4}]) == 8
        await other.notify("note", ["one"])
        with anyio.move_on_after(0.2):
            await other.request("hang")
        told: Any = await other.request("told")
        assert told == {"notes": ["one"], "cancelled": 1}
        hanging = other.request("hang")
        hanging.cancel()  # type: ignore[attr-defined]
        with pytest.raises(CallCancelled):
            await hanging
