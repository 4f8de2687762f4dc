"""Every policy, what a cancelled send leaves behind, ends, and all of it against a model made of plain lists."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from capnet import Cap, FailedPrecondition, ResourceExhausted, Revoked, Stream, stream
from capnet.fanout import Broadcast, BufferPolicy, Subscription
from tests.unit.fanout.steps import rest, step


class Feed(Cap, name="test.Feed"):
    @stream
    def follow(self) -> Stream[int]: ...


class FeedService(Feed):
    def __init__(self) -> None:
        self.posts = Broadcast[int](buffer=100, policy="drop-oldest")

    def follow(self) -> Stream[int]:
        return self.posts.subscribe()


def lost(count: int) -> int:
    """Stands for dropped items where the items are numbers from 0."""
    return -count


async def test_an_implementation_returns_a_subscription() -> None:
    service = FeedService()
    one, other = service.follow(), service.follow()
    await service.posts.send(1)
    service.posts.close()
    assert [item async for item in one] == [item async for item in other] == [1]


# --- policies ---


def test_drop_oldest() -> None:
    broadcast = Broadcast[int](buffer=2, policy="drop-oldest")
    silent, told = broadcast.subscribe(), broadcast.subscribe(on_lag=lost)
    for number in range(5):
        broadcast.send_nowait(number)
    assert [step(told), step(told)] == [-3, 3]
    for number in range(5, 7):
        broadcast.send_nowait(number)
    broadcast.close()
    assert rest(told) == [-1, 5, 6] and told.lagged == 4
    assert rest(silent) == [5, 6] and silent.lagged == 5


def test_drop_newest() -> None:
    broadcast = Broadcast[int](buffer=2, policy="drop-newest")
    silent, told = broadcast.subscribe(), broadcast.subscribe(on_lag=lost)
    for number in range(4):
        broadcast.send_nowait(number)
    assert [step(told), step(silent)] == [0, 0]
    for number in range(4, 7):
        broadcast.send_nowait(number)
    broadcast.close()
    assert rest(told) == [1, -2, 4, -2] and told.lagged == 4
    assert rest(silent) == [1, 4] and silent.lagged == 4


def test_fail_ends_that_subscriber_only() -> None:
    broadcast = Broadcast[int](buffer=2, policy="fail")
    slow, other = broadcast.subscribe(), broadcast.subscribe(buffer=9)
    for number in range(3):
        broadcast.send_nowait(number)
    assert broadcast.subscribers == 1
    assert [step(slow), step(slow)] == [0, 1]
    with pytest.raises(ResourceExhausted) as caught:
        step(slow)
    assert caught.value.reason == "lagged" and slow.lagged == 1
    assert rest(slow) == []
    broadcast.close()
    assert rest(other) == [0, 1, 2]


async def test_wait_delays_the_sender_and_no_other_reader() -> None:
    broadcast = Broadcast[int](buffer=1)
    stalled, quick = broadcast.subscribe(), broadcast.subscribe(buffer=9)
    done: list[int] = []

    async def send(number: int) -> None:
        await broadcast.send(number)
        done.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(send, number)
            await anyio.wait_all_tasks_blocked()
        assert done == [0]
        assert [step(quick) for _ in range(4)] == [0, 1, 2, 3]
        for number in range(4):  # first come, first served
            assert step(stalled) == number
            await anyio.wait_all_tasks_blocked()
            assert done == list(range(min(number + 2, 4)))
    assert stalled.lagged == 0


def test_send_nowait_is_all_or_nothing() -> None:
    broadcast = Broadcast[int](buffer=1)
    full, other = broadcast.subscribe(), broadcast.subscribe(buffer=9)
    broadcast.send_nowait(0)
    with pytest.raises(ResourceExhausted) as caught:
        broadcast.send_nowait(1)
    assert caught.value.reason == "buffer_full"
    assert step(full) == 0
    broadcast.send_nowait(2)
    broadcast.close()
    assert rest(full) == [2] and rest(other) == [0, 2]


async def test_everybody_waits_for_nobody_without_subscribers() -> None:
    broadcast = Broadcast[int](buffer=1)
    for number in range(3):
        await broadcast.send(number)
    assert broadcast.subscribers == 0


@pytest.mark.parametrize("first", ["leaves", "reads"])
async def test_a_send_ends_when_one_leaves_and_another_reads_in_the_same_turn(first: str) -> None:
    broadcast = Broadcast[int](buffer=1)
    leaving, reading = broadcast.subscribe(), broadcast.subscribe()
    broadcast.send_nowait(0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(broadcast.send, 1)
        await anyio.wait_all_tasks_blocked()
        if first == "reads":
            assert step(reading) == 0
        await leaving.aclose()
        if first == "leaves":
            assert step(reading) == 0
    assert step(reading) == 1


# --- cancelling a send ---


async def test_cancelled_before_its_turn_a_send_reaches_nobody() -> None:
    broadcast = Broadcast[int]()
    subscription = broadcast.subscribe()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await broadcast.send(1)
    broadcast.close()
    assert scope.cancelled_caught and rest(subscription) == []


async def test_cancelled_while_it_waits_a_send_is_withdrawn_from_those_who_lack_it() -> None:
    broadcast = Broadcast[int](buffer=1)
    full, freed, roomy = broadcast.subscribe(), broadcast.subscribe(), broadcast.subscribe(buffer=9)
    broadcast.send_nowait(0)
    scopes = [anyio.CancelScope(), anyio.CancelScope()]

    async def send(number: int, scope: anyio.CancelScope) -> None:
        with scope:
            await broadcast.send(number)

    async with anyio.create_task_group() as tasks:
        for number, scope in enumerate(scopes, 1):
            tasks.start_soon(send, number, scope)
            await anyio.wait_all_tasks_blocked()
        assert step(freed) == 0
        scopes[0].cancel()
        await anyio.wait_all_tasks_blocked()
        assert [step(full), step(full)] == [0, 2]
        assert [step(freed), step(freed)] == [1, 2]
    assert scopes[0].cancelled_caught and not scopes[1].cancelled_caught
    broadcast.close()
    assert rest(roomy) == [0, 1, 2] and rest(full) == rest(freed) == []


# --- ends ---


def test_a_clean_end_comes_after_the_items() -> None:
    broadcast = Broadcast[int]()
    subscription = broadcast.subscribe()
    broadcast.send_nowait(1)
    broadcast.close()
    broadcast.close()
    assert broadcast.subscribers == 0
    assert rest(subscription) == [1] and rest(broadcast.subscribe()) == []
    with pytest.raises(FailedPrecondition) as caught:
        broadcast.send_nowait(2)
    assert caught.value.reason == "closed"


async def test_send_after_the_end() -> None:
    broadcast = Broadcast[int]()
    await broadcast.aclose()
    with pytest.raises(FailedPrecondition) as caught:
        await broadcast.send(1)
    assert caught.value.reason == "closed"


@pytest.mark.parametrize("error", [Revoked("gone", details={"by": "host"}), KeyError("k")])
def test_an_error_for_all_comes_once_to_each_after_the_items(error: Exception) -> None:
    broadcast = Broadcast[int]()
    subscriptions = [broadcast.subscribe() for _ in range(3)]
    broadcast.send_nowait(1)
    broadcast.fail(error)
    broadcast.close()
    depths: set[int] = set()
    for subscription in [*subscriptions, broadcast.subscribe()]:
        if subscription in subscriptions:
            assert step(subscription) == 1
        with pytest.raises(type(error)) as caught:
            step(subscription)
        depths.add(len(caught.traceback))
        assert caught.value.args == error.args
        assert getattr(caught.value, "details", None) == getattr(error, "details", None)
        assert rest(subscription) == []
    assert len(depths) == 1  # the traceback does not grow from reader to reader


def test_an_error_that_cannot_be_told_leaves_the_end_to_others() -> None:
    class Silent(KeyError):
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(name)

    broadcast = Broadcast[int]()
    subscription = broadcast.subscribe()
    with pytest.raises(RuntimeError):
        broadcast.fail(Silent())
    broadcast.close()
    assert rest(subscription) == []


async def test_items_whose_sends_wait_are_read_before_the_end() -> None:
    broadcast = Broadcast[int](buffer=1)
    subscription = broadcast.subscribe()
    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(broadcast.send, number)
            await anyio.wait_all_tasks_blocked()
        broadcast.fail(Revoked())
    assert [step(subscription) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(Revoked):
        step(subscription)


async def test_the_end_of_the_block_is_the_end_of_the_streams() -> None:
    async with Broadcast[int]() as broadcast:
        subscription = broadcast.subscribe()
        await broadcast.send(1)
    assert rest(subscription) == [1]


async def test_an_error_that_leaves_the_block_reaches_the_readers() -> None:
    broadcast = Broadcast[int]()
    subscription = broadcast.subscribe()
    with pytest.raises(Revoked):
        async with broadcast:
            raise Revoked
    with pytest.raises(Revoked):
        step(subscription)


async def test_cancelling_the_block_ends_the_streams() -> None:
    broadcast = Broadcast[int]()
    subscription = broadcast.subscribe()
    with anyio.CancelScope() as scope:
        async with broadcast:
            scope.cancel()
            await checkpoint()
    assert rest(subscription) == []


# --- size ---


async def test_a_thousand_subscribers() -> None:
    broadcast, seen = Broadcast[int](buffer=4), list[list[int]]()

    async def read(subscription: AsyncIterator[int]) -> None:
        seen.append([item async for item in subscription])

    async with anyio.create_task_group() as tasks:
        for _ in range(1000):
            tasks.start_soon(read, broadcast.subscribe())
        assert broadcast.subscribers == 1000
        for number in range(20):
            await broadcast.send(number)
        broadcast.close()
    assert seen == [list(range(20))] * 1000


@pytest.mark.parametrize("policy", ["drop-oldest", "drop-newest"])
def test_a_stalled_reader_costs_no_memory(policy: BufferPolicy) -> None:
    broadcast = Broadcast[bytes](buffer=16, policy=policy)
    subscription = broadcast.subscribe(on_lag=lambda count: b"%d" % count)
    tracemalloc.start()
    try:
        for _ in range(100):
            broadcast.send_nowait(bytes(100))
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(20_000):
            broadcast.send_nowait(bytes(100))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 4096
    assert subscription.lagged == 20_100 - 16


# --- the model ---


class Reader:
    """A subscriber as a plain list; negative numbers stand for what was dropped."""

    def __init__(self, capacity: int, policy: BufferPolicy, told: bool) -> None:
        self.capacity, self.policy, self.told = capacity, policy, told
        self.entries: list[int] = []
        self.waiting: list[int] = []
        self.lagged = 0
        self.end: str | None = None

    def full(self) -> bool:
        return sum(entry >= 0 for entry in self.entries) >= self.capacity

    def give(self, item: int) -> None:
        if self.end:
            return
        if not self.full():
            self.entries.append(item)
        elif self.policy == "wait":
            self.waiting.append(item)
        else:
            self.lagged += 1
            self.drop(item)

    def drop(self, item: int) -> None:
        if self.policy == "fail":
            self.end = "lagged"
        elif self.policy == "drop-oldest":
            first = next(place for place, entry in enumerate(self.entries) if entry >= 0)
            self.entries = [sum(self.entries[:first]) - 1] * self.told + self.entries[first + 1 :] + [item]
        elif self.told and self.entries[-1] < 0:
            self.entries[-1] -= 1
        elif self.told:
            self.entries.append(-1)

    def read(self) -> int | str | None:
        """An item, how it ends, or None when there is nothing yet."""
        if not self.entries:
            end, self.end = self.end, self.end and "clean"
            return end
        entry = self.entries.pop(0)
        if entry >= 0 and self.waiting:
            self.entries.append(self.waiting.pop(0))
        return entry

    def finish(self, end: str) -> None:
        if not self.end:
            self.end = end
            self.entries += self.waiting
            self.waiting.clear()

    def leave(self) -> None:
        self.end = "clean"
        self.entries.clear()
        self.waiting.clear()


async def found(subscription: Subscription[int]) -> int | str | None:
    """What `Reader.read` says, of the real one; a wait is cancelled at once and must change nothing."""
    try:
        with anyio.move_on_after(0):
            return await anext(subscription)
    except StopAsyncIteration:
        return "clean"
    except (ResourceExhausted, Revoked) as error:
        return error.reason
    return None


class Both:
    """A broadcast and its model, taken through the same steps."""

    def __init__(self) -> None:
        self.broadcast = Broadcast[int]()
        self.pairs: list[tuple[Subscription[int], Reader]] = []
        self.sends: dict[int, anyio.CancelScope] = {}
        self.count = 0
        self.ended: str | None = None

    async def send(self, item: int) -> None:
        with anyio.CancelScope() as scope:
            self.sends[item] = scope
            try:
                await self.broadcast.send(item)
            except FailedPrecondition:
                assert self.ended
        del self.sends[item]

    def give(self, item: int) -> None:
        for _, reader in self.pairs:
            reader.give(item)

    def subscribe(self, capacity: int, policy: BufferPolicy, told: bool) -> None:
        reader = Reader(capacity, policy, told)
        reader.end = self.ended
        self.pairs.append(
            (self.broadcast.subscribe(buffer=capacity, policy=policy, on_lag=lost if told else None), reader)
        )

    async def read(self, index: int) -> None:
        if self.pairs:
            subscription, reader = self.pairs[index % len(self.pairs)]
            assert await found(subscription) == reader.read()
            assert subscription.lagged == reader.lagged

    async def leave(self, index: int, collected: bool) -> None:
        if self.pairs:
            subscription, reader = self.pairs[index % len(self.pairs)]
            reader.leave()
            if collected:
                del self.pairs[index % len(self.pairs)]
            else:
                await subscription.aclose()

    def send_nowait(self, item: int) -> None:
        full = any(reader.policy == "wait" and reader.full() and not reader.end for _, reader in self.pairs)
        try:
            self.broadcast.send_nowait(item)
        except ResourceExhausted:
            assert full
        except FailedPrecondition:
            assert self.ended
        else:
            assert not full and not self.ended
            self.give(item)

    def cancel(self, index: int) -> None:
        if self.sends:
            item = sorted(self.sends)[index % len(self.sends)]
            self.sends[item].cancel()
            for _, reader in self.pairs:
                if item in reader.waiting:
                    reader.waiting.remove(item)

    def end(self, failed: bool) -> None:
        self.broadcast.fail(Revoked()) if failed else self.broadcast.close()
        self.ended = self.ended or ("revoked" if failed else "clean")
        for _, reader in self.pairs:
            reader.finish(self.ended)

    async def settle(self) -> None:
        """Let every task go as far as it can: none needs more turns of the loop than this."""
        for _ in range(8):
            await checkpoint()

    def check(self) -> None:
        assert set(self.sends) == {item for _, reader in self.pairs for item in reader.waiting}
        assert self.broadcast.subscribers == sum(reader.end is None for _, reader in self.pairs)


INDEX = st.integers(0, 5)
STEP = st.one_of(
    st.tuples(st.just("send")),
    st.tuples(st.just("send_nowait")),
    st.tuples(
        st.just("subscribe"),
        st.integers(1, 3),
        st.sampled_from(["wait", "drop-oldest", "drop-newest", "fail"]),
        st.booleans(),
    ),
    st.tuples(st.just("read"), INDEX),
    st.tuples(st.just("read"), INDEX),
    st.tuples(st.just("cancel"), INDEX),
    st.tuples(st.just("leave"), INDEX, st.booleans()),
)


@given(steps=st.lists(STEP, max_size=40), failed=st.booleans(), late=st.integers(0, 3))
async def test_it_does_what_the_model_does(steps: list[tuple[object, ...]], failed: bool, late: int) -> None:
    both = Both()
    end_at = len(steps) - late
    async with anyio.create_task_group() as tasks:
        for number, (name, *options) in enumerate(steps):
            if number == end_at:
                both.end(failed)
            if name == "send":
                tasks.start_soon(both.send, number)
                if not both.ended:
                    both.give(number)
            elif name == "send_nowait":
                both.send_nowait(number)
            else:
                done = getattr(both, str(name))(*options)
                if done is not None:
                    await done
            await both.settle()
            both.check()
        both.end(failed)
    for subscription, reader in both.pairs:
        expected: int | str | None = 0
        while expected != "clean":
            expected = reader.read()
            assert await found(subscription) == expected
