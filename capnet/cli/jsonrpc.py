"""`capnet jsonrpc`: a host that runs, as a program that speaks JSON-RPC 2.0."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Final

import typer

from capnet.cli.peer import Peer
from capnet.gateways.jsonrpc import ACP, LSP, MCP, PLAIN, Settings, serve_stdio

__all__ = ["jsonrpc"]


class Framing(Enum):
    """Where a message ends."""

    LINES = "lines"
    HEADERS = "headers"


class Dialect(Enum):
    """How requests are given up, and whether batches are taken."""

    PLAIN = "plain"
    LSP = "lsp"
    ACP = "acp"
    MCP = "mcp"


_DIALECTS: Final = {Dialect.PLAIN: PLAIN, Dialect.LSP: LSP, Dialect.ACP: ACP, Dialect.MCP: MCP}


async def jsonrpc(
    peer: Peer,
    *,
    framing: Annotated[
        Framing, typer.Option(metavar="HOW", help="A message is a line (lines), or has a Content-Length (headers).")
    ] = Framing.LINES,
    dialect: Annotated[
        Dialect,
        typer.Option(metavar="WHOSE", help="plain takes batches; lsp, acp, mcp: each has its way to give up requests."),
    ] = Dialect.PLAIN,
) -> None:
    """Offer what a host serves to a program that speaks JSON-RPC 2.0, on standard input and output.

    A method is NAME.method, its params are by name or by place. The program is a peer of the host like any other: what
    the host does not allow us is not there.
    """
    async with peer.open() as connection:
        await serve_stdio(connection, Settings(dialect=_DIALECTS[dialect], framing=framing.value))
