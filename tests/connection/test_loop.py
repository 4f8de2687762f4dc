"""What a connection's waiting looks like to the loop that it waits on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import anyio
import pytest

from capnet import Host, connect
from capnet.testing import connected
from tests.connection.shop import MemShop, Shop
from tests.cost import HANGS
from tests.loops import ONE_LOOP
from tests.loops import on_every_loop as on_every_loop


async def test_a_task_that_waits_for_a_call_counts_as_blocked() -> None:
    """Those who test with `wait_all_tasks_blocked` may have calls under way."""
    shop = MemShop()
    async with connected(shop) as (_, client), anyio.create_task_group() as group:
        proxy = await client.bootstrap(Shop)
        group.start_soon(proxy.wait, "never")
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()


def run_inside(future: asyncio.Future[Any]) -> Any:
    """Run the loop inside of a task of its own, as nest_asyncio does."""
    loop: Any = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    tasks: Any = asyncio.tasks
    tasks._leave_task(loop, task)
    try:
        while not future.done():
            loop._run_once()
    finally:
        tasks._enter_task(loop, task)
    return future.result()


@ONE_LOOP
async def test_a_loop_that_is_run_inside_of_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a task that waits for a call, and by one that has just been told of its result."""
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "_nest_patched", True, raising=False)
    wrong: list[object] = []
    loop.set_exception_handler(lambda _, context: wrong.append(context))
    async with Host() as host:
        host.serve(MemShop())
        await host.listen(f"unix:{tmp_path}/s")
        async with connect(f"unix:{tmp_path}/s") as client:
            shop = await client.bootstrap(Shop)
            for _ in range(3):
                with anyio.fail_after(HANGS):
                    inside = asyncio.ensure_future(shop.echo("inside"))
                    assert run_inside(inside) == "inside"
                    assert await shop.echo("outside") == "outside"
    assert wrong == []
