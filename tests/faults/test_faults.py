"""A fault at every await, socket operation, intent and encoding of eleven scenarios (reliability R5).

After each: every call has ended exactly once, tables are empty, no task, descriptor or object is left, nothing
undeclared was raised, and a connection works or is closed and says why. `CAPNET_FAULTS_SEED` chooses the faults that
are tried where there are many; `tests/soak/test_faults.py` tries all.
"""

from __future__ import annotations

import gc
from typing import Any

import anyio
import pytest
import trio
import trio.testing

from capnet import Cap, Limits, call
from capnet.loop.trio import TrioScope
from capnet.testing import connected
from tests.connection.flows import Flows, MemFlows
from tests.connection.shop import MemShop, Shop, until
from tests.faults.injection import Kind
from tests.faults.scenarios import SCENARIOS, connect_call_close
from tests.faults.sweep import SEED, sweep, sweep_carrier
from tests.faults.trial import BACKENDS, Scenario, try_once

MOST = {"asyncio": 24, "asyncio+uvloop": 6, "trio": 24}
"""Faults of one kind in one scenario, by backend. uvloop has no virtual clock, and differs little from asyncio."""
MOST_BY_CARRIER = 6
"""Faults of one kind on another transport."""
CHEAP = (Kind.CANCEL, Kind.CANCEL_BODY)
"""What is tried on uvloop."""
SILENT = Limits(keepalive=0)
"""No ping sets free what waits for a frame to be sent."""


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_fault_anywhere_leaves_nothing_behind(scenario: Scenario, backend: str) -> None:
    uvloop = backend == "asyncio+uvloop"
    if uvloop:
        try_once(connect_call_close, backend)  # what uvloop opens once for the process
    for kind, swept in sweep(scenario, backend, CHEAP if uvloop else Kind, MOST[backend]).items():
        print(f"{kind.name}: {swept.tried} tried, {swept.missed} missed; seed {SEED}")  # noqa: T201
        assert not swept.wrong, "\n".join(swept.wrong)
        assert swept.tried


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_nor_does_one_in_a_handshake(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`wss:` has TCP, TLS and WebSocket in it; each by itself, and every fault, is in tests/soak."""
    for kind, swept in sweep_carrier("wss", backend, monkeypatch, MOST_BY_CARRIER).items():
        print(f"{kind.name}: {swept.tried} tried, {swept.missed} missed; seed {SEED}")  # noqa: T201
        assert not swept.wrong, "\n".join(swept.wrong)
        assert swept.tried


# What the sweeps have found, as small as it gets


class Maker(Cap, name="test.Maker"):
    """Hands out flows."""

    @call
    async def make(self) -> Flows: ...


class MemMaker(Maker):
    """Keeps them."""

    def __init__(self) -> None:
        self.made = MemFlows()

    async def make(self) -> Flows:
        return self.made


async def test_a_stream_that_is_stopped_lets_go_at_once() -> None:
    """The last thing that keeps an implementation open is a stream of it; the reader stops; then nothing is sent."""
    async with connected(maker := MemMaker(), limits=SILENT, client_limits=SILENT) as (server, client):
        flows = await (await client.bootstrap(Maker)).make()
        numbers: Any = flows.sleepy(1)
        assert await anext(numbers) == 0
        del flows
        await until(lambda: server.stats()["exports"] <= 1)
        await numbers.aclose()
        await until(lambda: maker.made.closed)


async def test_a_cancelled_handler_lets_go_of_its_arguments_without_the_collector() -> None:
    asked = anyio.Event()

    async def answer(about: str) -> str:
        asked.set()
        await anyio.sleep_forever()
        return about

    async with connected(MemShop(), limits=SILENT, client_limits=SILENT) as (server, client):
        shop = await client.bootstrap(Shop)
        gc.disable()
        try:
            running: Any = shop.ask(answer, "x")
            await asked.wait()
            running.cancel()
            await until(lambda: not server.stats()["imports"])
        finally:
            gc.enable()


def test_what_a_trio_block_begins_after_a_failed_task_begins() -> None:
    """Cancelled, as in any nursery that ends; and a program that never leaves the block ends all the same."""
    begun: list[str] = []

    async def fail() -> None:
        raise RuntimeError("failed")

    async def late() -> None:
        try:
            await trio.sleep_forever()
        finally:
            begun.append("late")

    async def enter_and_fail() -> None:
        loop = await TrioScope().__aenter__()
        loop.spawn(fail)
        with trio.CancelScope(shield=True):
            await trio.testing.wait_all_tasks_blocked()
        loop.spawn(late)
        with trio.CancelScope(shield=True), trio.fail_after(60):
            while not begun:
                await trio.lowlevel.cancel_shielded_checkpoint()

    trio.run(enter_and_fail)
    assert begun == ["late"]
