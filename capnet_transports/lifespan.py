"""The life of an ASGI server, as an application that serves a host takes part in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

from capnet.errors import Unavailable

__all__ = ["live"]


async def live(
    host: AbstractAsyncContextManager[object],
    begin: Callable[[], Awaitable[object]],
    receive: Callable[[], Awaitable[Mapping[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
    *,
    end: Callable[[], Awaitable[object]] | None = None,
) -> None:
    """Begin when the server starts, and stay until it stops. A host that nobody has opened is open meanwhile.

    Args:
        begin: makes the application ready; is `Unavailable` while the host is not open.
        receive, send: of the scope `lifespan`.
        end: ends what was begun, before the host closes.

    What goes wrong is told to the server, and raised.
    """
    await receive()
    began = False
    try:
        async with AsyncExitStack() as stack:
            try:
                await begin()
            except Unavailable:
                await stack.enter_async_context(host)
                await begin()
            if end is not None:
                stack.push_async_callback(end)
            began = True
            await send({"type": "lifespan.startup.complete"})
            await receive()
    except Exception as error:
        ended = "shutdown" if began else "startup"
        await send({"type": f"lifespan.{ended}.failed", "message": str(error)})
        raise
    await send({"type": "lifespan.shutdown.complete"})
