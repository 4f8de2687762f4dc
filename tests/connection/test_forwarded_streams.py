"""Streams through forwarders: in every direction, with back-pressure from end to end (P-REF-4, P-STREAM)."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from capnet import Limits, NotFound, Revoked, Stream, StreamStopped, Unavailable, channel
from tests.connection.shop import until
from tests.connection.tree import MemNode, Tree, assert_nothing_left, chain, settled

WINDOW = 8
"""Items that each hop lets ahead."""
PEERS = 4
BOUND = (PEERS - 1) * 2 * (WINDOW + 1)
"""Items on their way at most: in each hop a window that is read, and one that was read and is not sent."""


async def numbers(to: int, given: list[int]) -> AsyncIterator[int]:
    """Counts what has been asked of it."""
    for number in range(to):
        given.append(number)
        yield number


async def test_every_direction_at_once() -> None:
    async with chain(PEERS, Limits(stream_items=WINDOW)) as peers:
        given: list[int] = []

        async def down() -> None:
            assert [number async for number in peers.node.count(500)] == list(range(500))

        async def up() -> None:
            assert await peers.node.total(numbers(500, given)) == sum(range(500))

        async def both() -> None:
            assert [number async for number in peers.node.double(numbers(500, given))] == list(range(0, 1000, 2))

        async def into_a_sink() -> None:
            sink, out = channel(int)
            feeding = peers.node.feed(sink, 500)
            del sink
            assert [number async for number in out] == list(range(500))
            await feeding

        async with anyio.create_task_group() as tasks:
            for direction in (down, up, both, into_a_sink):
                tasks.start_soon(direction)
        assert len(given) == 1000 and peers.tree.produced == 1000
        peers.forget()
        await assert_nothing_left(*peers.connections)


@pytest.mark.parametrize("window", [1, 2, 3])
async def test_the_smallest_windows_make_progress(window: int) -> None:
    async with chain(PEERS, Limits(stream_items=window)) as peers:
        assert [number async for number in peers.node.count(50)] == list(range(50))
        assert await peers.node.total(numbers(50, [])) == sum(range(50))


async def test_a_stalled_reader_stops_the_producer_at_the_other_end() -> None:
    """And costs what the windows hold; calls and other streams go on."""
    async with chain(PEERS, Limits(stream_items=WINDOW)) as peers:
        items = peers.node.count(10**9)
        assert await anext(items) == 0
        produced = await settled(lambda: peers.tree.produced)
        assert WINDOW < produced <= BOUND
        assert await peers.node.say("x") == ":x"
        assert [number async for number in peers.node.count(100)] == list(range(100))
        assert peers.tree.produced == produced + 100
        for number in range(1, 200):
            assert await anext(items) == number
        assert await settled(lambda: peers.tree.produced) <= 100 + 200 + BOUND
        await items.aclose()
        await until(lambda: peers.tree.ended == ["count", "count"])
        del items
        peers.forget()
        await assert_nothing_left(*peers.connections)


async def test_a_stalled_host_stops_the_users_producer() -> None:
    async with chain(PEERS, Limits(stream_items=WINDOW)) as peers:
        node = await peers.node.child("stalls")
        given: list[int] = []
        totalling = node.total(numbers(1000, given))
        await until(lambda: peers.tree.gate.entered == ["total"])
        asked = await settled(lambda: len(given))
        assert 100 < asked <= 100 + BOUND
        peers.tree.gate.open()
        assert await totalling == sum(range(1000))
        del node, totalling
        peers.forget()
        await assert_nothing_left(*peers.connections)


async def test_a_stalled_channel_stops_the_one_who_sends_into_it() -> None:
    async with chain(PEERS, Limits(stream_items=WINDOW)) as peers:
        sink, out = channel(int, buffer=1)
        feeding = peers.node.feed(sink, 1000)
        del sink
        assert await anext(out) == 0
        assert await settled(lambda: peers.tree.produced) <= BOUND + 3
        assert [number async for number in out] == list(range(1, 1000))
        await feeding
        del feeding, out
        peers.forget()
        await assert_nothing_left(*peers.connections)


async def test_who_wants_no_more_closes_the_generator_at_the_far_end() -> None:
    """By leaving, by letting go, and as the reader of a channel, whose sender is told."""
    async with chain(PEERS, Limits(stream_items=WINDOW)) as peers:
        async with aclosing(peers.node.count(10**9)) as items:
            async for number in items:
                if number == 50:
                    break
        await until(lambda: peers.tree.ended == ["count"])
        unread = peers.node.count(10**9)
        before = peers.tree.produced
        await until(lambda: peers.tree.produced > before)
        del unread, items
        gc.collect()
        await until(lambda: peers.tree.ended == ["count", "count"])
        sink, out = channel(int)
        feeding = peers.node.feed(sink, 10**9)
        del sink
        assert await anext(out) == 0
        await out.aclose()
        with pytest.raises(StreamStopped), anyio.fail_after(60):
            await feeding
        del feeding, out
        peers.forget()
        await assert_nothing_left(*peers.connections)


async def test_an_error_in_the_middle_follows_the_items_before_it() -> None:
    class Failing(MemNode):
        async def count(self, to: int) -> Stream[int]:
            for number in range(to):
                yield number
            raise NotFound("no more", reason="sold_out")

    async def failing() -> AsyncIterator[int]:
        yield 1
        raise NotFound("no more", reason="sold_out")

    async with chain(PEERS) as peers:
        mine = Failing(Tree(), "mine")
        got: list[int] = []

        async def read() -> None:
            async for number in (await peers.node.hand(mine)).count(3):
                got.append(number)  # noqa: PERF401 - it ends with an error, and what came before counts

        with pytest.raises(NotFound) as caught:
            await read()
        assert caught.value.reason == "sold_out" and got == [0, 1, 2]
        with pytest.raises(NotFound) as caught:
            await peers.node.total(failing())
        assert caught.value.reason == "sold_out" and peers.tree.consumed == 1
        del caught
        peers.forget()
        await assert_nothing_left(*peers.connections)


async def test_items_that_are_capabilities_are_forwarded_too() -> None:
    """They live with the item (P-STREAM-5)."""
    async with chain(PEERS) as peers:
        nodes: list[Any] = [node async for node in peers.node.children(["a", "b", "c"])]
        assert [await node.say("x") for node in nodes] == ["/a:x", "/b:x", "/c:x"]
        assert await peers.node.meet(nodes[1]) == "/b"
        nodes.clear()
        await until(lambda: all(node.closed == 1 for path, node in peers.tree.nodes.items() if path))
        peers.forget()
        await assert_nothing_left(*peers.connections)


@pytest.mark.parametrize("lost", [0, 1, 2])
async def test_a_connection_on_the_way_is_lost(lost: int) -> None:
    """The reader hears of it, and the generator is closed."""
    async with chain(4, Limits(stream_items=WINDOW)) as peers:
        items = peers.node.count(10**9)
        assert await anext(items) == 0
        await peers.hops[lost][lost % 2].aclose(grace=0)
        with pytest.raises((Unavailable, Revoked)), anyio.fail_after(60):
            async for _ in items:
                pass
        await until(lambda: peers.tree.ended == ["count"])
        del items
        peers.forget()
        await assert_nothing_left(*peers.connections)


async def test_a_revocation_at_the_host_ends_the_streams() -> None:
    async with chain(PEERS, Limits(stream_items=WINDOW)) as peers:
        items = peers.node.count(10**9)
        assert await anext(items) == 0
        server = peers.hops[0][0]
        server._session.engine.exporting.revoke(
            [export for export in server._session.engine.exports if export.interface == "test.Node"], "taken"
        )
        server._session.driver.drain()
        with pytest.raises(Revoked), anyio.fail_after(60):
            async for _ in items:
                pass
        await until(lambda: peers.tree.ended == ["count"])
        del items
        peers.forget()
        await assert_nothing_left(*peers.connections)
