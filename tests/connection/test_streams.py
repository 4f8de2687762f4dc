"""Streams that a callee hands out: what they carry, how they end, what they cost (P-STREAM)."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from capnet import (
    CallCancelled,
    Cap,
    FailedPrecondition,
    Internal,
    Limits,
    NotFound,
    ResourceExhausted,
    Stream,
    Unavailable,
    release,
    stream,
)
from capnet.fanout import Broadcast
from capnet.observe import HandlerFailed
from capnet.testing import connected
from tests.connection.flows import Flows, MemFlows, Post, nothing_open, read_into, turns
from tests.connection.shop import Item, Parcel, socket_pair, until
from tests.loops import on_every_loop as on_every_loop

NARROW = Limits(stream_items=64)
"""Of whoever consumes: the longer streams here take several such windows."""

# --- items ---


async def test_items_are_rebuilt_as_their_annotated_types() -> None:
    """P-STREAM-1: what a method yields comes out of an async generator, as the type the contract says."""
    async with connected(MemFlows(), client_limits=NARROW) as (server, client):
        flows = await client.bootstrap(Flows)
        assert [n async for n in flows.numbers(300)] == list(range(300))
        assert [n async for n in flows.numbers(0)] == []
        assert [post async for post in flows.posts(3)] == [
            Post(0, "post 0"),
            Post(1, "post 1", ["a"]),
            Post(2, "post 2", ["a", "a"]),
        ]
        assert [pair async for pair in flows.pairs(200)] == [(n, str(n)) for n in range(200)]
        assert [chunk async for chunk in flows.chunks([0, 1, 100_000])] == [b"", b"\0", bytes(100_000)]
        mixed = [None, True, 1.5, "text", b"bytes", [1, [2]], {"a": {"b": None}}]
        assert [value async for value in flows.anything(mixed)] == mixed
        release(flows)
        await nothing_open(server, client)


async def test_it_is_an_async_generator_for_everybody() -> None:
    async with connected(MemFlows()) as (_, client):
        flows = await client.bootstrap(Flows)
        numbers = flows.numbers(3)
        stream: object = numbers
        assert isinstance(stream, AsyncGenerator) and aiter(numbers) is numbers
        assert await numbers.asend(None) == 0
        assert await anext(numbers) == 1
        with pytest.raises(KeyError):
            await numbers.athrow(KeyError("mine"))
        for _ in range(2):
            with pytest.raises(StopAsyncIteration):
                await anext(numbers)
        await numbers.aclose()


async def test_capabilities_as_items() -> None:
    """P-STREAM-5, rule R31: they live with the item, not with the stream nor with the call that made it."""
    async with connected(implementation := MemFlows(), client_limits=NARROW) as (server, client):
        flows = await client.bootstrap(Flows)
        kept: list[Item] = []
        await read_into(kept, flows.items([str(n) for n in range(100)]))
        assert implementation.ended == ["end"] and not any(item.closed for item in implementation.items_made)
        assert [await item.label() for item in kept] == [str(n) for n in range(100)]
        del kept[:99]
        await until(lambda: sum(item.closed for item in implementation.items_made) == 99)
        assert await kept[0].label() == "99"
        kept.clear()
        release(flows)
        await nothing_open(server, client)
    assert [item.closed for item in implementation.items_made] == [1] * 100


async def test_capabilities_inside_the_data_of_an_item() -> None:
    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        parcels: list[Parcel] = []
        await read_into(parcels, flows.parcels(["one", "three"]))
        assert [parcel.spare == parcel.item for parcel in parcels] == [True, True]
        assert [len(await parcel.item.label()) for parcel in parcels] == [parcel.weight for parcel in parcels] == [3, 5]
        parcels.clear()
        release(flows)
        await nothing_open(server, client)
    assert [item.closed for item in implementation.items_made] == [1, 1]


async def test_capabilities_in_items_that_nobody_reads_are_given_back() -> None:
    async with connected(implementation := MemFlows(), client_limits=NARROW) as (server, client):
        flows = await client.bootstrap(Flows)
        async with aclosing(flows.items([str(n) for n in range(1000)])) as items:
            await anext(items)
            await until(lambda: len(implementation.items_made) == NARROW.stream_items)
        await until(lambda: implementation.ended)
        release(flows)
        await nothing_open(server, client)
        await until(lambda: all(item.closed == 1 for item in implementation.items_made))


async def test_streams_as_items() -> None:
    async with connected(implementation := MemFlows(), client_limits=NARROW) as (server, client):
        flows = await client.bootstrap(Flows)
        sizes = [0, 1, 5, 200]
        assert [[n async for n in page] async for page in flows.pages(sizes)] == [list(range(size)) for size in sizes]
        pages = [page async for page in flows.pages(sizes)]
        assert [[n async for n in page] for page in reversed(pages)] == [list(range(size)) for size in reversed(sizes)]
        assert implementation.ended.count("end") == 10
        release(flows)
        await nothing_open(server, client)


async def test_an_inner_stream_outlives_the_outer_and_the_unread_ones_do_not() -> None:
    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        async with aclosing(flows.pages([10, 10**9, 10**9])) as pages:
            kept = await anext(pages)
            await until(lambda: implementation.opened == 4)
        assert [n async for n in kept] == list(range(10))
        await until(lambda: len(implementation.ended) == 4)
        assert sorted(implementation.ended) == ["GeneratorExit"] * 2 + ["end"] * 2
        release(flows)
        await nothing_open(server, client)


async def test_streams_in_containers_of_a_result() -> None:
    async with connected(MemFlows(), client_limits=NARROW) as (server, client):
        flows = await client.bootstrap(Flows)
        found = await flows.named({"a": 3, "b": 500, "c": 0})
        assert {name: [n async for n in numbers] for name, numbers in found.items()} == {
            "a": [0, 1, 2],
            "b": list(range(500)),
            "c": [],
        }
        assert await flows.maybe(False) is None
        numbers = await flows.maybe(True)
        assert numbers is not None and [n async for n in numbers] == [0, 1, 2]
        release(flows)
        await nothing_open(server, client)


# --- what comes is checked ---


@pytest.mark.parametrize("window", [1, 3, 64])
async def test_an_item_of_another_type_ends_the_stream_after_the_good_ones(window: int) -> None:
    async with connected(implementation := MemFlows(), client_limits=Limits(stream_items=window)) as (server, client):
        flows = await client.bootstrap(Flows)
        read: list[int] = []
        values = [0, 1, 2, "three", *range(1000)]
        numbers = flows.odd(values)
        with pytest.raises(Internal):
            await read_into(read, numbers)
        assert read == [0, 1, 2]
        with pytest.raises(StopAsyncIteration):
            await anext(numbers)
        await until(lambda: implementation.ended)
        assert implementation.ended == ["GeneratorExit"] and implementation.produced < len(values)
        assert await flows.ping(1) == 1
        release(flows)
        await nothing_open(server, client)


@dataclass
class Fussy:
    """Data whose own check fails in a way that no conversion expects."""

    number: int

    def __post_init__(self) -> None:
        if self.number == 2:
            raise LookupError("two")


class FussyFlows(Cap, name="test.Fussy"):
    """Items with a check of their own."""

    @stream
    def all(self) -> Stream[Fussy]: ...


class MemFussyFlows(FussyFlows):
    async def all(self) -> Stream[Fussy]:
        made = Fussy(0)
        for made.number in range(100):
            yield made


async def test_an_item_whose_own_check_fails_ends_the_stream_alike() -> None:
    async with connected(MemFussyFlows()) as (server, client):
        flows = await client.bootstrap(FussyFlows)
        read: list[Fussy] = []
        numbers = flows.all()
        with pytest.raises(Internal):
            await read_into(read, numbers)
        assert read == [Fussy(0), Fussy(1)]
        with pytest.raises(StopAsyncIteration):
            await anext(numbers)
        release(flows)
        await nothing_open(server, client)


async def test_an_item_that_cannot_travel_ends_the_stream_with_that() -> None:
    class Careless(MemFlows):
        async def anything(self, values: list[Any]) -> Stream[Any]:
            with self._watched():
                yield "good"
                yield object()
                yield "never"

    async with connected(implementation := Careless()) as (server, client):
        flows = await client.bootstrap(Flows)
        read: list[Any] = []
        with pytest.raises(FailedPrecondition, match="the item cannot travel"):
            await read_into(read, flows.anything([]))
        assert read == ["good"] and implementation.ended == ["GeneratorExit"]
        release(flows)
        await nothing_open(server, client)


async def test_an_item_that_fits_no_frame_ends_the_stream_with_that() -> None:
    async with connected(implementation := MemFlows(), client_limits=Limits(max_frame=64 * 1024)) as (server, client):
        flows = await client.bootstrap(Flows)
        read: list[bytes] = []
        with pytest.raises(ResourceExhausted) as caught:
            await read_into(read, flows.chunks([10, 60_000, 70_000, 10]))
        assert caught.value.reason == "max_frame_bytes" and [len(chunk) for chunk in read] == [10, 60_000]
        assert implementation.ended == ["GeneratorExit"]
        release(flows)
        await nothing_open(server, client)


# --- how they end ---


async def test_what_a_handler_raises_in_the_middle_stays_there() -> None:
    """P-ERR-2: the reader gets what came before, and an id that finds the error in the callee's log."""
    async with connected(implementation := MemFlows(), client_limits=NARROW) as (server, client):
        seen: list[HandlerFailed] = []
        server.on(HandlerFailed, seen.append)
        flows = await client.bootstrap(Flows)
        read: list[int] = []
        with pytest.raises(Internal) as caught:
            await read_into(read, flows.failing(100, "a secret"))
        assert read == list(range(100)) and implementation.ended == ["RuntimeError"]
        await until(lambda: seen)
        assert caught.value.details == {"correlation": seen[0].correlation}
        assert "secret" not in str(caught.value) and "a secret" in str(seen[0].error)
        release(flows)
        await nothing_open(server, client)


async def test_an_error_that_is_meant_for_the_reader_travels_whole() -> None:
    async with connected(MemFlows(), client_limits=NARROW) as (server, client):
        flows = await client.bootstrap(Flows)
        for count in (0, 1, 100):
            numbers, read = flows.failing(count, "capnet"), list[int]()
            with pytest.raises(NotFound) as caught:
                await read_into(read, numbers)
            error = caught.value
            assert (error.reason, error.retry, error.details) == ("gone_fishing", "after-resync", {"at": count})
            assert read == list(range(count))
            with pytest.raises(StopAsyncIteration):
                await anext(numbers)
        release(flows)
        await nothing_open(server, client)


async def test_a_handler_that_fails_before_it_has_a_stream() -> None:
    class Refusing(MemFlows):
        def odd(self, values: list[Any]) -> Stream[int]:
            raise NotFound("none", reason="none_at_all")

    async with connected(Refusing()) as (server, client):
        flows = await client.bootstrap(Flows)
        numbers = flows.odd([1])
        with pytest.raises(NotFound) as caught:
            await anext(numbers)
        assert caught.value.reason == "none_at_all"
        with pytest.raises(StopAsyncIteration):
            await anext(numbers)
        release(flows)
        await nothing_open(server, client)


async def test_leaving_the_loop_closes_the_generator_while_it_waits_for_credit() -> None:
    """P-STREAM-4: at once, and not when the next item would be due."""
    async with connected(implementation := MemFlows(), client_limits=Limits(stream_items=8)) as (server, client):
        flows = await client.bootstrap(Flows)
        async with aclosing(flows.numbers(10**9)) as numbers:
            async for number in numbers:
                if number == 2:
                    break
            await turns(server, client)
            assert not implementation.ended
        await until(lambda: implementation.ended)
        assert implementation.ended == ["GeneratorExit"]
        release(flows)
        await nothing_open(server, client)


async def test_leaving_the_loop_closes_the_generator_while_it_sleeps() -> None:
    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        async with aclosing(flows.sleepy(1)) as numbers:
            await anext(numbers)
        await until(lambda: implementation.ended)
        assert implementation.ended == ["cancelled"]
        release(flows)
        await nothing_open(server, client)


async def test_cancelling_the_reader_in_its_block_closes_the_generator() -> None:
    async with socket_pair(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)

        async def read() -> None:
            async with aclosing(flows.sleepy(3)) as numbers:
                await read_into([], numbers)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await until(lambda: implementation.produced == 3)
            await turns(server, client)
            tasks.cancel_scope.cancel()
        await until(lambda: implementation.ended == ["cancelled"])
        release(flows)
        await nothing_open(server, client)


async def test_closing_before_the_call_is_answered_takes_the_call_back() -> None:
    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        numbers = flows.numbers(10**9)
        await numbers.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(numbers)
        release(flows)
        await nothing_open(server, client)
        assert len(implementation.ended) == implementation.opened


async def test_closing_while_another_task_waits_ends_its_loop() -> None:
    """Whether it waits for an item, or for the call to be answered."""
    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        for waits_for_call in (False, True):
            read: list[int] = []
            numbers = flows.sleepy(2)

            async def reading(numbers: Stream[int] = numbers, read: list[int] = read) -> None:
                await read_into(read, numbers)
                read.append(-1)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(reading)
                if waits_for_call:
                    await anyio.lowlevel.checkpoint()
                else:
                    await until(lambda read=read: read == [0, 1])  # type: ignore[misc]
                    await turns(server, client)
                await numbers.aclose()
            assert read[-1] == -1
        await until(lambda: len(implementation.ended) == implementation.opened)
        release(flows)
        await nothing_open(server, client)


async def test_the_generator_gets_the_time_to_clean_up() -> None:
    """The end is said when its `finally` is through; until then the stream has its place."""
    steps: list[str] = []
    freed = anyio.Event()

    class Careful(MemFlows):
        async def numbers(self, count: int) -> Stream[int]:
            try:
                while True:
                    yield 0
            finally:
                steps.append("begin")
                await freed.wait()
                steps.append("end")

    async with connected(Careful()) as (server, client):
        flows = await client.bootstrap(Flows)
        async with aclosing(flows.numbers(0)) as numbers:
            await anext(numbers)
        await until(lambda: steps)
        await turns(server, client)
        assert steps == ["begin"] and server.stats()["streams"] == client.stats()["streams"] == 1
        freed.set()
        await until(lambda: steps == ["begin", "end"])
        release(flows)
        await nothing_open(server, client)


@pytest.mark.parametrize("reads", [None, 0, 1, 100])
async def test_one_that_is_dropped_is_stopped(reads: int | None) -> None:
    """P-STREAM-4: never started (the call may not even be answered), unread, or half read and forgotten."""
    async with connected(implementation := MemFlows(), client_limits=NARROW) as (server, client):
        flows = await client.bootstrap(Flows)
        numbers: Any = flows.numbers(10**9)
        gone = weakref.ref(numbers)
        for _ in range(reads or 0):
            await anext(numbers)
        if reads is not None:
            await until(lambda: implementation.produced >= NARROW.stream_items)
            await turns(server, client)
        del numbers
        gc.collect()
        assert gone() is None, "nothing but its user holds a stream"
        await turns(server, client)
        await until(lambda: len(implementation.ended) == implementation.opened)
        assert reads is None or implementation.ended == ["GeneratorExit"]
        assert implementation.produced <= NARROW.stream_items + (reads or 0)
        release(flows)
        await nothing_open(server, client)


async def test_one_that_was_read_to_its_end_leaves_nothing() -> None:
    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        numbers = flows.numbers(10)
        assert len([n async for n in numbers]) == 10
        await until(lambda: not (client.stats()["streams"] or server.stats()["streams"]))
        assert implementation.ended == ["end"]
        await numbers.aclose()
        release(flows)
        await nothing_open(server, client)


# --- who reads ---


async def test_a_reader_that_is_cancelled_while_it_waits_loses_nothing() -> None:
    """While the call is not answered, and between items: the next read goes on where this one was left."""
    go = anyio.Event()

    class Slow(MemFlows):
        async def numbers(self, count: int) -> Stream[int]:
            with self._watched():
                await go.wait()
                for number in range(count):
                    yield number

    async with connected(implementation := Slow(), client_limits=NARROW) as (server, client):
        flows = await client.bootstrap(Flows)
        numbers = flows.numbers(100)
        for _ in range(3):
            with anyio.move_on_after(0) as scope:
                await anext(numbers)
            assert scope.cancelled_caught
        await until(lambda: implementation.opened == 1)
        await turns(server, client)
        with anyio.move_on_after(0.01) as scope:
            await anext(numbers)
        assert scope.cancelled_caught
        go.set()
        assert [n async for n in numbers] == list(range(100))
        assert implementation.opened == 1
        release(flows)
        await nothing_open(server, client)


async def test_cancelled_again_and_again_it_reads_each_item_once() -> None:
    async with socket_pair(limits=Limits(stream_items=2)) as (server, client):  # so the server is who reads
        client.serve(MemFlows())
        flows = await server.bootstrap(Flows)
        numbers, read, cancelled = flows.numbers(200), list[int](), 0
        while len(read) < 200:
            with anyio.CancelScope() as scope:
                server._session.loop.call_soon(scope.cancel)
                read.append(await anext(numbers))
            cancelled += scope.cancelled_caught
        assert read == list(range(200)) and cancelled
        with pytest.raises(StopAsyncIteration):
            await anext(numbers)
        release(flows)
        await nothing_open(server, client)


async def test_a_second_task_that_reads_is_told_so_and_harms_nothing() -> None:
    """Whether the first one waits for the call or for an item."""
    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        for answered in (False, True):
            numbers, read = flows.sleepy(1), list[int]()

            async def reading(numbers: Stream[int] = numbers, read: list[int] = read) -> None:
                await read_into(read, numbers)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(reading)
                if answered:
                    await until(lambda read=read: read == [0])  # type: ignore[misc]
                else:
                    await anyio.lowlevel.checkpoint()
                    await anyio.lowlevel.checkpoint()
                with pytest.raises(RuntimeError):
                    await anext(numbers)
                await until(lambda read=read: read == [0])  # type: ignore[misc]
                await numbers.aclose()
        await until(lambda: len(implementation.ended) == implementation.opened)
        release(flows)
        await nothing_open(server, client)


async def test_the_call_leaves_when_it_is_made() -> None:
    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        numbers = flows.numbers(3)
        await until(lambda: implementation.ended == ["end"])
        assert [n async for n in numbers] == [0, 1, 2]
        release(flows)
        await nothing_open(server, client)


async def test_a_stream_outlives_the_call_that_made_it() -> None:
    """Rule R30: the call has ended, or is cancelled when it has: neither ends the stream."""
    async with connected(MemFlows(), client_limits=NARROW) as (server, client):
        flows = await client.bootstrap(Flows)
        made: dict[str, Stream[int]] = {}
        with anyio.CancelScope() as scope:
            made |= await flows.named({"a": 200})
            scope.cancel()
        await turns(server, client)
        assert not client.stats()["calls"] and not server.stats()["answers"]
        assert [n async for n in made["a"]] == list(range(200))
        release(flows)
        await nothing_open(server, client)


async def test_a_call_that_is_cancelled_before_its_answer_leaves_no_stream() -> None:
    """The late result is let go, and with it the streams in it."""
    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        for _ in range(20):
            making: Any = flows.named({"a": 10**9, "b": 10**9})
            client._session.driver.flush()
            making.cancel()
        await turns(server, client)
        await until(lambda: len(implementation.ended) == implementation.opened)
        release(flows)
        await nothing_open(server, client)


# --- flow control ---


@pytest.mark.parametrize("window", range(1, 8))
async def test_every_window_makes_progress(window: int) -> None:
    """P-STREAM-2, fault 29: the consumer alone says the window; credit goes back at no more than half of it."""
    limits = Limits(stream_items=window)
    async with connected(implementation := MemFlows(), limits=limits, client_limits=limits) as (server, client):
        flows = await client.bootstrap(Flows)
        numbers, most = flows.numbers(50), 0
        read = 0
        async for number in numbers:
            assert number == read
            read += 1
            most = max(most, implementation.produced - read)
        assert read == 50 and most <= window
        assert [n async for n in flows.double(flows.numbers(20))] == list(range(0, 40, 2))
        release(flows)
        await nothing_open(server, client)


async def test_a_reader_that_stalls_costs_its_window_and_delays_nobody() -> None:
    """By counts: exactly the window is produced, and every other call and stream goes on."""
    async with connected(implementation := MemFlows(), client_limits=Limits(stream_items=10)) as (server, client):
        flows = await client.bootstrap(Flows)
        stalled = [flows.numbers(10**9) for _ in range(5)]
        for numbers in stalled:
            await anext(numbers)
        await until(lambda: implementation.produced >= 50)
        for number in range(100):
            assert await flows.ping(number) == number
        assert len([pair async for pair in flows.pairs(1000)]) == 1000
        assert implementation.produced == 50, "one read item is less than half the window: no credit yet"
        assert not implementation.ended
        assert [await anext(numbers) for numbers in stalled for _ in range(30)] == list(range(1, 31)) * 5
        for numbers in stalled:
            await numbers.aclose()
        await until(lambda: implementation.ended == ["GeneratorExit"] * 5)
        release(flows)
        await nothing_open(server, client)


async def test_the_window_of_bytes_holds_large_items_back() -> None:
    """P-STREAM-2, rule R29: bytes may go below zero by one item, so that one larger than the window still travels."""
    limits = Limits(stream_bytes=10_000)
    async with connected(implementation := MemFlows(), client_limits=limits) as (server, client):
        flows = await client.bootstrap(Flows)
        chunks = flows.chunks([4_000] * 20 + [50_000] * 3)
        await until(lambda: implementation.produced == 3)
        await turns(server, client)
        assert implementation.produced == 3, "two and a half fit"
        sizes = [len(chunk) async for chunk in chunks]
        assert sizes == [4_000] * 20 + [50_000] * 3
        release(flows)
        await nothing_open(server, client)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_million_items_never_pile_up() -> None:
    """The producer is ahead of its reader by the window, never more; so is what both engines and the wire hold."""
    window = Limits().stream_items
    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        read = most = 0
        async for number in flows.numbers(1_000_000):
            assert number == read
            read += 1
            ahead = implementation.produced - read
            if ahead > most:
                most = ahead
        assert read == 1_000_000 and window // 2 <= most <= window
        release(flows)
        await nothing_open(server, client)


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_memory_does_not_grow_with_the_items() -> None:
    async with connected(MemFlows()) as (_, client):
        flows = await client.bootstrap(Flows)
        read = 0
        tracemalloc.start()
        try:
            before = 0
            async for number, _ in flows.pairs(40_000):
                assert number == read
                read += 1
                if read == 5_000:
                    tracemalloc.reset_peak()
                    before = tracemalloc.get_traced_memory()[0]
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak - before < 512 * 1024 and read == 40_000


async def test_a_producer_that_never_waits_lets_others_have_their_turn() -> None:
    """A window larger than the stream: still no call waits for the end of it."""
    limits = Limits(stream_items=10**6)
    async with connected(implementation := MemFlows(), client_limits=limits) as (server, client):
        flows = await client.bootstrap(Flows)
        numbers = flows.numbers(100_000)
        await until(lambda: implementation.produced)
        assert await flows.ping(1) == 1
        assert implementation.produced < 100_000
        await numbers.aclose()
        await until(lambda: implementation.ended == ["GeneratorExit"])
        release(flows)
        await nothing_open(server, client)


async def test_over_the_peers_limit_the_call_fails_and_the_connection_stays() -> None:
    """`max_streams`: the producer knows it from the hello; an honest one never breaks P-LIMIT-2."""
    async with connected(implementation := MemFlows(), client_limits=Limits(max_streams=16)) as (server, client):
        flows = await client.bootstrap(Flows)
        streams = [flows.sleepy(1) for _ in range(16)]
        assert [await anext(numbers) for numbers in streams] == [0] * 16
        for _ in range(3):
            with pytest.raises(ResourceExhausted) as caught:
                await anext(flows.numbers(1))
            assert caught.value.reason == "max_streams"
        await streams.pop().aclose()
        await until(lambda: len(implementation.ended) == 1)
        assert [n async for n in flows.numbers(2)] == [0, 1]
        for numbers in streams:
            await numbers.aclose()
        await until(lambda: server.close_cause is None and len(implementation.ended) == 17)
        release(flows)
        await nothing_open(server, client)


async def test_items_that_are_ready_share_a_frame() -> None:
    """P-STREAM-6: counted in chunks, of which a frame has two at most."""
    async with connected(MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        count = 0
        send = server._session.driver.transport.send

        def counting(chunks: Sequence[bytes]) -> None:
            nonlocal count
            count += len(chunks)
            send(chunks)

        server._session.driver.transport.send = counting  # type: ignore[method-assign]
        assert len([n async for n in flows.numbers(6_400)]) == 6_400
        assert count < 6_400 / 8


@pytest.mark.parametrize("value", [None, 1, 2.5, "text", b"bytes", [1], {"a": 1}], ids=str)
@pytest.mark.parametrize("window", [1, 4, 64])
async def test_a_lone_item_leaves_at_once(value: Any, window: int) -> None:
    """The generator goes on when its item was read: so nothing that comes later can have taken the item along."""

    class Gated(MemFlows):
        async def anything(self, values: list[Any]) -> Stream[Any]:
            for number, item in enumerate(values):
                await until(lambda number=number: read == number)  # type: ignore[misc]
                yield item

    async with connected(Gated(), client_limits=Limits(stream_items=window)) as (server, client):
        flows = await client.bootstrap(Flows)
        read = 0
        with anyio.fail_after(60):
            async for item in flows.anything([value] * 10):
                assert item == value
                read += 1
        assert read == 10
        release(flows)
        await nothing_open(server, client)


# --- what a handler may return ---


class Tickers(Cap, name="test.Tickers"):
    """Streams that are no generators at their source."""

    @stream
    def ticks(self) -> Stream[int]: ...
    @stream
    def later(self) -> Stream[int]: ...


class MemTickers(Tickers):
    def __init__(self) -> None:
        self.source = Broadcast[int](buffer=4, policy="drop-oldest")

    def ticks(self) -> Stream[int]:
        return self.source.subscribe()

    async def later(self) -> Stream[int]:
        await anyio.lowlevel.checkpoint()
        yield 1
        await anyio.lowlevel.checkpoint()
        yield 2


async def test_a_handler_may_return_any_stream() -> None:
    """Fault 36: a source with many readers, a generator that waits before its first item."""
    async with connected(implementation := MemTickers()) as (server, client):
        tickers = await client.bootstrap(Tickers)
        assert [n async for n in tickers.later()] == [1, 2]
        async with aclosing(tickers.ticks()) as one, aclosing(tickers.ticks()) as other:
            await until(lambda: implementation.source.subscribers == 2)
            for number in range(3):
                await implementation.source.send(number)
                assert (await anext(one), await anext(other)) == (number, number)
        await until(lambda: not implementation.source.subscribers)
        ticks = tickers.ticks()
        await until(lambda: implementation.source.subscribers)
        implementation.source.fail(Unavailable("the exchange is closed"))
        with pytest.raises(Unavailable):
            await anext(ticks)
        release(tickers)
        await nothing_open(server, client)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio's exception cannot be made by hand
async def test_a_generator_that_ends_itself_by_cancellation_says_so() -> None:
    """P-CALL-1 for streams: exactly one end, also when the handler raises what a cancelled task sees."""

    class Odd(MemFlows):
        async def numbers(self, count: int) -> Stream[int]:
            yield 1
            raise anyio.get_cancelled_exc_class()

    async with connected(Odd()) as (server, client):
        flows = await client.bootstrap(Flows)
        read: list[int] = []
        with anyio.fail_after(60), pytest.raises(CallCancelled):
            await read_into(read, flows.numbers(1))
        assert read == [1] and await flows.ping(3) == 3
        release(flows)
        await nothing_open(server, client)
