"""Sinks: `channel` and its ends, here and at the peer; what a writer learns of its reader, and the other way round."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator
from typing import Any, Literal, cast

import anyio
import pytest
from anyio.lowlevel import checkpoint

from capnet import (
    CallCancelled,
    Cap,
    CapnetError,
    ContractError,
    FailedPrecondition,
    InvalidArgument,
    Limits,
    NotFound,
    Revoked,
    Sink,
    Stream,
    StreamStopped,
    Unavailable,
    call,
    channel,
    release,
    stream,
    windowed,
)
from capnet.observe import HandlerFailed
from capnet.testing import connected
from tests.connection.flows import Flows, MemFlows, Post, nothing_open, read_into, turns
from tests.connection.shop import Item, MemItem, socket_pair, until

# --- both ends here ---


async def test_what_goes_in_comes_out() -> None:
    sink, numbers = channel(int, buffer=4)
    assert isinstance(sink, Sink)

    async def write() -> None:
        async with sink:
            for number in range(100):
                await sink.send(number)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        assert [n async for n in numbers] == list(range(100))


@pytest.mark.parametrize("buffer", [1, 3, 64])
async def test_a_full_buffer_makes_the_writer_wait(buffer: int) -> None:
    sink, numbers = channel(int, buffer=buffer)
    sent = 0

    async def write() -> None:
        nonlocal sent
        for _ in range(10 * buffer):
            await sink.send(sent)
            sent += 1
        await sink.aclose()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        await until(lambda: sent == buffer)
        for _ in range(10):
            await checkpoint()
        assert sent == buffer
        async for number in numbers:
            assert sent - number <= buffer + 1
        assert sent == 10 * buffer


async def test_misuse_is_told() -> None:
    with pytest.raises(ContractError):
        channel(complex)
    with pytest.raises(InvalidArgument):
        channel(int, buffer=0)
    sink, numbers = channel(int)
    await sink.send(1)
    await sink.aclose()
    await sink.aclose()
    with pytest.raises(FailedPrecondition) as caught:
        await sink.send(2)
    assert caught.value.reason == "closed"
    assert [n async for n in numbers] == [1]


async def test_the_three_ends_are_told_apart_here() -> None:
    """Rule R30: the writer is done; the writer is gone; the reader wants no more."""
    sink, numbers = channel(int)
    await sink.send(1)
    await sink.aclose()
    assert [n async for n in numbers] == [1]

    sink, numbers = channel(int)
    await sink.send(1)
    sink.fail(NotFound("no more", reason="empty"))
    assert await anext(numbers) == 1
    with pytest.raises(NotFound) as caught:
        await anext(numbers)
    assert caught.value.reason == "empty"

    sink, numbers = channel(int)
    await sink.send(1)
    del sink
    gc.collect()
    assert await anext(numbers) == 1
    with pytest.raises(CallCancelled) as abandoned:
        await anext(numbers)
    assert abandoned.value.reason == "abandoned"
    with pytest.raises(StopAsyncIteration):
        await anext(numbers)

    sink, numbers = channel(int)
    await numbers.aclose()
    with pytest.raises(StreamStopped):
        await sink.send(1)

    sink, numbers = channel(int)
    del numbers
    gc.collect()
    with pytest.raises(StreamStopped):
        await sink.send(1)


async def test_a_writer_that_waits_hears_of_the_stop_at_once() -> None:
    sink, numbers = channel(int, buffer=1)
    await sink.send(1)
    stopped: list[CapnetError] = []

    async def write() -> None:
        try:
            await sink.send(2)
        except StreamStopped as error:
            stopped.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        for _ in range(5):
            await checkpoint()
        await numbers.aclose()
    assert len(stopped) == 1


async def test_a_reader_that_waits_hears_of_every_end() -> None:
    async def read(numbers: Stream[int], ends: list[object]) -> None:
        try:
            ends.append([n async for n in numbers])
        except CapnetError as error:
            ends.append((error.code, error.reason))

    ends: list[object] = []
    for how in ("aclose", "fail", "drop"):
        sink, numbers = channel(int)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read, numbers, ends)
            for _ in range(5):
                await checkpoint()
            if how == "aclose":
                await sink.aclose()
            elif how == "fail":
                sink.fail(NotFound("none", reason="empty"))
            del sink
            gc.collect()
    assert ends == [[], ("not_found", "empty"), ("cancelled", "abandoned")]


async def test_a_block_that_fails_ends_the_stream_with_that() -> None:
    async def ended_by(error: BaseException) -> CapnetError:
        sink, numbers = channel(int)
        with pytest.raises(type(error)):
            async with sink:
                raise error
        with pytest.raises(CapnetError) as caught:
            await anext(numbers)
        return caught.value

    assert (await ended_by(NotFound("none", reason="empty"))).reason == "empty"
    failed = await ended_by(RuntimeError("a secret"))
    assert failed.code == "internal" and "secret" not in str(failed)


# --- the peer writes ---


async def test_the_peer_writes_into_a_sink_of_ours() -> None:
    """It may do so while the call runs and long after; each `send` waits for room here."""
    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        sink, numbers = channel(int)
        await flows.keep_sink(sink)
        del sink

        async def write() -> None:
            remote, implementation.sink = implementation.sink, None
            assert remote is not None
            async with remote:
                for number in range(1000):
                    await remote.send(number)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            assert [n async for n in numbers] == list(range(1000))
        release(flows)
        await nothing_open(server, client)


@pytest.mark.parametrize("window", range(1, 8))
@pytest.mark.parametrize("buffer", [1, 5])
async def test_every_window_and_buffer_makes_progress(window: int, buffer: int) -> None:
    """What the writer is ahead is the window, the buffer, and the one item that is between them."""
    async with connected(implementation := MemFlows(), client_limits=Limits(stream_items=window)) as (server, client):
        flows = await client.bootstrap(Flows)
        sink, numbers = channel(int, buffer=buffer)
        await flows.keep_sink(sink)
        del sink
        sent = 0

        async def write() -> None:
            nonlocal sent
            remote, implementation.sink = implementation.sink, None
            assert remote is not None
            for number in range(60):
                await remote.send(number)
                sent += 1
            await remote.aclose()

        read: list[int] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            await until(lambda: sent > buffer)
            async for number in numbers:
                read.append(number)
                assert sent - len(read) <= window + buffer + 1
        assert read == list(range(60))
        release(flows)
        await nothing_open(server, client)


async def write_on(sink: Sink[int]) -> None:
    """Write numbers, from 0, until that fails."""
    number = 0
    while True:
        await sink.send(number)
        number += 1


async def kept_sink(flows: Flows, implementation: MemFlows, numbers_to: Sink[int]) -> Sink[int]:
    """The sink as the peer has it."""
    await flows.keep_sink(numbers_to)
    remote, implementation.sink = implementation.sink, None
    assert remote is not None
    return remote


async def test_the_ends_of_the_peers_writing_are_told_apart() -> None:
    """Rule R30 across the wire: done, failed, dropped without a word."""
    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        ends: list[object] = []
        for how in ("aclose", "fail", "drop", "block"):
            sink, numbers = channel(int)
            remote = await kept_sink(flows, implementation, sink)
            del sink
            await remote.send(7)
            if how == "aclose":
                await remote.aclose()
            elif how == "fail":
                remote.fail(NotFound("none", reason="empty", details={"n": 1}, retry="never"))
            elif how == "block":
                with pytest.raises(RuntimeError):
                    async with remote:
                        raise RuntimeError("a secret")
            del remote
            gc.collect()
            assert await anext(numbers) == 7
            try:
                await anext(numbers)
            except CapnetError as error:
                ends.append((error.code, error.reason, error.details, error.retry))
            except StopAsyncIteration:
                ends.append("end")
        assert ends == [
            "end",
            ("not_found", "empty", {"n": 1}, "never"),
            ("cancelled", "abandoned", {}, None),
            ("internal", None, {}, None),
        ]
        release(flows)
        await nothing_open(server, client)


async def test_a_closed_sink_takes_nothing() -> None:
    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        sink, numbers = channel(int)
        remote = await kept_sink(flows, implementation, sink)
        await remote.aclose()
        await remote.aclose()
        remote.fail(NotFound("too late"))
        with pytest.raises(FailedPrecondition) as caught:
            await remote.send(1)
        assert caught.value.reason == "closed"
        assert [n async for n in numbers] == []
        release(flows)
        await nothing_open(server, client)


@pytest.mark.parametrize("how", ["close", "drop"])
async def test_the_peers_writer_hears_of_the_stop_at_once(how: str) -> None:
    """While it waits for credit; and, when it does not send, with its next `send`."""
    async with connected(implementation := MemFlows(), client_limits=Limits(stream_items=4)) as (server, client):
        flows = await client.bootstrap(Flows)
        for waits in (True, False):
            sink, numbers = channel(int, buffer=1)
            remote = await kept_sink(flows, implementation, sink)
            del sink
            stopped: list[CapnetError] = []

            async def write(remote: Sink[int] = remote, stopped: list[CapnetError] = stopped) -> None:
                try:
                    await write_on(remote)
                except StreamStopped as error:
                    stopped.append(error)

            async with anyio.create_task_group() as tasks:
                if waits:
                    tasks.start_soon(write)
                    await turns(server, client)
                    (stream,) = server.snapshot()["streams"]
                    assert not stream["items"]
                if how == "close":
                    await numbers.aclose()
                del numbers
                gc.collect()
                if not waits:
                    await until(lambda: not server.stats()["streams"])
                    with pytest.raises(StreamStopped):
                        await remote.send(0)
            assert len(stopped) == waits
            with pytest.raises(StreamStopped):
                await remote.send(0)
            await remote.aclose()
        release(flows)
        await nothing_open(server, client)


async def test_closing_a_sink_wakes_the_task_that_sends_into_it() -> None:
    async with connected(implementation := MemFlows(), client_limits=Limits(stream_items=1)) as (server, client):
        flows = await client.bootstrap(Flows)
        sink, numbers = channel(int, buffer=1)
        remote = await kept_sink(flows, implementation, sink)
        del sink
        seen: list[CapnetError] = []

        async def write() -> None:
            try:
                while True:
                    await remote.send(1)
            except FailedPrecondition as error:
                seen.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            await turns(server, client)
            with pytest.raises(RuntimeError):
                await remote.send(2)
            await remote.aclose()
        assert [error.reason for error in seen] == ["closed"]
        assert {n async for n in numbers} == {1}
        seen.clear()
        release(flows)
        await nothing_open(server, client)


async def test_a_sender_that_is_cancelled_while_it_waits_has_sent_nothing() -> None:
    async with connected(implementation := MemFlows(), client_limits=Limits(stream_items=1)) as (server, client):
        flows = await client.bootstrap(Flows)
        sink, numbers = channel(int, buffer=1)
        remote = await kept_sink(flows, implementation, sink)
        del sink
        accepted: list[int] = []
        for number in range(20):
            await turns(server, client)
            with anyio.move_on_after(0):
                await remote.send(number)
                accepted.append(number)
        assert 1 <= len(accepted) < 20
        await remote.aclose()
        assert [n async for n in numbers] == accepted
        release(flows)
        await nothing_open(server, client)


async def test_items_of_another_type_do_not_come_in() -> None:
    """What the contract declares cannot be left by the sender, what `channel(T)` says is for this side to see."""
    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        sink, numbers = channel(Literal[1])
        remote = await kept_sink(flows, implementation, cast("Sink[int]", sink))
        del sink
        with pytest.raises(InvalidArgument, match="not what is declared"):
            await cast("Any", remote).send("two")
        await remote.send(1)
        await remote.send(2)
        assert await anext(numbers) == 1
        with pytest.raises(InvalidArgument) as caught:
            await anext(numbers)
        assert caught.value.reason == "item_type"
        await until(lambda: not server.stats()["streams"])
        with pytest.raises(StreamStopped):
            await remote.send(3)
        release(flows)
        await nothing_open(server, client)


async def test_an_item_that_cannot_travel_is_the_senders_error_and_no_more() -> None:
    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        sink, numbers = channel(int)
        remote = await kept_sink(flows, implementation, sink)
        del sink
        await remote.send(1)
        with pytest.raises((CapnetError, TypeError)):
            await cast("Any", remote).send(object())
        await remote.send(2)
        await remote.aclose()
        assert [n async for n in numbers] == [1, 2]
        release(flows)
        await nothing_open(server, client)


async def test_a_sink_of_the_users_own() -> None:
    """Any `Sink` can be passed; what its `send` raises ends the stream, and the peer's writer is stopped."""
    events: list[object] = []

    class Strict(Sink[int]):
        async def send(self, item: int) -> None:
            if item == 3:
                raise NotFound("no threes")
            events.append(item)

        async def aclose(self) -> None:
            events.append("closed")

        def fail(self, error: CapnetError) -> None:
            events.append(error.code)

    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        remote = await kept_sink(flows, implementation, Strict())
        await remote.send(1)
        await remote.send(2)
        await remote.aclose()
        await until(lambda: events == [1, 2, "closed"])
        events.clear()
        remote = await kept_sink(flows, implementation, Strict())
        with pytest.raises(StreamStopped):
            await write_on(remote)
        assert events == [0, 1, 2, "not_found"]
        release(flows)
        await nothing_open(server, client)


@pytest.mark.parametrize("end", ["aclose", "fail"])
@pytest.mark.parametrize("raised", [Unavailable("it has gone"), Revoked("taken back"), OSError("a fault")], ids=repr)
async def test_a_sink_that_cannot_end_in_order(end: str, raised: Exception) -> None:
    """An error that is meant for others is an end like any other; one that is not is told to who observes here."""

    class Gone(Sink[int]):
        async def send(self, item: int) -> None: ...

        async def aclose(self) -> None:
            ended.append("aclose")
            raise raised

        def fail(self, error: CapnetError) -> None:
            ended.append("fail")
            raise raised

    ended: list[str] = []
    async with connected(implementation := MemFlows()) as (server, client):
        seen: list[HandlerFailed] = []
        client.on(HandlerFailed, seen.append)
        flows = await client.bootstrap(Flows)
        remote = await kept_sink(flows, implementation, Gone())
        await remote.send(1)
        if end == "aclose":
            await remote.aclose()
        else:
            remote.fail(NotFound("no more"))
        await until(lambda: ended == [end])
        release(flows)
        await nothing_open(server, client)
        await anyio.wait_all_tasks_blocked()
        assert [event.error.text for event in seen] == ([] if isinstance(raised, CapnetError) else [str(raised)])


# --- we write, the peer reads ---


@pytest.mark.parametrize("wrapped", [False, True], ids=["channel", "windowed"])
async def test_a_full_channel_holds_up_no_close(wrapped: bool) -> None:
    """What had come is there for a later reader, and then why there is no more."""
    failed: list[HandlerFailed] = []
    sent: list[int] = []
    async with connected(implementation := MemFlows()) as (server, client):
        client.on(HandlerFailed, failed.append)
        flows = await client.bootstrap(Flows)
        sink, numbers = channel(int, buffer=3)
        remote = await kept_sink(flows, implementation, windowed(sink, items=2) if wrapped else sink)
        del sink

        async def write() -> None:
            while True:
                await remote.send(len(sent))
                sent.append(len(sent))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            await turns(server, client, 10)
            tasks.cancel_scope.cancel()
        await turns(server, client)
        await client.aclose(grace=0)
    seen: list[int] = []
    with pytest.raises(Unavailable):
        await read_into(seen, numbers)
    assert seen == sent and len(sent) > 3
    assert failed == [], "nothing was left behind"


async def test_what_goes_on_to_a_peer_that_does_not_read_holds_up_no_close() -> None:
    failed: list[HandlerFailed] = []
    async with connected(source := MemFlows()) as (server, client), connected(reader := MemFlows()) as (_, onward):
        client.on(HandlerFailed, failed.append)
        reader.own_sink, numbers = channel(int, buffer=2)
        flows = await client.bootstrap(Flows)
        through = await (await onward.bootstrap(Flows)).open_sink()
        remote = await kept_sink(flows, source, through)
        del through

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write_on, remote)
            await turns(server, client, 10)
            tasks.cancel_scope.cancel()
        await client.aclose(grace=0)
        assert client.closed
        assert await anext(numbers) == 0
        assert failed == [], "nothing was left behind"


async def test_the_reading_end_can_be_passed() -> None:
    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        sink, numbers = channel(int)
        adding = flows.add(numbers)
        del numbers
        async with sink:
            for number in range(1000):
                await sink.send(number)
        assert await adding == sum(range(1000)) and len(implementation.read) == 1000
        release(flows)
        await nothing_open(server, client)


async def test_a_reader_at_the_peer_that_leaves_stops_our_writing() -> None:
    async with connected(MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        sink, numbers = channel(int, buffer=1)
        reading = flows.read_some(numbers, 5)
        del numbers
        with anyio.fail_after(60), pytest.raises(StreamStopped):
            await write_on(sink)
        assert await reading == [0, 1, 2, 3, 4]
        release(flows)
        await nothing_open(server, client)


async def test_our_writer_going_away_fails_the_reader_at_the_peer() -> None:
    async with connected(MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        sink, numbers = channel(int)
        adding = flows.add(numbers)
        del numbers
        await sink.send(1)
        del sink
        gc.collect()
        with pytest.raises(CallCancelled) as caught:
            await adding
        assert caught.value.reason == "abandoned"
        release(flows)
        await nothing_open(server, client)


# --- ends in results and in items ---


async def test_a_sink_in_a_result() -> None:
    """The peer hands out the writing end: what is sent here is read there."""
    async with connected(implementation := MemFlows(), limits=Limits(stream_items=64)) as (server, client):
        flows = await client.bootstrap(Flows)
        implementation.own_sink, numbers = channel(int)
        sink = await flows.open_sink()
        implementation.own_sink = None
        async with sink:
            for number in range(300):
                await sink.send(number)
                assert await anext(numbers) == number
        assert [n async for n in numbers] == []
        release(flows)
        await nothing_open(server, client)


async def test_a_sink_in_a_result_is_stopped_from_there() -> None:
    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        implementation.own_sink, numbers = channel(int, buffer=1)
        sink = await flows.open_sink()
        implementation.own_sink = None
        await sink.send(1)
        assert await anext(numbers) == 1
        await numbers.aclose()
        await until(lambda: not client.stats()["streams"])
        with pytest.raises(StreamStopped):
            await sink.send(2)
        release(flows)
        await nothing_open(server, client)


class Desk(Cap, name="test.Desk"):
    """Ends of every kind, in every place."""

    @stream
    def doors(self, count: int) -> Stream[Sink[Post]]: ...
    @call
    async def watch(self, sink: Sink[Item]) -> None: ...
    @call
    async def watch_all(self, sinks: dict[str, Sink[Stream[int]]]) -> None: ...


class MemDesk(Desk):
    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.items = [MemItem(str(number)) for number in range(200)]

    async def doors(self, count: int) -> Stream[Sink[Post]]:
        for _ in range(count):
            sink, posts = channel(Post)
            yield sink
            del sink
            self.posts += [post async for post in posts]

    async def watch(self, sink: Sink[Item]) -> None:
        async with sink:
            for item in self.items:
                await sink.send(item)

    async def watch_all(self, sinks: dict[str, Sink[Stream[int]]]) -> None:
        for name, sink in sinks.items():
            async with sink:
                for count in range(3):
                    await sink.send(self._numbers(len(name) + count))

    async def _numbers(self, count: int) -> Stream[int]:
        for number in range(count):
            yield number


async def test_sinks_as_items_and_sinks_of_data() -> None:
    async with connected(implementation := MemDesk()) as (server, client):
        desk = await client.bootstrap(Desk)
        number = 0
        async for door in desk.doors(3):
            async with door:
                await door.send(Post(number, "x"))
            number += 1
        assert implementation.posts == [Post(n, "x") for n in range(3)]
        release(desk)
        await nothing_open(server, client)


async def test_sinks_of_capabilities() -> None:
    """Rule R31: what was sent lives with the item, on either side of the buffer."""
    async with connected(implementation := MemDesk(), client_limits=Limits(stream_items=64)) as (server, client):
        desk = await client.bootstrap(Desk)
        sink, items = channel(Item)
        watching = desk.watch(sink)
        del sink
        assert [await item.label() async for item in items] == [str(number) for number in range(200)]
        await watching
        sink, items = channel(Item, buffer=1)
        watching = desk.watch(sink)
        del sink
        assert await (await anext(items)).label() == "0"
        await items.aclose()
        with pytest.raises(CapnetError):
            await watching
        release(desk)
        await nothing_open(server, client)
        await until(lambda: {item.closed for item in implementation.items} == {1})


async def test_sinks_of_streams_in_a_container() -> None:
    async with connected(MemDesk()) as (server, client):
        desk = await client.bootstrap(Desk)
        ends = {name: channel(Stream[int]) for name in ("", "a", "bcd")}
        watching = desk.watch_all({name: sink for name, (sink, _) in ends.items()})
        found = {name: [[n async for n in inner] async for inner in outer] for name, (_, outer) in ends.items()}
        assert found == {name: [list(range(len(name) + count)) for count in range(3)] for name in ends}
        await watching
        release(desk)
        await nothing_open(server, client)


async def test_a_sink_where_a_stream_is_declared_and_the_other_way_round() -> None:
    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        sink, numbers = channel(int)
        with pytest.raises(InvalidArgument):
            await flows.add(cast("Any", sink))
        with pytest.raises(InvalidArgument):
            await flows.keep_sink(cast("Any", numbers))
        assert implementation.sink is None
        release(flows)
        await nothing_open(server, client)


# --- who holds them ---


async def test_nobody_but_their_users_holds_the_ends() -> None:
    """After its end a sink is collected although the reading end lives, and the other way round."""
    async with connected(implementation := MemFlows()) as (server, client):
        flows = await client.bootstrap(Flows)
        gc.collect()
        gc.disable()  # by counting alone
        try:
            sink, numbers = channel(int)
            gone = weakref.ref(cast("Any", sink)._broadcast)
            remote = await kept_sink(flows, implementation, sink)
            del sink
            await remote.send(1)
            await remote.aclose()
            assert [n async for n in numbers] == [1]
            await until(lambda: not client.stats()["streams"])
            await until(lambda: gone() is None)
        finally:
            gc.enable()
        release(flows)
        await nothing_open(server, client)


async def test_a_call_that_fails_drops_the_sink_it_took() -> None:
    """Rule R9: the reader does not wait for a writer that will never be."""

    class Refusing(MemFlows):
        async def keep_sink(self, sink: Sink[int]) -> None:
            raise NotFound("not today")

    async with connected(Refusing()) as (server, client):
        flows = await client.bootstrap(Flows)
        sink, numbers = channel(int)
        with pytest.raises(NotFound):
            await flows.keep_sink(sink)
        del sink
        with anyio.fail_after(60), pytest.raises(CallCancelled):
            await anext(numbers)
        release(flows)
        await nothing_open(server, client)


async def test_over_a_socket_with_many_writers() -> None:
    """64 channels at once, each written at the far end, with a window of two."""
    async with socket_pair(limits=Limits(stream_items=2)) as (server, client):  # so the server is who reads
        client.serve(implementation := MemFlows())
        flows = await server.bootstrap(Flows)
        remotes: list[Sink[int]] = []
        readers: list[AsyncIterator[int]] = []
        for _ in range(64):
            sink, numbers = channel(int, buffer=2)
            remotes.append(await kept_sink(flows, implementation, sink))
            readers.append(numbers)
            del sink
        done: list[int] = []

        async def write(number: int) -> None:
            async with remotes[number] as remote:
                for item in range(20):
                    await remote.send(item * number)

        async def read(number: int) -> None:
            assert [item async for item in readers[number]] == [item * number for item in range(20)]
            done.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(64):
                tasks.start_soon(write, number)
                tasks.start_soon(read, number)
        assert sorted(done) == list(range(64))
        remotes.clear()
        readers.clear()
        release(flows)
        await nothing_open(server, client)
