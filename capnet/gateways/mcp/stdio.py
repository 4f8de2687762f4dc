"""MCP on standard input and output, a message a line.

Standard output belongs to the protocol: what the program prints meanwhile goes to standard error.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager, suppress

from anyio import Lock, create_task_group, to_thread, wait_readable
from anyio.lowlevel import checkpoint

from capnet import Connection

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
    lock = Lock()
    with _own_output() as output, suppress(BrokenPipeError):
        try:
            async with create_task_group() as tasks:

                async def write(text: str) -> None:
                    async with lock:
                        await to_thread.run_sync(_write, output, text.encode() + b"\n", abandon_on_cancel=True)

                bridge = Bridge(connection, session, write, tasks)
                tasks.start_soon(bridge.follow)
                async for line in _lines(session.max_message):
                    if line is None:
                        await bridge.act(session.too_long())
                    else:
                        await bridge.feed(line)
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            first, *others = group.exceptions
            if others:
                raise
            raise first from None


@contextmanager
def _own_output() -> Generator[int]:
    """A descriptor for standard output, while everybody else's is standard error."""
    output = os.dup(1)
    os.dup2(2, 1)
    try:
        yield output
    finally:
        os.dup2(output, 1)
        os.close(output)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


async def _lines(most: int) -> AsyncIterator[bytes | None]:
    """The lines of standard input, without their ends; None for one that is too long. The last one needs no end."""
    rest, skips = bytearray(), False
    while chunk := await _read():
        *whole, last = chunk.split(b"\n")
        for part in whole:
            rest += part
            yield None if skips or len(rest) > most else bytes(rest)
            rest, skips = bytearray(), False
        rest += last
        if len(rest) > most:
            rest, skips = bytearray(), True
    if rest and not skips:
        yield bytes(rest)


async def _read() -> bytes:
    await checkpoint()
    with suppress(PermissionError):  # a file, which is always ready
        await wait_readable(0)
    return os.read(0, 65536)
