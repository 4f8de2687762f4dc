"""Replace and swap while everybody calls: real unix sockets, four connections, 16 callers, 4 open streams (P-CAP-5)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Literal

import anyio
import pytest
from anyio.lowlevel import checkpoint

from capnet import Cap, Host, Replaced, Stream, call, options, release, stream
from capnet.observe import NameReplaced, SwapBegan, SwapEnded
from capnet.testing import assert_no_leaks
from tests.connection.shop import until
from tests.cost import BARS
from tests.host.test_host import host_and_clients

CONNECTIONS = 4
CALLERS = 4
"""On each connection."""
ITEMS = 80
ROUNDS = 50 if BARS else 10


class Desk(Cap, name="test.Desk"):
    """A call that may run twice, and a stream whose items tell which implementation they are from."""

    @options(idempotent=True)
    @call
    async def take(self, number: int) -> int: ...
    @stream
    def watch(self) -> Stream[tuple[int, int]]: ...


class MemDesk(Desk):
    """One of the many.

    Attributes:
        begun, done: calls that came, and that came to their end.
        watched: streams that are open.
        sick: whether its check fails.
    """

    def __init__(self, number: int, *, sick: bool = False) -> None:
        self.number = number
        self.sick = sick
        self.begun = self.done = self.watched = self.streams = self.closed = 0
        self.busy_when_closed: list[int] = []

    async def take(self, number: int) -> int:
        self.begun += 1
        if number % 2:
            await checkpoint()
        self.done += 1
        return number

    async def watch(self) -> Stream[tuple[int, int]]:
        self.watched += 1
        self.streams += 1
        try:
            for item in range(ITEMS):
                await checkpoint()
                yield self.number, item
        finally:
            self.watched -= 1

    async def check(self) -> None:
        """Its own, not of the contract."""
        await checkpoint()
        if self.sick:
            raise Sick

    async def aclose(self) -> None:
        self.busy_when_closed.append(self.watched)
        self.closed += 1


class Sick(Exception):
    """What a check raises."""


class Load:
    """16 callers and 4 readers on four connections of a host.

    Attributes:
        calls: that were answered.
        ended, cut: streams that came to their end, and that were ended by a cut.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.calls = self.ended = self.cut = 0
        self.over = False

    async def call(self, desk: Desk, caller: int) -> None:
        """Call until it is over; a call that fails is the end of the test."""
        number = caller
        while not self.over:
            number += 1
            assert await desk.take(number) == number
            self.calls += 1

    async def read(self, desk: Desk) -> None:
        """Read whole streams until it is over. Each is of one implementation, and lacks nothing before its end."""
        while not self.over:
            seen: list[tuple[int, int]] = []
            try:
                async for item in desk.watch():
                    seen.append(item)  # noqa: PERF401 - what came before the cut counts
            except Replaced:
                self.cut += 1
            else:
                assert len(seen) == ITEMS
                self.ended += 1
            assert [index for _, index in seen] == list(range(len(seen))) and len({number for number, _ in seen}) <= 1

    async def busy(self, desk: MemDesk) -> None:
        """Until all four streams are open on what is served, and the callers have been at it."""
        calls = self.calls
        await until(lambda: desk.watched == CONNECTIONS and self.calls > calls + 16)


@asynccontextmanager
async def under_load(first: MemDesk) -> AsyncGenerator[Load]:
    """All of it over real unix sockets; at the end everybody has finished and nothing is left."""
    host = Host()
    async with host_and_clients(host, CONNECTIONS) as clients:
        host.serve(first)
        load = Load(host)
        desks = [await client.bootstrap(Desk) for client in clients]
        async with anyio.create_task_group() as tasks:
            for desk in desks:
                tasks.start_soon(load.read, desk)
                for caller in range(CALLERS):
                    tasks.start_soon(load.call, desk, caller)
            yield load
            load.over = True
        for desk in desks:
            release(desk)
        await assert_no_leaks(*clients, *host.connections)


def assert_each_call_went_to_one(desks: list[MemDesk], load: Load) -> None:
    """P-CAP-5: what the implementations have finished is what the callers were answered, no more and no less."""
    assert sum(desk.done for desk in desks) == load.calls


async def closed(desks: list[MemDesk]) -> None:
    """Until each was closed, once, when its last stream had ended."""
    await until(lambda: all(desk.closed for desk in desks))
    assert [desk.closed for desk in desks] == [1] * len(desks)
    assert [desk.busy_when_closed for desk in desks] == [[0]] * len(desks)


@pytest.mark.parametrize("mode", ["drain", "cut"])
async def test_replaces_with_16_callers_and_4_streams(mode: Literal["drain", "cut"]) -> None:
    """No call fails; each stream ends as the mode says; each call went to exactly one implementation."""
    desks = [MemDesk(number) for number in range(ROUNDS + 1)]
    calls_cut = drained = cut = 0
    async with under_load(desks[0]) as load:
        for old, new in pairwise(desks):
            await load.busy(old)
            report = await load.host.replace(new, mode=mode, grace=30)
            assert report.generation == new.number + 1
            if mode == "drain":
                assert (report.streams_drained, report.streams_cut, report.cut) == (CONNECTIONS, 0, 0)
            else:
                assert (report.streams_drained, report.streams_cut, report.drained) == (0, CONNECTIONS, 0)
            drained, cut = drained + report.streams_drained, cut + report.streams_cut
            calls_cut += report.cut
            assert new.begun or mode == "cut"  # while the old one was drained the new one was at work
        await closed(desks[:-1])
    assert (drained, cut) == ((ROUNDS * CONNECTIONS, 0) if mode == "drain" else (0, ROUNDS * CONNECTIONS))
    assert load.cut == cut and load.ended + load.cut == sum(desk.streams for desk in desks)
    assert_each_call_went_to_one(desks, load)
    assert sum(desk.begun for desk in desks) == load.calls + calls_cut  # only what was cut was begun again
    await closed(desks)


async def test_swaps_of_which_half_fail_their_check() -> None:
    """Those roll back unnoticed: no call and no stream ever came to one, and each was closed once."""
    desks, refused = [MemDesk(0)], [MemDesk(-number, sick=True) for number in range(1, ROUNDS // 2 + 1)]
    began: list[SwapBegan] = []
    ended: list[SwapEnded] = []
    replaced: list[NameReplaced] = []
    async with under_load(desks[0]) as load:
        load.host.on(SwapBegan, began.append)
        load.host.on(SwapEnded, ended.append)
        load.host.on(NameReplaced, replaced.append)
        for bad in refused:
            await load.busy(desks[-1])
            with pytest.raises(Sick):
                async with load.host.swap(bad) as swap:
                    await swap.candidate.check()
            assert bad.closed == 1 and desks[-1].closed == 0
            new = MemDesk(len(desks))
            async with load.host.swap(new, grace=30) as swap:
                await swap.candidate.check()
                calls = load.calls
                await load.busy(desks[-1])  # meanwhile the old one goes on
                assert load.calls > calls and not new.begun
            report = swap.report
            assert report is not None
            assert (report.generation, report.streams_drained) == (len(desks) + 1, CONNECTIONS)
            assert (report.cut, report.streams_cut) == (0, 0)
            desks.append(new)
        await closed(desks[:-1])
    assert [(desk.begun, desk.streams, desk.closed) for desk in refused] == [(0, 0, 1)] * len(refused)
    assert load.cut == 0 and load.ended == sum(desk.streams for desk in desks)
    assert sum(desk.begun for desk in desks) == load.calls
    assert_each_call_went_to_one(desks, load)
    await closed(desks)
    assert [event.result for event in ended] == ["rolled_back", "committed"] * len(refused)
    assert len(began) == len(ended) and [event.generation for event in replaced] == list(range(2, len(desks) + 1))
