"""`in_thread`: blocking work, and handlers that do not stop when they should, while others are served."""

from __future__ import annotations

import threading
from typing import Any, cast

import anyio
import pytest
from anyio import from_thread

from capnet import INJECT, CallCancelled, CallContext, Cap, ContractError, Stream, call, in_thread
from capnet.observe import HandlerFailed
from capnet.testing import connected
from tests.connection.shop import left_when, until
from tests.cost import HANGS
from tests.loops import on_every_loop as on_every_loop


class Work(Cap, name="threads.Work"):
    @call
    async def block(self) -> str: ...

    @call
    async def shield(self) -> str: ...

    @call
    async def convert(self) -> str: ...

    @call
    async def ask(self, work: Work) -> str: ...

    @call
    async def quick(self) -> int: ...


class MemWork(Work):
    def __init__(self) -> None:
        self.gate = threading.Event()
        self.open = anyio.Event()
        self.begun = 0
        self.ended = 0

    @in_thread
    def block(self) -> str:
        self.begun += 1
        assert self.gate.wait(HANGS)
        self.ended += 1
        return "done"

    async def shield(self) -> str:
        self.begun += 1
        with anyio.CancelScope(shield=True):
            await self.open.wait()
        self.ended += 1
        return "done"

    async def convert(self) -> str:
        self.begun += 1
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            self.ended += 1
            raise ValueError("raised while it was cancelled") from None
        return "done"

    @in_thread
    def ask(self, work: Work, *, ctx: CallContext = INJECT) -> str:
        return f"{ctx.method} {from_thread.run(work.quick)}"

    async def quick(self) -> int:
        return 1


@pytest.mark.parametrize("method", ["block", "shield", "convert"])
async def test_who_gives_up_is_free_and_others_are_served(method: str) -> None:
    """The handler keeps its slot until it has ended, and what it says then is for its own log."""
    work = MemWork()
    async with connected(work) as (server, client):
        failed: list[HandlerFailed] = []
        server.on(HandlerFailed, failed.append)
        proxy = await client.bootstrap(Work)
        started: Any = getattr(proxy, method)()
        async with left_when(lambda: work.begun == 1):
            await started
        with pytest.raises(CallCancelled):
            await started
        assert await proxy.quick() == 1
        assert method == "convert" or (work.ended == 0 and server.stats()["answers"] == 1)
        work.gate.set()
        work.open.set()
        await until(lambda: work.ended == 1 and server.stats()["answers"] == 0)
        assert await proxy.block() == "done" and await proxy.shield() == "done"
        await until(lambda: len(failed) == (method == "convert"))
        assert all(event.error.kind == "ValueError" for event in failed)


async def test_threads_run_side_by_side() -> None:
    """As many as calls are made: they are all begun before one of them has ended."""
    work = MemWork()
    async with connected(work) as (_, client):
        proxy = await client.bootstrap(Work)
        calls = [cast("Any", proxy.block()) for _ in range(5)]
        await until(lambda: work.begun == 5)
        assert await proxy.quick() == 1 and work.ended == 0
        work.gate.set()
        assert [await one for one in calls] == ["done"] * 5


async def test_it_may_go_back_to_the_loop() -> None:
    """With what it was given: a proxy of the caller's object, and the context of the call."""
    async with connected(MemWork()) as (_, client):
        assert await (await client.bootstrap(Work)).ask(MemWork()) == "ask 1"


async def _waits(self: object) -> None: ...


async def _yields(self: object) -> Stream[int]:
    yield 1


@pytest.mark.parametrize("function", [_waits, _yields])
async def test_what_is_async_runs_in_the_loop(function: Any) -> None:
    """In a thread it would be made, and never run."""
    with pytest.raises(ContractError):
        in_thread(function)
