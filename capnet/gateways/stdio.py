"""Standard input and output as a stream of bytes. While it is used, what the program prints goes to standard error."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress

from anyio import EndOfStream, Lock, to_thread, wait_readable
from anyio.lowlevel import checkpoint

__all__ = ["StandardStream", "standard_stream"]


@contextmanager
def standard_stream() -> Generator[StandardStream]:
    """Standard input and output, for one protocol alone."""
    output = os.dup(1)
    os.dup2(2, 1)
    try:
        yield StandardStream(output)
    finally:
        os.dup2(output, 1)
        os.close(output)


class StandardStream:
    """Made by `standard_stream`.

    Args:
        output: the descriptor that is written to.
    """

    def __init__(self, output: int) -> None:
        self._output = output
        self._lock = Lock()

    async def receive(self) -> bytes:
        """What has come.

        Raises:
            EndOfStream: no more will.
        """
        await checkpoint()
        with suppress(PermissionError):  # a file, which is always ready
            await wait_readable(0)
        data = os.read(0, 65536)
        if not data:
            raise EndOfStream
        return data

    async def send(self, data: bytes) -> None:
        """Write all of it.

        Raises:
            BrokenPipeError: nobody reads any more.
        """
        async with self._lock:
            await to_thread.run_sync(self._write, data, abandon_on_cancel=True)

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._output, data) :]
