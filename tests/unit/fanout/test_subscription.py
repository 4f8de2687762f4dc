"""One reader: what it finds, who may read, and how it leaves, also by being collected in another thread."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from anyio.to_thread import run_sync

from capnet import InvalidArgument, Revoked
from capnet.fanout import Broadcast, Subscription
from capnet.fanout.inbox import Wait
from tests.unit.fanout.steps import rest, step


def test_a_subscription_is_a_stream() -> None:
    assert isinstance(Broadcast[int]().subscribe(), AsyncGenerator)


@pytest.mark.parametrize("options", [{"buffer": 0}, {"buffer": -1}, {"policy": "newest"}])
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        Broadcast[int](**options)
    broadcast = Broadcast[int]()
    with pytest.raises(InvalidArgument):
        broadcast.subscribe(**options)
    assert broadcast.subscribers == 0


def test_a_step_that_finds_an_item_does_not_wait() -> None:
    broadcast = Broadcast[int]()
    subscription = broadcast.subscribe()
    for number in range(3):
        broadcast.send_nowait(number)
    assert [step(subscription) for _ in range(3)] == [0, 1, 2]


async def test_a_reader_waits_for_items() -> None:
    broadcast, seen = Broadcast[int](), list[int]()

    async def read(subscription: Subscription[int]) -> None:
        async for item in subscription:
            seen.append(item)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read, broadcast.subscribe())
        for number in range(3):
            await anyio.wait_all_tasks_blocked()
            assert seen == list(range(number))
            broadcast.send_nowait(number)
        broadcast.close()
    assert seen == [0, 1, 2]


async def test_two_tasks_must_not_read_at_once() -> None:
    broadcast, seen = Broadcast[int](), list[int]()
    subscription = broadcast.subscribe()

    async def read() -> None:
        seen.append(await anext(subscription))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(RuntimeError):
            await anext(subscription)
        broadcast.send_nowait(1)
        with pytest.raises(RuntimeError):  # the first one has been woken; the item is its
            await anext(subscription)
    assert seen == [1]


async def test_cancelling_a_reader_loses_no_item() -> None:
    broadcast, seen = Broadcast[int](), list[int]()
    subscription = broadcast.subscribe()

    async def read() -> None:
        seen.append(await anext(subscription))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        broadcast.send_nowait(1)  # the reader is woken, and cancelled before it runs
        tasks.cancel_scope.cancel()
    broadcast.send_nowait(2)
    broadcast.close()
    assert seen + rest(subscription) == [1, 2]


async def test_a_cancelled_wait_leaves_the_item_for_the_next_step() -> None:
    broadcast = Broadcast[int]()
    subscription = broadcast.subscribe()
    with anyio.move_on_after(0) as scope:
        await anext(subscription)
    assert scope.cancelled_caught
    broadcast.send_nowait(1)
    assert await anext(subscription) == 1


async def test_closing_ends_the_task_that_reads() -> None:
    broadcast = Broadcast[int]()
    subscription = broadcast.subscribe()

    async def read() -> None:
        assert [item async for item in subscription] == []

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        await subscription.aclose()
        assert broadcast.subscribers == 0
    await subscription.aclose()


async def test_what_was_not_read_is_dropped_by_closing() -> None:
    broadcast = Broadcast[int](buffer=1, policy="drop-newest")
    subscription = broadcast.subscribe(on_lag=lambda lost: -lost)
    broadcast.send_nowait(1)
    broadcast.send_nowait(2)
    broadcast.fail(Revoked())
    await subscription.aclose()
    assert rest(subscription) == []


async def test_leaving_the_loop_leaves_the_audience() -> None:
    broadcast = Broadcast[int]()
    async with aclosing(broadcast.subscribe()) as subscription:
        broadcast.send_nowait(1)
        async for _ in subscription:
            break
        assert broadcast.subscribers == 1
    assert broadcast.subscribers == 0


async def test_the_rest_of_the_generator_protocol() -> None:
    broadcast = Broadcast[int]()
    one, other = broadcast.subscribe(), broadcast.subscribe()
    broadcast.send_nowait(1)
    assert await one.asend(None) == 1
    with pytest.raises(KeyError):
        await one.athrow(KeyError("k"))
    with pytest.raises(KeyError):
        await other.athrow(KeyError)
    assert broadcast.subscribers == 0 and rest(other) == []
    with pytest.raises(KeyError):
        await one.athrow(KeyError, KeyError("k"))


@pytest.mark.parametrize("started", [False, True])
def test_one_that_is_collected_leaves_at_once(started: bool) -> None:
    broadcast = Broadcast[int]()
    subscription = broadcast.subscribe()
    broadcast.send_nowait(1)
    if started:
        step(subscription)
    assert broadcast.subscribers == 1
    del subscription
    assert broadcast.subscribers == 0
    broadcast.send_nowait(2)


def test_subscriptions_do_not_keep_the_broadcast() -> None:
    broadcast = Broadcast[int]()
    subscription, gone = broadcast.subscribe(), weakref.ref(broadcast)
    broadcast.send_nowait(1)
    del broadcast
    assert gone() is None
    assert rest(subscription) == [1]


class Knot:
    """Keeps something until the collector comes by."""

    def __init__(self, kept: object) -> None:
        self.kept = kept
        self.itself = self


@pytest.mark.parametrize("elsewhere", [False, True], ids=["own thread", "other thread"])
async def test_a_send_does_not_wait_for_one_that_was_collected(elsewhere: bool) -> None:
    broadcast = Broadcast[int](buffer=1)
    broadcast_to = [broadcast.subscribe()]
    broadcast.send_nowait(1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(broadcast.send, 2)
        await anyio.wait_all_tasks_blocked()
        assert broadcast.subscribers == 1
        Knot(broadcast_to.pop())
        if elsewhere:
            await run_sync(gc.collect)
        else:
            gc.collect()
        assert broadcast.subscribers == 0


async def test_a_send_does_not_wait_for_one_that_was_closed() -> None:
    broadcast = Broadcast[int](buffer=1)
    closed, other = broadcast.subscribe(), broadcast.subscribe(buffer=2)
    broadcast.send_nowait(1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(broadcast.send, 2)
        await anyio.wait_all_tasks_blocked()
        await closed.aclose()
    broadcast.close()
    assert rest(other) == [1, 2] and rest(closed) == []


@pytest.mark.parametrize("elsewhere", [False, True], ids=["own thread", "other thread"])
async def test_readers_do_not_wait_for_a_broadcast_that_was_collected(elsewhere: bool) -> None:
    kept = [Broadcast[int]()]
    seen: list[int] = []

    async def read(subscription: AsyncIterator[int]) -> None:
        seen.extend([item async for item in subscription])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read, kept[0].subscribe())
        kept[0].send_nowait(1)
        await anyio.wait_all_tasks_blocked()
        Knot(kept.pop())
        if elsewhere:
            await run_sync(gc.collect)
        else:
            gc.collect()
    assert seen == [1]


def test_collected_after_the_loop_has_ended() -> None:
    """A task that still waits when its loop ends is no reason for a finaliser to fail."""
    broadcast = Broadcast[int]()
    subscription = broadcast.subscribe()
    kept: list[Any] = []

    async def abandon() -> None:
        wait = subscription._inbox.reader
        kept.append(wait.until(lambda: False))
        kept[0].send(None)
        await checkpoint()

    anyio.run(abandon)
    del broadcast
    kept[0].close()
    assert rest(subscription) == []


async def test_a_wait_looks_again_after_it_can_be_woken() -> None:
    """What a finaliser in another thread changes between the first look and the wait is not missed."""
    looks = iter([False, True])
    wait = Wait()
    with anyio.fail_after(60):
        await wait.until(lambda: next(looks))
    assert wait.changed is None
    wait.wake()
    wait.wake_from_anywhere()
