"""The serving side on capnet."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.macro.contract import Callback, Echo
from capnet import Host

__all__ = ["EchoService", "serving"]


class EchoService(Echo):
    """Answers at once, or after the callback."""

    async def echo(self, value: dict[str, Any]) -> dict[str, Any]:
        return value

    async def callback(self, target: Callback, value: dict[str, Any]) -> dict[str, Any]:
        return await target.back(value)


@asynccontextmanager
async def serving(path: str) -> AsyncGenerator[None]:
    """Listen on a unix socket inside the block, with everything at its default."""
    async with Host() as host:
        host.serve(EchoService())
        await host.listen(f"unix:{path}")
        yield
