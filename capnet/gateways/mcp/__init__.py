"""MCP: what a host serves, as tools of agents.

session.py   the protocol, without input and output: lines in, what is to be done out
tools.py     methods as tools: names, schemas, which are shown
held.py      what a client has between its requests; `news.py`: that there are other tools
bridge.py    one session in front of one connection
stdio.py     lines on standard input and output
http.py      requests by HTTP: who may come; `headers.py`: what they say beside the message
rooms.py     what clients have that come by HTTP
exchange.py  one request by HTTP, and its answer

The other way round, the tools of a server for a toolbox:

asking.py    the protocol of a client, without input and output
ways.py      programs and HTTP; `posting.py`: requests
client.py    what a server has, as a toolbox wants it
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capnet.lazy import loaded_on_use

from .bridge import Bridge
from .session import Session
from .stdio import serve_stdio

if TYPE_CHECKING:
    from .client import McpTools, mcp_tools
    from .http import McpApp, mcp_app

__all__ = ["Bridge", "McpApp", "McpTools", "Session", "mcp_app", "mcp_tools", "serve_stdio"]

_LAZY = {
    "McpApp": "capnet.gateways.mcp.http",
    "McpTools": "capnet.gateways.mcp.client",
    "mcp_app": "capnet.gateways.mcp.http",
    "mcp_tools": "capnet.gateways.mcp.client",
}

__getattr__ = loaded_on_use(__name__, _LAZY)
