"""Eager tasks, which begin within `create_task`, before whoever makes them goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, cast

import pytest

from capnet import Cap, Stream, call, notify, stream
from capnet.testing import connected
from tests.connection.shop import until
from tests.loops import on_every_loop as on_every_loop

pytestmark = pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="eager tasks begin with Python 3.12")


class Desk(Cap, name="eager.Desk"):
    @call
    async def echo(self, value: int) -> int: ...

    @call
    async def wait(self) -> None: ...

    @call
    async def ask(self, on: Callable[[int], Awaitable[int]]) -> int: ...

    @stream
    def numbers(self) -> Stream[int]: ...


class MemDesk(Desk):
    def __init__(self) -> None:
        self.cancelled = 0

    async def echo(self, value: int) -> int:
        return value

    async def wait(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def ask(self, on: Callable[[int], Awaitable[int]]) -> int:
        return await on(1)

    async def numbers(self) -> Stream[int]:
        for number in range(1000):
            yield number


@pytest.fixture
async def eager() -> AsyncGenerator[None]:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(cast("Any", asyncio).eager_task_factory)
    yield
    loop.set_task_factory(None)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_everything_works_in_eager_tasks(eager: None, anyio_backend: object) -> None:
    """uvloop has none."""
    desk = MemDesk()
    async with connected(desk) as (_, client):
        proxy = await client.bootstrap(Desk)
        tasks = [asyncio.create_task(cast("Any", proxy.echo(number))) for number in range(100)]
        assert await asyncio.gather(*tasks) == list(range(100))
        assert await asyncio.gather(*(proxy.echo(number) for number in range(100))) == list(range(100))
        assert [number async for number in proxy.numbers()] == list(range(1000))

        async def add(value: int) -> int:
            return value + 1

        def later(value: int) -> Awaitable[int]:
            return asyncio.create_task(add(value))

        assert await proxy.ask(add) == 2 and await proxy.ask(later) == 2
        notify(proxy.echo)(1)
        for count in (1, 2):
            task = asyncio.create_task(cast("Any", proxy.wait()))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda count=count: desk.cancelled == count)  # type: ignore[misc]
