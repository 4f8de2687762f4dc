"""What user code returns is checked: one call fails at once, on the side that has the function, and no other."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Generator
from types import coroutine
from typing import Any, cast

import pytest
from anyio.lowlevel import checkpoint

from capnet import Cap, Internal, Stream, call, stream
from capnet.observe import HandlerFailed
from capnet.testing import connected
from tests.connection.shop import until

Text = Callable[[str], Awaitable[int]]


class Desk(Cap, name="careless.Desk"):
    @call
    async def go(self, on: Text) -> int: ...

    @call
    async def plain(self) -> int: ...

    @stream
    def numbers(self) -> Stream[int]: ...


class Later:
    """An awaitable that is no coroutine."""

    def __await__(self) -> Generator[Any, Any, int]:
        yield from checkpoint().__await__()
        return 7


def forgets(function: Any) -> Any:
    """A decorator that forgets to return what it gives."""

    @functools.wraps(function)
    def wrapper(*_: Any) -> None:
        return None

    return wrapper


class MemDesk(Desk):
    async def go(self, on: Text) -> int:
        return await on("x")

    @forgets
    async def plain(self) -> int:
        return 1

    @forgets
    async def numbers(self) -> Stream[int]:
        yield 1


@pytest.mark.parametrize("given", [None, [1], 3, "text", object()], ids=["None", "list", "int", "text", "object"])
async def test_a_function_that_gives_nothing_to_await_fails_at_once(given: object) -> None:
    """However often; its place is free again."""
    async with connected(MemDesk()) as (_, client):
        failed: list[HandlerFailed] = []
        client.on(HandlerFailed, failed.append)
        desk = await client.bootstrap(Desk)
        for _ in range(3):
            with pytest.raises(Internal):
                await desk.go(cast("Text", _giving(given)))
        await until(lambda: len(failed) == 3)
        assert client.stats()["answers"] == 0


def _giving(given: object) -> Callable[[str], object]:
    return lambda text: given


async def test_whatever_can_be_awaited_is() -> None:
    """Not coroutines only."""

    async def one() -> int:
        return 1

    @coroutine
    def made_of_a_generator() -> Generator[Any, Any, int]:
        yield from one().__await__()
        return 2

    async with connected(MemDesk()) as (_, client):
        desk = await client.bootstrap(Desk)
        assert await desk.go(lambda text: Later()) == 7
        assert await desk.go(lambda text: one()) == 1
        assert await desk.go(lambda text: made_of_a_generator()) == 2
        assert await desk.go(lambda text: desk.go(lambda text: one())) == 1


async def test_a_handler_that_loses_its_result_in_a_decorator_fails() -> None:
    """And the next call is served."""
    async with connected(MemDesk()) as (server, client):
        desk = await client.bootstrap(Desk)
        with pytest.raises(Internal):
            await desk.plain()
        with pytest.raises(Internal):
            await anext(desk.numbers())
        assert server.stats()["answers"] == 0
        await client.runtime().ping()
