"""What simulation has found: the shortest scripts, and the faults behind them step by step."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock

from capnet import Cap, NotFound
from capnet.engine.events import ExportEnded
from capnet.limits import Limits
from capnet.observe import Bus, Event
from capnet.testing import EnginePair, connected
from capnet.testing.engines import capability
from capnet.wire.hello import Hello

LITTLE_ROOM = Limits(max_calls=16)


def test_an_export_named_in_a_held_call_ends_with_its_last_call() -> None:
    """P-REF-3: the last mention of it is never sent, and it is not over while a call on it runs."""
    pair = EnginePair(Hello("left", LITTLE_ROOM), Hello("right")).open()
    shared = object()
    held = pair.give(pair.right, shared)
    pair.left.call("run", target=held)
    pair.flush()
    running = pair.right.arrived()
    for _ in range(LITTLE_ROOM.max_calls):
        pair.right.call("fill")
    waits = pair.right.call("wait", capability(shared))
    pair.left.engine.release(held)
    pair.flush()
    pair.right.engine.cancel(waits)
    pair.step()
    assert not pair.right.take(ExportEnded), "the handler still runs"
    pair.right.reply(running)
    pair.flush()
    assert [ended.reason for ended in pair.right.take(ExportEnded)] == ["dropped"]
    for _ in range(LITTLE_ROOM.max_calls):
        pair.left.reply(pair.left.arrived())
    pair.finish()


def test_a_call_made_when_the_clock_stands_at_0_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """P-CAP-8: trio's mock clock begins there; what begins then ends as well."""
    monkeypatch.setattr(Bus, "created", None)  # this test keeps its own books
    seen: list[str] = []

    async def one_call() -> None:
        async with connected() as (_, client):
            client.on(Event, lambda event: seen.append(type(event).__name__))
            with suppress(NotFound):
                await client.bootstrap(Nothing)

    trio.run(one_call, clock=MockClock())
    assert seen.count("CallStarted") == seen.count("CallFinished") == 1


class Nothing(Cap, name="simulated.Nothing"):
    """Nobody serves it."""
