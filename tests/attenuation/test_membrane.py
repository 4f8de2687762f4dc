"""`Membrane`: what crosses is wrapped, transitively, and one call ends it all."""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import aclosing
from typing import Any, cast
from weakref import ref

import anyio
import pytest

from capnet import (
    Crossing,
    InvalidArgument,
    Membrane,
    PermissionDenied,
    Revoked,
    Sink,
    StreamStopped,
    cast_cap,
    channel,
    on_broken,
    restrict,
    restrictions,
)
from capnet.observe import HandlerFailed
from capnet.testing import connected
from tests.attenuation.store import Box, Desk, MemDesk, MemStore, Store
from tests.connection.shop import socket_pair, until
from tests.connection.tree import assert_nothing_left


async def given(*stores: Store) -> AsyncGenerator[Store]:
    for store in stores:
        yield store


async def test_what_comes_out_is_wrapped() -> None:
    """In results, items of streams, containers and dataclasses; one object has one wrapper while that lives."""
    desk = MemDesk()
    membrane = Membrane()
    outside = membrane.wrap(desk)
    assert outside is membrane.wrap(desk) and outside is not desk and isinstance(outside, Desk)
    store = await outside.open("a")
    assert store is not desk.made["a"] and await store.read("name") == "a"
    assert await outside.open("a") is store
    box = await outside.box()
    assert box.store is store and box is not await outside.box()
    (deeper,) = box.more["b"]
    assert deeper is not desk.made["b"] and await deeper.read("name") == "b"
    assert box.point[1] is await outside.open("c")
    assert [await one.read("name") async for one in outside.stores(3)] == ["0", "1", "2"]
    assert desk.made["0"] not in [one async for one in outside.stores(3)]
    assert await (await store.sub("x")).read("name") == "x"


async def test_what_goes_in_is_wrapped_the_other_way() -> None:
    desk, mine = MemDesk(), MemStore({"name": "mine"})
    outside = Membrane().wrap(desk)
    await outside.keep(mine)
    assert desk.seen[-1] is not mine and await desk.seen[-1].read("name") == "mine"
    assert await outside.same(mine)
    assert await outside.unpack(Box(mine, {"k": [mine]}, (1, mine))) == ["mine"] * 3
    assert desk.seen[-1].store is desk.seen[0] and desk.seen[-1].more["k"] == [desk.seen[0]]
    assert await outside.names(given(mine, mine)) == ["mine", "mine"]
    assert desk.seen[-1] is desk.seen[0]


async def test_in_and_out_again_is_the_original() -> None:
    desk, mine = MemDesk(), MemStore()
    outside = Membrane().wrap(desk)
    await outside.keep(mine)
    assert await outside.kept() is mine
    store = await outside.open("a")
    await outside.keep(store)
    assert desk.seen[-1] is desk.made["a"]
    assert await outside.kept() is store
    assert await outside.anything([mine, {"k": store}]) == [mine, {"k": store}]
    assert desk.seen.pop()[1]["k"] is desk.made["a"]


async def test_two_membranes_do_not_know_each_other() -> None:
    desk = MemDesk()
    one, two = Membrane(), Membrane()
    first, second = one.wrap(desk), two.wrap(desk)
    assert first is not second
    store = await first.open("a")
    await second.keep(store)
    assert desk.seen[-1] is not desk.made["a"] and desk.seen[-1] is not store
    one.cut()
    with pytest.raises(Revoked):
        await desk.seen[-1].read("name")
    assert await (await second.open("a")).read("name") == "a"


async def test_functions_are_wrapped_both_ways() -> None:
    async def mine(about: str) -> str:
        return f"outside says {about}"

    desk = MemDesk()
    membrane = Membrane()
    outside = membrane.wrap(desk)
    assert await outside.ask(mine, "x") == "outside says x"
    assert desk.seen[-1] is not mine
    theirs = await outside.asker()
    assert await theirs("y") == "inside says y" and theirs is await outside.asker()
    assert await outside.ask(theirs, "z") == "inside says z"
    assert desk.seen[-1] == desk.answer
    kept = desk.seen[0]
    membrane.cut()
    for function in (kept, theirs):
        with pytest.raises(Revoked):
            await function("late")


async def test_sinks_are_followed() -> None:
    """What is sent into one comes out the other way."""
    desk = MemDesk()
    outside = Membrane().wrap(desk)
    sink, stores = channel(Store)
    await outside.feed(sink, 2)
    found = [store async for store in stores]
    assert [await store.read("name") for store in found] == ["0", "1"]
    assert found[0] is not desk.made["0"] and found[0] is await outside.open("0")


async def test_what_cannot_be_wrapped_does_not_cross() -> None:
    """A function where none is declared, an object that is no data: they would be holes."""
    desk = MemDesk()
    outside = Membrane().wrap(desk)
    for value in (desk.answer, object(), [object()], MemStore):
        with pytest.raises(InvalidArgument) as caught:
            await outside.anything(value)
        assert caught.value.reason == "cannot_cross"
    assert desk.seen == []
    desk.seen.append(object())
    with pytest.raises(InvalidArgument):
        await outside.kept()
    with pytest.raises(InvalidArgument):
        Membrane().wrap(desk.answer)


async def test_the_policy_sees_each_call_that_crosses() -> None:
    """Only a real True admits, in both directions; what raises denies."""
    crossings: list[Crossing] = []
    verdict: Any = True

    def policy(crossing: Crossing) -> bool:
        crossings.append(crossing)
        if isinstance(verdict, Exception):
            raise verdict
        return cast("bool", verdict)

    desk, mine = MemDesk(), MemStore({"name": "mine"})
    outside = Membrane(policy).wrap(desk)
    box = Box(mine)
    await outside.unpack(box)
    assert crossings == [
        Crossing("in", "test.Desk", "unpack", {"box": box}),
        Crossing("out", "test.Store", "read", {"key": "name"}),
    ]
    for no in (1, None, "yes", False, KeyError("x")):
        verdict = no
        with pytest.raises(PermissionDenied) as caught:
            await outside.keep(mine)
        assert caught.value.reason == "membrane"
        with pytest.raises(PermissionDenied):
            outside.stores(1)
    assert len(desk.seen) == 1


async def test_a_cut_ends_it_all() -> None:
    """Running calls in both directions, streams, sinks, and everything that comes later; what is inside goes on."""
    desk, mine = MemDesk(), MemStore({"a": "1"})
    membrane = Membrane()
    outside = membrane.wrap(desk)
    store = await outside.open("s")
    inner = desk.made["s"]
    failed: list[str] = []

    async def use(what: Callable[[], Awaitable[object]]) -> None:
        try:
            await what()
        except Revoked as error:
            failed.append(error.message)

    keys = store.keys()
    assert await anext(keys) == "name"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(use, store.wait)
        tasks.start_soon(use, keys.__anext__)
        tasks.start_soon(use, lambda: outside.call_out(mine))
        await until(lambda: len(inner.gate.entered) == 2 and mine.gate.entered)
        membrane.cut("over")
        membrane.cut("twice")
    assert failed == ["over"] * 3 and membrane.is_cut
    assert sorted(inner.gate.cancelled) == ["keys", "wait"] and mine.gate.cancelled == ["wait"] and inner.ended == 1
    for late in (store.read("name"), outside.open("t"), desk.seen[-1].read("a")):
        with pytest.raises(Revoked):
            await late
    for late_stream in (store.keys, lambda: membrane.wrap(desk)):
        with pytest.raises(Revoked):
            late_stream()
    assert await inner.read("name") == "s" and await mine.read("a") == "1"


async def test_streams_that_were_opened_before_the_cut_bring_nothing_after_it() -> None:
    desk = MemDesk()
    membrane = Membrane()
    outside = membrane.wrap(desk)
    stores = outside.stores(5)
    await anext(stores)
    sink, items = channel(Store)
    filling: list[BaseException] = []

    async def fill() -> None:
        try:
            await outside.feed(sink, 1000)
        except Revoked as error:
            filling.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fill)
        await anext(items)
        membrane.cut()
    assert filling
    with pytest.raises(Revoked):
        await anext(stores)
    with pytest.raises(Revoked):
        async for _ in items:
            pass


async def test_across_a_real_connection() -> None:
    """Peers outside are told, whatever they hold, also of what they gave us; nothing is left in any table."""
    desk = MemDesk()
    membrane = Membrane()
    told: list[Any] = []

    class Mine(MemStore):
        pass

    mine = Mine({"name": "mine"})
    async with socket_pair(membrane.wrap(desk)) as (server, client):
        outside = await client.bootstrap(Desk)
        store = await outside.open("a")
        assert await outside.open("a") == store and await store.who() == ("client", "who")
        await outside.keep(mine)
        assert await outside.kept() is mine and await outside.same(mine)
        await outside.keep(store)
        assert desk.seen.pop() is desk.made["a"]
        box = await outside.box()
        assert box.store == store and await box.more["b"][0].read("name") == "b"
        assert await outside.names(given(mine, store)) == ["mine", "a"]
        assert [await one.read("name") async for one in outside.stores(2)] == ["0", "1"]
        assert await outside.ask(_asked, "x") == "asked x"
        assert await (await outside.asker())("y") == "inside says y"
        sink, stores = channel(Store)
        await outside.feed(sink, 2)
        assert [await one.read("name") async for one in stores] == ["0", "1"]
        watched: list[object] = [outside, store, *box.more["b"]]
        while watched:
            on_broken(watched.pop(), told.append)
        waiting, keys, out = store.wait(), store.keys(), outside.call_out(mine)
        assert await anext(keys) == "name"
        await until(lambda: desk.made["a"].gate.entered and mine.gate.entered)
        membrane.cut("over")
        for ended in (waiting, out, anext(keys)):
            with pytest.raises(Revoked):
                await ended
        await until(lambda: len(told) == 3 and desk.made["a"].ended == 1 and mine.gate.cancelled)
        assert {type(one) for one in told} == {Revoked}
        with pytest.raises(Revoked):
            await outside.open("late")
        with pytest.raises(Revoked):
            await desk.seen[0].read("name")
        del outside, store, box, waiting, keys, out, ended, sink, stores
        told.clear()
        desk.seen.clear()
        await assert_nothing_left(server, client)


async def _asked(about: str) -> str:
    return f"asked {about}"


async def test_around_a_proxy() -> None:
    """The inside may be another program; what comes home through both is the original."""
    desk = MemDesk()
    async with connected(desk) as (far, near):
        inside = await near.bootstrap(Desk)
        membrane = Membrane()
        async with connected(membrane.wrap(inside)) as (server, client):
            outside, mine = await client.bootstrap(Desk), MemStore({"name": "mine"})
            store = await outside.open("a")
            await outside.keep(store)
            assert desk.seen[-1] is desk.made["a"]
            await outside.keep(mine)
            assert await desk.seen[-1].read("name") == "mine" and await outside.kept() is mine
            assert [await one.read("name") async for one in outside.stores(2)] == ["0", "1"]
            assert await outside.names(given(mine)) == ["mine"]
            assert await outside.ask(_asked, "x") == "asked x"
            waiting = store.wait()
            await until(lambda: desk.made["a"].gate.entered)
            membrane.cut()
            with pytest.raises(Revoked):
                await waiting
            await until(lambda: desk.made["a"].gate.cancelled)
            with pytest.raises(Revoked):
                await desk.seen[0 if desk.seen[0] is not desk.made["a"] else 1].read("name")
            assert await (await inside.open("b")).read("name") == "b"
            desk.seen.clear()
            del outside, store, waiting
            await assert_nothing_left(server, client)
        del inside
        await assert_nothing_left(far, near)


async def test_it_keeps_nothing() -> None:
    """Weak tables: what nobody has on the other side is gone, and so is a membrane that nobody has anything through."""
    desk = MemDesk()
    membrane = Membrane()
    async with connected(membrane.wrap(desk)) as (server, client):
        outside = await client.bootstrap(Desk)
        for _ in range(20):
            await (await (await outside.open("a")).sub("b")).read("name")
            await outside.keep(MemStore())
            desk.seen.clear()
        del outside
        gc.collect()
        await assert_nothing_left(server, client)
        assert repr(membrane) == "<Membrane open, 1 across>"  # the one that is served
    gc.collect()
    assert repr(membrane) == "<Membrane open, 0 across>"
    known = ref(membrane)
    wrapped = membrane.wrap(desk)
    del membrane
    gc.collect()
    assert known() is not None and await (await wrapped.open("x")).read("name") == "x"
    del wrapped
    gc.collect()
    assert known() is None


async def test_what_is_inside_stays_open_while_it_is_held_outside() -> None:
    desk = MemDesk()
    async with connected(Membrane().wrap(desk)) as (server, client):
        outside = await client.bootstrap(Desk)
        store = await outside.open("a")
        inner = desk.made["a"]
        assert inner.closed < 1
        await store.aclose()
        await until(lambda: inner.closed)
        del outside, store
        await assert_nothing_left(server, client)
    assert inner.closed == 1


async def test_closing_what_one_was_given_takes_it_from_nobody_else() -> None:
    """One wrapper serves all on its side, so leaving its block cannot close it."""
    outside = Membrane().wrap(MemDesk())
    async with await outside.open("a") as store:
        pass
    assert await store.read("name") == "a"


async def test_restrictions_hold_and_are_seen_through_it() -> None:
    outside = Membrane().wrap(restrict(MemStore(), methods={"read"}, uses=2))
    with pytest.raises(PermissionDenied):
        await outside.write("a", "1")
    await outside.read("a")
    assert [(one.methods, one.uses_left) for one in await restrictions(outside)] == [(frozenset({"read"}), 1)]


async def test_leaving_a_stream_closes_its_source() -> None:
    store = MemStore({"a": "1"})
    async with aclosing(Membrane().wrap(store).keys()) as keys:
        assert await anext(keys) == "a"
        with anyio.move_on_after(0.01):
            await anext(keys)  # cancelling the wait of a generator ends it
    assert store.ended == 1


async def test_ends_of_streams_that_fail_tell_so() -> None:
    class Failing(MemDesk):
        async def feed(self, into: Sink[Store], count: int) -> None:
            await into.send(self.store)
            into.fail(PermissionDenied("enough"))

        async def names(self, stores: AsyncIterable[Store]) -> list[str]:
            iterator = cast("Any", stores)
            with pytest.raises(ValueError, match="stop"):
                await iterator.athrow(ValueError("stop"))
            return [name async for name in iterator]

    outside = Membrane().wrap(Failing())
    sink, stores = channel(Store)
    await outside.feed(sink, 1)
    assert await (await anext(stores)).read("name") == "inner"
    with pytest.raises(PermissionDenied):
        await anext(stores)
    assert await outside.names(given(MemStore())) == []


async def test_it_can_be_cut_from_within() -> None:
    """The call that does it is one of those that end."""
    membrane = Membrane()

    class Last(MemDesk):
        async def keep(self, store: Store) -> None:
            membrane.cut("from within")

    desk = Last()
    async with connected(membrane.wrap(desk)) as (server, client):
        outside = await client.bootstrap(Desk)
        with pytest.raises(Revoked):
            await outside.keep(MemStore())
        del outside
        await assert_nothing_left(server, client)
    with pytest.raises(Revoked):
        membrane.wrap(desk)


async def test_a_function_that_cannot_be_hashed() -> None:
    class Odd:
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            return True

        async def __call__(self, about: str) -> str:
            return f"odd {about}"

    outside = Membrane().wrap(MemDesk())
    assert await outside.ask(Odd(), "x") == "odd x"


async def _feed(desk: Desk, sink: Sink[Store], stopped: list[str | None]) -> None:
    try:
        await desk.feed(sink, 1000)
    except StreamStopped as error:
        stopped.append(error.reason)


async def test_a_sink_that_its_reader_has_left() -> None:
    """The writer on the other side is told, also by a peer that sends into it."""
    desk = MemDesk()
    outside = Membrane().wrap(desk)
    sink, stores = channel(Store)
    await stores.aclose()
    with pytest.raises(StreamStopped):
        await outside.feed(sink, 1)
    async with connected(desk) as (server, client):
        far = Membrane().wrap(await client.bootstrap(Desk))  # the sink goes through the membrane and then to the peer
        sink, stores = channel(Store)
        stopped: list[str | None] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_feed, far, sink, stopped)
            assert await (await anext(stores)).read("name") == "0"
            await stores.aclose()
        assert stopped == ["stopped"]
        del far, sink, stores, tasks
        await assert_nothing_left(server, client)


async def test_a_sink_that_is_closed_after_the_cut_ends_with_that() -> None:
    membrane = Membrane()

    class Late(MemDesk):
        async def feed(self, into: Sink[Store], count: int) -> None:
            self.seen.append(into)

    desk = Late()
    sink, stores = channel(Store)
    await membrane.wrap(desk).feed(sink, 0)
    membrane.cut()
    with pytest.raises(Revoked):
        await desk.seen[0].aclose()
    with pytest.raises(Revoked):
        await anext(stores)


@pytest.mark.parametrize("way", ["aclose", "fail", "send"])
async def test_a_peer_that_ends_a_sink_after_the_cut_is_no_fault_of_ours(way: str) -> None:
    """The sink has gone through the membrane and then to the peer, who did not know of the cut."""

    class Late(MemDesk):
        async def feed(self, into: Sink[Store], count: int) -> None:
            self.seen.append(into)

    desk = Late()
    async with connected(desk) as (server, client):
        failed: list[HandlerFailed] = []
        client.on(HandlerFailed, failed.append)
        membrane = Membrane()
        sink, stores = channel(Store)
        far = membrane.wrap(await client.bootstrap(Desk))
        await far.feed(sink, 0)
        into = desk.seen.pop()
        membrane.cut("over")
        match way:
            case "aclose":
                await into.aclose()
            case "fail":
                into.fail(StreamStopped())
            case _:
                await into.send(MemStore())
        with pytest.raises(Revoked) as caught:
            await anext(stores)
        assert caught.value.message == "over"
        if way == "send":
            await into.aclose()
        await until(lambda: not client.stats()["streams"])
        await anyio.wait_all_tasks_blocked()
        assert not failed
        del far, sink, stores, into, caught
        await assert_nothing_left(server, client)


async def test_a_capability_of_unknown_contract_does_not_cross() -> None:
    """It came where anything is declared; whoever says what it is may pass it."""

    class Giving(MemDesk):
        async def anything(self, value: Any) -> Any:
            return self.store

    async with connected(Giving()) as (server, client):
        unknown = await (await client.bootstrap(Desk)).anything(None)
        inside = MemDesk()
        outside = Membrane().wrap(inside)
        with pytest.raises(InvalidArgument) as caught:
            await outside.anything(unknown)
        assert caught.value.reason == "cannot_cross" and not inside.seen
        assert await outside.anything(cast_cap(unknown, Store)) == unknown
        assert await inside.seen.pop().read("name") == "inner"
        del unknown, outside, caught  # an error holds what it went through
        await assert_nothing_left(server, client)
