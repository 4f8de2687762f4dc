"""MCP: what a host serves, as tools of agents.

session.py   the protocol, without input and output: lines in, what is to be done out
tools.py     methods as tools: names, schemas, which are shown
bridge.py    one session in front of one connection
stdio.py     lines on standard input and output
"""

from __future__ import annotations

from .bridge import Bridge
from .session import Session
from .stdio import serve_stdio

__all__ = ["Bridge", "Session", "serve_stdio"]
