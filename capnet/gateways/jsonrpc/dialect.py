"""What the programs that speak JSON-RPC 2.0 do not agree upon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["ACP", "LSP", "MCP", "PLAIN", "Cancelling", "Dialect"]


@dataclass(frozen=True, slots=True)
class Cancelling:
    """How a request is given up: a notification that has its id.

    Attributes:
        method: of the notification.
        parameter: which has the id.
        answered: a request that was given up is answered all the same, with the error for that.
    """

    method: str
    parameter: str = "id"
    answered: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One way to speak it.

    Attributes:
        cancelling: how requests are given up; None when they cannot be.
        batches: whether several messages in one array are taken.
        not_found: the number for what is not there.
        numbers: of other codes of capnet, beside those that everybody has.
    """

    cancelling: Cancelling | None = None
    batches: bool = False
    not_found: int = -32001
    numbers: Mapping[str, int] = field(default_factory=dict[str, int])


PLAIN: Final = Dialect(batches=True)
"""As the specification has it: batches are taken, and nothing can be given up."""
LSP: Final = Dialect(cancelling=Cancelling("$/cancelRequest"))
"""Language servers, and others with the library `vscode-jsonrpc`."""
ACP: Final = Dialect(cancelling=Cancelling("$/cancel_request", "requestId"), not_found=-32002)
"""The Agent Client Protocol."""
MCP: Final = Dialect(cancelling=Cancelling("notifications/cancelled", "requestId", answered=False))
"""The Model Context Protocol, without what it has beside: see `capnet.gateways.mcp`."""
