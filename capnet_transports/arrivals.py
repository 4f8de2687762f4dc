"""Who comes to a listening socket, on asyncio: no task is woken for it, nor is the system asked anew each time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

__all__ = ["Arrivals"]


class Arrivals:
    """Has a function called in the loop whenever somebody waits at a socket, from now on until `end`.

    Args:
        listening: the socket; to be closed after `end`.
        accept: lets them in; what it raises ends this.
    """

    __slots__ = ("_accept", "_ended", "_fd", "_loop")

    def __init__(self, listening: socket.socket, accept: Callable[[], None]) -> None:
        self._accept = accept
        self._fd = listening.fileno()
        self._loop = loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._fd, self._readable)

    async def ended(self) -> None:
        """Wait for the end.

        Raises:
            What `accept` has raised.
        """
        try:
            await self._ended
        finally:
            self.end()

    def end(self, error: Exception | None = None) -> None:
        """Call it no more. Idempotent."""
        if self._fd < 0:
            return
        self._loop.remove_reader(self._fd)
        self._fd = -1
        if self._ended.done():
            return
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)

    def _readable(self) -> None:
        try:
            self._accept()
        except Exception as error:
            self.end(error)
