"""`capnet gateway`: a host that runs, behind any gateway that is installed."""

from __future__ import annotations

from typing import Annotated

import typer

from capnet import InvalidArgument
from capnet.cli.exits import Stop
from capnet.cli.peer import Peer
from capnet.gateways.finding import find_gateway

__all__ = ["gateway"]


async def gateway(
    name: Annotated[str, typer.Argument(metavar="NAME", help="acp, jsonrpc, mcp, or one that a package has added.")],
    peer: Peer,
) -> None:
    """Offer what a host serves in another protocol, on standard input and output.

    Those that come with capnet have commands of their own, with their options; packages add others.
    """
    try:
        serve = find_gateway(name)
    except InvalidArgument as error:
        raise Stop(cause=error) from error
    async with peer.open() as connection:
        await serve(connection)
