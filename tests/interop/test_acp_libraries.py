"""The libraries of the Agent Client Protocol, in TypeScript and in Python, as editors and as agents."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.stapled import StapledByteStream

from capnet import NotFound, Unimplemented
from capnet.gateways.acp import Agent, connected
from tests.cli.processes import COMMAND, ROOT, environment
from tests.gateways.agents import MemClient
from tests.interop.counterparts import hosting, node, python

PERMISSION = {"outcome": {"optionId": "yes", "outcome": "selected"}}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """Of a host in another process, which serves an agent."""
    node("acp_client.mjs")  # without it nothing has to be started
    with hosting("tests.interop.acp_host", tmp_path_factory.mktemp("host")) as listens:
        yield listens


def seen_by(editor: list[str], url: str, scratch: Path) -> dict[str, Any]:
    """What an editor prints that starts `capnet acp`."""
    command = [*editor, *COMMAND, "acp", url]
    ended = subprocess.run(command, cwd=ROOT, env=environment(scratch), capture_output=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    seen: dict[str, Any] = json.loads(ended.stdout)
    seen["texts"] = [text if text.startswith("you") else json.loads(text) for text in seen["texts"]]
    return seen


def test_an_editor_in_typescript(url: str, tmp_path: Path) -> None:
    seen = seen_by(node("acp_client.mjs"), url, tmp_path)
    assert seen.pop("texts") == [
        "you said permission", PERMISSION,
        "you said read", {"content": "/a"},
        "you said write", {},
        "you said terminal", [{}, {"exitCode": 0}, {"output": "t1", "truncated": False}, {}, {}],
    ]  # fmt: skip
    assert seen == {
        "version": 1,
        "login": -32000,
        "asked": ["allow_once"],
        **dict.fromkeys(("permission", "read", "write", "terminal"), "end_turn"),
        "nobody": [-32002, "none"],
        "cancelled": "cancelled",
        "lost": -32800,
    }


def test_an_editor_in_python(url: str, tmp_path: Path) -> None:
    seen = seen_by([python(), "tests/interop/acp_client.py"], url, tmp_path)
    assert seen == {
        "version": 1,
        "texts": ["you said permission", PERMISSION, "you said read", {"content": "/a"}],
        "asked": ["allow_once"],
        "permission": "end_turn",
        "read": "end_turn",
        "nobody": [-32002, "none"],
        "cancelled": "cancelled",
    }


async def use(agent: Agent, client: MemClient) -> Any:
    """What every agent here can do; gives the session."""
    began = await agent.initialize({"protocolVersion": 1, "clientCapabilities": {"terminal": True}})
    assert began["protocolVersion"] == 1
    opened = await agent.new_session({"cwd": "/work", "mcpServers": []}, client)
    assert opened.id
    for text in ("permission", "read"):
        assert (await opened.session.prompt(said(text)))["stopReason"] == "end_turn"
        assert client.texts[-2] == f"you said {text}"
    assert client.asked[0]["options"][0]["optionId"] == "yes"
    with pytest.raises(Unimplemented):
        await agent.request("nothing", {})
    async with anyio.create_task_group() as tasks:

        async def hang() -> None:
            assert (await opened.session.prompt(said("hang")))["stopReason"] == "cancelled"

        tasks.start_soon(hang)
        await anyio.sleep(0.2)
        await opened.session.cancel({})
    return opened.session


def said(text: str) -> dict[str, Any]:
    return {"prompt": [{"type": "text", "text": text}]}


async def test_an_agent_in_typescript() -> None:
    client = MemClient()
    async with await anyio.open_process(node("acp_agent.mjs"), stderr=None) as program:
        stream = StapledByteStream(program.stdin, program.stdout)  # type: ignore[arg-type]
        async with connected(stream) as agent:
            session = await use(agent, client)
            await session.prompt(said("terminal"))
            assert json.loads(client.texts[-1])[1] == {"output": "out", "truncated": False}
            assert client.terminal.calls == ["wait", "output", "release"]
            other = (await agent.new_session({"cwd": "/work", "mcpServers": []}, client)).session
            with anyio.move_on_after(0.3):
                await other.prompt(said("hang"))
            await session.prompt(said("told"))
            assert json.loads(client.texts[-1]) == {"cancelled": 1, "aborted": 1}
            with pytest.raises((NotFound, Unimplemented)):
                await agent.load_session({"sessionId": "none", "cwd": "/", "mcpServers": []}, client)
        await stream.aclose()


async def test_an_agent_in_python() -> None:
    command = [python(), "tests/interop/acp_agent.py"]
    async with await anyio.open_process(command, stderr=None, cwd=ROOT) as program:
        stream = StapledByteStream(program.stdin, program.stdout)  # type: ignore[arg-type]
        async with connected(stream) as agent:
            await use(agent, MemClient())
        await stream.aclose()
