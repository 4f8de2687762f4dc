"""Scopes: what a plugin was given and has begun ends together, the latest first, each once, whatever happens."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from sniffio import current_async_library

from capnet import (
    AlreadyExists,
    Cap,
    ContractError,
    FailedPrecondition,
    Host,
    InvalidArgument,
    NotFound,
    Revoked,
    Scope,
    Unavailable,
    call,
    connect,
)
from capnet.observe import CallFinished, HandlerFailed, NameServed, NameUnserved
from capnet.testing import connected
from tests.connection.shop import Gate, Item, MemItem, MemShop, Shop, until
from tests.connection.tree import assert_nothing_left
from tests.host.test_host import host_and_clients


def _all_more(now: list[int], before: list[int]) -> bool:
    return all(one > other for one, other in zip(now, before, strict=True))


async def all_revoked(calls: Sequence[Awaitable[object]]) -> None:
    """Each of them fails because its capability was revoked."""
    for running in calls:
        with pytest.raises(Revoked):
            await running


def _is_closed(scope: Scope) -> bool:
    return scope.closed


class Desk(Cap, name="test.Desk"):
    """Takes things."""

    @call
    async def put(self, item: Item) -> None: ...
    @call
    async def read(self) -> str: ...


class MemDesk(Desk):
    def __init__(self) -> None:
        self.item: Item | None = None

    async def put(self, item: Item) -> None:
        self.item = item

    async def read(self) -> str:
        assert self.item is not None
        return await self.item.label()


# --- names ---


async def test_what_is_served_in_a_scope_has_its_prefix_and_ends_with_it() -> None:
    host = Host()
    async with host_and_clients(host, 2) as clients:
        served, item = MemShop(), MemItem("it")
        async with host.scope("plug.foo") as scope:
            assert scope.serve(served).names == ("plug.foo.test.Shop",)
            scope.serve(item, name="thing")
            shops = [await client.bootstrap(Shop, name="plug.foo.test.Shop") for client in clients]
            calls = [shop.wait("x") for shop in shops]
            assert await (await clients[0].bootstrap(Item, name="plug.foo.thing")).label() == "it"
            with pytest.raises(NotFound):
                await clients[0].bootstrap(Shop)
            await until(lambda: len(served.gate.entered) == 2)
        await all_revoked(calls)
        for number in range(2):
            with pytest.raises(Revoked):
                await shops[number].add(1)
        with pytest.raises(NotFound):
            await clients[1].bootstrap(Item, name="plug.foo.thing")
        await until(lambda: (served.closed, item.closed) == (1, 1))
        assert len(served.gate.cancelled) == 2
        shops.clear()
        calls.clear()
        await assert_nothing_left(*clients)


async def test_serve_all_of_a_scope_is_atomic() -> None:
    async with connected() as (server, client), server.scope("a") as scope:
        with pytest.raises(ContractError):
            scope.serve_all(MemShop(), MemItem("one"), MemItem("two"))
        assert server.stats()["names"] == 0
        handle = scope.serve_all(MemShop(), MemItem("one"))
        assert handle.names == ("a.test.Shop", "a.test.Item")
        assert await (await client.bootstrap(Item, name="a.test.Item")).label() == "one"
        with pytest.raises(AlreadyExists) as caught:
            scope.serve_all(MemShop())
        assert caught.value.reason == "name_collision"
        assert scope.serve_all(MemShop(), if_exists="skip").names == ()


async def test_fault_25_a_plugin_is_reloaded_in_one_step_for_all_connections() -> None:
    """Fault 25: there a reload had to visit every connection by hand. Here: twenty times under load, nothing left."""
    host = Host()
    async with host_and_clients(host, 3) as clients:
        made: list[MemItem] = []
        read: list[int] = [0, 0, 0]

        async def use(number: int) -> None:
            while True:
                try:
                    item = await clients[number].bootstrap(Item, name="plug.test.Item", wait=10)
                    while True:
                        assert (await item.label()).startswith("round")
                        read[number] += 1
                except Revoked:
                    continue

        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(use, number)
            for turn in range(20):
                before = list(read)
                async with host.scope("plug") as scope:
                    made.append(MemItem(f"round {turn}"))
                    scope.serve(made[-1])
                    await until(partial(_all_more, read, before))
            tasks.cancel_scope.cancel()
        await until(lambda: [item.closed for item in made] == [1] * 20)
        await assert_nothing_left(*clients)


async def test_fault_26_a_scope_ends_what_is_its_own_and_nothing_else() -> None:
    """Fault 26: there unserve by name took anybody's registration. Here: a name that others have taken over stays."""
    async with connected() as (server, client):
        mine, theirs = MemItem("mine"), MemItem("theirs")
        scope = server.scope("a")
        scope.serve(mine, name="x")
        server.serve(theirs, name="a.x", if_exists="replace")
        await scope.aclose()
        assert await (await client.bootstrap(Item, name="a.x")).label() == "theirs"
        assert (mine.closed, theirs.closed) == (1, 0)


async def test_fault_26_handles_of_a_scope_are_harmless_after_its_end_and_after_the_close() -> None:
    """Fault 26: there it raised, or sent on a closed transport."""
    async with connected() as (server, _):
        scope = server.scope("a")
        handle, undo = scope.serve(MemItem("x")), scope.on(NameServed, print)
        take_out = scope.push(print)
        cancel = scope.start(anyio.sleep_forever)
        await server.aclose()
        await until(lambda: scope.closed)
        for again in range(2):
            handle.close()
            undo()
            take_out()
            cancel()
            await scope.aclose()
            assert again in (0, 1)


@pytest.mark.parametrize(
    ("first", "second"), [("a", "a"), ("a", "a.b"), ("a.b", "a"), ("a", "a.b.c"), ("a.b.c", "a"), ("a.b", "a.b.c")]
)
async def test_a_prefix_belongs_to_one_scope_at_a_time(first: str, second: str) -> None:
    async with connected() as (server, _):
        async with server.scope(first):
            with pytest.raises(AlreadyExists) as caught:
                server.scope(second)
            assert caught.value.reason == "scope_taken"
            async with server.scope(f"{first}b"), server.scope("other"):
                pass
        async with server.scope(second):
            pass


@pytest.mark.parametrize("prefix", ["", ".", "a.", ".a", "a..b", "a\nb", "x" * 256])
async def test_prefixes_that_are_none(prefix: str) -> None:
    async with connected() as (server, _):
        with pytest.raises(InvalidArgument):
            server.scope(prefix)
        async with server.scope("a") as scope:
            with pytest.raises(InvalidArgument):
                scope.scope(prefix)


async def test_reserved_names_have_no_scope() -> None:
    async with connected() as (server, _):
        for prefix in ("capnet", "capnet.more"):
            with pytest.raises(AlreadyExists) as caught:
                server.scope(prefix)
            assert caught.value.reason == "reserved_namespace"


# --- the end ---


async def test_everything_ends_in_reverse_order_each_once() -> None:
    """Served, observed, started, lent, pushed, and a scope inside: one after the other."""
    order: list[str] = []

    async def later(name: str) -> None:
        await checkpoint()
        order.append(name)

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await later("task")

    async with connected() as (server, client):
        server.on(NameUnserved, lambda event: None)
        async with server.scope("a") as scope:
            scope.push(lambda: order.append("first"))
            inner = scope.scope("b")
            inner.push(lambda: order.append("inner first"))
            inner.push(lambda: later("inner last"))
            scope.push(lambda: order.append(f"inner {inner.closed}"))
            scope.serve(MemItem("x"))
            scope.push(lambda: order.append(f"names {server.stats()['names']}"))
            scope.start(work)
            scope.push(lambda: later("last"))
            assert await (await client.bootstrap(Item, name="a.test.Item")).label() == "x"
        assert scope.closed and inner.closed
        await scope.aclose()
        assert order == ["last", "task", "names 1", "inner False", "inner last", "inner first", "first"]
        assert server.stats()["names"] == 0


async def test_after_its_end_a_scope_takes_nothing() -> None:
    async with connected() as (server, _):
        scope = server.scope("a")
        assert not scope.closed and "open" in repr(scope)
        await scope.aclose()
        assert _is_closed(scope) and "closed" in repr(scope)
        uses: list[Callable[[], Any]] = [
            lambda: scope.serve(MemItem("x")),
            lambda: scope.serve_all(MemItem("x")),
            lambda: scope.fallback(lambda _: None),
            lambda: scope.on(NameServed, print),
            lambda: scope.lend(MemItem("x")),
            lambda: scope.start(checkpoint),
            lambda: scope.push(print),
            lambda: scope.scope("b"),
        ]
        for use in uses:
            with pytest.raises(FailedPrecondition) as caught:
                use()
            assert caught.value.reason == "closed"
        with pytest.raises(FailedPrecondition):
            await scope.__aenter__()


async def test_while_it_ends_a_scope_takes_nothing() -> None:
    refused: list[str | None] = []
    async with connected() as (server, _):
        scope = server.scope("a")

        def late() -> None:
            try:
                scope.push(print)
            except FailedPrecondition as error:
                refused.append(error.reason)

        scope.push(late)
        await scope.aclose()
    assert refused == ["closed"]


def fails(order: list[str], name: str, error: BaseException) -> Callable[[], None]:
    """A callback that is noted, and raises."""

    def callback() -> None:
        order.append(name)
        raise error

    return callback


async def test_one_that_raises_keeps_no_other_from_ending() -> None:
    """Its error comes out as it is, no group around it."""
    order: list[str] = []
    raised = KeyError("x")
    async with connected() as (server, _):
        scope = server.scope("a")
        scope.push(lambda: order.append("first"))
        scope.push(fails(order, "second", raised))
        scope.push(lambda: order.append("third"))
        with pytest.raises(KeyError) as caught:
            await scope.aclose()
        assert caught.value is raised and order == ["third", "second", "first"]
        await scope.aclose()


async def test_several_that_raise_come_as_a_group() -> None:
    order: list[str] = []
    async with connected() as (server, _):
        with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the block is what is tested
            async with server.scope("a") as scope:
                scope.push(fails(order, "first", KeyError("x")))
                inner = scope.scope("b")
                inner.push(fails(order, "inner", OSError("y")))
        assert [type(error) for error in caught.value.exceptions] == [OSError, KeyError]
        assert order == ["inner", "first"]


async def test_what_the_block_raises_comes_out_as_it_is_and_the_rest_is_logged() -> None:
    failed: list[HandlerFailed] = []
    raised = KeyError("mine")
    async with connected() as (server, _):
        server.on(HandlerFailed, failed.append)
        scope = server.scope("a")
        with pytest.raises(KeyError) as caught:  # noqa: PT012 - the block is what is tested
            async with scope:
                scope.push(fails([], "x", OSError("y")))
                raise raised
        assert caught.value is raised and scope.closed
        await until(lambda: failed)
        assert failed[0].error.kind == "OSError"


async def test_one_that_raises_what_no_exception_is_keeps_no_other_from_ending() -> None:
    """A callback that awaits what was cancelled sees a cancellation that is not its own."""
    order: list[str] = []
    async with connected() as (server, _):
        if current_async_library() != "trio":  # there nobody can raise another's cancellation
            async with server.scope("a") as scope:
                scope.push(lambda: order.append("first"))
                scope.push(fails(order, "second", asyncio.CancelledError()))
            assert order == ["second", "first"]


async def test_a_cancelled_block_leaves_when_everything_has_ended() -> None:
    order: list[str] = []
    item = MemItem("x")

    async def later(name: str) -> None:
        for _ in range(5):
            await checkpoint()
        order.append(name)

    async with connected() as (server, client):
        scope = server.scope("a")
        with anyio.CancelScope() as cancelled:
            async with scope:
                scope.push(lambda: later("first"))
                scope.serve(item)
                scope.push(lambda: later("second"))
                await client.bootstrap(Item, name="a.test.Item")
                cancelled.cancel()
                await checkpoint()
        assert cancelled.cancelled_caught and order == ["second", "first"] and scope.closed
        assert server.stats()["names"] == 0
        await until(lambda: item.closed == 1)


async def test_a_closer_that_is_cancelled_does_not_stop_the_end() -> None:
    """A task of asyncio can be cancelled in spite of every shield; what the end raises is logged then."""
    order: list[str] = []
    failed: list[HandlerFailed] = []
    gate = anyio.Event()
    if current_async_library() == "trio":
        return
    async with connected() as (server, _):
        server.on(HandlerFailed, failed.append)
        scope = server.scope("a")
        scope.push(fails(order, "first", OSError("x")))
        scope.push(gate.wait)
        closing = asyncio.create_task(scope.aclose())
        await checkpoint()
        await checkpoint()
        closing.cancel()
        await asyncio.wait([closing])
        assert closing.cancelled() and not scope.closed
        gate.set()
        await until(lambda: scope.closed and failed)
        assert order == ["first"] and failed[0].error.kind == "OSError"


async def test_the_end_is_bounded() -> None:
    """A callback that hangs is cancelled, a task that does not end is left behind; the others end as they should."""
    order: list[str] = []
    let_go = anyio.Event()

    async def hangs() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            order.append("callback cancelled")

    async def stays() -> None:
        with anyio.CancelScope(shield=True):
            await let_go.wait()
        order.append("task let go")

    async with connected() as (server, _):
        scope = server.scope("a", grace=0.05)
        scope.push(lambda: order.append("first"))
        scope.push(hangs)
        scope.start(stays)
        await checkpoint()
        await checkpoint()
        with anyio.fail_after(60), pytest.raises(ExceptionGroup) as caught:
            await scope.aclose()
        assert [type(error) for error in caught.value.exceptions] == [TimeoutError, TimeoutError]
        assert order == ["callback cancelled", "first"]
        let_go.set()
        await until(lambda: order[-1] == "task let go")


async def test_whoever_closes_second_waits_as_well() -> None:
    gate = Gate()
    ended: list[str] = []
    async with connected() as (server, _):
        scope = server.scope("a")
        scope.push(fails([], "x", OSError()))
        scope.push(lambda: gate.pass_through("x"))

        async def close(name: str) -> None:
            try:
                await scope.aclose()
            except OSError:
                ended.append("raised")
            ended.append(name)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(close, "one")
            tasks.start_soon(close, "two")
            await until(lambda: gate.entered)
            assert not ended
            gate.open()
        assert sorted(ended) == ["one", "raised", "two"]


# --- tasks ---


async def test_tasks_are_cancelled_and_awaited() -> None:
    gate = Gate()
    async with connected() as (server, _):
        async with server.scope("a") as scope:
            for name in ("one", "two"):
                scope.start(gate.pass_through, name)
            cancel = scope.start(gate.pass_through, "three")
            await until(lambda: len(gate.entered) == 3)
            cancel()
            cancel()
            await until(lambda: gate.cancelled == ["three"])
        assert gate.cancelled == ["three", "two", "one"]


async def test_a_task_that_is_cancelled_before_it_runs() -> None:
    gate = Gate()
    async with connected() as (server, _), server.scope("a") as scope:
        scope.start(gate.pass_through, "x")()
        await until(lambda: gate.cancelled == ["x"])


async def test_a_task_that_fails_is_logged_and_nothing_else_ends_for_it() -> None:
    failed: list[HandlerFailed] = []

    async def work(text: str) -> None:
        await checkpoint()
        raise OSError(text)

    host = Host()
    async with host_and_clients(host, 1) as (client,):
        host.on(HandlerFailed, failed.append)
        async with host.scope("a") as scope:
            scope.serve(MemItem("x"))
            scope.start(work, "broken")
            await until(lambda: failed)
            assert failed[0].error.kind == "OSError" and "work" in failed[0].where and "a" in failed[0].where
            assert await (await client.bootstrap(Item, name="a.test.Item")).label() == "x"


async def test_a_long_life_leaves_nothing_of_what_has_ended_before() -> None:
    async with connected() as (server, client), server.scope("a") as scope:
        desk = await _desk(server, client)
        for turn in range(50):
            scope.start(checkpoint)
            scope.on(NameServed, print)()
            scope.push(print)()
            scope.serve(MemItem("x"), name=f"{turn}").close()
            scope.serve(MemItem("x"), name="again")
            server.unserve("a.again")
            await desk.put(scope.lend(MemItem("x")))
            await scope.scope("b").aclose()
        await until(lambda: gc.collect() + 1 and len(scope._ends) <= 2)


async def _desk(server: Any, client: Any) -> Desk:
    """A desk of the client's, for the server to put things on."""
    client.serve(MemDesk(), if_exists="skip")
    desk: Desk = await server.bootstrap(Desk)
    return desk


class Ledger(Cap, name="test.ScopeLedger", ordered=True):
    @call
    async def begin(self) -> None: ...
    @call
    async def write(self) -> str: ...


async def test_a_task_is_not_part_of_the_call_that_has_started_it() -> None:
    """It may call an ordered object: it waits for its turn, and is not taken for the call that it came of."""
    async with connected() as (server, client):
        scope = client.scope("worker")
        written: list[str] = []
        inside, leave = anyio.Event(), anyio.Event()

        class MemLedger(Ledger):
            async def begin(self) -> None:
                scope.start(work)
                inside.set()
                await leave.wait()

            async def write(self) -> str:
                return "written"

        ledger: Ledger

        async def work() -> None:
            written.append(await ledger.write())

        server.serve(MemLedger())
        ledger = await client.bootstrap(Ledger)
        beginning = ledger.begin()
        await inside.wait()
        await until(lambda: client.stats()["calls"] == 2)
        leave.set()
        await beginning
        await until(lambda: written == ["written"])
        await scope.aclose()


# --- who closes ---


async def test_a_task_may_end_its_own_scope() -> None:
    """It is cancelled by that, so it does not wait; neither does a task inside of the scope, or one it has made."""
    order: list[str] = []
    async with connected() as (server, _):
        for depth in range(3):
            scope = server.scope("a", grace=3600)
            scope.push(lambda: order.append("first"))

            async def close(depth: int = depth, scope: Scope = scope) -> None:
                if depth == 2:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(scope.aclose)
                await scope.aclose()
                order.append("goes on")
                await anyio.sleep_forever()

            (scope if depth == 0 else scope.scope("b")).start(close)
            with anyio.fail_after(60):
                await until(partial(_is_closed, scope))
        assert order == ["goes on", "first"] * 3


async def test_a_callback_may_end_its_own_scope() -> None:
    async with connected() as (server, _):
        scope = server.scope("a", grace=3600)
        scope.push(scope.aclose)
        with anyio.fail_after(60):
            await scope.aclose()
        assert scope.closed


async def test_a_handler_may_end_the_scope_it_is_served_in() -> None:
    class Leaving(MemShop):
        async def wait(self, key: str = "") -> str:
            await scope.aclose()
            left.append(key)
            await anyio.sleep_forever()
            return "too far"

    left: list[str] = []
    async with connected() as (server, client):
        scope = server.scope("a")
        scope.serve(implementation := Leaving())
        shop = await client.bootstrap(Shop, name="a.test.Shop")
        with pytest.raises(Revoked):
            await shop.wait("x")
        await until(lambda: scope.closed and left == ["x"] and implementation.closed == 1)


async def test_the_owner_ends_its_scopes_first() -> None:
    """A host and a connection: what is in the scope can still say goodbye to the peer."""
    said: list[str] = []
    for kind in ("host", "connection"):
        host = Host()
        async with host_and_clients(host, 1) as (client,):
            client.serve(MemItem("client"))
            (connection,) = host.connections
            item = await connection.bootstrap(Item)
            owner = host if kind == "host" else connection
            outer, other = owner.scope("a"), owner.scope("c")
            inner = outer.scope("b")

            async def goodbye(kind: str = kind, item: Item = item) -> None:
                said.append(f"{kind} {await item.label()}")

            inner.push(goodbye)
            await owner.aclose()
            assert outer.closed and inner.closed and other.closed
            with pytest.raises(Unavailable):
                owner.scope("d")
            del item, goodbye
    assert said == ["host client", "connection client"]


async def test_a_scope_of_a_connection_that_is_lost_ends() -> None:
    gate = Gate()
    failed: list[HandlerFailed] = []
    ended: list[str] = []
    host = Host()
    async with host_and_clients(host, 2) as clients:
        host.on(HandlerFailed, failed.append)
        connection = next(one for one in host.connections if one.peer_name == "0")
        scope = connection.scope("a")
        scope.push(fails(ended, "raised", OSError("x")))
        scope.start(gate.pass_through, "x")
        await until(lambda: gate.entered)
        clients[0]._session.driver.transport.abort()
        await until(lambda: scope.closed and failed)
        assert gate.cancelled == ["x"] and ended == ["raised"] and failed[0].error.kind == "OSError"
        assert await host.close_all() == 1


async def test_a_task_may_close_the_owner_of_its_scope() -> None:
    ended: list[str] = []
    async with connected() as (server, client):

        async def leave() -> None:
            try:
                await server.aclose()
            finally:
                ended.append("x")

        server.scope("a", grace=3600).start(leave)
        with anyio.fail_after(60):
            await client.wait_closed()
            await server.wait_closed()
            await until(lambda: ended)


async def test_a_scope_of_a_host_that_is_not_open() -> None:
    with pytest.raises(Unavailable):
        Host().scope("a")


async def test_the_client_end_has_scopes_too() -> None:
    gate = Gate()
    async with Host() as host:
        host.serve(MemShop())
        await host.listen("memory:scope.client")
        async with connect("memory:scope.client") as client:
            scope = client.scope("a")
            scope.start(gate.pass_through, "x")
            await until(lambda: gate.entered)
        assert scope.closed and gate.cancelled == ["x"]


# --- what is lent, and observed ---


async def test_what_is_lent_is_taken_back_from_all_peers() -> None:
    host = Host()
    async with host_and_clients(host, 2) as clients:
        desks = [MemDesk(), MemDesk()]
        for client, desk in zip(clients, desks, strict=True):
            client.serve(desk)
        item = MemItem("lent")
        async with host.scope("a") as scope:
            assert scope.lend(item) is item and scope.lend(item) is item
            for connection in host.connections:
                await (await connection.bootstrap(Desk)).put(item)
            assert [await desk.read() for desk in desks] == ["lent", "lent"]
        for desk in desks:
            with pytest.raises(Revoked):
                await desk.read()
            desk.item = None
        await until(lambda: item.closed == 1)
        gc.collect()
        await assert_nothing_left(*clients)


async def test_a_proxy_that_is_lent_is_taken_back_where_it_was_passed_on() -> None:
    far = MemItem("far")
    async with Host() as back, Host() as front:
        back.serve(far)
        await back.listen("memory:scope.back")
        await front.listen("memory:scope.front")
        there = await front.connect("memory:scope.back")
        async with connect("memory:scope.front") as client:
            client.serve(desk := MemDesk())
            await client.ping()
            here = next(one for one in front.connections if one is not there)
            async with front.scope("a") as scope:
                item = scope.lend(await there.bootstrap(Item))
                await (await here.bootstrap(Desk)).put(item)
                assert await desk.read() == "far"
            with pytest.raises(Revoked):
                await desk.read()
            assert await item.label() == "far", "ours is still good"


async def test_what_cannot_be_lent() -> None:
    async with connected() as (server, _), server.scope("a") as scope:
        for thing in (print, "text", Item):
            with pytest.raises(InvalidArgument):
                scope.lend(thing)


async def test_an_object_that_is_gone_is_not_kept_for_its_end() -> None:
    async with connected() as (server, _), server.scope("a") as scope:
        item = scope.lend(MemItem("x"))
        before = sys.getrefcount(item)
        scope.lend(item)
        assert sys.getrefcount(item) == before and len(scope._ends) == 1
        del item
        gc.collect()
        assert not scope._ends


async def test_an_observer_ends_with_its_scope() -> None:
    seen: list[str] = []
    async with connected(MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        async with server.scope("a") as scope:
            scope.on(CallFinished, lambda event: seen.append(event.method))
            stop = scope.on(CallFinished, lambda event: seen.append(f"early {event.method}"))
            await shop.add(1)
            await until(lambda: len(seen) == 2)
            stop()
            stop()
            await shop.echo("x")
            await until(lambda: len(seen) == 3)
        await shop.add(2)
        assert seen == ["add", "early add", "echo"]


async def test_what_is_taken_out_is_not_called() -> None:
    called: list[str] = []
    async with connected() as (server, _), server.scope("a") as scope:
        scope.push(lambda: called.append("kept"))
        take_out = scope.push(lambda: called.append("taken out"))
        take_out()
        take_out()
    assert called == ["kept"]


async def test_a_scope_inside_ends_with_the_one_around_and_may_end_before() -> None:
    async with connected() as (server, _):
        async with server.scope("a") as outer:
            inner = outer.scope("b")
            assert inner.prefix == "a.b"
            with pytest.raises(AlreadyExists) as caught:
                outer.scope("b")
            assert caught.value.reason == "scope_taken"
            deep = inner.scope("c")
            with pytest.raises(AlreadyExists):
                server.scope("a.b.d")
            with pytest.raises(AlreadyExists):
                outer.scope("b.c.d")
            await inner.aclose()
            assert deep.closed and not outer.closed
            again = outer.scope("b")
            assert again.serve(MemItem("x"), name="y").names == ("a.b.y",)
        assert again.closed
        assert server.stats()["names"] == 0
