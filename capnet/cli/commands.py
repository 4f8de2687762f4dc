"""The commands: their names, in the order of the help, and what each does in a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["COMMANDS", "INSTALL"]

COMMANDS: Final[Mapping[str, str]] = {
    "demo": "See it work: a host and three plugins.",
    "run": "Serve what a module has, until Ctrl-C or SIGTERM.",
    "ls": "List the names that a peer serves.",
    "describe": "Print what can be called at a peer, as Python has it.",
    "call": "Call a method at a peer.",
    "mcp": "Offer what a host serves to agents, as MCP tools on stdin and stdout.",
    "acp": "Run an agent that a host serves, for an editor.",
    "jsonrpc": "Offer what a host serves to programs that speak JSON-RPC 2.0.",
    "gateway": "Offer what a host serves in a protocol that a package has added.",
    "diff": "Say whether clients of one contract can work with another.",
    "plugin": "Look after the plugins of a host that runs.",
    "new": "Make the files of a new plugin.",
    "watch": "Print what happens at a peer, as it happens.",
    "top": "Show what a peer serves and who is connected, again and again.",
    "trace": "Show the calls of a recording, and what each waited for.",
    "decode": "Print a recording, a frame on a line.",
    "bench": "Time small calls on a peer that runs.",
    "doctor": "Tell what is installed, what runs, and what is wrong.",
    "certs": "Make certificates for a host and its peers.",
    "nats": "Make a configuration of nats-server, for hosts and their peers.",
}
"""Each is a function of that name in a module of that name, which is imported when the command runs.

The demo is the one that needs nothing but the library.
"""

INSTALL: Final = 'pip install "capnet[cli]"'
"""What the others need."""
