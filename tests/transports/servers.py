"""What tests of the ASGI mount share: servers that we have not written, in the loop of the test."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Final, TypeAlias

import anyio
import hypercorn.asyncio
import hypercorn.trio
import uvicorn

Serving: TypeAlias = Callable[[Any], AbstractAsyncContextManager[int]]
"""Serves an application for the length of a block, which gets the port."""
_ASYNCIO: Final = ("asyncio", {"use_uvloop": False})
_UVLOOP: Final = ("asyncio", {"use_uvloop": True})


@asynccontextmanager
async def uvicorn_serves(application: Any) -> AsyncGenerator[int]:
    config = uvicorn.Config(application, log_config=None, lifespan="on", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(server.serve, sockets=[sock]))
            with anyio.fail_after(60):
                while not server.started:  # noqa: ASYNC110 (it tells nobody)
                    await anyio.sleep(0.01)
            try:
                yield sock.getsockname()[1]
            finally:
                server.should_exit = True


@asynccontextmanager
async def hypercorn_serves(application: Any, *, serve: Callable[..., Coroutine[Any, Any, None]]) -> AsyncGenerator[int]:
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    stop = anyio.Event()
    config = hypercorn.Config()
    config.bind = [f"fd://{sock.detach()}"]
    config.graceful_timeout = 1
    config.max_app_queue_size = 1  # it reads so many messages ahead
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(serve, application, config, shutdown_trigger=stop.wait))
        try:
            yield port
        finally:
            stop.set()


SERVERS: Final[dict[str, tuple[Any, Serving]]] = {
    "uvicorn": (_ASYNCIO, uvicorn_serves),
    "uvicorn+uvloop": (_UVLOOP, uvicorn_serves),
    "hypercorn": (_ASYNCIO, partial(hypercorn_serves, serve=hypercorn.asyncio.serve)),  # pyright: ignore[reportUnknownMemberType]
    "hypercorn+trio": ("trio", partial(hypercorn_serves, serve=hypercorn.trio.serve)),  # pyright: ignore[reportUnknownMemberType]
}
"""The loop each needs, and how it serves."""
