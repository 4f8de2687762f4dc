"""Another process takes the place of one that is in use, or does not, and nobody notices."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from capnet import FailedPrecondition, InvalidArgument, PluginHost, ResourceExhausted, Unavailable
from capnet.plugins import Plugin, PluginSwapped
from tests.cost import HANGS
from tests.integration.plugged import Bench
from tests.integration.test_plugin_host import ONE_LOOP, Watched, spec, until


@asynccontextmanager
async def bench(main: str = "stateful", **options: Any) -> AsyncGenerator[tuple[Watched, Plugin[Bench], list[str]]]:
    """A plugin, and how its swaps went."""
    results: list[str] = []
    with capture_logs(), anyio.fail_after(HANGS):
        async with PluginHost() as host:
            watched = Watched(host)
            host.on(PluginSwapped, lambda event: results.append(event.result))
            given = {"probation": 0, "wait": HANGS, "start_timeout": HANGS, **options}
            yield watched, await host.load(spec(main, **given)), results


@ONE_LOOP
async def test_streams_end_where_they_run() -> None:
    """And what the old process has minted breaks with it."""
    async with bench("alone") as (watched, plugin, _):
        read: list[int] = []
        minted = await plugin.slot.plane()
        old = await minted.use()

        async def count() -> None:
            async for number in plugin.slot.count(60):
                read.append(number)  # noqa: PERF401 - somebody looks meanwhile

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            await until(lambda: len(read))
            assert (await watched.host.swap("bench", grace=HANGS)).drained
        assert read == list(range(60))
        assert plugin.pid != old and await (await plugin.slot.plane()).use() == plugin.pid
        with pytest.raises(Unavailable):
            await minted.use()


@ONE_LOOP
async def test_whatever_goes_wrong_the_old_one_answers() -> None:
    """Before the new process has said a word, and when it has; more of that is tried in one process."""
    async with bench() as (watched, plugin, results):
        assert await plugin.slot.add(123456) == 123456
        pid = plugin.pid
        for changes, kind in (
            ({"run": "tests.integration.no_such_module:main"}, Unavailable),
            ({"max_state": 3}, ResourceExhausted),
        ):
            with pytest.raises(kind):
                await watched.host.swap("bench", **changes)
            assert (plugin.pid, plugin.state, plugin.generation) == (pid, "ready", 1)
            assert len(watched.host._host.connections) == 1
        assert await plugin.slot.add(1) == 123457
        assert plugin.spec.run == "tests.integration.plugged:stateful"
    assert results == ["rolled_back"] * 2


@ONE_LOOP
async def test_one_that_fails_on_probation_gives_way_to_the_one_before() -> None:
    async with bench("alone") as (watched, plugin, results):
        assert await plugin.slot.add(3) == 3
        pid = plugin.pid

        async def die_soon() -> None:
            await until(lambda: plugin.generation == 2)
            with pytest.raises(Unavailable):
                await plugin.slot.do("die")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(die_soon)
            with pytest.raises(FailedPrecondition) as caught:
                await watched.host.swap("bench", probation=HANGS, settings={"colour": "red"})
            assert caught.value.reason == "probation"
        assert (plugin.pid, plugin.state, plugin.spec.settings) == (pid, "ready", {})
        assert await plugin.slot.add(1) == 4
    assert results == ["rolled_back"]


@ONE_LOOP
async def test_a_swap_may_be_stopped() -> None:
    """Whether it is still starting the new process, or that is on probation."""
    async with bench() as (watched, plugin, results):
        for changes in ({"run": "tests.integration.plugged:never_ready"}, {"probation": HANGS}):
            before = plugin.generation

            async def interrupted(changes: dict[str, Any] = changes) -> None:
                with pytest.raises(Unavailable) as caught:
                    await watched.host.swap("bench", **changes)
                assert caught.value.reason == "stopped"

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(interrupted)
                if "probation" in changes:
                    await until(lambda: plugin.generation > before)  # noqa: B023 - at once
                else:
                    await until(lambda: len(watched.host._host.connections) == 2)
                await watched.host.stop("bench")
            assert plugin.state == "stopped" and watched.host._host.connections == ()
            await watched.host.start("bench")
            assert await plugin.slot.add(1) == 1
    assert results == ["rolled_back", "committed"]


@ONE_LOOP
async def test_what_cannot_be_swapped() -> None:
    async with bench() as (watched, _, results):
        for changes in ({"name": "b"}, {"contract": Bench}, {"isolation": "inprocess"}, {"colour": 3}, {"grace": 0}):
            with pytest.raises(InvalidArgument):
                await watched.host.swap("bench", **changes)
        await watched.host.stop("bench")
        with pytest.raises(FailedPrecondition) as caught:
            await watched.host.swap("bench")
        assert caught.value.reason == "not_ready"
    assert results == []


@ONE_LOOP
async def test_an_old_one_that_dies_meanwhile_is_replaced_all_the_same() -> None:
    """The new process is ready a moment later: nobody waits for the old one to be started again."""
    async with bench("alone", backoff=HANGS, max_backoff=HANGS) as (watched, plugin, results):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watched.host.swap, "bench")
            await until(lambda: plugin.state == "swapping")
            with pytest.raises(Unavailable):
                await plugin.slot.do("die")
            assert await plugin.slot.add(1) == 1
        assert (plugin.state, plugin.generation) == ("ready", 2)
    assert results == ["committed"]
