"""F2: a plain `asyncio.Protocol`, a 4-byte length prefix, one CBOR map each way, matched by id with a future.

A request is `{"id", "call", "value"}`, an answer `{"id", "value"}`; either end may send either. There are no errors, no
limits, no types, no objects and no tasks: whatever capnet adds on top of this is what the ratio shows. A server that
calls back answers as soon as it has been answered, without a future of its own: that is 11 % faster (measured), and a
floor that is slow without need would flatter the ratio.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import cbor2

from benchmarks.subject import VALUE, Unit

__all__ = ["Connection", "callback", "connect", "echo", "serving"]

Frame = dict[str, Any]


class Connection(asyncio.Protocol):
    """One end; both ends are alike."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._create_future = loop.create_future
        self._lost: asyncio.Future[None] = loop.create_future()
        self._buffer = bytearray()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._called_back: dict[int, int] = {}
        """Our request to the caller → the request of the caller that it serves."""
        self._last_id = 0

    def call(self, method: str, value: object) -> asyncio.Future[Any]:
        """Send a request at once; the future brings the answer."""
        self._waiting[self._request(method, value)] = answer = self._create_future()
        return answer

    async def aclose(self) -> None:
        """Close and wait until the loop has let go of the socket."""
        self._transport.close()
        await self._lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one by its methods only

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= 4:
            end = start + 4 + int.from_bytes(buffer[start : start + 4], "big")
            if len(buffer) < end:
                break
            self._frame_received(cbor2.loads(bytes(buffer[start + 4 : end])))
            start = end
        del buffer[:start]

    def connection_lost(self, exc: Exception | None) -> None:
        for answer in self._waiting.values():
            answer.set_exception(exc or ConnectionResetError("the peer closed the connection"))
        self._waiting.clear()
        self._lost.set_result(None)

    def _request(self, method: str, value: object) -> int:
        self._last_id = request = self._last_id + 1
        self._send({"id": request, "call": method, "value": value})
        return request

    def _send(self, frame: Frame) -> None:
        body = cbor2.dumps(frame)
        self._transport.write(len(body).to_bytes(4, "big") + body)

    def _frame_received(self, frame: Frame) -> None:
        method = frame.get("call")
        if method is None:
            self._answered(frame["id"], frame["value"])
        elif method == "callback":
            self._called_back[self._request("echo", frame["value"])] = frame["id"]
        else:
            self._send({"id": frame["id"], "value": frame["value"]})

    def _answered(self, request: int, value: object) -> None:
        answer = self._waiting.pop(request, None)
        if answer is not None:
            answer.set_result(value)
        else:
            self._send({"id": self._called_back.pop(request), "value": value})


@asynccontextmanager
async def serving(path: str) -> AsyncGenerator[None]:
    """Listen on a unix socket inside the block."""
    server = await asyncio.get_running_loop().create_unix_server(Connection, path)
    async with server:
        yield


@asynccontextmanager
async def echo(path: str) -> AsyncGenerator[Unit]:
    """One request, one answer."""
    connection = await _connect(path)
    yield partial(connection.call, "echo", VALUE)
    await connection.aclose()


@asynccontextmanager
async def callback(path: str) -> AsyncGenerator[Unit]:
    """One request that the server answers after a request of its own."""
    connection = await _connect(path)
    yield partial(connection.call, "callback", VALUE)
    await connection.aclose()


@asynccontextmanager
async def connect(path: str) -> AsyncGenerator[Unit]:
    """A connection for each request."""

    async def unit() -> object:
        connection = await _connect(path)
        answer = await connection.call("echo", VALUE)
        await connection.aclose()
        return answer

    yield unit


async def _connect(path: str) -> Connection:
    _, connection = await asyncio.get_running_loop().create_unix_connection(Connection, path)
    return connection
