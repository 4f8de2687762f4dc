"""Async iterables as arguments: the caller produces, against the callee's credit (P-STREAM-1)."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing
from typing import Any, cast

import anyio
import pytest
from anyio.lowlevel import checkpoint

from capnet import (
    CallCancelled,
    Cap,
    CapnetError,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    Limits,
    Membrane,
    NotFound,
    Stream,
    channel,
    notify,
    release,
    stream,
    windowed,
)
from capnet.observe import HandlerFailed
from capnet.testing import connected
from tests.connection.flows import Bundle, Counting, Flows, MemFlows, nothing_open, reason_of, turns
from tests.connection.shop import socket_pair, until

NARROW = Limits(stream_items=64)
"""Of whoever consumes: the longer streams here take several such windows."""


async def test_what_the_caller_yields_the_handler_reads() -> None:
    async with connected(implementation := MemFlows(), limits=NARROW) as (server, client):
        flows = await client.bootstrap(Flows)
        for count in (0, 1, 64, 1000):
            source = Counting(count)
            assert await flows.add(source.run()) == sum(range(count))
            await until(lambda source=source: source.ended == ["end"])  # type: ignore[misc]
        assert len(implementation.read) == 1065
        release(flows)
        await nothing_open(server, client)


async def test_in_containers_and_in_data() -> None:
    async with connected(MemFlows(), limits=NARROW) as (server, client):
        flows = await client.bootstrap(Flows)
        sources = [Counting(count) for count in (3, 0, 500)]
        assert await flows.add_each([source.run() for source in sources]) == [3, 0, sum(range(500))]
        await until(lambda: all(source.ended == ["end"] for source in sources))
        release(flows)
        await nothing_open(server, client)


async def test_both_ways_at_once() -> None:
    """An answer to each item, while the next are on their way; many such conversations side by side."""
    async with connected(MemFlows(), limits=NARROW, client_limits=NARROW) as (server, client):
        flows = await client.bootstrap(Flows)
        done: list[int] = []

        async def talk(count: int) -> None:
            assert [n async for n in flows.double(Counting(count).run())] == list(range(0, 2 * count, 2))
            done.append(count)

        async with anyio.create_task_group() as tasks:
            for count in range(0, 200, 10):
                tasks.start_soon(talk, count)
        assert sorted(done) == list(range(0, 200, 10))
        release(flows)
        await nothing_open(server, client)


async def test_the_answer_to_an_item_may_be_waited_for_before_the_next() -> None:
    """No turn waits for a window to fill: each item travels when it is there."""
    async with connected(MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        more, last = anyio.Event(), 0

        async def one_by_one() -> AsyncGenerator[int]:
            nonlocal more
            while last < 50:
                yield last
                await more.wait()
                more = anyio.Event()

        async for doubled in flows.double(one_by_one()):
            assert doubled == 2 * last
            last += 1
            more.set()
        assert last == 50
        release(flows)
        await nothing_open(server, client)


async def test_a_stream_of_the_peers_goes_back_to_it() -> None:
    """What is produced there is read there, by way of here; it is closed from the far end."""
    async with connected(implementation := MemFlows(), limits=NARROW, client_limits=NARROW) as (server, client):
        flows = await client.bootstrap(Flows)
        assert await flows.add(flows.numbers(500)) == sum(range(500))
        assert await flows.read_some(flows.numbers(10**9), 3) == [0, 1, 2]
        await until(lambda: implementation.ended == ["end", "GeneratorExit"])
        assert [n async for n in flows.double(flows.double(flows.numbers(100)))] == list(range(0, 400, 4))
        release(flows)
        await nothing_open(server, client)


class Lines:
    """An iterable that makes an iterator each time."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.closed = 0

    async def __aiter__(self) -> AsyncIterator[int]:
        try:
            for number in range(self.count):
                yield number
        finally:
            self.closed += 1


class Plain:
    """An iterator that is no generator and has nothing to close."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __aiter__(self) -> Plain:
        return self

    async def __anext__(self) -> int:
        await checkpoint()
        self.left -= 1
        if self.left < 0:
            raise StopAsyncIteration
        return self.left


async def test_any_async_iterable_will_do() -> None:
    async with connected(MemFlows(), limits=NARROW) as (server, client):
        flows = await client.bootstrap(Flows)
        lines = Lines(100)
        for _ in range(2):
            assert await flows.add(lines) == sum(range(100))
        assert await flows.add(Plain(100)) == sum(range(100))
        assert lines.closed == 2
        release(flows)
        await nothing_open(server, client)


async def test_an_iterator_goes_to_one_reader_at_a_time() -> None:
    """Where it would be passed a second time that is refused, before an item of it is taken; afterwards it may be."""
    async with connected(MemFlows()) as (server, client), connected(MemFlows()) as (_, elsewhere):
        flows, others = await client.bootstrap(Flows), await elsewhere.bootstrap(Flows)
        source = Counting(5)
        items = source.run()
        with pytest.raises(InvalidArgument):
            await flows.add_each([items, items])
        assert await flows.add(items) == 10
        await until(lambda: source.ended == ["end"])
        items = Counting(5).run()
        call = cast("Any", flows.add(items))
        for again in (flows, others):
            with pytest.raises(InvalidArgument) as caught:
                await again.add(items)
            assert "$" in str(caught.value)
        assert await call == 10
        await until(lambda: client.stats()["streams"] == 0)
        assert await others.add(items) == 0  # it has come to its end

        class Anew:
            def __aiter__(self) -> AsyncIterator[int]:
                return Counting(5).run()

        each = cast("AsyncIterable[int]", Anew())
        assert await flows.add_each([each, each]) == [10, 10]
        release(flows)
        await nothing_open(server, client)


async def test_what_stands_in_front_of_an_iterator_makes_no_second_one() -> None:
    async with connected(MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        membrane = Membrane()
        crossing = membrane.wrap(flows)
        items = Counting(5).run()
        with pytest.raises(InvalidArgument):
            await flows.add_each([windowed(items, items=2), items])
        first = cast("Any", flows.add(windowed(items, items=2)))
        for again in (items, windowed(items, items=1), windowed(windowed(items, items=3), size=10)):
            with pytest.raises(InvalidArgument):
                await flows.add(again)
            with pytest.raises(InvalidArgument):
                await crossing.add(again)
        assert await first == 10
        await until(lambda: client.stats()["streams"] == 0)
        assert await flows.add(items) == 0
        del crossing
        membrane.cut()
        release(flows)
        await nothing_open(server, client)


class Kept(Cap, name="flows.Kept"):
    @stream
    def follow(self) -> Stream[int]: ...


async def test_a_handler_that_hands_out_one_iterator_to_two_is_at_fault() -> None:
    """The second reader is told, and the first goes on."""
    one = Counting(5).run()

    class MemKept(Kept):
        def follow(self) -> Stream[int]:
            return one

    async with connected(MemKept()) as (_, client):
        kept = await client.bootstrap(Kept)
        first, second = kept.follow(), kept.follow()
        with pytest.raises(FailedPrecondition):
            await anext(second)
        assert [item async for item in first] == list(range(5))


async def test_an_iterator_that_was_made_for_the_stream_is_closed_with_it() -> None:
    """Fault 37: nothing is left to the collector, which on trio is an error."""
    async with connected(MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        lines = Lines(10**9)
        assert await flows.read_some(lines, 3) == [0, 1, 2]
        await until(lambda: lines.closed == 1)
        assert await flows.read_some(lines, 1) == [0], "the iterable itself can be used again"
        await until(lambda: lines.closed == 2)
        release(flows)
        await nothing_open(server, client)


# --- how they end ---


async def test_a_handler_that_leaves_closes_the_generator() -> None:
    """At once, whether it waits for credit or sleeps."""
    async with connected(MemFlows(), limits=NARROW) as (server, client):
        flows = await client.bootstrap(Flows)
        waiting, sleeping = Counting(), Counting(5)
        assert await flows.read_some(waiting.run(), 3) == [0, 1, 2]
        assert await flows.read_some(sleeping.run(sleep=True), 3) == [0, 1, 2]
        await until(lambda: (waiting.ended, sleeping.ended) == (["GeneratorExit"], ["cancelled"]))
        assert waiting.produced <= NARROW.stream_items
        release(flows)
        await nothing_open(server, client)


@pytest.mark.parametrize("how", ["handler fails", "argument of another type", "container of another type"])
async def test_an_argument_that_nobody_reads_is_closed(how: str) -> None:
    """Rule R9: whoever accepts a call owns its arguments, also when nothing comes of it."""

    class Refusing(MemFlows):
        async def add(self, numbers: AsyncIterable[int]) -> int:
            await until(lambda: source.produced == NARROW.stream_items)
            raise NotFound("not today")

    async with connected(Refusing(), limits=NARROW) as (server, client):
        flows = await client.bootstrap(Flows)
        source = Counting()
        unfit: Any = source.run() if how == "argument of another type" else {"a": source.run()}
        method: Any = flows.keep_sink if how == "argument of another type" else flows.add_each
        with pytest.raises(NotFound if how == "handler fails" else InvalidArgument):
            await (flows.add(source.run()) if how == "handler fails" else method(unfit))
        await until(lambda: not client.stats()["streams"])
        assert source.ended == (["GeneratorExit"] if source.produced else [])
        assert source.produced <= NARROW.stream_items
        release(flows)
        await nothing_open(server, client)


async def test_a_call_that_cannot_leave_does_not_touch_its_streams() -> None:
    """P-REF-1: a failed encode changes nothing; the generator can be used for another call."""
    async with connected(MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        source = Counting(10)
        numbers = source.run()
        with pytest.raises((CapnetError, TypeError)):
            await flows.add_each([numbers, cast("Any", object())])
        await turns(server, client)
        assert not source.produced and not source.ended and not client.stats()["streams"]
        assert await flows.add(numbers) == 45
        release(flows)
        await nothing_open(server, client)


async def test_what_the_producer_raises_stays_here() -> None:
    """P-ERR-2 in this direction: the handler sees an id, the caller's own log has the error."""
    told: list[CapnetError] = []

    class Telling(MemFlows):
        async def add(self, numbers: AsyncIterable[int]) -> int:
            try:
                return await super().add(numbers)
            except CapnetError as error:
                told.append(error)
                return -1

    async def failing() -> AsyncGenerator[int]:
        yield 1
        yield 2
        raise RuntimeError("a secret")

    async def refusing() -> AsyncGenerator[int]:
        yield 3
        raise NotFound("no more", reason="empty", details={"n": 1}, retry="never")

    async with connected(implementation := Telling()) as (server, client):
        seen: list[HandlerFailed] = []
        client.on(HandlerFailed, seen.append)
        flows = await client.bootstrap(Flows)
        assert await flows.add(failing()) == await flows.add(refusing()) == -1
        await until(lambda: seen)
        internal, meant = told
        assert isinstance(internal, Internal) and internal.details == {"correlation": seen[0].correlation}
        assert "secret" not in str(internal)
        assert isinstance(meant, NotFound)
        assert (meant.reason, meant.retry, meant.details) == ("empty", "never", {"n": 1})
        assert implementation.read == [1, 2, 3]
        told.clear()
        release(flows)
        await nothing_open(server, client)


async def test_an_error_of_the_producers_clean_up_is_told_here() -> None:
    """A `finally` that raises: the stream has ended all the same, and an observer learns of it."""

    async def untidy() -> AsyncGenerator[int]:
        try:
            for number in range(10**9):
                yield number
        finally:
            raise LookupError("in the clean-up")

    async with connected(MemFlows()) as (server, client):
        seen: list[HandlerFailed] = []
        client.on(HandlerFailed, seen.append)
        flows = await client.bootstrap(Flows)
        assert await flows.read_some(untidy(), 2) == [0, 1]
        await until(lambda: seen)
        assert seen[0].error.kind == "LookupError"
        assert await flows.ping(1) == 1
        release(flows)
        await nothing_open(server, client)


async def test_a_source_that_cannot_close_in_order_ends_with_that() -> None:
    """What it raises there and is meant for others goes to the reader: it must not take what came for the whole."""

    class Cut:
        def __init__(self) -> None:
            self.left = 3

        def __aiter__(self) -> Cut:
            return self

        async def __anext__(self) -> int:
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return self.left

        async def aclose(self) -> None:
            raise NotFound("the rest is gone", reason="rest")

    told: list[CapnetError] = []

    class Telling(MemFlows):
        async def add(self, numbers: AsyncIterable[int]) -> int:
            try:
                return await super().add(numbers)
            except CapnetError as error:
                told.append(error)
                return -1

    async with connected(Telling()) as (server, client):
        seen: list[HandlerFailed] = []
        client.on(HandlerFailed, seen.append)
        flows = await client.bootstrap(Flows)
        assert await flows.add(Cut()) == -1
        assert [error.reason for error in told] == ["rest"] and not seen
        told.clear()
        release(flows)
        await nothing_open(server, client)


async def test_a_producer_that_goes_on_after_its_end_harms_nobody() -> None:
    """It swallows the cancellation, or yields in its `finally`: what it says then is not sent (P-STREAM-3)."""

    async def swallowing() -> AsyncGenerator[int]:
        yield 0
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            yield 1
        yield 2

    async def clinging() -> AsyncGenerator[int]:
        try:
            while True:
                yield 0
        finally:
            yield 1

    async with connected(MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        for source in (swallowing, clinging):
            assert await flows.read_some(source(), 1) == [0]
        await until(lambda: not client.stats()["streams"])
        assert await flows.ping(1) == 1
        release(flows)
        await nothing_open(server, client)


async def test_an_item_of_another_type_fails_the_reader_there() -> None:
    async def odd() -> AsyncGenerator[int]:
        yield 1
        yield cast("int", "two")
        yield 3

    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        with pytest.raises(Internal):
            await flows.add(odd())
        assert implementation.read == [1]
        release(flows)
        await nothing_open(server, client)


# --- with what call ---


async def test_the_stream_outlives_the_call_that_brought_it() -> None:
    """Rule R30."""
    async with connected(implementation := MemFlows(), limits=NARROW) as (server, client):
        flows = await client.bootstrap(Flows)
        source = Counting(500)
        await flows.keep(source.run())
        await turns(server, client)
        assert not client.stats()["calls"] and not source.ended
        assert implementation.kept is not None
        assert [n async for n in implementation.kept] == list(range(500))
        implementation.kept = None
        release(flows)
        await nothing_open(server, client)
        assert source.ended == ["end"]


async def test_cancelling_the_call_ends_the_streams_that_its_handler_reads() -> None:
    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        source = Counting(3)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(flows.add, source.run(sleep=True))
            await until(lambda: implementation.read == [0, 1, 2])
            tasks.cancel_scope.cancel()
        await until(lambda: not server.stats()["answers"])
        gc.collect()  # what an error has gone through may be in a cycle
        await until(lambda: source.ended == ["cancelled"])
        release(flows)
        await nothing_open(server, client)


async def test_cancelling_the_call_leaves_a_stream_that_was_kept() -> None:
    """Rule R30: cancelling the call that made a channel does not close the channel."""
    entered = anyio.Event()

    class Keeping(MemFlows):
        async def keep(self, numbers: AsyncIterable[int]) -> None:
            await super().keep(numbers)
            entered.set()
            await anyio.sleep_forever()

    async with connected(implementation := Keeping(), limits=NARROW) as (server, client):
        flows = await client.bootstrap(Flows)
        source = Counting(500)
        call: Any = flows.keep(source.run())
        await entered.wait()
        call.cancel()
        with pytest.raises(CallCancelled):
            await call
        await turns(server, client)
        assert implementation.kept is not None and not source.ended
        assert [n async for n in implementation.kept] == list(range(500))
        implementation.kept = None
        release(flows)
        await nothing_open(server, client)


async def test_one_way_calls_may_bring_streams() -> None:
    async with connected(implementation := MemFlows(), limits=NARROW) as (server, client):
        flows = await client.bootstrap(Flows)
        source = Counting(300)
        notify(flows.add)(source.run())
        await until(lambda: len(implementation.read) == 300)
        await until(lambda: source.ended == ["end"])
        release(flows)
        await nothing_open(server, client)


async def test_a_call_that_is_held_back_holds_its_streams_back() -> None:
    """Nothing is taken from the generator before the call has left; taken back, it is closed."""
    go = anyio.Event()

    class Blocking(MemFlows):
        async def ping(self, value: int = 0) -> int:
            await go.wait()
            return value

    async with connected(Blocking(), limits=Limits(max_calls=16)) as (server, client):
        flows = await client.bootstrap(Flows)
        blocking = [flows.ping(number) for number in range(16)]
        first, second = Counting(100), Counting(100)
        taken_back, later = cast("Any", flows.add(first.run())), flows.add(second.run())
        assert client.stats()["calls_held"] == 2
        await turns(server, client)
        assert first.produced == second.produced == 0
        taken_back.cancel()
        await until(lambda: client.stats()["streams"] == 1)
        go.set()
        assert [await call for call in blocking] == list(range(16))
        assert await later == sum(range(100)) and not first.produced
        release(flows)
        await nothing_open(server, client)


# --- flow control ---


@pytest.mark.parametrize("window", range(1, 8))
async def test_every_window_makes_progress(window: int) -> None:
    """P-STREAM-2: here the callee says the window."""
    async with connected(implementation := MemFlows(), limits=Limits(stream_items=window)) as (server, client):
        flows = await client.bootstrap(Flows)
        source = Counting(50)
        await flows.keep(source.run())
        await until(lambda: source.produced == window)
        await turns(server, client)
        assert source.produced == window and implementation.kept is not None
        read = 0
        async for number in implementation.kept:
            assert number == read
            read += 1
            assert source.produced - read <= window
        assert read == 50
        implementation.kept = None
        release(flows)
        await nothing_open(server, client)


async def test_over_the_peers_limit_the_call_fails_here() -> None:
    """`max_streams`: a local error, before anything has left; never a violation."""
    async with connected(implementation := MemFlows(), limits=Limits(max_streams=16)) as (server, client):
        flows = await client.bootstrap(Flows)
        kept: list[AsyncIterator[int]] = []
        for _ in range(16):
            await flows.keep(Counting(1).run(sleep=True))
            assert implementation.kept is not None
            kept.append(implementation.kept)
        source = Counting(3)
        numbers = source.run()
        for _ in range(3):
            assert await reason_of(flows.add, numbers) == "max_streams"
        assert await reason_of(flows.add_each, [Counting(1).run() for _ in range(17)]) == "max_streams"
        assert not source.produced and client.stats()["streams"] == 16
        await cast("Any", kept.pop()).aclose()
        await until(lambda: client.stats()["streams"] == 15)
        assert await flows.add(numbers) == 3
        assert [await anext(one) for one in kept] == [0] * 15
        kept.clear()
        implementation.kept = None
        release(flows)
        await nothing_open(server, client)


async def test_a_handler_that_does_not_read_delays_nobody() -> None:
    async with socket_pair(implementation := MemFlows(), limits=Limits(stream_items=16)) as (server, client):
        flows = await client.bootstrap(Flows)
        sources = [Counting() for _ in range(10)]
        kept: list[Any] = []
        for source in sources:
            await flows.keep(source.run())
            kept.append(implementation.kept)
        assert await flows.add(Counting(1000).run()) == sum(range(1000))
        assert [await flows.ping(number) for number in range(100)] == list(range(100))
        assert [source.produced for source in sources] == [16] * 10
        kept.clear()
        implementation.kept = None
        gc.collect()
        await until(lambda: all(source.ended == ["GeneratorExit"] for source in sources))
        release(flows)
        await nothing_open(server, client)


async def test_one_that_the_handler_forgets_is_stopped() -> None:
    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        source = Counting(3)
        await flows.keep(source.run(sleep=True))
        kept = cast("Any", implementation.kept)
        assert await anext(kept) == 0
        gone = weakref.ref(kept)
        implementation.kept = None
        del kept
        gc.collect()
        assert gone() is None
        await until(lambda: source.ended == ["cancelled"])
        release(flows)
        await nothing_open(server, client)


async def test_data_with_both_ends_in_it() -> None:
    """A dataclass that holds a stream to read and a sink to write, used as one conversation."""
    async with connected(MemFlows(), limits=NARROW, client_limits=NARROW) as (server, client):
        flows = await client.bootstrap(Flows)
        sink, answers = channel(int)
        source = Counting(200)
        working = flows.work(Bundle(source.run(), sink))
        del sink
        async with aclosing(answers):
            assert [n async for n in answers] == [n * n for n in range(200)]
        await working
        assert source.ended == ["end"]
        release(flows)
        await nothing_open(server, client)
