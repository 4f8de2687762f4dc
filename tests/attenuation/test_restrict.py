"""`restrict`: less can be asked of the same object, here, by peers, and by whoever they pass it to."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capnet import (
    Cap,
    ContractError,
    InvalidArgument,
    PermissionDenied,
    Released,
    ResourceExhausted,
    Restriction,
    Revoked,
    Slot,
    Stream,
    Unavailable,
    call,
    cast_cap,
    on_broken,
    pipe,
    release,
    restrict,
    restrictions,
    revocable,
    stream,
)
from capnet.references.proxy import Proxy
from capnet.references.revoke import revoke
from capnet.testing import connected
from tests.attenuation.store import (
    Clock,
    Counter,
    MemCounter,
    MemStore,
    Point,
    PointTopic,
    Store,
    Topic,
)
from tests.attenuation.store import clock as clock
from tests.connection.shop import socket_pair, until
from tests.connection.tree import assert_nothing_left


class Shelf(Cap, name="test.Shelf"):
    """Hands a store around."""

    @call
    async def get(self) -> Store: ...
    @call
    async def put(self, store: Store) -> None: ...


class MemShelf(Shelf):
    def __init__(self, store: Store | None = None) -> None:
        self.store = store

    async def get(self) -> Store:
        assert self.store is not None
        return self.store

    async def put(self, store: Store) -> None:
        self.store = store


class Sums(Cap, name="test.Sums"):
    @call
    async def of(self, numbers: list[int], *, more: dict[str, int]) -> int: ...
    @stream
    def each(self, numbers: list[int]) -> Stream[int]: ...


class MemSums(Sums):
    async def of(self, numbers: list[int], *, more: dict[str, int]) -> int:
        return sum(numbers) + sum(more.values())

    async def each(self, numbers: list[int]) -> Stream[int]:
        for number in numbers:
            yield number


def _yes(method: str, arguments: Any) -> bool:
    return True


def reason_of(caught: pytest.ExceptionInfo[Any]) -> str:
    return str(caught.value.reason)


async def test_only_the_methods_that_were_granted() -> None:
    """Fault 42: rights per method, not per name. Locally and from afar, by the same rule."""
    store = MemStore({"a": "1"})
    reader = restrict(store, methods={"read"})
    assert issubclass(type(reader), Store) and await reader.read("a") == "1"
    async with connected(reader) as (server, client):
        proxy = await client.bootstrap(Store)
        for one in (reader, proxy):
            assert await one.read("x", default="none") == "none"
            with pytest.raises(PermissionDenied) as caught:
                await one.write("a", "2")
            assert reason_of(caught) == "restricted"
            assert caught.value.details == {"required": ["write"], "granted": ["read"]}
        del proxy, one
        await assert_nothing_left(server, client)
    assert "write a" not in store.log and store.values == {"a": "1"}


async def test_a_call_takes_its_arguments_when_it_is_made() -> None:
    """Not when it is awaited: the list may be used again by then, as after a call of a proxy."""
    async with connected(MemSums()) as (_, client):
        sums = await client.bootstrap(Sums)
        for one in (sums, restrict(sums, methods={"of", "each"}), revocable(sums)[0], Slot(Sums, wait=1)):
            numbers, more = [1, 2], {"a": 3}
            if isinstance(one, Slot):
                one.set(sums)
                one = one.proxy
            made, items = one.of(numbers, more=more), one.each(numbers)
            numbers.append(4)
            more["b"] = 5
            assert await made == 6 and [item async for item in items] == [1, 2]


async def test_a_condition_on_the_arguments() -> None:
    """Only a real True admits; what raises denies."""
    seen: list[tuple[str, dict[str, Any]]] = []
    answer: Any = True

    def where(method: str, arguments: Any) -> bool:
        seen.append((method, dict(arguments)))
        if isinstance(answer, Exception):
            raise answer
        return cast("bool", answer)

    store = MemStore()
    async with connected(restrict(store, where=where)) as (server, client):
        proxy = await client.bootstrap(Store)
        await proxy.write("k", value="v")
        assert await proxy.read(key="k") == "v"
        assert seen == [("write", {"key": "k", "value": "v"}), ("read", {"key": "k"})]
        for no in (1, "yes", None, False, KeyError("key")):
            answer = no
            with pytest.raises(PermissionDenied) as caught:
                await proxy.write("k", "w")
            assert reason_of(caught) == "restricted"
        del proxy
        await assert_nothing_left(server, client)
    assert store.values == {"k": "v"}


async def test_so_often_in_a_time(clock: Clock) -> None:
    """A burst of n, then as it fills again; the caller is told when to come back."""
    store = restrict(MemStore(), rate="2/s")
    async with connected(store) as (server, client):
        proxy = await client.bootstrap(Store)
        await proxy.read("a")
        await store.read("a")
        with pytest.raises(ResourceExhausted) as caught:
            await proxy.read("a")
        assert reason_of(caught) == "rate_limited" and caught.value.retry == "after-cooldown"
        assert caught.value.details == {"rate": "2/s", "retry_after": 0.5}
        clock.now += 0.5
        await proxy.read("a")
        with pytest.raises(ResourceExhausted):
            await proxy.read("a")
        clock.now += 3600
        await proxy.read("a")
        await proxy.read("a")
        with pytest.raises(ResourceExhausted):
            await proxy.read("a")
        del proxy
        await assert_nothing_left(server, client)


@pytest.mark.parametrize(("rate", "again"), [("1/s", 1), ("1/min", 60), ("4/h", 900), ("3/min", 20)])
async def test_the_time_of_a_rate(clock: Clock, rate: str, again: float) -> None:
    store = restrict(MemStore(), rate=rate)
    for _ in range(int(rate[0])):
        await store.read("a")
    for _ in range(10):  # by small steps
        with pytest.raises(ResourceExhausted):
            await store.read("a")
        clock.now += again / 10
    await store.read("a")


async def test_so_many_times() -> None:
    """What was not admitted, or does not fit, is no use; an open stream is one."""
    backing = MemStore({"a": "1"})
    store = restrict(backing, uses=3, methods={"read", "keys"})
    with pytest.raises(PermissionDenied):
        await store.write("a", "2")
    with pytest.raises(TypeError):
        await cast("Any", store).read()
    async with aclosing(store.keys()) as keys:
        assert await anext(keys) == "a"
    await store.read("a")
    assert (await restrictions(store))[0].uses_left == 1
    await store.read("a")
    for _ in range(2):
        with pytest.raises(ResourceExhausted) as caught:
            await store.read("a")
        assert reason_of(caught) == "used_up" and caught.value.retry == "never"
    with pytest.raises(ResourceExhausted):
        store.keys()
    assert backing.log == ["read a", "read a"] and backing.ended == 1


async def test_until_so_many_seconds_from_now(clock: Clock) -> None:
    """A call that runs may end, a later one is refused."""
    backing = MemStore()
    store = restrict(backing, until=60)
    async with connected(store) as (server, client):
        proxy = await client.bootstrap(Store)
        running = proxy.wait()
        await until(lambda: backing.gate.entered)
        clock.now += 60
        with pytest.raises(PermissionDenied) as caught:
            await proxy.read("a")
        assert reason_of(caught) == "expired"
        backing.gate.open()
        assert await running == "waited"
        del proxy, running
        await assert_nothing_left(server, client)
    assert backing.log == []


async def test_until_a_moment() -> None:
    backing = MemStore()
    await restrict(backing, until=datetime.now(UTC) + timedelta(hours=1)).read("a")
    with pytest.raises(PermissionDenied) as caught:
        await restrict(backing, until=datetime.now(UTC)).read("a")
    assert reason_of(caught) == "expired" and backing.log == ["read a"]


async def test_a_stream_ends_when_its_time_is_over() -> None:
    """Also while it waits for an item: by the real clock."""
    store = MemStore({"a": "1", "b": "2"})
    async with connected(restrict(store, until=0.1)) as (server, client):
        proxy = await client.bootstrap(Store)
        keys = proxy.keys()
        assert [await anext(keys), await anext(keys)] == ["a", "b"]
        with pytest.raises(PermissionDenied) as caught:
            await anext(keys)
        assert reason_of(caught) == "expired" and store.ended == 1
        assert store.gate.cancelled == ["keys"]
        del proxy, keys
        await assert_nothing_left(server, client)


async def test_a_stream_is_not_read_after_its_time(clock: Clock) -> None:
    store = MemStore({"a": "1", "b": "2"})
    keys = restrict(restrict(store, until=60), until=30).keys()
    assert await anext(keys) == "a"
    clock.now += 30
    with pytest.raises(PermissionDenied):
        await anext(keys)
    assert store.ended == 1
    with pytest.raises(StopAsyncIteration):
        await anext(keys)


async def test_it_composes_only_downwards() -> None:
    """Of a restricted capability both rules hold, and what is denied by one is no use of the other."""
    backing = MemStore()
    both = restrict(restrict(backing, methods={"read", "keys"}, uses=2), methods={"read", "write"}, uses=5)
    for method in ("write", "keys", "wait"):
        with pytest.raises(PermissionDenied):
            await getattr(both, method)(*("k", "v")[: 2 if method == "write" else 0])
    await both.read("a")
    await both.read("a")
    with pytest.raises(ResourceExhausted):
        await both.read("a")
    outer, inner = await restrictions(both)
    assert (outer.methods, outer.uses_left) == (frozenset({"read", "write"}), 3)
    assert (inner.methods, inner.uses_left) == (frozenset({"read", "keys"}), 0)


async def test_what_was_made_of_one_restriction_shares_what_it_counts() -> None:
    first = restrict(MemStore(), uses=2)
    await restrict(first, methods={"read"}).read("a")
    await first.read("a")
    with pytest.raises(ResourceExhausted):
        await restrict(first, methods={"read"}).read("a")


async def test_the_holder_sees_what_is_held_against_it() -> None:
    """Also when somebody between has narrowed it further: each issuer adds its own."""
    moment = datetime.now(UTC) + timedelta(days=1)
    store = restrict(MemStore(), methods={"read", "write"}, rate="5/min", uses=7, until=moment, where=_yes)
    first = Restriction(
        methods=frozenset({"read", "write"}), where=True, rate="5/min", uses=7, uses_left=7, until=moment
    )
    assert await restrictions(store) == [first]
    assert await restrictions(MemStore()) == []
    shelf = MemShelf()
    async with connected(MemShelf(store)) as (one, two), connected(shelf) as (three, four):
        proxy = await (await two.bootstrap(Shelf)).get()
        assert await restrictions(proxy) == [first]
        narrower = restrict(proxy, methods={"read"})
        assert await restrictions(narrower) == [Restriction(methods=frozenset({"read"})), first]
        await (await four.bootstrap(Shelf)).put(narrower)
        assert shelf.store is not None
        assert await restrictions(shelf.store) == [Restriction(methods=frozenset({"read"})), first]
        await (await four.bootstrap(Shelf)).put(proxy)  # forwarded as it is
        assert await restrictions(shelf.store) == [first]
        shelf.store = None
        del proxy, narrower
        await assert_nothing_left(one, two, three, four)


async def test_nobody_is_asked_about_what_is_theirs() -> None:
    """A peer cannot have us ask it on and on about a capability of its own."""
    async with connected() as (server, client):
        assert await client.runtime().restrictions(restrict(MemStore(), uses=1)) == []
        assert await client.runtime().restrictions({"no": "capability"}) == []
        await assert_nothing_left(server, client)


async def test_a_proxy_can_be_restricted_and_passed_on() -> None:
    """Enforced by who has restricted it; the peer behind it sees only what is admitted."""
    backing = MemStore({"a": "1"})
    holder = MemShelf()
    async with socket_pair(backing) as (far, near), socket_pair(holder) as (server, client):
        proxy = await near.bootstrap(Store)
        shelf = await client.bootstrap(Shelf)
        narrow = restrict(proxy, methods={"read", "keys", "sub"}, uses=4)
        await shelf.put(narrow)
        held = holder.store
        assert held is not None and isinstance(held, Proxy)
        assert await held.read("a") == "1"
        async with aclosing(held.keys()) as keys:
            assert await anext(keys) == "a"
        assert await pipe(held.sub("x")).read("name") == "x"
        with pytest.raises(PermissionDenied):
            await held.write("a", "2")
        assert [one.uses_left for one in await restrictions(held)] == [1]
        assert backing.values == {"a": "1"}
        holder.store = None
        del held, narrow, proxy, shelf
        await assert_nothing_left(far, near, server, client)


async def test_the_reference_of_a_proxy_stays_the_callers() -> None:
    """The restricted one has a reference of its own, which goes when it does."""
    backing = MemStore({"a": "1"})
    async with connected(backing) as (server, client):
        proxy = await client.bootstrap(Store)
        narrow = restrict(proxy, methods={"read"})
        release(proxy)
        assert await narrow.read("a") == "1"
        with pytest.raises(Released):
            restrict(proxy, methods={"read"})
        del proxy
        assert server.stats()["exports"]
        del narrow
        await assert_nothing_left(server, client)


async def test_the_object_stays_open_while_a_restricted_one_is_held() -> None:
    """Its close hook runs once, when the last holder of either has let go."""
    backing = MemStore()
    shelf = MemShelf(restrict(restrict(backing, uses=9), methods={"read"}))
    async with connected(shelf) as (server, client):
        handle = server.serve(backing)
        proxy = await (await client.bootstrap(Shelf)).get()
        handle.close()
        assert await proxy.read("a") == "" and backing.closed < 1
        release(proxy)
        await until(lambda: backing.closed)
        again = await (await client.bootstrap(Shelf)).get()
        assert await again.read("a") == ""
        release(again)
        await assert_nothing_left(server, client)
    assert backing.closed == 1


async def test_the_restricted_one_goes_first() -> None:
    backing = MemStore()
    async with connected(MemShelf(restrict(backing, methods={"read"}))) as (server, client):
        handle = server.serve(backing)
        proxy = await (await client.bootstrap(Shelf)).get()
        release(proxy)
        await assert_nothing_left(server, client)
        assert backing.closed < 1
        handle.close()
        await until(lambda: backing.closed)
    assert backing.closed == 1


async def test_revoking_the_object_takes_what_was_made_of_it() -> None:
    """Nothing that is narrower outlives what it was made of; a name under which the object is served is another way."""
    backing = MemStore()
    narrow = restrict(restrict(backing, methods={"read", "wait"}), methods={"wait"})
    told: list[Any] = []
    async with connected(MemShelf(narrow)) as (server, client):
        proxy = await (await client.bootstrap(Shelf)).get()
        on_broken(proxy, told.append)
        running = proxy.wait()
        await until(lambda: backing.gate.entered)
        assert len(revoke(backing, dry_run=True)) == 1 and not told
        (taken,) = revoke(backing)
        assert taken.contract == "test.Store"
        with pytest.raises(Revoked):
            await running
        await until(lambda: told and backing.gate.cancelled)
        with pytest.raises(Revoked):
            await proxy.wait()
        del proxy, running
        told.clear()
        await assert_nothing_left(server, client)


async def test_revoking_the_object_takes_what_came_of_one_that_is_gone() -> None:
    """The peer gave the narrow one back and kept what it got by it; that still came of the object."""
    backing = MemStore()

    class Fresh(MemShelf):
        async def get(self) -> Store:
            return restrict(backing, methods={"sub"})

    async with connected(Fresh()) as (server, client):
        narrow = await (await client.bootstrap(Shelf)).get()
        sub = await narrow.sub("x")
        await narrow.aclose()
        del narrow
        await until(lambda: backing.closed)
        assert await sub.read("name") == "x"
        revoke(backing)
        with pytest.raises(Revoked):
            await sub.read("name")
        del sub
        await assert_nothing_left(server, client)


async def test_what_stands_in_front_of_a_proxy_falls_with_it() -> None:
    """P-CAP-6 hop by hop: the holder is told when the capability behind is taken away, not at its next call."""
    backing = MemStore()
    told: list[Any] = []
    async with connected() as (far, near):
        handle = far.serve(backing)
        shelf = MemShelf(restrict(await near.bootstrap(Store), methods={"read"}))
        async with connected(shelf) as (server, client):
            proxy = await (await client.bootstrap(Shelf)).get()
            on_broken(proxy, told.append)
            handle.close()
            await until(lambda: told)
            assert type(told[0]) is Revoked
            shelf.store = None
            del proxy
            told.clear()
            await assert_nothing_left(server, client, far, near)


async def test_context_ordered_generic_and_callable() -> None:
    """What an implementation may be, it may be behind a restriction."""
    assert await restrict(MemStore(), uses=1).who() == ("", "")
    counter, points = MemCounter(), PointTopic()
    narrow: Topic[Point] = restrict(points, uses=2)
    served = (restrict(restrict(MemStore(), uses=1), uses=1), counter, narrow)
    async with connected(*served) as (server, client):
        assert await (await client.bootstrap(Store)).who() == ("client", "who")
        assert await (await client.bootstrap(Topic[Point])).swap(Point(1, 2)) == Point(2, 1)
        far = restrict(await client.bootstrap(Topic[Point]), uses=1)
        assert await far.swap(Point(3, 4)) == Point(4, 3)
        assert points.seen == [Point(1, 2), Point(3, 4)]
        server.serve(restrict(counter, methods={"add"}), name="test.narrow")
        direct = await client.bootstrap(Counter)
        around = await client.bootstrap(Counter, name="test.narrow")
        calls = [direct.add("1"), around.add("2"), direct.add("3")]
        await until(lambda: counter.gate.entered)
        counter.gate.open()
        while calls:
            await calls.pop()
        assert counter.most == 1 and sorted(counter.done) == ["1", "2", "3"]
        del far, direct, around, calls
        await assert_nothing_left(server, client)


class Phone(Cap, name="test.Phone"):
    @call
    async def ring(self, answer: Callable[[str], Awaitable[str]]) -> str: ...


class MemPhone(Phone):
    """Restricts the function that it was given."""

    async def ring(self, answer: Callable[[str], Awaitable[str]]) -> str:
        once = restrict(answer, uses=1)
        first = await once("hello")
        with pytest.raises(ResourceExhausted):
            await once("again")
        return first


async def test_a_function_of_a_peers_can_be_restricted() -> None:
    async def answer(text: str) -> str:
        return f"{text}?"

    async with connected(MemPhone()) as (server, client):
        phone = await client.bootstrap(Phone)
        assert await phone.ring(answer) == "hello?"
        release(phone)
        await assert_nothing_left(server, client)


async def test_it_comes_home_as_itself() -> None:
    narrow = restrict(MemStore(), methods={"read"})
    async with connected(MemShelf(narrow)) as (server, client):
        shelf = await client.bootstrap(Shelf)
        proxy = await shelf.get()
        await shelf.put(proxy)
        assert proxy == await shelf.get()
        del proxy, shelf
        await assert_nothing_left(server, client)


@pytest.mark.parametrize(
    ("error", "rules"),
    [
        (ContractError, {"methods": {"raed"}}),
        (ContractError, {"methods": {"read", "aclose"}}),
        (InvalidArgument, {"methods": "read"}),
        (InvalidArgument, {}),
        (InvalidArgument, {"where": 3}),
        (InvalidArgument, {"rate": 10}),
        (InvalidArgument, {"rate": "10"}),
        (InvalidArgument, {"rate": "0/s"}),
        (InvalidArgument, {"rate": "-1/s"}),
        (InvalidArgument, {"rate": "1.5/s"}),
        (InvalidArgument, {"rate": "10/day"}),
        (InvalidArgument, {"rate": "²/s"}),
        (InvalidArgument, {"uses": 0}),
        (InvalidArgument, {"uses": True}),
        (InvalidArgument, {"uses": 1.5}),
        (InvalidArgument, {"until": 0}),
        (InvalidArgument, {"until": float("nan")}),
        (InvalidArgument, {"until": float("inf")}),
        (InvalidArgument, {"until": True}),
        (InvalidArgument, {"until": datetime(2030, 1, 1)}),  # noqa: DTZ001 - that is what is refused
    ],
)
async def test_rules_that_make_no_sense(error: type[Exception], rules: dict[str, Any]) -> None:
    with pytest.raises(error):
        restrict(MemStore(), **rules)


async def test_a_coroutine_function_cannot_decide() -> None:
    async def where(method: str, arguments: Any) -> bool:
        return True

    with pytest.raises(InvalidArgument):
        restrict(MemStore(), where=cast("Any", where))


async def test_what_cannot_be_restricted() -> None:
    async def function(text: str) -> str:
        return text

    with pytest.raises(InvalidArgument):
        restrict(function, uses=1)
    narrow = restrict(MemStore(), uses=1)
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            attempt(narrow)


class Anything(Cap, name="test.Anything"):
    @call
    async def give(self, value: Any) -> Any: ...


class MemAnything(Anything):
    def __init__(self, store: Store) -> None:
        self.store = store

    async def give(self, value: Any) -> Any:
        return self.store


async def test_a_proxy_without_a_contract_is_told_apart() -> None:
    async with connected(MemAnything(MemStore({"a": "1"}))) as (server, client):
        anything = await client.bootstrap(Anything)
        unknown = await anything.give(None)
        with pytest.raises(ContractError):
            restrict(unknown, uses=1)
        assert await restrict(cast_cap(unknown, Store), uses=1).read("a") == "1"
        del unknown, anything
        await assert_nothing_left(server, client)


async def test_a_promise_can_be_restricted() -> None:
    """Before there is anything: its calls go out behind the one that brings it."""
    far = MemShelf(MemStore({"a": "1"}))
    async with connected(far) as (server, client):
        shelf = await client.bootstrap(Shelf)
        narrow = restrict(pipe(shelf.get()), methods={"read"})
        assert await narrow.read("a") == "1"
        with pytest.raises(PermissionDenied):
            await narrow.write("a", "2")
        await shelf.put(narrow)
        again = await shelf.get()
        assert again is narrow and await again.read("a") == "1"
        far.store = None
        del shelf, narrow, again
        await assert_nothing_left(server, client)


async def test_when_the_connection_behind_is_gone() -> None:
    async with connected(MemStore()) as (_, near):
        narrow = restrict(await near.bootstrap(Store), methods={"read"})
    with pytest.raises(Unavailable):
        await narrow.read("a")
    late = restrict(narrow, uses=1)
    async with connected(MemShelf(late)) as (server, client):
        proxy = await (await client.bootstrap(Shelf)).get()
        with pytest.raises((Unavailable, Revoked)):  # its own answer, or the news that what is behind is broken
            await proxy.read("a")
        del proxy
        await assert_nothing_left(server, client)


@given(
    layers=st.lists(
        st.tuples(
            st.none() | st.sets(st.sampled_from(["read", "write", "who"])),
            st.none() | st.integers(1, 4),
            st.none() | st.integers(1, 4),
        ),
        min_size=1,
        max_size=4,
    ),
    calls=st.lists(st.sampled_from(["read", "write", "who"]), max_size=12),
)
def _admits_what_all_layers_admit(
    layers: list[tuple[set[str] | None, int | None, int | None]], calls: list[str]
) -> None:
    """The model: a call is admitted when each layer would admit it, and counts in all layers or in none."""
    store: Store = MemStore()
    for methods, uses, rate in layers:
        store = restrict(store, methods=methods, uses=uses, rate=None if rate is None else f"{rate}/h", until=60)
    left = [[uses, rate] for _, uses, rate in layers]
    for name in calls:
        permitted = all(methods is None or name in methods for methods, _, _ in layers)
        expected = permitted and all(count is None or count > 0 for row in left for count in row)
        arguments = {"read": ("k",), "write": ("k", "v"), "who": ()}[name]
        running = getattr(store, name)(*arguments)
        with pytest.raises(StopIteration if expected else (PermissionDenied, ResourceExhausted)):
            running.send(None)
        if expected:
            left = [[None if count is None else count - 1 for count in row] for row in left]


async def test_any_layers_admit_what_all_of_them_admit(clock: Clock) -> None:
    _admits_what_all_layers_admit()
