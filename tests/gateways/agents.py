"""An agent, and an editor, as tests want them."""

from __future__ import annotations

import json
from typing import Any, Final

import anyio

from capnet import NotFound, Unauthenticated, Unimplemented
from capnet.gateways.acp import AgentBase, Client, ClientBase, NewTerminal, Opened, SessionBase, Terminal

__all__ = ["OPTIONS", "MemAgent", "MemClient", "MemSession", "MemTerminal"]

OPTIONS: Final = [{"optionId": "yes", "name": "Yes", "kind": "allow_once"}]


class MemSession(SessionBase):
    """Does what a prompt says, and tells of it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.cancelled = anyio.Event()
        self.begun, self.ended = anyio.Event(), anyio.Event()
        self.closed = False

    async def prompt(self, params: dict[str, Any]) -> dict[str, Any]:
        text: str = params["prompt"][0]["text"]
        answer: Any = None
        match text:
            case "permission":
                answer = await self.client.request_permission({"toolCall": {"toolCallId": "1"}, "options": OPTIONS})
            case "read":
                answer = await self.client.read_text_file({"path": "/a", "line": 1})
            case "write":
                answer = await self.client.write_text_file({"path": "/a", "content": "b"})
            case "terminal":
                made = await self.client.create_terminal({"command": "ls"})
                ended = await made.terminal.wait_for_exit({})
                told = await made.terminal.output({})
                answer = [made.answer, ended, told, await made.terminal.kill({}), await made.terminal.release({})]
            case "form":
                answer = await self.client.create_elicitation({"message": "who?"})
                await self.client.complete_elicitation({"elicitationId": "1"})
            case "more":
                await self.client.notify("_more/note", {"x": 1})
                answer = await self.client.request("_more/ask", {"x": 2})
            case "hang":
                self.begun.set()
                try:
                    await self.cancelled.wait()
                finally:
                    self.ended.set()
                return {"stopReason": "cancelled"}
            case _:
                pass
        for part in (f"you said {text}", json.dumps(answer)):
            content = {"type": "text", "text": part}
            await self.client.update({"update": {"sessionUpdate": "agent_message_chunk", "content": content}})
        return {"stopReason": "end_turn", "_meta": params.get("_meta"), "unknown": params.get("unknown")}

    async def cancel(self, params: dict[str, Any]) -> None:
        self.cancelled.set()

    async def set_mode(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"was": params}

    async def set_config_option(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"configOptions": [], "was": params}

    async def close(self, params: dict[str, Any]) -> dict[str, Any]:
        self.closed = True
        return {"was": params}


class MemAgent(AgentBase):
    def __init__(self) -> None:
        self.sessions: list[MemSession] = []
        self.notes: list[Any] = []

    async def initialize(self, params: dict[str, Any]) -> dict[str, Any]:
        return {**await super().initialize(params), "was": params}

    async def authenticate(self, params: dict[str, Any]) -> dict[str, Any]:
        raise Unauthenticated("log in first")

    async def new_session(self, params: dict[str, Any], client: Client) -> Opened:
        if params.get("early"):
            await client.update({"update": {}})
        session = MemSession(client)
        self.sessions.append(session)
        return Opened(session, params.get("id", ""), {"modes": None, "was": params})

    async def load_session(self, params: dict[str, Any], client: Client) -> Opened:
        if params["sessionId"] == "none":
            raise NotFound("there was none")
        session = MemSession(client)
        content = {"type": "text", "text": "as it was"}
        await client.update({"update": {"sessionUpdate": "user_message_chunk", "content": content}})
        return Opened(session)

    async def list_sessions(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"sessions": [], "was": params}

    async def request(self, method: str, params: dict[str, Any]) -> Any:
        if method != "_more/ask":
            raise Unimplemented("no")
        return [method, params]

    async def notify(self, method: str, params: dict[str, Any]) -> None:
        self.notes.append([method, params])


class MemTerminal(Terminal):
    def __init__(self) -> None:
        self.calls: list[str] = []

    async def output(self, params: dict[str, Any]) -> dict[str, Any]:
        self.calls.append("output")
        return {"output": "out", "truncated": False}

    async def wait_for_exit(self, params: dict[str, Any]) -> dict[str, Any]:
        self.calls.append("wait")
        return {"exitCode": 0}

    async def kill(self, params: dict[str, Any]) -> dict[str, Any]:
        self.calls.append("kill")
        return {}

    async def release(self, params: dict[str, Any]) -> dict[str, Any]:
        self.calls.append("release")
        return {}


class MemClient(ClientBase):
    def __init__(self) -> None:
        self.updates: list[Any] = []
        self.asked: list[Any] = []
        self.terminal = MemTerminal()

    @property
    def texts(self) -> list[str]:
        return [update["update"]["content"]["text"] for update in self.updates]

    async def update(self, params: dict[str, Any]) -> None:
        self.updates.append(params)

    async def request_permission(self, params: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(params)
        return {"outcome": {"outcome": "selected", "optionId": "yes"}, "unknown": 1}

    async def read_text_file(self, params: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(params)
        return {"content": "text"}

    async def write_text_file(self, params: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(params)
        return {}

    async def create_terminal(self, params: dict[str, Any]) -> NewTerminal:
        self.asked.append(params)
        return NewTerminal(self.terminal, {"_meta": {"a": 1}})

    async def create_elicitation(self, params: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(params)
        return {"action": "decline"}

    async def complete_elicitation(self, params: dict[str, Any]) -> None:
        self.asked.append(params)

    async def request(self, method: str, params: dict[str, Any]) -> Any:
        self.asked.append([method, params])
        return "more"

    async def notify(self, method: str, params: dict[str, Any]) -> None:
        self.asked.append([method, params])
