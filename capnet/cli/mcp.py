"""`capnet mcp`: a host that runs, as a server of tools for agents."""

from __future__ import annotations

import os
from enum import Enum
from functools import partial

import capnet
from capnet.cli.peer import Peer
from capnet.cli.running import called
from capnet.gateways.mcp import Session, serve_stdio

__all__ = ["command", "mcp"]


class Names(Enum):
    """How the names of tools are written."""

    DOTTED = "dotted"
    UNDERSCORE = "underscore"


async def mcp(peer: Peer, *, names: Names = Names.DOTTED) -> None:
    """Offer what a host serves to an agent: a server of the Model Context Protocol on standard input and output.

    Each method that can be called there is a tool. The client is a peer of the host like any other: what the host does
    not allow us is not there. Some hosts of models take neither dots nor more than 64 letters in the name of a tool:
    --names underscore is for them.
    """
    async with peer.open() as connection:
        await serve_stdio(connection, Session("capnet", capnet.__version__, names=names.value))


def command(url: str) -> int:
    """The same without options, and so without what reads them, which takes longer than all the rest.

    Returns the exit code.
    """
    return called("mcp", partial(mcp, Peer(url, token=os.environ.get("CAPNET_TOKEN") or None)))
