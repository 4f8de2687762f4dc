"""A server that gives requests to an ASGI application, for both loops: as much of HTTP as a client of MCP meets."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

__all__ = ["serving"]


@asynccontextmanager
async def serving(app: Any) -> AsyncGenerator[str]:
    """The address of the application."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, partial(_answer, app))
        yield f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/mcp"
        tasks.cancel_scope.cancel()


async def _answer(app: Any, stream: SocketStream) -> None:
    async with stream:
        received = BufferedByteReceiveStream(stream)
        try:
            head = await received.receive_until(b"\r\n\r\n", 65536)
        except anyio.IncompleteRead:  # of who thought of nothing to ask
            return
        first, *lines = head.decode().split("\r\n")
        headers = [(line.partition(": ")[0].lower().encode(), line.partition(": ")[2].encode()) for line in lines]
        length = int(dict(headers).get(b"content-length", b"0"))
        body = await received.receive_exactly(length) if length else b""
        method, path, _ = first.split(" ")
        scope = {"type": "http", "method": method, "path": path, "headers": headers, "client": ("127.0.0.1", 1)}
        bodies = [body]
        chunked = False

        async def receive() -> dict[str, Any]:
            if bodies:
                return {"type": "http.request", "body": bodies.pop(), "more_body": False}
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                await received.receive()
            return {"type": "http.disconnect"}

        async def send(event: dict[str, Any]) -> None:
            nonlocal chunked
            try:
                if event["type"] == "http.response.start":
                    told = [(b"connection", b"close"), *event["headers"]]
                    chunked = b"content-length" not in dict(told) and event["status"] != 204
                    told += [(b"transfer-encoding", b"chunked")] if chunked else []
                    answer = b"".join(name + b": " + value + b"\r\n" for name, value in told)
                    await stream.send(b"HTTP/1.1 %d words\r\n%s\r\n" % (event["status"], answer))
                else:
                    data, more = event["body"], event.get("more_body")
                    part = b"%x\r\n%s\r\n" % (len(data), data) if data and chunked else data
                    end = b"0\r\n\r\n" if chunked and not more else b""
                    if part + end:
                        await stream.send(part + end)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
                raise OSError from error

        await app(scope, receive, send)
