"""An editor with the Python library: starts the agent of its arguments, and prints what it has seen as JSON.

It runs in the Python that has the library, and nothing of capnet's.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from importlib import import_module
from typing import Any

acp: Any = import_module("acp")  # no checker has it
schema: Any = acp.schema


class Editor:
    def __init__(self) -> None:
        self.seen: dict[str, Any] = {"texts": []}

    async def session_update(self, session_id: str, update: Any, **more: Any) -> None:
        self.seen["texts"].append(update.content.text)

    async def request_permission(self, session_id: str, tool_call: Any, options: Any, **more: Any) -> Any:
        self.seen["asked"] = [option.kind for option in options]
        outcome = schema.AllowedOutcome(outcome="selected", option_id=options[0].option_id)
        return schema.RequestPermissionResponse(outcome=outcome)

    async def read_text_file(self, session_id: str, path: str, **more: Any) -> Any:
        return schema.ReadTextFileResponse(content=path)


async def main() -> None:
    editor = Editor()
    async with acp.spawn_agent_process(editor, *sys.argv[1:], env=dict(os.environ)) as (agent, _):
        began = await agent.initialize(protocol_version=acp.PROTOCOL_VERSION)
        editor.seen["version"] = began.protocol_version
        opened = await agent.new_session(cwd="/work", mcp_servers=[])
        for text in ("permission", "read"):
            answer = await agent.prompt(session_id=opened.session_id, prompt=[acp.text_block(text)])
            editor.seen[text] = answer.stop_reason
        try:
            await agent.prompt(session_id="none", prompt=[])
        except acp.RequestError as error:
            editor.seen["nobody"] = [error.code, error.data["details"]["sessionId"]]
        turn = asyncio.ensure_future(agent.prompt(session_id=opened.session_id, prompt=[acp.text_block("hang")]))
        await asyncio.sleep(0)
        await agent.cancel(session_id=opened.session_id)
        editor.seen["cancelled"] = (await turn).stop_reason
    sys.stdout.write(json.dumps(editor.seen))


asyncio.run(main())
