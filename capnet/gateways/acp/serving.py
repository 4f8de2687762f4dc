"""The Agent Client Protocol over streams: agents for editors, and agents of others."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from capnet import Connection
from capnet.gateways.bounds import Bounds
from capnet.gateways.jsonrpc import ACP, Settings
from capnet.gateways.jsonrpc import connected as connected_to
from capnet.gateways.jsonrpc.bridge import Bridge
from capnet.gateways.jsonrpc.serving import Stream

from .agent import Program
from .contracts import Agent, Client
from .editor import Editor

__all__ = ["connected", "for_editors"]


def for_editors(name: str = "acp.Agent", bounds: Bounds | None = None) -> Settings:
    """How editors are spoken with, for `capnet.gateways.jsonrpc`: a `Gateway`, `serve` or `serve_stdio`.

        async with Gateway(host, for_editors()) as gateway:
            ...

    Args:
        name: under which the agent is served.
        bounds: of each session.
    """

    def profile(connection: Connection, bridge: Bridge) -> Editor:
        return Editor(connection, bridge, name)

    return Settings(dialect=ACP, bounds=bounds or Bounds(), profile=profile)


@asynccontextmanager
async def connected(
    stream: Stream, *, client: Client | None = None, bounds: Bounds | None = None
) -> AsyncGenerator[Agent]:
    """A program that is an agent, for instance one that was started, as an `Agent`.

        async with connected(process_stream) as agent:
            await agent.initialize({"protocolVersion": 1})
            opened = await agent.new_session({"cwd": "/work", "mcpServers": []}, MyClient())
            await opened.session.prompt({"prompt": [{"type": "text", "text": "hello"}]})

    Args:
        stream: stays open.
        client: is asked what the program asks for no session.
        bounds: of what it sends.
    """
    settings = Settings(dialect=ACP, bounds=bounds or Bounds(), profile=Program)
    async with connected_to(stream, settings) as connection:
        if client is not None:
            connection.serve(client)
        yield await connection.bootstrap(Agent)
