"""What a connection's waiting looks like to the loop that it waits on."""

from __future__ import annotations

import anyio

from capnet.testing import connected
from tests.connection.shop import MemShop, Shop
from tests.loops import on_every_loop as on_every_loop


async def test_a_task_that_waits_for_a_call_counts_as_blocked() -> None:
    """Those who test with `wait_all_tasks_blocked` may have calls under way."""
    shop = MemShop()
    async with connected(shop) as (_, client), anyio.create_task_group() as group:
        proxy = await client.bootstrap(Shop)
        group.start_soon(proxy.wait, "never")
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
