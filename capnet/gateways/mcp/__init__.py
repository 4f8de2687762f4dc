"""MCP: what a host serves, as tools of agents.

session.py   the protocol, without input and output: lines in, what is to be done out
tools.py     methods as tools: names, schemas, which are shown
held.py      what a client has between its requests
bridge.py    one session in front of one connection
stdio.py     lines on standard input and output
http.py      requests by HTTP: who may come; `headers.py`: what they say beside the message
rooms.py     what clients have that come by HTTP
exchange.py  one request by HTTP, and its answer
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capnet.lazy import loaded_on_use

from .bridge import Bridge
from .session import Session
from .stdio import serve_stdio

if TYPE_CHECKING:
    from .http import McpApp, mcp_app

__all__ = ["Bridge", "McpApp", "Session", "mcp_app", "serve_stdio"]

__getattr__ = loaded_on_use(__name__, dict.fromkeys(("McpApp", "mcp_app"), f"{__name__}.http"))
