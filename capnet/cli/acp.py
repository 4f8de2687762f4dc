"""`capnet acp`: an agent that a host serves, as a program that editors start."""

from __future__ import annotations

from typing import Annotated

import typer

from capnet.cli.peer import Peer
from capnet.gateways.acp import for_editors
from capnet.gateways.jsonrpc import serve_stdio

__all__ = ["acp"]


async def acp(
    peer: Peer,
    *,
    name: Annotated[str, typer.Option(metavar="NAME", help="What the agent is served as.")] = "acp.Agent",
) -> None:
    """Run an agent that a host serves, for an editor: the Agent Client Protocol on standard input and output.

    The editor is a peer of the host like any other: what the host does not allow us is not there.
    """
    async with peer.open() as connection:
        await serve_stdio(connection, for_editors(name))
