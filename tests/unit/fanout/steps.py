"""Reading without a loop: a step that finds an item must not wait, so a plain function can take it."""

from __future__ import annotations

from typing import TypeVar

from capnet.fanout import Subscription

T = TypeVar("T")


def step(subscription: Subscription[T]) -> T:
    """What the next step of an `async for` finds, or raises."""
    coroutine = subscription.__anext__()
    try:
        coroutine.send(None)
    except StopIteration as found:
        item: T = found.value
        return item
    raise AssertionError("it waits")


def rest(subscription: Subscription[T]) -> list[T]:
    """All items up to a clean end."""
    items: list[T] = []
    while True:
        try:
            items.append(step(subscription))
        except StopAsyncIteration:
            return items
