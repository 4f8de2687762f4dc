"""A server of MCP as a program: of the older protocol, with what servers do that clients must bear."""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def say(**message: Any) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def result(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    match method:
        case "initialize":
            return {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "s"}}
        case "tools/list" if "cursor" not in params:
            tool = {"name": "echo", "description": "Say it again.", "inputSchema": {"type": "object"}}
            return {"tools": [tool, "no tool", {"name": 5}], "nextCursor": "2"}
        case "tools/list":
            hints = {"readOnlyHint": True, "idempotentHint": True}
            return {"tools": [{"name": "env", "inputSchema": {"type": "object"}, "annotations": hints}]}
        case "tools/call" if params["name"] == "env":
            return {"content": [{"type": "text", "text": os.environ.get("SECRET", "")}]}
        case "tools/call" if params["arguments"].get("fails"):
            return {"content": [{"type": "text", "text": "it is broken"}], "isError": True}
        case "tools/call":
            return {"content": [], "structuredContent": params["arguments"]}
        case _:
            return None


sys.stdout.write("no message\n")
for line in sys.stdin:
    message = json.loads(line)
    if message.get("method") == "tools/call" and message["params"]["arguments"].get("dies"):
        sys.exit(3)
    if "id" in message and "method" in message:
        answer = result(message["method"], message["params"])
        if answer is None:
            say(id=message["id"], error={"code": -32601, "message": "unknown method"})
        else:
            say(id=99, method="ping")
            token = message["params"].get("_meta", {}).get("progressToken")
            if token is not None:
                say(method="notifications/progress", params={"progressToken": token, "progress": 1, "total": 2})
            say(id=message["id"], result=answer)
