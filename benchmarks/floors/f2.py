"""F2: a plain `asyncio.Protocol`, a 4-byte length prefix, one CBOR map each way, matched by id with a future.

A request is `{"id", "call", "value"}`, an answer `{"id", "value"}`; either end may send either. A stream is a request
too: each item comes as `{"id", "item"}`, as fast as the transport takes them, and the answer is its end. There are no
errors, no limits, no types, no objects and no tasks: whatever capnet adds on top of this is what the ratio shows. A
server that calls back answers as soon as it has been answered, without a future of its own: that is 11 % faster
(measured), and a floor that is slow without need would flatter the ratio.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import cbor2

from benchmarks import address as addresses
from benchmarks import carriers
from benchmarks.address import listen
from benchmarks.subject import Opening, Subject, Unit, consume
from benchmarks.workload import CHAIN, TEXT, Row

__all__ = ["SUBJECT", "Connection", "subject_of"]

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
        self._streams: dict[int, tuple[deque[tuple[int, str]], asyncio.Event]] = {}
        """Our request → its items that wait for their consumer, and whether there is anything new to see."""
        self._sending: Iterator[Frame] = iter(())
        """What is left of the peer's stream; there is one at a time."""
        self._full = False
        self._last_id = 0

    def call(self, method: str, value: object) -> asyncio.Future[Any]:
        """Send a request at once; the future brings the answer."""
        self._waiting[self._request(method, value)] = answer = self._create_future()
        return answer

    async def numbers(self, count: int) -> AsyncGenerator[tuple[int, str]]:
        """Ask for a stream and yield its items as they come."""
        items: deque[tuple[int, str]] = deque()
        news = asyncio.Event()
        ended = self.call("numbers", count)
        ended.add_done_callback(lambda _: news.set())
        request = self._last_id
        self._streams[request] = items, news
        while not ended.done():
            await news.wait()
            news.clear()
            while items:
                yield items.popleft()
        del self._streams[request]
        ended.result()  # raises when the connection was lost

    async def aclose(self) -> None:
        """Close and wait until the loop has let go of the socket."""
        self._transport.close()
        await self._lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one by its methods only

    def data_received(self, data: bytes | memoryview) -> None:
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

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._send_items()

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

    def _send_items(self) -> None:
        for frame in self._sending:
            self._send(frame)
            if self._full:
                break

    def _frame_received(self, frame: Frame) -> None:
        match frame.get("call"):
            case None if "item" in frame:
                items, news = self._streams[frame["id"]]
                items.append(frame["item"])
                news.set()
            case None:
                self._answered(frame["id"], frame["value"])
            case "callback":
                self._called_back[self._request("echo", frame["value"])] = frame["id"]
            case "numbers":
                self._sending = _numbers(frame["id"], frame["value"])
                self._send_items()
            case "next":
                self._send({"id": frame["id"], "value": frame["value"] + 1})
            case _:
                self._send({"id": frame["id"], "value": frame["value"]})

    def _answered(self, request: int, value: object) -> None:
        answer = self._waiting.pop(request, None)
        if answer is not None:
            answer.set_result(value)
        else:
            self._send({"id": self._called_back.pop(request), "value": value})


def _numbers(request: int, count: int) -> Iterator[Frame]:
    for number in range(count):
        yield {"id": request, "item": (number, TEXT)}
    yield {"id": request, "value": None}


async def dial(protocol: type[Connection], address: str) -> Connection:
    """Connect by whatever carrier the address names."""
    return await (addresses.dial if address.startswith("unix:") else carriers.dial)(protocol, address)


def subject_of(protocol: type[Connection]) -> Subject:
    """The workloads on connections of that kind."""

    @asynccontextmanager
    async def serving(path: str, row: Row) -> AsyncGenerator[str]:
        if row.carrier != "unix":
            async with carriers.listening(protocol, row.carrier, Path(path).parent) as address:
                yield address
            return
        server, address = await listen(protocol, path)
        async with server:
            yield address

    def calls(method: str) -> Opening:
        """One request, one answer."""

        @asynccontextmanager
        async def opening(address: str, row: Row) -> AsyncGenerator[Unit]:
            connection = await dial(protocol, address)
            yield partial(connection.call, method, row.argument)
            await connection.aclose()

        return opening

    @asynccontextmanager
    async def connect(address: str, row: Row) -> AsyncGenerator[Unit]:
        """A connection for each request."""
        argument = row.argument

        async def unit() -> object:
            connection = await dial(protocol, address)
            answer = await connection.call("echo", argument)
            await connection.aclose()
            return answer

        yield unit

    @asynccontextmanager
    async def numbers(address: str, row: Row) -> AsyncGenerator[Unit]:
        """One request, a frame for each item, one answer."""
        connection = await dial(protocol, address)

        async def unit() -> object:
            async with aclosing(connection.numbers(row.items)) as items:
                return await consume(items)

        yield unit
        await connection.aclose()

    @asynccontextmanager
    async def chain(address: str, _: Row) -> AsyncGenerator[Unit]:
        """Requests that each wait for the answer of the one before: there is no other way without an RPC layer."""
        connection = await dial(protocol, address)

        async def unit() -> object:
            node = 0
            for _ in range(CHAIN - 1):
                node = await connection.call("next", node)
            return await connection.call("value", node)

        yield unit
        await connection.aclose()

    @asynccontextmanager
    async def idle(address: str, row: Row) -> AsyncGenerator[Unit]:
        """A connection that stays, after one request."""
        opened: list[Connection] = []
        argument = row.argument

        async def unit() -> object:
            connection = await dial(protocol, address)
            opened.append(connection)
            return await connection.call("echo", argument)

        yield unit
        for connection in opened:
            await connection.aclose()

    return Subject(
        serving=serving,
        openings={
            "echo": calls("echo"),
            "callback": calls("callback"),
            "blob": calls("blob"),
            "connect": connect,
            "numbers": numbers,
            "chain": chain,
            "idle": idle,
        },
    )


SUBJECT = subject_of(Connection)
