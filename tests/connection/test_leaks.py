"""R14: nothing of what was done is alive afterwards, and calls and streams leave nothing for the collector either."""

from __future__ import annotations

from typing import Any

import pytest

from tests.connection.census import NeedsCollector, check, collecting_nothing, play
from tests.connection.flows import Counting
from tests.connection.scenes import AUTHORITY, CALLS, CONNECTIONS, SCENES, STREAMS, Stage, on_stage
from tests.connection.shop import until

TIMES = 20
"""How often each scene is played; a thousand times in tests/soak."""
CONNECTIONS_EACH = 8
"""How often those that open connections are."""


@pytest.mark.parametrize("name", CONNECTIONS)
async def test_nothing_is_left_of(name: str) -> None:
    """R14: no connection, engine, registration, implementation, reference, task or frame."""
    check(await play(SCENES[name], CONNECTIONS_EACH))


@pytest.mark.parametrize("name", [*CALLS, *STREAMS, *AUTHORITY])
async def test_no_collector_is_needed_after(name: str) -> None:
    """R14: no call, answer, end of a stream, proxy, subject of an export, task or frame; without cycles."""
    check(await play(SCENES[name], TIMES), cycles=False)


@pytest.mark.parametrize("name", CALLS)
async def test_no_collector_is_needed_under_a_guard_after(name: str) -> None:
    """The same with a policy that looks at every call."""
    check(await play(SCENES[name], TIMES, guarded=True), cycles=False)


async def test_a_cancelled_handler_lets_go_of_its_arguments() -> None:
    """P-CALL-6, P-STREAM-4: the stream that it was reading ends then, and not when the collector comes round."""
    source = Counting()
    async with on_stage() as stage:
        with collecting_nothing():
            adding: Any = stage.desk.add(source.run())
            await until(lambda: source.produced > 10)
            adding.cancel()
            await until(lambda: source.ended)


async def test_the_census_finds_what_is_kept() -> None:
    """One object for each time."""
    kept: list[Any] = []

    async def keeping(stage: Stage) -> None:
        kept.append(await stage.desk.make("kept"))

    left = await play(keeping, TIMES)
    assert left.alive["MemItem"] == left.alive["ItemProxy"] == TIMES
    kept.clear()


async def test_the_census_finds_cycles() -> None:
    """One object for each time."""

    async def turning(stage: Stage) -> None:
        ring: list[Any] = [await stage.desk.make("ring")]
        ring.append(ring)

    left = await play(turning, TIMES)
    with pytest.raises(NeedsCollector):
        check(left, cycles=False)
    assert left.cyclic["ItemProxy"] == TIMES and not left.alive
