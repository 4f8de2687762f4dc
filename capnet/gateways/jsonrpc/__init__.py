"""JSON-RPC 2.0, both ways: what a host serves, as methods; what the other side serves, as capabilities.

session.py    the protocol, without input and output: messages in, what is to be done out
texts.py      messages as texts; pending.py: what is worked on
dialect.py    what the programs that speak it do not agree upon
failures.py   errors both ways: numbers there, codes here
bridge.py     one session in front of one connection
calling.py    from the method of a request to a call
remotes.py    what the other side serves, by names or by a contract
serving.py    streams, messages, standard input and output
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capnet.lazy import loaded_on_use

if TYPE_CHECKING:
    from capnet.gateways.bounds import Bounds

    from .dialect import ACP, LSP, MCP, PLAIN, Cancelling, Dialect
    from .remotes import Foreign, Remote, foreign
    from .serving import Gateway, Settings, connected, serve, serve_messages, serve_stdio
    from .session import Session

__all__ = [
    "ACP",
    "LSP",
    "MCP",
    "PLAIN",
    "Bounds",
    "Cancelling",
    "Dialect",
    "Foreign",
    "Gateway",
    "Remote",
    "Session",
    "Settings",
    "connected",
    "foreign",
    "serve",
    "serve_messages",
    "serve_stdio",
]

_LAZY = {
    "Bounds": "capnet.gateways.bounds",
    "ACP": "capnet.gateways.jsonrpc.dialect",
    "LSP": "capnet.gateways.jsonrpc.dialect",
    "MCP": "capnet.gateways.jsonrpc.dialect",
    "PLAIN": "capnet.gateways.jsonrpc.dialect",
    "Cancelling": "capnet.gateways.jsonrpc.dialect",
    "Dialect": "capnet.gateways.jsonrpc.dialect",
    "Foreign": "capnet.gateways.jsonrpc.remotes",
    "Remote": "capnet.gateways.jsonrpc.remotes",
    "foreign": "capnet.gateways.jsonrpc.remotes",
    "Gateway": "capnet.gateways.jsonrpc.serving",
    "Settings": "capnet.gateways.jsonrpc.serving",
    "connected": "capnet.gateways.jsonrpc.serving",
    "serve": "capnet.gateways.jsonrpc.serving",
    "serve_messages": "capnet.gateways.jsonrpc.serving",
    "serve_stdio": "capnet.gateways.jsonrpc.serving",
    "Session": "capnet.gateways.jsonrpc.session",
}

__getattr__ = loaded_on_use(__name__, _LAZY)
