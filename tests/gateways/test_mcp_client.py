"""The tools of MCP servers in a toolbox."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from capnet import CapnetError, Host, Internal, InvalidArgument, NotFound, Unauthenticated, Unavailable
from capnet.gateways.mcp import McpTools, mcp_app, mcp_tools
from capnet.gateways.mcp.asking import Asking
from capnet.gateways.mcp.posting import Endpoint
from capnet.gateways.mcp.session import STATELESS
from capnet.toolbox import Progress, Toolbox, ToolFilter, toolbox
from tests.connection.office import MemClerk, MemFile, Note
from tests.connection.shop import until
from tests.gateways.http_server import serving
from tests.loops import ONE_LOOP

TOKEN = "a token that nobody guesses"
SERVER = [sys.executable, str(Path(__file__).with_name("mcp_server.py"))]


def neither(_: Asking, versions: object) -> bool:
    return versions is ...


@asynccontextmanager
async def office(*, old: bool, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[tuple[Host, McpTools]]:
    """A host behind HTTP, and its tools by way of that."""
    if old:  # what a client sees of a server that knows the older protocol alone
        monkeypatch.setattr(Asking, "speaks", neither)
    async with Host(name="office") as host:
        host.serve(MemClerk({"tea": MemFile([Note("a")])}))
        app = mcp_app(host, token=TOKEN)
        async with serving(app) as url:
            yield host, mcp_tools(url, token=TOKEN, prefix="their.")
        await app.aclose()


@pytest.mark.parametrize("old", [False, True], ids=["new", "old"])
async def test_a_host_behind_http_gives_its_tools(old: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with office(old=old, monkeypatch=monkeypatch) as (host, tools), toolbox(tools) as box:
        names = {one.name for one in (await box.discover()).items}
        assert {"their.office.Clerk.open", "their.capnet.next"} <= names
        told = await box.describe("their.office.Clerk.open")
        assert told.parameters["required"] == ["name"]
        handle = (await box.call("their.office.Clerk.open", {"name": "tea"})).value["result"]
        assert handle.startswith("cap_")
        await until_known(box, "their.office.File.read")
        lines = (await box.call("their.office.File.read", {"cap": handle})).value["result"]
        assert [line["text"] for line in lines] == ["a"]
        steps = [step async for step in box.run("their.office.File.follow", {"cap": handle, "count": 2})]
        assert [step.progress.done for step in steps if step.progress] == [1, 2]
        assert steps[-1].outcome is not None
        assert [note["text"] for note in steps[-1].outcome.value["result"]] == ["0", "1"]
        with pytest.raises(Internal) as raised:
            await box.call("their.office.Clerk.open", {"name": "none"})
        assert (raised.value.reason, raised.value.message) == ("tool", "not_found: no file 'none'")
        with pytest.raises(NotFound):
            await box.call("their.nothing", {})
        with pytest.raises(InvalidArgument):
            await box.call("their.office.Clerk.open", {"name": object()})
        assert len(host.connections) == 1 + old  # it was asked for the newer protocol first


async def until_known(box: Toolbox, name: str) -> None:
    """Until a tool is there, of which the server tells later."""
    with anyio.fail_after(60):
        while name not in {one.name for one in (await box.discover()).items}:
            await checkpoint()


@pytest.mark.parametrize("old", [False, True], ids=["new", "old"])
async def test_other_tools_are_told(old: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with office(old=old, monkeypatch=monkeypatch) as (host, tools), toolbox(tools) as box:
        changes = box.changes()
        await anext(changes)
        await until(lambda: any(one.stats()["streams"] for one in host.connections))
        host.serve(MemClerk(), name="more")
        with anyio.fail_after(60):
            await anext(changes)
        await until_known(box, "their.more.open")
        await changes.aclose()


async def test_a_call_that_is_given_up_is_given_up_there(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []
    begun = anyio.Event()

    async def hang(self: MemClerk) -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    monkeypatch.setattr(MemClerk, "hang", hang)
    for old in (False, True):
        begun = anyio.Event()
        async with office(old=old, monkeypatch=monkeypatch) as (_, tools), toolbox(tools) as box:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(box.call, "their.office.Clerk.hang", {}))
                await begun.wait()
                tasks.cancel_scope.cancel()
            await until(lambda: len(ended) == 1 + old)  # noqa: B023


async def test_a_session_that_was_forgotten_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with office(old=True, monkeypatch=monkeypatch) as (host, tools), toolbox(tools) as box:
        assert (await box.call("their.office.Clerk.open", {"name": "tea"})).value
        await host.close_all(grace=0)
        assert (await box.call("their.office.Clerk.open", {"name": "tea"})).value


async def test_a_server_that_does_not_let_us_in() -> None:
    async with Host() as host:
        app = mcp_app(host, token=TOKEN)
        async with serving(app) as url, toolbox(mcp_tools(url, token=TOKEN + "x")) as box:
            with pytest.raises(Unauthenticated):
                await box.discover()
        await app.aclose()
    async with toolbox(mcp_tools(url)) as box:
        with pytest.raises(Unavailable):
            await box.discover()


SLOW = """
import json, sys, time
time.sleep(0.3)
for line in sys.stdin:
    asked = json.loads(line)
    if asked.get("method") == "server/discover":
        told = {"result": {"supportedVersions": ["%s"], "capabilities": {"tools": {}}}}
    elif asked.get("method") == "tools/list":
        told = {"result": {"tools": [{"name": "late", "inputSchema": {"type": "object"}}]}}
    else:
        told = {"error": {"code": -32601, "message": "the older protocol is not spoken here"}}
    if "id" in asked:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **told}), flush=True)
"""


async def test_a_server_of_the_newer_protocol_may_start_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it is asked first it hears too late, and what is asked of older ones it refuses: it is asked again."""
    monkeypatch.setattr("capnet.gateways.mcp.client.PROBE", 0.01)
    async with toolbox(mcp_tools([sys.executable, "-c", SLOW % STATELESS[-1]])) as box:
        assert [one.name for one in (await box.discover()).items] == ["late"]


async def test_a_program_gives_its_tools_until_it_dies() -> None:
    def mine() -> str:
        """Still there."""
        return "mine"

    async with toolbox(mcp_tools(SERVER, env={"SECRET": "x"}, prefix="s."), mine) as box:
        found = {one.name: one.doc for one in (await box.discover()).items}
        assert found == {"mine": "Still there.", "s.echo": "Say it again.", "s.env": ""}
        assert [one.name for one in (await box.discover(filter=ToolFilter(read_only=True))).items] == ["s.env"]
        assert (await box.describe("s.env")).idempotent
        assert (await box.call("s.echo", {"a": [1, b"\x01\x02"]})).value == {"a": [1, "AQI="]}
        assert (await box.call("s.env", {})).value == "x"
        steps = [step async for step in box.run("s.echo", {})]
        assert [step.progress for step in steps] == [Progress(1, 2), None]
        with pytest.raises(Internal) as raised:
            await box.call("s.echo", {"fails": True})
        assert raised.value.message == "it is broken"
        with anyio.fail_after(60), pytest.raises(Unavailable):
            await box.call("s.echo", {"dies": True})
        assert [one.name for one in (await box.discover()).items] == ["mine"]
        assert (await box.call("mine", {})).value == "mine"
    async with toolbox(mcp_tools(["/no/such/program"])) as box:
        with pytest.raises(Unavailable):
            await box.discover()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: mcp_tools("ftp://x"),
        lambda: mcp_tools("http://"),
        lambda: mcp_tools("http://x\r\ny"),
        lambda: mcp_tools("http://x", headers={"a": "b\r\nc: d"}),
        lambda: mcp_tools("http://x", env={}),
        lambda: mcp_tools([]),
        lambda: mcp_tools(["x"], token="y"),
    ],
)
def test_what_is_no_server(wrong: Callable[[], object]) -> None:
    with pytest.raises(InvalidArgument):
        wrong()


@asynccontextmanager
async def saying(*parts: bytes) -> AsyncGenerator[str]:
    """A server that says the same to everybody, and then ends the connection."""

    async def answer(stream: Any) -> None:
        async with stream:
            await stream.receive()
            for part in parts:
                await stream.send(part)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        yield f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}/"
        tasks.cancel_scope.cancel()


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("parts", "body"),
    [
        ([HEAD + b"content-length: 4\r\n\r\nab", b"cd and more"], b"abcd"),
        ([HEAD + b"\r\nab", b"cd"], b"abcd"),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n", b"2\r\ncd\r\n0\r\n\r\n"], b"abcd"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"content-length: 0\r\n\r\n"], b""),
        ([b"SSH-2.0-x\r\n"], Unavailable),
        ([HEAD + b"content-length: 9\r\n\r\nab"], Unavailable),
        ([HEAD + b"transfer-encoding: chunked\r\n\r\n-2\r\nab\r\n"], Unavailable),
        ([HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"f" * 9 + b"\r\nab\r\n"], Unavailable),
        ([HEAD + b"x: " + b"y" * 20_000 + b"\r\n\r\n"], Unavailable),
        ([HEAD + b"x: y\r\n" * 300 + b"\r\n"], Unavailable),
        ([b"HTTP/1.1 200"], Unavailable),
        ([b"HTTP/1.1 20\xb2 OK\r\n\r\n"], Unavailable),
        ([HEAD + b"content-length: \xb2\r\n\r\nab"], b"ab"),
        ([], Unavailable),
    ],
)
@ONE_LOOP
async def test_answers_by_http(parts: list[bytes], body: bytes | type[CapnetError]) -> None:
    async def got(url: str) -> bytes:
        async with Endpoint(url, {}).send("POST", {}, b"x") as answer:
            assert answer.status == 200
            return b"".join([part async for part in answer.body])

    async with saying(*parts) as url:
        if isinstance(body, bytes):
            assert await got(url) == body
        else:
            with pytest.raises(body):
                await got(url)
