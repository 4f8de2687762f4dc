"""Streams for those who have none: what comes soon is an answer, and the rest is asked for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from anyio import move_on_after

__all__ = ["collected", "text_of"]

ITEMS, SIZE, PATIENCE = 100, 64 * 1024, 5.0
"""Items, characters, and seconds after which what has come is the answer."""


async def collected(reader: AsyncIterator[Any], taken: Callable[[Any], Awaitable[Any]]) -> tuple[list[Any], bool]:
    """The next items of a stream, and whether it has ended.

    Args:
        taken: makes JSON of an item.
    """
    items: list[Any] = []
    size = 0
    with move_on_after(PATIENCE):
        while len(items) < ITEMS and size <= SIZE:
            try:
                item = await anext(reader)
            except StopAsyncIteration:
                return items, True
            items.append(await taken(item))
            size += len(text_of(items[-1]))
    return items, False


def text_of(value: Any) -> str:
    """JSON as people read it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
