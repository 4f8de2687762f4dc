"""Gateways of the host in the jail: their clients come by a unix socket, where a message is a line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketStream

from capnet import Host
from capnet.gateways.acp import for_editors
from capnet.gateways.capnweb import capnweb
from capnet.gateways.framing import Lines
from capnet.gateways.jsonrpc import LSP, Gateway, Settings
from tests.gateways.agents import MemAgent

__all__ = ["LONGEST", "serve"]

LONGEST = 4 * 1024 * 1024
"""Bytes of a line."""


async def serve(host: Host, kind: str, path: str, stack: AsyncExitStack) -> None:
    """Serve clients at the path with `.gateway` behind it, until the stack ends."""
    serving: Callable[[Any], Awaitable[None]]
    if kind == "capnweb":
        serving = partial(_web, capnweb(host, "test.Bait", token=None))
    else:
        if kind == "acp":
            host.serve(MemAgent())
        settings = for_editors() if kind == "acp" else Settings(dialect=LSP)
        serving = (await stack.enter_async_context(Gateway(host, settings))).serve
    tasks = await stack.enter_async_context(anyio.create_task_group())
    listener = await anyio.create_unix_listener(f"{path}.gateway")
    tasks.start_soon(listener.serve, serving)
    stack.callback(tasks.cancel_scope.cancel)


async def _web(application: Any, stream: SocketStream) -> None:
    """What a server does with an application of ASGI, with lines in place of messages of a WebSocket."""
    scope: dict[str, Any] = {
        "type": "websocket",
        "path": "/",
        "client": ("127.0.0.1", 1),
        "headers": [(b"host", b"localhost")],
    }
    events: list[dict[str, Any]] = [{"type": "websocket.connect"}]
    lines = Lines(LONGEST)

    async def receive() -> dict[str, Any]:
        while not events:
            try:
                data = await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return {"type": "websocket.disconnect"}
            events.extend({"type": "websocket.receive", "text": (line or b"").decode()} for line in lines.feed(data))
        return events.pop(0)

    async def send(event: dict[str, Any]) -> None:
        if event["type"] == "websocket.send":
            await _write(stream, event["text"].encode() + b"\n")
        elif event["type"] == "websocket.close":
            await stream.aclose()

    async with stream:
        await application(scope, receive, send)


async def _write(stream: ByteStream, data: bytes) -> None:
    try:
        await stream.send(data)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
        raise OSError("the client has gone") from error
