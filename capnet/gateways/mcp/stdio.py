"""MCP on standard input and output, a message a line.

Standard output belongs to the protocol: what the program prints meanwhile goes to standard error.
"""

from __future__ import annotations

from contextlib import suppress

from anyio import EndOfStream

from capnet import Connection
from capnet.gateways.framing import Lines
from capnet.gateways.stdio import standard_stream
from capnet.gateways.tasks import tasks_of_block

from .bridge import Bridge
from .session import Session

__all__ = ["serve_stdio"]


async def serve_stdio(connection: Connection, session: Session) -> None:
    """Serve the client at standard input and output until it closes our input, or reads our output no more.

    Args:
        connection: to what is offered; it stays open.
        session: a new one.

    Raises:
        Unavailable: the connection has ended.
    """
    lines = Lines(session.max_message)
    with standard_stream() as stream, suppress(BrokenPipeError):
        async with tasks_of_block() as tasks:

            async def write(text: str) -> None:
                await stream.send(lines.framed(text))

            bridge = Bridge(connection, session, write, tasks)
            tasks.start_soon(bridge.follow)
            with suppress(EndOfStream):
                while True:
                    for line in lines.feed(await stream.receive()):
                        await _fed(bridge, session, line)
            for line in lines.end():
                await _fed(bridge, session, line)


async def _fed(bridge: Bridge, session: Session, line: bytes | None) -> None:
    if line is None:
        await bridge.act(session.too_long())
    else:
        await bridge.feed(line)
