"""A call that several tasks await, or one task in slices: each gets the result, and nobody resumes another's wait."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import anyio
import pytest

from capnet import CallCancelled, Cap, NotFound, call
from capnet.testing import connected
from tests.connection.shop import left_when, until


class Job(Cap, name="twice.Job"):
    @call
    async def run(self) -> str: ...

    @call
    async def fail(self) -> str: ...


class MemJob(Job):
    def __init__(self) -> None:
        self.gate = anyio.Event()
        self.begun = 0
        self.cancelled = 0

    async def run(self) -> str:
        self.begun += 1
        try:
            await self.gate.wait()
        except BaseException:
            self.cancelled += 1
            raise
        return "result"

    async def fail(self) -> str:
        await self.gate.wait()
        raise NotFound("nothing", reason="empty")


async def test_each_of_several_tasks_gets_the_result() -> None:
    """Whether it awaits the call or drives it like a coroutine."""
    job = MemJob()
    async with connected(job) as (_, client):
        proxy = await client.bootstrap(Job)
        pending: Any = proxy.run()
        got: list[str] = []

        async def wait() -> None:
            got.append(await pending)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(wait)
            await until(lambda: job.begun == 1)
            job.gate.set()
        assert got == ["result"] * 3 and await pending == "result"
        assert job.begun == 1


async def test_each_of_several_tasks_gets_the_error() -> None:
    """An instance of its own, so that none collects the other's frames."""
    job = MemJob()
    async with connected(job) as (_, client):
        pending: Any = (await client.bootstrap(Job)).fail()
        errors: list[NotFound] = []

        async def wait() -> None:
            try:
                await pending
            except NotFound as error:
                errors.append(error)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(wait)
            await until(lambda: client.stats()["calls"] == 1)
            job.gate.set()
        assert [error.reason for error in errors] == ["empty"] * 3
        assert len({id(error) for error in errors}) == 3


async def test_who_leaves_takes_the_call_along_only_as_the_last() -> None:
    """The others get their result; when nobody is left the callee hears of it."""
    job = MemJob()
    async with connected(job) as (_, client):
        proxy = await client.bootstrap(Job)
        first: Any = proxy.run()
        got: list[str] = []

        async def wait() -> None:
            got.append(await first)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await until(lambda: job.begun == 1)
            for _ in range(3):
                with anyio.move_on_after(0.01):  # it has begun: whoever waits now leaves before it ends
                    await first
            assert job.cancelled == 0
            job.gate.set()
        assert got == ["result"]
        job.gate = anyio.Event()
        second: Any = proxy.run()
        async with left_when(lambda: job.begun == 2):
            await second
        await until(lambda: job.cancelled == 1)
        with pytest.raises(CallCancelled):
            await second


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_waiting_in_slices(anyio_backend: object) -> None:
    """`wait_for(shield(call))` makes a new task for the same call each time."""
    job = MemJob()
    async with connected(job) as (_, client):
        pending = cast("Any", (await client.bootstrap(Job)).run())
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(pending), 0.01)
        both = [asyncio.create_task(pending), asyncio.create_task(pending)]
        await asyncio.sleep(0)
        job.gate.set()
        assert await asyncio.gather(*both) == ["result", "result"]
        assert await asyncio.wait_for(asyncio.shield(pending), 60) == "result"


async def _run(proxy: Job) -> str:
    return await proxy.run()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_coroutine_around_a_call_that_two_tasks_are_given(anyio_backend: str) -> None:
    """A coroutine is awaited once: both say so, and the first does not wait for ever."""
    job = MemJob()
    async with connected(job) as (_, client):
        around = _run(await client.bootstrap(Job))
        first = asyncio.ensure_future(around)
        await until(lambda: job.begun == 1)
        with anyio.fail_after(60):
            both = await asyncio.gather(first, asyncio.shield(around), return_exceptions=True)
        assert [type(each) for each in both] == [RuntimeError, RuntimeError]
        assert "another task awaits this coroutine" in str(both[1])
        await until(lambda: job.cancelled == 1)
