"""Streams of bytes in memory, and one who speaks JSON-RPC at the end of one."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from math import inf
from typing import Any, Self

import anyio
import anyio.lowlevel

from capnet.gateways.framing import Framing, Lines

__all__ = ["Pipe", "Speaker", "pipe"]


class _Lane:
    """One direction."""

    def __init__(self, most: float) -> None:
        self.most = most
        self.pieces: deque[bytes] = deque()
        self.ended = False
        self._news = anyio.Event()

    def tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def wait(self) -> None:
        await self._news.wait()


class Pipe:
    """One end: what is sent comes out of the other. It has to be closed by nobody."""

    def __init__(self, incoming: _Lane, outgoing: _Lane) -> None:
        self._incoming = incoming
        self._outgoing = outgoing

    async def receive(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        while not self._incoming.pieces:
            if self._incoming.ended:
                raise anyio.EndOfStream
            await self._incoming.wait()
        piece = self._incoming.pieces.popleft()
        self._incoming.tell()
        return piece

    async def send(self, item: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        while len(self._outgoing.pieces) >= self._outgoing.most and not self._outgoing.ended:
            await self._outgoing.wait()
        if self._outgoing.ended:
            raise anyio.BrokenResourceError
        self._outgoing.pieces.append(item)
        self._outgoing.tell()

    async def end(self) -> None:
        """Send no more."""
        self._outgoing.ended = True
        self._outgoing.tell()

    async def aclose(self) -> None:
        """Send no more, and take no more."""
        for lane in (self._incoming, self._outgoing):
            lane.ended = True
            lane.tell()

    extra_attributes: Mapping[Any, Any] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()


def pipe(most: float = inf) -> tuple[Any, Any]:
    """Both ends.

    Args:
        most: pieces that wait for the other end.
    """
    there, back = _Lane(most), _Lane(most)
    return Pipe(back, there), Pipe(there, back)


class Speaker:
    """One who speaks it."""

    def __init__(self, stream: Any, framing: Framing | None = None) -> None:
        self.stream = stream
        self.others: list[Any] = []
        """What came before the answers that were waited for."""
        self._framing = framing or Lines(1 << 24)
        self._messages: deque[Any] = deque()
        self._last = 0

    async def write(self, message: Any) -> None:
        await self.stream.send(self._framing.framed(json.dumps(message)))

    async def read(self) -> Any:
        """The next message."""
        with anyio.fail_after(60):
            while not self._messages:
                data = await self.stream.receive()
                self._messages.extend(json.loads(one) for one in self._framing.feed(data) if one is not None)
        return self._messages.popleft()

    async def begin(self, method: str, params: Any = None, number: Any = None) -> Any:
        """Send a request; gives its id."""
        self._last += 1
        number = number or self._last
        await self.write({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        return number

    async def tell(self, method: str, params: Any = None) -> None:
        await self.write({"jsonrpc": "2.0", "method": method, "params": params})

    async def answer(self, number: Any) -> Any:
        """The answer to a request; what came before is kept."""
        while True:
            message: Any = await self.read()
            if not isinstance(message, list) and message.get("id") == number and "method" not in message:
                return message
            self.others.append(message)

    async def ask(self, method: str, params: Any = None) -> Any:
        """The result of a request."""
        answer = await self.answer(await self.begin(method, params))
        assert "result" in answer, answer
        return answer["result"]

    async def fail(self, method: str, params: Any = None) -> Any:
        """The error of a request."""
        answer = await self.answer(await self.begin(method, params))
        assert "error" in answer, answer
        return answer["error"]
