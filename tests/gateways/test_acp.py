"""Agents and editors, with the Agent Client Protocol between them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from capnet import Attestation, CallCancelled, CapnetError, Host, NotFound, Unimplemented
from capnet.gateways.acp import (
    Agent,
    AgentBase,
    Client,
    ClientBase,
    Opened,
    Session,
    SessionBase,
    connected,
    for_editors,
)
from capnet.gateways.jsonrpc import Gateway
from tests.gateways.agents import OPTIONS, MemAgent, MemClient
from tests.gateways.pipes import Speaker, pipe

EDITOR = Attestation(transport="acp", principal="editor")


@asynccontextmanager
async def serving(agent: Agent) -> AsyncGenerator[tuple[Any, Host]]:
    """The end of a stream at which an editor is served."""
    ours, theirs = pipe()
    async with (
        Host() as host,
        Gateway(host, for_editors()) as gateway,
        anyio.create_task_group() as tasks,
    ):
        host.serve(agent, name="acp.Agent")
        tasks.start_soon(gateway.serve, theirs, EDITOR)
        yield ours, host
        await ours.aclose()


@asynccontextmanager
async def both(agent: Agent, client: Client | None = None) -> AsyncGenerator[Agent]:
    """The agent as a program has it that is an editor: two gateways and a stream are between them."""
    async with serving(agent) as (stream, _), connected(stream, client=client) as far:
        yield far


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"prompt": [{"type": "text", "text": text}], **more}


# An editor, message by message


async def test_an_editor_talks_to_an_agent_that_is_served() -> None:
    agent = MemAgent()
    async with serving(agent) as (stream, _):
        editor = Speaker(stream)
        answer = await editor.ask("initialize", {"protocolVersion": 1, "unknown": [1]})
        assert (answer["protocolVersion"], answer["was"]) == (1, {"protocolVersion": 1, "unknown": [1]})
        assert (await editor.fail("authenticate", {"methodId": "x"}))["code"] == -32000
        opened = await editor.ask("session/new", {"cwd": "/", "mcpServers": [], "unknown": 1})
        number = opened.pop("sessionId")
        assert opened == {"modes": None, "was": {"cwd": "/", "mcpServers": [], "unknown": 1}}
        answer = await editor.ask("session/prompt", {"sessionId": number, **said("tea", _meta={"a": 1}, unknown=2)})
        assert answer == {"stopReason": "end_turn", "_meta": {"a": 1}, "unknown": 2}
        assert [other["method"] for other in editor.others] == ["session/update"] * 2
        assert editor.others[0]["params"] == {
            "sessionId": number,
            "update": {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "you said tea"}},
        }
        assert await editor.ask("session/set_mode", {"sessionId": number, "modeId": "m"}) == {"was": {"modeId": "m"}}
        answer = await editor.ask("session/set_config_option", {"sessionId": number, "configId": "c", "value": 1})
        assert answer["was"] == {"configId": "c", "value": 1}
        assert await editor.ask("session/list", {"cursor": None}) == {"sessions": [], "was": {"cursor": None}}
        assert await editor.ask("_more/ask", {"x": 1}) == ["_more/ask", {"x": 1}]
        await editor.tell("_more/note", {"x": 1})
        assert await editor.ask("session/close", {"sessionId": number}) == {"was": {}}
        assert agent.sessions[0].closed and agent.notes == [["_more/note", {"x": 1}]]
        assert (await editor.fail("session/prompt", {"sessionId": number, **said("x")}))["code"] == -32002


@pytest.mark.parametrize(
    ("method", "params", "number"),
    [
        ("session/prompt", {"sessionId": "none", "prompt": []}, -32002),
        ("session/prompt", {"prompt": []}, -32602),
        ("session/prompt", {"sessionId": 1}, -32602),
        ("session/prompt", {"sessionId": "x" * 257}, -32602),
        ("session/prompt", [1], -32602),
        ("session/load", {"sessionId": "none"}, -32002),
        ("session/load", {}, -32602),
        ("session/resume", {"sessionId": "x"}, -32601),
        ("session/delete", {"sessionId": "x"}, -32601),
        ("logout", {}, -32601),
        ("session/new", {"early": True}, -32603),
        ("session/new", {"id": "x" * 257}, -32603),
        ("nothing", {}, -32601),
    ],
)
async def test_what_an_editor_is_refused(method: str, params: Any, number: int) -> None:
    async with serving(MemAgent()) as (stream, _):
        editor = Speaker(stream)
        assert (await editor.fail(method, params))["code"] == number
        assert (await editor.ask("initialize", {"protocolVersion": 1}))["protocolVersion"] == 1


async def test_batches_are_refused_once() -> None:
    async with serving(MemAgent()) as (stream, _):
        editor = Speaker(stream)
        await editor.write([{"jsonrpc": "2.0", "id": 1, "method": "initialize"}] * 2)
        answer = await editor.read()
        assert (answer["id"], answer["error"]["code"]) == (None, -32600)
        assert await editor.ask("initialize", {})


async def test_without_an_agent_there_is_nothing() -> None:
    async with Host() as host, Gateway(host, for_editors("none")) as gateway, anyio.create_task_group() as tasks:
        ours, theirs = pipe()
        tasks.start_soon(gateway.serve, theirs, EDITOR)
        assert (await Speaker(ours).fail("initialize", {}))["code"] == -32601
        await ours.aclose()


async def test_another_agent_takes_the_place_of_one() -> None:
    async with serving(MemAgent()) as (stream, host):
        editor = Speaker(stream)
        number = (await editor.ask("session/new", {}))["sessionId"]
        host.unserve("acp.Agent")
        assert (await editor.fail("initialize", {}))["code"] == -32601
        host.serve(AgentBase())
        assert "was" not in await editor.ask("initialize", {})
        # The sessions of the one before went with it.
        assert (await editor.fail("session/prompt", {"sessionId": number, **said("tea")}))["code"] == -32002


async def test_a_turn_is_cancelled_and_a_request_is_given_up() -> None:
    """Two ways: the agent ends its turn and says so, or nobody waits for it any more."""
    agent = MemAgent()
    async with serving(agent) as (stream, host):
        editor = Speaker(stream)
        number = (await editor.ask("session/new", {}))["sessionId"]
        turn = await editor.begin("session/prompt", {"sessionId": number, **said("hang")})
        await editor.tell("session/cancel", {"sessionId": number})
        assert (await editor.answer(turn))["result"] == {"stopReason": "cancelled"}
        other = (await editor.ask("session/new", {}))["sessionId"]
        turn = await editor.begin("session/prompt", {"sessionId": other, **said("hang")})
        with anyio.fail_after(60):
            await agent.sessions[1].begun.wait()
            await editor.tell("$/cancel_request", {"requestId": turn})
            assert (await editor.answer(turn))["error"]["code"] == -32800
            await agent.sessions[1].ended.wait()
        assert await host.close_all(principal="editor") == 1


# Both ends


async def test_everything_comes_through_both_ends() -> None:
    """Sessions, terminals and clients are capabilities at both; no member is lost."""
    client, agent = MemClient(), MemAgent()
    async with both(agent) as far:
        answer = await far.initialize({"protocolVersion": 1, "unknown": {"x": None}})
        assert answer["was"] == {"protocolVersion": 1, "unknown": {"x": None}}
        opened = await far.new_session({"cwd": "/", "id": "mine"}, client)
        assert (opened.id, opened.answer) == ("mine", {"modes": None, "was": {"cwd": "/", "id": "mine"}})
        answers: dict[str, Any] = {
            "permission": {"outcome": {"outcome": "selected", "optionId": "yes"}, "unknown": 1},
            "read": {"content": "text"},
            "write": {},
            "terminal": [{"_meta": {"a": 1}}, {"exitCode": 0}, {"output": "out", "truncated": False}, {}, {}],
            "form": {"action": "decline"},
        }
        for text, answer in answers.items():
            assert (await opened.session.prompt(said(text)))["stopReason"] == "end_turn"
            assert client.texts[-2:] == [f"you said {text}", json.dumps(answer)]
        assert client.asked[0] == {"toolCall": {"toolCallId": "1"}, "options": OPTIONS}
        assert client.terminal.calls == ["wait", "output", "kill", "release"]
        assert await opened.session.set_mode({"modeId": "m", "more": 1}) == {"was": {"modeId": "m", "more": 1}}
        assert (await opened.session.set_config_option({"configId": "c"}))["was"] == {"configId": "c"}
        assert await far.list_sessions({"cwd": "/"}) == {"sessions": [], "was": {"cwd": "/"}}
        assert await far.request("_more/ask", {"x": 1}) == ["_more/ask", {"x": 1}]
        await far.notify("_more/note", {})
        for failing in (far.authenticate, far.logout, far.delete_session):
            with pytest.raises(CapnetError) as caught:
                await failing({"sessionId": "x"})
            assert caught.value.code in ("unauthenticated", "unimplemented")
        assert await opened.session.close({}) == {"was": {}}
        with pytest.raises(NotFound):
            await opened.session.prompt(said("x"))
        assert agent.notes == [["_more/note", {}]]


async def test_an_old_session_tells_its_past() -> None:
    client = MemClient()
    async with both(MemAgent()) as far:
        opened = await far.load_session({"sessionId": "old", "cwd": "/"}, client)
        assert (opened.id, client.texts) == ("old", ["as it was"])
        assert (await opened.session.prompt(said("x")))["stopReason"] == "end_turn"
        with pytest.raises(NotFound):
            await far.load_session({"sessionId": "none"}, client)
        with pytest.raises(Unimplemented):
            await far.resume_session({"sessionId": "old"}, client)


async def test_two_sessions_have_a_client_each() -> None:
    one, other = MemClient(), MemClient()
    async with both(MemAgent()) as far:
        first, second = await far.new_session({}, one), await far.new_session({}, other)
        await first.session.prompt(said("a"))
        await second.session.prompt(said("b"))
        assert (one.texts[0], other.texts[0]) == ("you said a", "you said b")


async def test_a_turn_that_nobody_waits_for_is_given_up_at_the_agent() -> None:
    agent = MemAgent()
    async with both(agent) as far:
        opened = await far.new_session({}, MemClient())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(opened.session.prompt, said("hang"))
            with anyio.fail_after(60):
                await agent.sessions[0].begun.wait()
                tasks.cancel_scope.cancel()
        with anyio.fail_after(60):
            await agent.sessions[0].ended.wait()
        opened = await far.new_session({}, MemClient())
        async with anyio.create_task_group() as tasks:

            async def prompt() -> None:
                assert await opened.session.prompt(said("hang")) == {"stopReason": "cancelled"}

            tasks.start_soon(prompt)
            await agent.sessions[1].begun.wait()
            await opened.session.cancel({})


async def test_what_is_asked_of_no_session_goes_to_the_client_that_is_served() -> None:
    client = MemClient()
    async with both(MemAgent(), client) as far:
        opened = await far.new_session({}, MemClient())
        await opened.session.prompt(said("more"))
        assert client.asked == [["_more/note", {"x": 1}], ["_more/ask", {"x": 2}]]
    async with both(MemAgent()) as far:
        opened = await far.new_session({}, MemClient())
        with pytest.raises(Unimplemented):
            await opened.session.prompt(said("more"))


# A program that is an agent, message by message


@asynccontextmanager
async def program() -> AsyncGenerator[tuple[Agent, Speaker]]:
    ours, theirs = pipe()
    async with connected(ours) as agent:
        yield agent, Speaker(theirs)
    await theirs.aclose()


async def test_what_a_program_may_not_do() -> None:
    async with program() as (agent, speaker), anyio.create_task_group() as tasks:
        client, opened = MemClient(), list[Opened]()

        async def open_() -> None:
            opened.append(await agent.new_session({"cwd": "/"}, client))

        tasks.start_soon(open_)
        asked = await speaker.read()
        assert (asked["method"], asked["params"]) == ("session/new", {"cwd": "/"})
        # The first news of a session may come in the same piece as its id.
        update = {"sessionId": "s", "update": {"content": {"text": "early"}}}
        answer = {"jsonrpc": "2.0", "id": asked["id"], "result": {"sessionId": "s", "modes": {"unknown": 1}}}
        news = {"jsonrpc": "2.0", "method": "session/update", "params": update}
        await speaker.stream.send(f"{json.dumps(answer)}\n{json.dumps(news)}\n".encode())
        terminal = await speaker.ask("terminal/create", {"sessionId": "s", "command": "ls"})
        number = terminal["terminalId"]
        assert client.texts == ["early"] and opened[0].answer == {"modes": {"unknown": 1}}
        refused: list[tuple[str, Any, int]] = [
            ("terminal/output", {"sessionId": "s", "terminalId": "none"}, -32002),
            ("terminal/output", {"sessionId": "other", "terminalId": number}, -32002),
            ("terminal/output", {"sessionId": [], "terminalId": {}}, -32002),
            ("terminal/create", {}, -32601),
            ("terminal/create", {"sessionId": None}, -32601),
            ("session/request_permission", {"sessionId": "other"}, -32002),
            ("session/request_permission", {"sessionId": 1}, -32002),
            ("session/update", [1], -32602),
            ("nothing", {}, -32601),
        ]
        for method, params, code in refused:
            assert (await speaker.fail(method, params))["code"] == code, (method, params)
        assert await speaker.ask("terminal/release", {"sessionId": "s", "terminalId": number}) == {}
        assert (await speaker.fail("terminal/kill", {"sessionId": "s", "terminalId": number}))["code"] == -32002
        await opened.pop().session.aclose()


@pytest.mark.parametrize("answer", [{}, {"sessionId": 1}, [1], "x", 7])
async def test_an_answer_that_opens_nothing(answer: Any) -> None:
    async with program() as (agent, speaker), anyio.create_task_group() as tasks:

        async def open_() -> None:
            with pytest.raises(CapnetError):
                await agent.new_session({}, MemClient())
            with pytest.raises(CallCancelled):
                await agent.initialize({})

        tasks.start_soon(open_)
        await speaker.write({"jsonrpc": "2.0", "id": (await speaker.read())["id"], "result": answer})
        error = {"code": -32800, "message": "x"}
        await speaker.write({"jsonrpc": "2.0", "id": (await speaker.read())["id"], "error": error})


async def test_a_terminal_is_of_a_session() -> None:
    ours, theirs = pipe()
    async with connected(ours, client=MemClient()):
        assert (await Speaker(theirs).fail("terminal/create", {"command": "ls"}))["code"] == -32602
    await theirs.aclose()


async def test_sessions_are_names_that_only_their_own_client_may_use() -> None:
    """An editor does not reach the sessions of another one."""
    agent = MemAgent()
    async with Host() as host, Gateway(host, for_editors()) as gateway, anyio.create_task_group() as tasks:
        host.serve(agent, name="acp.Agent")
        editors: list[Speaker] = []
        for _ in range(2):
            ours, theirs = pipe()
            tasks.start_soon(gateway.serve, theirs, EDITOR)
            editors.append(Speaker(ours))
        number = (await editors[0].ask("session/new", {}))["sessionId"]
        assert (await editors[1].fail("session/prompt", {"sessionId": number, **said("x")}))["code"] == -32002
        for editor in editors:
            await editor.stream.aclose()


def test_bases_have_every_method() -> None:
    for base in (AgentBase, SessionBase, ClientBase):
        assert not getattr(base, "__abstractmethods__", ())
    assert issubclass(SessionBase, Session)


async def test_early_news_reach_an_editor_behind_both_ends() -> None:
    """A program tells of a session in the piece that opens it, before its answer or behind it; nothing is lost."""
    ours, theirs = pipe()
    speaker = Speaker(theirs)
    async with connected(ours) as agent, serving(agent) as (stream, _):
        editor = Speaker(stream)
        for number, answer_first in enumerate((True, False)):
            session = f"s{number}"
            opening = await editor.begin("session/new", {"cwd": "/"})
            asked = await speaker.read()
            update = {"sessionId": session, "update": {"content": {"text": session}}}
            pieces = [
                {"jsonrpc": "2.0", "id": asked["id"], "result": {"sessionId": session}},
                {"jsonrpc": "2.0", "method": "session/update", "params": update},
            ]
            lines = map(json.dumps, pieces if answer_first else reversed(pieces))
            await speaker.stream.send("".join(f"{line}\n" for line in lines).encode())
            assert (await editor.answer(opening))["result"] == {"sessionId": session}
            news = editor.others.pop() if editor.others else await editor.read()
            assert (news["method"], news["params"]) == ("session/update", update)
    await theirs.aclose()
