"""The Agent Client Protocol: editors talk to agents that are served here, and agents of others are capabilities.

contracts.py   agents, sessions, clients, terminals; bases that do nothing
editor.py      an editor at the other end
agent.py       an agent at the other end
serving.py     both, over streams
"""

from __future__ import annotations

from .contracts import (
    Agent,
    AgentBase,
    Client,
    ClientBase,
    NewTerminal,
    Opened,
    Session,
    SessionBase,
    Terminal,
)
from .serving import connected, for_editors

__all__ = [
    "Agent",
    "AgentBase",
    "Client",
    "ClientBase",
    "NewTerminal",
    "Opened",
    "Session",
    "SessionBase",
    "Terminal",
    "connected",
    "for_editors",
]
