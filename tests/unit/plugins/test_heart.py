"""The signs of life of a plugin's loop."""

from __future__ import annotations

import time

import anyio
from anyio import Event as Signal

from capnet import Cap, PluginSpec, call
from capnet.plugins.instance import Instance
from capnet.testing import connected
from tests.cost import HANGS


class Speller(Cap, name="heart.Speller"):
    @call
    async def check(self, word: str) -> bool: ...


def spec(hang_timeout: float) -> PluginSpec[Speller]:
    return PluginSpec("spell", contract=Speller, run="a:b", hang_timeout=hang_timeout)


async def test_a_loop_of_ours_that_stood_still_is_not_the_plugins() -> None:
    """It could not have heard the answer; it is asked again."""
    silences: list[float] = []
    async with connected() as (_, client), anyio.create_task_group() as tasks:
        instance = Instance(spec(0.2), 1, client, Signal())
        over = Signal()

        async def feel() -> None:
            await instance.heart(0.05, silences.append)
            over.set()

        tasks.start_soon(feel)
        await anyio.wait_all_tasks_blocked()
        time.sleep(0.3)  # noqa: ASYNC251 - on purpose
        await anyio.sleep(0.1)
        assert not over.is_set()
        tasks.cancel_scope.cancel()


async def test_what_does_not_answer_is_told_of_and_then_given_up() -> None:
    silences: list[float] = []
    async with connected() as (server, client):
        server._session.driver.transport.pause()  # it hears nothing
        with anyio.fail_after(HANGS):
            await Instance(spec(0.2), 1, client, Signal()).heart(0.05, silences.append)
        server._session.driver.transport.resume()
    assert len(silences) == 1


async def test_it_ends_with_the_connection() -> None:
    async with connected() as (_, client):
        await client.aclose()
        with anyio.fail_after(HANGS):
            await Instance(spec(10), 1, client, Signal()).heart(0.05, list[float]().append)
