"""Streams when something goes wrong around them: replaced, revoked, lost, closed, stalled. And the faults of the
library that capnet descends from, each as a test of what holds here instead.

The numbers of the faults are those of the list that was made of them; the rules are those of the checklist.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any, cast

import anyio
import pytest

from capnet import (
    CallCancelled,
    CapnetError,
    Connection,
    FailedPrecondition,
    Internal,
    Limits,
    Replaced,
    Revoked,
    Sink,
    Stream,
    StreamStopped,
    Unavailable,
    channel,
    generation,
    release,
)
from capnet.fanout import Broadcast
from capnet.observe import HandlerFailed
from capnet.testing import connected
from capnet.transport import HIGH_WATER
from capnet.wire.frames import Op
from tests.connection.flows import Counting, Flows, MemFlows, nothing_open, read_into, turns
from tests.connection.leaks import running_tasks
from tests.connection.shop import Item, socket_pair, until

WINDOW = Limits().stream_items
"""By default, and so of both ends of a `socket_pair` without limits."""
NARROW = Limits(stream_items=64)
"""Of whoever consumes: the longer streams here take several such windows."""

# --- replaced ---


async def test_a_drain_lets_open_streams_finish_on_the_old_implementation() -> None:
    """P-CAP-5: the old one is closed once, after the last of them; new streams come from the new one at once."""
    async with socket_pair() as (server, client):
        old, new = MemFlows(), MemFlows()
        server.serve(old)
        flows = await client.bootstrap(Flows)
        numbers = flows.numbers(8 * WINDOW)
        assert await anext(numbers) == 0
        reports: list[Any] = []

        async def replace() -> None:
            reports.append(await server.replace(new, grace=30))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(replace)
            await until(lambda: generation(flows) == 2)
            assert [n async for n in flows.numbers(3)] == [0, 1, 2] and new.opened == 1
            assert not reports and not old.closed
            assert [n async for n in numbers] == list(range(1, 8 * WINDOW))
        assert (reports[0].streams_drained, reports[0].streams_cut) == (1, 0)
        await until(lambda: old.closed)
        assert old.ended == ["end"] and (old.closed, new.closed) == (1, 0)
        release(flows)
        await nothing_open(server, client)


async def test_a_cut_ends_open_streams() -> None:
    """P-CAP-5: `unavailable/replaced`, to be opened again as they are; after what has been sent."""
    async with connected(client_limits=NARROW) as (server, client):
        old, new = MemFlows(), MemFlows()
        server.serve(old)
        flows = await client.bootstrap(Flows)
        waiting, sleeping = flows.numbers(10**9), flows.sleepy(3)
        assert await anext(waiting) == await anext(sleeping) == 0
        await until(lambda: old.produced == NARROW.stream_items + 3)
        report = await server.replace(new, mode="cut")
        assert (report.streams_drained, report.streams_cut) == (0, 2)
        for numbers in (waiting, sleeping):
            with pytest.raises(Replaced) as caught:
                await read_into([], numbers)
            assert (caught.value.code, caught.value.retry) == ("unavailable", "transparent")
        await until(lambda: old.closed == 1)
        assert sorted(old.ended) == ["GeneratorExit", "cancelled"]
        assert [n async for n in flows.numbers(2)] == [0, 1] and new.opened == 1
        release(flows)
        await nothing_open(server, client)
    assert (old.closed, new.closed) == (1, 1)


async def test_the_grace_of_a_drain_ends_for_streams_too() -> None:
    async with connected() as (server, client):
        old = MemFlows()
        server.serve(old)
        flows = await client.bootstrap(Flows)
        numbers = flows.numbers(10**9)
        await anext(numbers)
        report = await server.replace(MemFlows(), grace=0.01)
        assert (report.streams_drained, report.streams_cut) == (0, 1)
        with pytest.raises(Replaced):
            await read_into([], numbers)
        await until(lambda: old.closed == 1 and old.ended == ["GeneratorExit"])


async def test_streams_keep_an_implementation_open() -> None:
    """P-REF-3: the close hook runs when the last reference and the last stream are gone, once."""
    async with connected(client_limits=NARROW) as (server, client):
        implementation = MemFlows()
        handle = server.serve(implementation)
        flows = await client.bootstrap(Flows)
        numbers = flows.numbers(200)
        await anext(numbers)
        release(flows)
        await turns(server, client)
        assert not implementation.closed
        assert [n async for n in numbers] == list(range(1, 200))
        handle.close()
        await until(lambda: implementation.closed == 1)
        del numbers
        await nothing_open(server, client)


# --- revoked ---


async def test_unserving_ends_the_streams_and_overtakes_what_was_not_read() -> None:
    """P-STREAM-3, P-CAP-6: what was sent before is not delivered any more; generators are closed, both ways."""
    async with connected(limits=NARROW, client_limits=NARROW) as (server, client):
        implementation = MemFlows()
        server.serve(implementation)
        flows = await client.bootstrap(Flows)
        numbers, source = flows.numbers(10**9), Counting()
        assert await anext(numbers) == 0
        await flows.keep(source.run())
        sink, answers = channel(int)
        await flows.keep_sink(sink)
        remote, kept = implementation.sink, implementation.kept
        assert remote is not None and kept is not None
        await remote.send(5)
        assert await anext(kept) == 0 and await anext(answers) == 5
        await until(lambda: implementation.produced == source.produced == NARROW.stream_items)
        await turns(server, client)
        server.unserve(Flows)
        await until(lambda: implementation.ended and source.ended)
        with pytest.raises(Revoked):
            await anext(numbers)
        with pytest.raises(StopAsyncIteration):
            await anext(numbers)
        with pytest.raises(Revoked):
            await anext(kept)
        with pytest.raises(Revoked):
            await remote.send(6)
        with pytest.raises(Revoked):
            await anext(answers)
        with pytest.raises(Revoked):
            await flows.ping()
        implementation.sink = implementation.kept = None
        release(flows)
        await nothing_open(server, client)


async def test_a_reader_that_waits_is_woken_by_the_revocation() -> None:
    """P-CAP-6."""
    async with connected() as (server, client):
        server.serve(implementation := MemFlows())
        flows = await client.bootstrap(Flows)
        numbers, ends = flows.sleepy(0), list[CapnetError]()

        async def read() -> None:
            try:
                await anext(numbers)
            except Revoked as error:
                ends.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await until(lambda: implementation.opened == 1)
            await turns(server, client)
            server.unserve(Flows)
        assert len(ends) == 1
        await until(lambda: implementation.ended == ["cancelled"])
        ends.clear()
        release(flows)
        await nothing_open(server, client)


async def test_others_streams_go_on_when_one_is_revoked() -> None:
    async with connected(client_limits=NARROW) as (server, client):
        one, other = MemFlows(), MemFlows()
        server.serve(one, name="one")
        server.serve(other, name="other")
        revoked = (await client.bootstrap(Flows, name="one")).numbers(10**9)
        stays = (await client.bootstrap(Flows, name="other")).numbers(300)
        assert await anext(revoked) == await anext(stays) == 0
        server.unserve("one")
        assert [n async for n in stays] == list(range(1, 300))
        with pytest.raises(Revoked):
            await read_into([], revoked)
        assert one.ended == ["GeneratorExit"]


# --- lost and closed ---


@pytest.mark.parametrize("loser", ["server", "client"])
async def test_the_loss_of_the_line_ends_everything_on_both_sides(loser: str) -> None:
    """P-CONN-6: what has come can be read; then `unavailable`. Whoever waits wakes, every generator is closed."""
    implementation = MemFlows()
    async with socket_pair(implementation) as (server, client):
        flows = await client.bootstrap(Flows)
        numbers, sleeping, source = flows.numbers(10**9), flows.sleepy(0), Counting()
        assert await anext(numbers) == 0
        await flows.keep(source.run())
        sink, answers = channel(int)
        await flows.keep_sink(sink)
        remote, kept = implementation.sink, implementation.kept
        assert remote is not None and kept is not None
        assert await anext(kept) == 0
        await until(lambda: implementation.produced == source.produced == WINDOW)
        await turns(server, client)
        ends: list[str] = []

        async def waiting(stream: Any) -> None:
            try:
                await anext(stream)
            except Unavailable as error:
                ends.append(error.code)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waiting, sleeping)
            tasks.start_soon(waiting, answers)
            await turns(server, client)
            (server if loser == "server" else client)._session.driver.transport.abort()
        assert ends == ["unavailable"] * 2
        for stream in (numbers, kept):
            read: list[int] = []
            with pytest.raises(Unavailable):
                await read_into(read, stream)
            assert read == list(range(1, WINDOW))
        with pytest.raises(Unavailable):
            await remote.send(1)
        with pytest.raises(Unavailable):
            await anext(flows.numbers(1))
        await client.wait_closed()
        await server.wait_closed()
        assert sorted(implementation.ended) == ["GeneratorExit", "cancelled"]
        assert source.ended == ["GeneratorExit"]
        assert not client.stats()["streams"] and not server.stats()["streams"]


@pytest.mark.parametrize("closer", ["server", "client"])
async def test_closing_lets_open_streams_finish_within_the_grace(closer: str) -> None:
    """P-CONN-4: both directions; the close waits for them, and not for its grace."""
    implementation = MemFlows()
    async with socket_pair(implementation) as (server, client):
        flows = await client.bootstrap(Flows)
        numbers, source = flows.numbers(8 * WINDOW), Counting(8 * WINDOW)
        adding = flows.add(source.run())
        assert await anext(numbers) == 0
        read: list[int] = []

        async def close(connection: Connection) -> None:
            await connection.aclose(grace=60)

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(close, server if closer == "server" else client)
                read = [n async for n in numbers]
                assert await adding == sum(range(8 * WINDOW))
        assert read == list(range(1, 8 * WINDOW))
        assert implementation.ended == ["end"] and source.ended == ["end"]


@pytest.mark.parametrize("closer", ["server", "client"])
@pytest.mark.parametrize("grace", [0, 0.02])
async def test_after_the_grace_open_streams_end(closer: str, grace: float) -> None:
    implementation = MemFlows()
    async with connected(implementation, limits=NARROW) as (server, client):
        flows = await client.bootstrap(Flows)
        numbers, source = flows.sleepy(1), Counting()
        assert await anext(numbers) == 0
        await flows.keep(source.run())
        await until(lambda: source.produced == NARROW.stream_items)
        with anyio.fail_after(60):
            await (server if closer == "server" else client).aclose(grace=grace)
            with pytest.raises(Unavailable):
                await anext(numbers)
            await client.wait_closed()
            await server.wait_closed()
        assert implementation.ended == ["cancelled"] and source.ended == ["GeneratorExit"]


async def test_leaving_the_blocks_leaves_no_generator_open() -> None:
    """Without any of the ends being closed by their users."""
    implementation, source = MemFlows(), Counting()
    async with connected(implementation) as (_, client):
        flows = await client.bootstrap(Flows)
        kept = [flows.numbers(10**9), flows.sleepy(3)]
        await anext(kept[0])
        await flows.keep(source.run(sleep=True))
        await until(lambda: implementation.opened == 2 and source.produced)
        await client.aclose(grace=0)
    assert sorted(implementation.ended) == ["GeneratorExit", "cancelled"] and source.ended == ["GeneratorExit"]


async def test_a_generator_that_does_not_want_to_end_delays_the_close_and_no_more() -> None:
    """It is awaited, as a handler is: when everything has ended, everything of the user's has."""
    release, steps = anyio.Event(), list[str]()

    class Stubborn(MemFlows):
        async def numbers(self, count: int) -> Stream[int]:
            try:
                yield 1
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await release.wait()
                steps.append("ended")

    async with connected(Stubborn()) as (server, client):
        flows = await client.bootstrap(Flows)
        numbers = flows.numbers(1)
        assert await anext(numbers) == 1

        async def close() -> None:
            await server.aclose(grace=0)
            steps.append("closed")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(close)
            await client.wait_closed()
            assert not steps
            release.set()
        assert steps == ["ended", "closed"]


# --- a transport that does not take what is written ---


async def test_a_peer_that_does_not_read_stops_the_producers() -> None:
    """Whatever its window: what is produced is bounded by what the transport takes, and nothing is lost."""
    limits = Limits(stream_items=10**6, stream_bytes=2**30, max_held_charge=2**31)
    async with connected(implementation := MemFlows(), client_limits=limits) as (server, client):
        flows = await client.bootstrap(Flows)
        size, count = 10_000, 2_000
        chunks = [flows.chunks([size] * count) for _ in range(2)]
        client._session.driver.transport.pause()
        await until(lambda: server._session.driver.transport.backlog > HIGH_WATER)
        produced = -1
        while produced != implementation.produced:
            produced = implementation.produced
            for _ in range(50):
                await anyio.lowlevel.checkpoint()
        assert server._session.driver.transport.backlog < HIGH_WATER + 2 * 300_000 and produced < 200
        client._session.driver.transport.resume()
        for stream in chunks:
            assert sum([len(chunk) async for chunk in stream]) == size * count
        assert implementation.ended == ["end"] * 2
        release(flows)
        await nothing_open(server, client)


async def test_a_peer_that_never_reads_again_is_given_up() -> None:
    """P-CONN-5: the producers that wait for the transport wake, and are closed."""
    limits = Limits(keepalive=0.5, keepalive_timeout=0.5)
    window = Limits(stream_items=10**6, stream_bytes=2**30, max_held_charge=2**31)
    async with connected(implementation := MemFlows(), limits=limits, client_limits=window) as (server, client):
        flows = await client.bootstrap(Flows)
        chunks = flows.chunks([10_000] * 10_000)
        client._session.driver.transport.pause()
        await until(lambda: server._session.driver.transport.backlog > HIGH_WATER)
        await server.wait_closed()
        assert implementation.ended == ["GeneratorExit"] and implementation.produced < 200
        client._session.driver.transport.resume()
        with pytest.raises(Unavailable):
            await read_into([], chunks)


async def test_a_sink_waits_for_the_transport_too() -> None:
    window = Limits(stream_items=10**6, stream_bytes=2**30, max_held_charge=2**31)
    async with connected(implementation := MemFlows(), client_limits=window) as (server, client):
        flows = await client.bootstrap(Flows)
        sink, numbers = channel(int, buffer=10**6)
        await flows.keep_sink(sink)
        remote = implementation.sink
        assert remote is not None
        client._session.driver.transport.pause()
        sent = 0

        async def write() -> None:
            nonlocal sent
            while sent < 400_000:
                await remote.send(2**60)
                sent += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            await until(lambda: server._session.driver.transport.backlog > HIGH_WATER)
            seen = -1
            while seen != sent:
                seen = sent
                for _ in range(50):
                    await anyio.lowlevel.checkpoint()
            assert sent < 200_000
            tasks.cancel_scope.cancel()
        client._session.driver.transport.resume()
        await remote.aclose()
        assert len([n async for n in numbers]) == sent
        implementation.sink = None
        release(flows)
        await nothing_open(server, client)


# --- nothing is left ---


async def test_many_streams_leave_no_task_and_no_memory_behind() -> None:
    """Read to the end, left, dropped, failed, given as arguments, as sinks: the tables and tasks are as before."""
    async with socket_pair(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)

        async def use() -> None:
            assert len([n async for n in flows.numbers(10)]) == 10
            async with aclosing(flows.numbers(10**9)) as numbers:
                await anext(numbers)
            flows.numbers(10**9)
            with pytest.raises(Internal):
                await read_into([], flows.failing(3, "x"))
            assert await flows.add(Counting(10).run()) == 45
            assert await flows.read_some(Counting().run(), 2) == [0, 1]
            sink, answers = channel(int)
            await flows.keep_sink(sink)
            assert implementation.sink is not None
            await implementation.sink.send(1)
            await implementation.sink.aclose()
            assert [n async for n in answers] == [1]

        await use()
        await until(lambda: not (server.stats()["streams"] or client.stats()["streams"]))
        tasks = running_tasks()
        gone: list[weakref.ref[Any]] = []
        for _ in range(20):
            await use()
            numbers = flows.numbers(10)
            await anext(numbers)
            gone.append(weakref.ref(numbers))
            del numbers
        await until(lambda: running_tasks() <= tasks)
        await until(lambda: len(implementation.ended) == implementation.opened)
        assert not any(one() for one in gone)
        implementation.sink = None
        release(flows)
        await nothing_open(server, client)


async def test_a_stream_keeps_neither_its_connection_nor_its_implementation() -> None:
    implementation = MemFlows()
    async with connected(implementation) as (server, client):
        flows = await client.bootstrap(Flows)
        numbers = flows.numbers(3)
        assert [n async for n in numbers] == [0, 1, 2]
        sink, answers = channel(int)
        await flows.keep_sink(sink)
        implementation.sink = None
        del flows
    gone = weakref.ref(client), weakref.ref(server), weakref.ref(implementation)
    del client, server, implementation, sink, answers, numbers
    gc.collect()
    assert [one() for one in gone] == [None] * 3


# --- faults 29 to 37 ---


@pytest.mark.parametrize("window", [1, 2, 7])
async def test_fault_29_a_small_window_does_not_deadlock(window: int) -> None:
    """There: credit went back for 8 items only, so a budget of 1 to 7 never moved again. Here: the receiver announces
    its window and gives credit at half of it (P-STREAM-2)."""
    async with connected(MemFlows(), client_limits=Limits(stream_items=window)) as (_, client):
        flows = await client.bootstrap(Flows)
        with anyio.fail_after(60):
            assert [n async for n in flows.numbers(30)] == list(range(30))


async def _raw_credit(client: Connection, *credit: Any) -> None:
    """Credit that no honest consumer gives, for the stream that was opened last."""
    (stream,) = client.snapshot()["streams"]
    client._session.engine.outbox.send([Op.CREDIT, stream["id"], *credit])
    client._session.driver.flush()


@pytest.mark.parametrize("credit", [(-1, 1), (1, -1), (0, 0), (1.5, 1), (2**31, 1), (1, 2**31), ("1", 1), (None, 0)])
async def test_fault_30_credit_is_checked(credit: tuple[Any, Any]) -> None:
    """There: negative, fractional or absent numbers skipped the test for zero, and sending knew no bounds. Here: what
    is no positive integer, or too much, is a violation; the producer is closed (P-STREAM-2)."""
    async with connected(implementation := MemFlows(), client_limits=Limits(stream_items=2)) as (server, client):
        flows = await client.bootstrap(Flows)
        numbers = flows.numbers(10**9)
        await until(lambda: implementation.produced == 2)
        assert await anext(numbers) == 0
        await _raw_credit(client, *credit)
        await server.wait_closed()
        assert server.close_cause is not None and server.close_cause.kind == "violation"
        assert server.close_cause.clause in ("P-STREAM-2", "P-OP")
        assert implementation.ended == ["GeneratorExit"] and implementation.produced <= 3


async def test_fault_31_the_receiver_enforces_its_window() -> None:
    """There: a peer could push without limit into a buffer without bound. Here: what is outstanding is counted, and
    one item too many is a violation (P-STREAM-2)."""
    async with connected(implementation := MemFlows(), client_limits=Limits(stream_items=4)) as (server, client):
        flows = await client.bootstrap(Flows)
        numbers = flows.numbers(10**9)
        await until(lambda: implementation.produced == 4)
        await turns(server, client)
        (stream,) = server.snapshot()["streams"]
        server._session.engine.outbox.send([Op.ITEMS, stream["id"], [4]])
        server._session.driver.flush()
        await client.wait_closed()
        assert client.close_cause is not None and client.close_cause.clause == "P-STREAM-2"
        with pytest.raises(Unavailable):
            await read_into([], numbers)


async def test_fault_32_a_source_that_is_faster_than_its_readers_is_bounded() -> None:
    """There: the queue of an emitter knew no bounds and gave no feedback: credit bounded the wire, not the memory.
    Here: a generator is asked for an item only when there is room, and a source of many has a policy."""

    class Live(MemFlows):
        def __init__(self) -> None:
            super().__init__()
            self.source = Broadcast[int](buffer=4, policy="drop-oldest")

        def numbers(self, count: int) -> Stream[int]:
            return self.source.subscribe()

    async with connected(implementation := Live(), client_limits=Limits(stream_items=2)) as (server, client):
        flows = await client.bootstrap(Flows)
        numbers = flows.numbers(0)
        await until(lambda: implementation.source.subscribers == 1)
        for number in range(1000):
            await implementation.source.send(number)
        await turns(server, client)
        implementation.source.close()
        read = [n async for n in numbers]
        assert len(read) <= 2 + 1 + 4 and read[-1] == 999
        release(flows)
        await nothing_open(server, client)


@pytest.mark.parametrize("how", ["stop", "shutdown"])
async def test_fault_33_a_producer_that_waits_for_credit_is_woken(how: str) -> None:
    """There: cancel or shutdown left it waiting: no end frame, no event, and in a task-based port a leaked task.
    Here: it is woken at once, and each stream has exactly one end (P-STREAM-3, P-STREAM-4)."""
    async with connected(implementation := MemFlows(), client_limits=Limits(stream_items=1)) as (server, client):
        flows = await client.bootstrap(Flows)
        numbers = flows.numbers(10**9)
        await until(lambda: implementation.produced == 1)
        await turns(server, client)
        if how == "stop":
            await numbers.aclose()
            await until(lambda: implementation.ended == ["GeneratorExit"])
            release(flows)
            await nothing_open(server, client)
        else:
            with anyio.fail_after(60):
                await server.aclose(grace=0)
            assert implementation.ended == ["GeneratorExit"]
            with pytest.raises(Unavailable):
                await read_into([], numbers)


async def test_fault_34_a_stream_that_nobody_reads_does_not_stay_open() -> None:
    """There: opened and never read, it was open for ever. Here: collecting it stops it (P-STREAM-4)."""
    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        for _ in range(200):  # more than may be open at once
            flows.numbers(10**9)
            await turns(server, client, 1)
        await until(lambda: len(implementation.ended) == implementation.opened)
        assert await flows.ping(1) == 1
        release(flows)
        await nothing_open(server, client)


async def test_fault_35_a_stream_counts_until_its_generator_has_ended() -> None:
    """There: the place was free at cancel although the handler still ran, so call+cancel loops went past the limit.
    Here: it is free when the task has ended, and a generator in its own await need not watch any signal."""
    freed = anyio.Event()
    running = peak = 0

    class Stubborn(MemFlows):
        async def numbers(self, count: int) -> Stream[int]:
            nonlocal running, peak
            running += 1
            peak = max(peak, running)
            try:
                yield 1
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await freed.wait()
                running -= 1

    async with connected(Stubborn(), client_limits=Limits(max_streams=16)) as (server, client):
        flows = await client.bootstrap(Flows)
        refused = 0
        for _ in range(40):
            numbers = flows.numbers(1)
            try:
                await anext(numbers)
            except CapnetError as error:
                refused += error.reason == "max_streams"
            await numbers.aclose()
        assert peak == running == 16 and refused == 24 and server.stats()["streams"] == 16
        freed.set()
        await until(lambda: not running)
        release(flows)
        await nothing_open(server, client)


async def test_fault_36_generators_capabilities_and_ends_of_a_stream() -> None:
    """There: an asynchronous stream handler failed, items carried no capabilities, and an emitter could neither end
    nor fail its stream. Here: all three (P-STREAM-1, P-STREAM-5)."""

    class Emitting(MemFlows):
        def numbers(self, count: int) -> Stream[int]:
            self.own_sink, numbers = channel(int)
            return numbers

    async with connected(implementation := Emitting()) as (server, client):
        flows = await client.bootstrap(Flows)
        labels = ["a", "b"]
        assert [await item.label() async for item in flows.items(labels)] == labels
        for error in (None, FailedPrecondition("sold out", reason="sold_out")):
            numbers = flows.numbers(0)
            await until(lambda: implementation.own_sink)
            sink, implementation.own_sink = cast("Sink[int]", implementation.own_sink), None
            await sink.send(1)
            assert await anext(numbers) == 1
            if error is None:
                await sink.aclose()
                assert [n async for n in numbers] == []
            else:
                sink.fail(error)
                with pytest.raises(FailedPrecondition) as caught:
                    await anext(numbers)
                assert caught.value.reason == "sold_out"
        release(flows)
        await nothing_open(server, client)


async def test_fault_37_a_generator_is_closed_when_its_item_cannot_be_sent() -> None:
    """There: it stayed open, the task died of an unhandled error, and end frames were sent after the shutdown. Here:
    it is closed, the reader is told, and a connection that is gone is told nothing."""
    closed: list[str] = []

    class Careless(MemFlows):
        async def anything(self, values: list[Any]) -> Stream[Any]:
            try:
                yield values[0]
                yield object()
            finally:
                closed.append("here")

    async with connected(Careless()) as (server, client):
        seen: list[HandlerFailed] = []
        server.on(HandlerFailed, seen.append)
        flows = await client.bootstrap(Flows)
        values = flows.anything([1])
        assert await anext(values) == 1
        with pytest.raises(FailedPrecondition):
            await anext(values)
        assert closed == ["here"]
        await until(lambda: len(seen) == 1)
        seen.clear()
        slow = flows.sleepy(1)
        assert await anext(slow) == 0
        sent: list[bytes] = []
        transport = server._session.driver.transport
        transport.abort()

        def send(chunks: Sequence[bytes]) -> None:
            sent.extend(chunks)

        transport.send = send  # type: ignore[method-assign]
        await server.wait_closed()
        assert not sent


# --- rules R29 to R31 ---


async def test_rule_29_credit_has_two_parts() -> None:
    """Credit in items bounds the count, credit in bytes the memory; a send needs one item and more than no bytes, so
    one large item passes, and nothing stalls for ever."""
    limits = Limits(stream_items=100, stream_bytes=1000)
    async with connected(implementation := MemFlows(), client_limits=limits) as (server, client):
        flows = await client.bootstrap(Flows)
        small, large = flows.chunks([0] * 300), flows.chunks([5000] * 5)
        await until(lambda: implementation.produced == 100 + 1)
        await turns(server, client)
        assert implementation.produced == 100 + 1
        assert len([chunk async for chunk in large]) == 5 and len([chunk async for chunk in small]) == 300
        release(flows)
        await nothing_open(server, client)


async def test_rule_30_close_is_not_reset_is_not_release() -> None:
    """The sender is done; the receiver wants no more; an end is let go without a word: each is seen as what it is at
    the other end, and the call that made the stream may be cancelled meanwhile."""
    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        seen: list[str] = []
        for how in ("close", "release", "reset", "reset by release"):
            sink, numbers = channel(int)
            call: Any = flows.keep_sink(sink)
            await call
            call.cancel()
            del sink
            remote, implementation.sink = cast("Sink[int]", implementation.sink), None
            await remote.send(1)
            assert await anext(numbers) == 1
            try:
                if how == "close":
                    await remote.aclose()
                    await anext(numbers)
                elif how == "release":
                    del remote
                    gc.collect()
                    await anext(numbers)
                else:
                    if how == "reset":
                        await numbers.aclose()
                    del numbers
                    gc.collect()
                    await until(lambda: not server.stats()["streams"])
                    await remote.send(2)
            except StopAsyncIteration:
                seen.append("end")
            except StreamStopped:
                seen.append("stopped")
            except CallCancelled as error:
                seen.append(str(error.reason))
        assert seen == ["end", "abandoned", "stopped", "stopped"]
        release(flows)
        await nothing_open(server, client)


async def test_rule_31_capabilities_live_with_their_item() -> None:
    """Not with the call that wrote it, and not with the stream: given back one by one as the items are let go."""
    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        held: list[Item] = []
        async with aclosing(flows.items([str(n) for n in range(5)])) as items:
            held += [await anext(items) for _ in range(3)]
        await until(lambda: implementation.ended)
        await until(lambda: [one.closed for one in implementation.items_made] == [0, 0, 0, 1, 1])
        assert [await one.label() for one in held] == ["0", "1", "2"]
        held.pop(0)
        await until(lambda: [one.closed for one in implementation.items_made] == [1, 0, 0, 1, 1])
        held.clear()
        release(flows)
        await nothing_open(server, client)
    assert [one.closed for one in implementation.items_made] == [1] * 5
