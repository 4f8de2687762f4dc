"""An agent with the Python library on standard input and output: it does what a prompt says.

It runs in the Python that has the library, and nothing of capnet's.
"""

from __future__ import annotations

import asyncio
import json
from importlib import import_module
from typing import Any

acp: Any = import_module("acp")  # no checker has it
schema: Any = acp.schema


class Agent:
    def __init__(self) -> None:
        self.client: Any = None
        self.cancelled = asyncio.Event()

    def on_connect(self, conn: Any) -> None:
        self.client = conn

    async def initialize(self, protocol_version: int, **more: Any) -> Any:
        return schema.InitializeResponse(protocol_version=acp.PROTOCOL_VERSION)

    async def new_session(self, cwd: str, **more: Any) -> Any:
        return schema.NewSessionResponse(session_id="s1")

    async def prompt(self, prompt: Any, session_id: str, **more: Any) -> Any:
        text = prompt[0].text
        answer: Any = None
        if text == "permission":
            option = schema.PermissionOption(option_id="yes", name="Yes", kind="allow_once")
            call = schema.ToolCallUpdate(tool_call_id="1")
            asked = await self.client.request_permission(session_id=session_id, tool_call=call, options=[option])
            answer = asked.outcome.option_id
        elif text == "read":
            answer = (await self.client.read_text_file(session_id=session_id, path="/a")).content
        elif text == "hang":
            await self.cancelled.wait()
            return schema.PromptResponse(stop_reason="cancelled")
        for part in (f"you said {text}", json.dumps(answer)):
            await self.client.session_update(session_id=session_id, update=acp.update_agent_message_text(part))
        return schema.PromptResponse(stop_reason="end_turn")

    async def cancel(self, session_id: str, **more: Any) -> None:
        self.cancelled.set()


asyncio.run(acp.run_agent(Agent()))
