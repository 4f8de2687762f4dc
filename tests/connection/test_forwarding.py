"""Forwarding: a capability of one peer, passed on to another, works there as it did here (P-REF-4)."""

# pyright: reportPossiblyUnboundVariable=false
# What is deleted at the end of a test comes of loops that run at least once.
from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
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
    NotFound,
    ResourceExhausted,
    Revoked,
    Stream,
    Unavailable,
    Unimplemented,
    call,
    dup,
    generation,
    notify,
    on_broken,
    pipe,
    release,
    stream,
)
from capnet.contract import contract_spec
from capnet.references.proxy import reference_of
from capnet.testing import connected
from tests.balance import EITHER_WAY, UNOBSERVED
from tests.connection.shop import Gate, Item, MemItem, MemJewel, MemShop, Shop, until
from tests.connection.test_late_promises import left
from tests.connection.test_pipe import code_of
from tests.connection.tree import (
    CALL,
    DROP,
    RESULT,
    Hub,
    MemHub,
    MemNode,
    Node,
    Tap,
    Tree,
    assert_nothing_left,
    chain,
)

pytestmark = pytest.mark.usefixtures("whole_turns")

CHAIN = 5
"""Peers in most of these chains: host, three that forward, user."""


# Calls and what is in them


async def test_calls_and_results_go_the_whole_way_and_leave_nothing() -> None:
    async with chain(CHAIN) as peers:
        assert await peers.node.say("x") == ":x"
        assert await peers.node.anything({"deep": [1, None, "two", b"3"]}) == {"deep": [1, None, "two", b"3"]}
        below = await peers.node.child("a")
        assert await below.say("y") == "/a:y"
        branch = await peers.node.branch()
        assert await branch.by_number[7].say("z") == "/numbered:z" and branch.none is None
        assert await branch.deeper["x"][1].node.say("q") == "/deep:q"
        assert peers.tree.log == ["x", "y", "z", "q"]
        for server, client in peers.hops:
            assert server.stats()["exports"] == client.stats()["imports"] > 10
        del below, branch
        await until(lambda: all(node.closed == 1 for path, node in peers.tree.nodes.items() if path))
        assert peers.tree.root.closed == 0
        peers.forget()
        await assert_nothing_left(*peers.connections)
        await until(lambda: peers.tree.root.closed == 1)


async def test_arguments_travel_the_other_way_and_come_home() -> None:
    """The user's own object is a forwarder at the host; given back it is the very object again."""
    async with chain(CHAIN) as peers:
        mine = Tree()
        assert await peers.node.ask(mine.root, "hello") == ":hello" and mine.log == ["hello"]
        assert await peers.node.meet(mine.root) == "a stranger"
        assert await peers.node.hand(mine.root) is mine.root
        below = await peers.node.child("a")
        assert await peers.node.meet(below) == "/a", "the host's own comes home to it"
        again = await peers.node.hand(below)
        assert again == below and hash(again) == hash(below)
        await until(lambda: mine.root.closed == 1)
        del below, again
        peers.forget()
        await assert_nothing_left(*peers.connections)


async def test_the_same_capability_twice_is_one_export_on_every_connection() -> None:
    async with chain(3) as peers:
        (_, middle), (server, client) = peers.hops
        hub = await client.bootstrap(Hub)
        second, third = await hub.get(), await hub.get()
        assert peers.node == second == third
        assert server.stats()["exports"] == 2 and server.stats()["export_references"] == 4
        assert middle.stats()["imports"] == 1
        await second.aclose()
        assert await third.say("x") == ":x"
        del second, third, hub
        peers.forget()
        await assert_nothing_left(*peers.connections)


async def test_given_back_and_passed_again_it_works_again() -> None:
    """While the one who passes it on keeps it all the time."""
    async with chain(3) as peers:
        (_, middle), (server, client) = peers.hops
        hub = await client.bootstrap(Hub)
        for _ in range(3):
            release(peers.node)
            await until(lambda: server.stats()["exports"] == 1)
            assert middle.stats()["imports"] == 1
            peers.node = await hub.get()
            assert await peers.node.say("x") == ":x"
        del hub
        peers.forget()
        await assert_nothing_left(*peers.connections)


async def test_what_was_never_sent_holds_nothing() -> None:
    """The call that mentions it cannot be encoded: nobody is forwarded to, and the capability goes back as ever."""
    async with connected(Tree().root) as one, connected(Tree().root) as two:
        here, there = await one[1].bootstrap(Node), await two[1].bootstrap(Node)
        below = await here.child("a")
        with pytest.raises(InvalidArgument):
            await there.anything([below, object()])
        assert await below.say("x") == "/a:x"
        del here, there, below
        await assert_nothing_left(*one, *two)


async def test_errors_come_back_whole() -> None:
    async with chain(CHAIN) as peers:
        peers.tree.gate.open()
        with pytest.raises(NotFound) as caught:
            await peers.node.refuse("sold_out")
        error = caught.value
        assert (error.reason, error.retry, error.details, error.message) == (
            "sold_out",
            "never",
            {"path": ""},
            "there is none",
        )
        with pytest.raises(Internal) as hidden:
            await peers.node.crash()
        assert "secret" not in str(hidden.value) and hidden.value.details["correlation"]
        with pytest.raises(InvalidArgument):
            await peers.node.say(cast("Any", 3))
        with pytest.raises(Unimplemented):
            await peers.last._parts.calls.start(
                cast("Any", reference_of(peers.node).imported), contract_spec(Shop).methods["add"], {"a": 1}
            )


async def test_what_the_next_hop_does_not_take_fails_that_call_only() -> None:
    """A frame that is too long for a peer on the way."""
    async with chain(3, Limits(max_frame=64 * 1024)) as peers:
        (_, middle), _ = peers.hops
        middle._session.engine.outbox.limit = 32 * 1024
        assert await code_of(peers.node.say("x" * 40_000)) == "resource_exhausted/max_frame_bytes"
        assert await peers.node.say("x") == ":x"


async def test_cancel_is_made_again_at_every_hop() -> None:
    """R24: with the next hop's own id; each hop has made another number of calls."""
    async with chain(CHAIN) as peers:
        ids: set[int] = set()
        for number, (_, client) in enumerate(peers.hops):
            for _ in range(number):
                await client.runtime().ping()
        taps = [Tap.on(client) for _, client in peers.hops]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peers.node.late_word, "a")
            await until(lambda: peers.tree.gate.entered == ["a"])
            tasks.cancel_scope.cancel()
        await until(lambda: peers.tree.gate.cancelled == ["a"])
        for tap in taps:
            (payload,) = (payload for payload in tap.payloads if payload[1] == 5)
            ids.add(payload[2])
        assert len(ids) == len(taps)
        cancelled = peers.node.late_word("b")
        await until(lambda: peers.tree.gate.entered == ["a", "b"])
        cancelled.cancel()
        await until(lambda: peers.tree.gate.cancelled == ["a", "b"])
        assert await peers.node.say("x") == ":x"
        del cancelled
        peers.forget()
        await assert_nothing_left(*peers.connections)


async def test_the_deadline_is_what_is_left_and_context_goes_along() -> None:
    async with chain(CHAIN) as peers:
        assert (await peers.node.context())["left"] is None
        with anyio.fail_after(60):
            assert 0 < (await peers.node.context())["left"] <= 60
        told = await peers.last._parts.calls.start(
            cast("Any", reference_of(peers.node).imported),
            contract_spec(Node).methods["context"],
            {},
            {"traceparent": "00-1-2-01", "user": "tea"},
        )
        assert told["context"] == {"traceparent": "00-1-2-01", "user": "tea", "capnet.hops": str(CHAIN - 2)}


# Ring


@asynccontextmanager
async def ring() -> AsyncGenerator[tuple[list[MemHub], list[Any]]]:
    """Three peers, each connected to the next: their hubs, and the hub of the next as each sees it."""
    hubs = [MemHub(), MemHub(), MemHub()]
    async with connected(hubs[0]) as a, connected(hubs[1]) as b, connected(hubs[2]) as c:
        ends = [*a, *b, *c]
        yield hubs, [await b[1].bootstrap(Hub), await c[1].bootstrap(Hub), await a[1].bootstrap(Hub)]
        for hub in hubs:
            hub.node = None
        del a, b, c
        await assert_nothing_left_but_bootstraps(ends)


async def assert_nothing_left_but_bootstraps(ends: list[Any]) -> None:
    """Only the hubs themselves are held."""
    await until(lambda: all(end.stats()["exports"] + end.stats()["imports"] == 1 for end in ends))


@EITHER_WAY
async def test_a_capability_goes_round_a_ring(observed: bool) -> None:
    """Paths never shorten: back at its host, by another connection than it left, it is a proxy that leads round."""
    tree = Tree()
    async with ring() as (hubs, nexts):
        given: Node = tree.root
        for hub, following in zip([hubs[1], hubs[2], hubs[0]], nexts, strict=True):
            await following.put(given)
            assert hub.node is not None
            given = hub.node
        assert given is not tree.root and not isinstance(given, MemNode)
        assert await given.say("round") == ":round"
        assert await given.meet(tree.root) == "a stranger"
        below = pipe(given.child("a"))
        assert await below.say("x") == "/a:x"
        assert tree.log == ["round", "x"]
        del given, below, hub, following
        for hub in hubs:
            hub.node = None
        del hub
        await until(lambda: tree.root.closed == 1 and tree.nodes["/a"].closed == 1)


# Promises


@UNOBSERVED
async def test_pipelines_do_not_wait_at_the_forwarders(observed: bool) -> None:
    """Every hop has sent the second call before the answer to the first has come."""
    async with chain(CHAIN) as peers:
        taps = [Tap.on(client) for _, client in peers.hops]
        first = peers.node.late_child("a")
        below = pipe(first)
        said, deeper = below.say("1"), pipe(below.child("b")).say("2")
        await until(lambda: all(tap.frames.count(CALL) == 4 for tap in taps))
        assert peers.tree.gate.entered == ["a"] and not peers.tree.gate.left
        peers.tree.gate.open()
        assert (await said, await deeper) == ("/a:1", "/a/b:2")
        assert await (await first).say("3") == "/a:3"
        assert peers.tree.log == ["1", "2", "3"]
        del first, below, said, deeper
        peers.forget()
        await assert_nothing_left(*peers.connections)


@UNOBSERVED
async def test_a_chain_of_eight_takes_one_flight_a_hop(observed: bool) -> None:
    async with chain(3) as peers:
        answered = Tap.on(peers.hops[0][0])
        nodes = [peers.node]
        for name in "abcdefg":
            nodes.append(pipe(nodes[-1].child(name)))
        tap = Tap.on(peers.hops[0][1])
        assert await nodes[-1].say("deep") == "/a/b/c/d/e/f/g:deep"
        assert tap.frames.count(CALL) == answered.frames.count(RESULT) == 8
        first_answer = next(number for number, _ in enumerate(answered.writes))
        assert first_answer == 0
        nodes.clear()
        peers.forget()
        await assert_nothing_left(*peers.connections)


@EITHER_WAY
async def test_a_broken_promise_breaks_the_same_way_at_every_hop(observed: bool) -> None:
    async with chain(CHAIN) as peers:
        below = pipe(peers.node.refuse("gone"))
        calls = [below.say("1"), pipe(below.child("a")).say("2"), peers.node.anything([below])]
        peers.tree.gate.open()
        assert [await code_of(one) for one in calls] == ["not_found/gone"] * 3
        branch = pipe(peers.node.branch())
        assert await code_of(branch.row[7].say("3")) == "failed_precondition/no_capability"
        assert await branch.row[1].say("4") == "/second:4"
        assert await pipe(peers.node.late_child("b")).say("5") == "/b:5"
        peers.tree.gate = Gate()
        waiting = pipe(held := peers.node.late_child("c")).say("6")
        await until(lambda: "c" in peers.tree.gate.entered)
        held.cancel()
        assert await code_of(waiting) == "cancelled/None"
        assert peers.tree.log == ["4", "5"]
        del below, calls, branch, held, waiting
        peers.forget()
        await assert_nothing_left(*peers.connections)


@pytest.mark.parametrize("late", [False, True], ids=["kept", "late"])
async def test_a_promise_is_passed_to_a_third_peer(late: bool) -> None:
    """It becomes a forwarder, and what is called there waits until there is something to call."""
    tree, other = Tree(), Tree()
    async with connected(tree.root) as one, connected(other.root) as two:
        here, there = await one[1].bootstrap(Node), await two[1].bootstrap(Node)
        first = here.late_child("a")
        if late:
            await left(tree, first)
        below = pipe(first)
        asked = there.ask(below, "x")
        await two[1].ping()
        assert tree.log == []
        tree.gate.open()
        assert await asked == "/a:x"
        assert await there.hand(below) == below
        del here, there, first, below, asked
        await assert_nothing_left(*one, *two)
        await until(lambda: tree.nodes["/a"].closed == 1)


async def test_a_promise_is_a_result() -> None:
    """Of a handler that does not wait for it; for a third peer, and for the very peer that it will come from."""
    tree = Tree()

    class Quick(MemHub):
        async def get(self) -> Node:
            assert self.node is not None
            return pipe(self.node.late_child("a"))

    async with connected(tree.root) as one:
        node = await one[1].bootstrap(Node)
        one[1].serve(hub := Quick(node))
        async with connected(hub) as two:
            third, back = await two[1].bootstrap(Hub), await one[0].bootstrap(Hub)
            said: Any = None
            for promised in (await third.get(), await back.get()):
                said = promised.say("x")
                await one[1].ping()
                tree.gate.open()
                assert await said == "/a:x"
            del third, back, promised, said, node
            hub.node = None
            await assert_nothing_left(*one, *two)


# Order


@EITHER_WAY
@pytest.mark.parametrize("seed", range(8))
async def test_calls_on_one_reference_start_in_order_through_forwarders_and_pipelines(
    seed: int, observed: bool
) -> None:
    """Whatever mixture of direct, piped, late and one-way calls, and however long handlers take: counted for each
    reference by what its node has heard (P-CALL-2)."""
    chance = random.Random(seed)

    class Slow(MemNode):
        async def child(self, name: str) -> Node:
            for _ in range(chance.randrange(4)):
                await checkpoint()
            return Slow(self.tree, f"{self.path}/{name}")

        async def say(self, text: str) -> str:
            self.tree.log.append(text)
            for _ in range(chance.randrange(4)):
                await checkpoint()
            return text

    tree = Tree()
    tree.root = Slow(tree, "")
    tree.gate.open()
    hub = MemHub(tree.root)
    async with connected(hub) as one:
        middle = MemHub(await (await one[1].bootstrap(Hub)).get())
        async with connected(middle) as two:
            root = await (await two[1].bootstrap(Hub)).get()
            references: list[tuple[str, Node]] = [("root", root)]
            made: dict[str, int] = {}
            calls: list[Any] = []
            node: Node = root
            born: Any = None
            for step in range(150):
                key, node = chance.choice(references)
                what = chance.randrange(10)
                if what == 0 and len(references) < 12:
                    references.append((f"r{step}", pipe(node.child(str(step)))))
                elif what == 1 and len(references) < 12:
                    born = node.child(str(step))
                    await checkpoint()
                    references.append((f"r{step}", pipe(born)))
                elif what == 2:
                    await checkpoint()
                else:
                    number = made[key] = made.get(key, 0) + 1
                    text = f"{key}:{number}"
                    if what == 3:
                        notify(node.say)(text)
                    elif what == 4:
                        calls.append(node.say(pipe(root.late_word(text))))
                    else:
                        calls.append(node.say(text))
            for one_call in calls:
                await one_call
            await until(lambda: len(tree.log) == sum(made.values()))
            for key, count in made.items():
                heard = [text for text in tree.log if text.startswith(f"{key}:")]
                assert heard == [f"{key}:{number}" for number in range(1, count + 1)]
            del references, node, root, calls, one_call, born
            middle.node = hub.node = None
            await assert_nothing_left(*one, *two)


async def test_one_way_calls_go_on_in_order() -> None:
    async with chain(CHAIN) as peers:
        tap = Tap.on(peers.hops[-1][0])
        for number in range(0, 200, 2):
            notify(peers.node.say)(str(number))
            peers.node.say(str(number + 1))
        assert await peers.node.say("200") == ":200"
        assert peers.tree.log == [str(number) for number in range(201)]
        assert tap.frames.count(RESULT) <= 101
        peers.forget()
        await assert_nothing_left(*peers.connections)


async def test_one_way_calls_wait_for_a_slow_host_and_none_is_lost() -> None:
    """Each hop takes only as many as the next one has room for."""
    async with chain(3, Limits(max_calls=20, max_outgoing_calls=40)) as peers:
        gate = peers.tree.gate

        async def send_all() -> None:
            for number in range(300):
                while True:
                    try:
                        notify(peers.node.late_word)(str(number))
                        break
                    except ResourceExhausted:
                        await checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_all)
            await until(lambda: len(gate.entered) == 15)
            for _ in range(100):
                await checkpoint()
            assert len(gate.entered) == 15, "a part of what the host takes stays free for others"
            gate.open()
        await until(lambda: len(gate.left) == 300)
        assert gate.entered == [str(number) for number in range(300)]
        peers.forget()
        await assert_nothing_left(*peers.connections)


class Knot(Cap, name="test.Knot"):
    """Gives a promise of what it is given, or what it was given first."""

    @call
    async def tie(self, other: Knot) -> Knot: ...
    @call
    async def ping(self) -> int: ...


async def test_promises_that_lead_to_each_other_are_a_cycle_and_not_a_hang() -> None:
    """Rule R7: what would wait for itself by way of two peers ends with an error, after a bounded number of hops."""
    promise: Any = None

    class Here(Knot):
        async def tie(self, other: Knot) -> Knot:
            promised: Knot = pipe(cast("Any", other.tie(self)))
            return promised

        async def ping(self) -> int:
            return 1

    class There(Here):
        async def tie(self, other: Knot) -> Knot:
            return cast("Knot", promise)

    async with connected(Here()) as pair:
        root = await pair[1].bootstrap(Knot)
        promise = pipe(cast("Any", root.tie(There())))
        with anyio.fail_after(60):
            assert await code_of(promise.ping()) == "failed_precondition/forwarding_cycle"
        assert await root.ping() == 1  # what holds itself by way of a peer stays until the connection ends


# Revocation, replacement, loss


async def test_revocation_goes_hop_by_hop() -> None:
    """And the calls that run are answered; callbacks at every peer."""
    tree, told = Tree(), list[CapnetError]()
    async with connected() as one:
        handle = one[0].serve(tree.root)
        middle = MemHub(await one[1].bootstrap(Node))
        async with connected(middle) as two:
            last = MemHub(await (await two[1].bootstrap(Hub)).get())
            async with connected(last) as three:
                node = await (await three[1].bootstrap(Hub)).get()
                on_broken(node, told.append)
                on_broken(last.node, told.append)
                running = node.late_word("x")
                await until(lambda: tree.gate.entered)
                handle.close()
                with pytest.raises(Revoked):
                    await running
                await until(lambda: len(told) == 2)
                assert {error.code for error in told} == {"failed_precondition"}
                with pytest.raises(Revoked):
                    await node.say("y")
                with pytest.raises(Revoked):
                    await (await three[1].bootstrap(Hub)).put(node)
                assert tree.gate.cancelled == ["x"] and tree.log == []
                del node, running
                middle.node = last.node = None
                await assert_nothing_left(*one, *two, *three)


async def test_a_replacement_is_told_hop_by_hop() -> None:
    old, new = Tree(), Tree()
    async with connected() as one:
        one[0].serve(old.root)
        middle = MemHub(await one[1].bootstrap(Node))
        async with connected(middle) as two:
            node = await (await two[1].bootstrap(Hub)).get()
            assert generation(node) == 0
            await one[0].replace(new.root)
            await until(lambda: generation(node) == 2)  # noqa: F821 - deleted after this
            assert await node.say("x") == ":x" and (old.log, new.log) == ([], ["x"])
            del node
            middle.node = None
            await assert_nothing_left(*one, *two)


@EITHER_WAY
@pytest.mark.parametrize("lost", [0, 1, 2])
async def test_a_connection_on_the_way_is_lost(lost: int, observed: bool) -> None:
    """Calls that run fail at the user's end and are cancelled at the host; the other connections live on, empty."""
    async with chain(4) as peers:
        broken: list[CapnetError] = []
        on_broken(peers.node, broken.append)
        below = pipe(peers.node.late_child("a"))
        running = peers.node.late_word("x"), below.say("y")
        await until(lambda: peers.tree.gate.entered == ["a", "x"])
        await peers.hops[lost][lost % 2].aclose(grace=0)
        for one in running:
            with pytest.raises((Unavailable, Revoked)), anyio.fail_after(60):
                await one
        await until(lambda: sorted(peers.tree.gate.cancelled) == ["a", "x"])
        await until(lambda: broken)
        with pytest.raises((Unavailable, Revoked)):
            await peers.node.say("z")
        assert peers.tree.log == []
        del below, running, one
        peers.forget()
        await assert_nothing_left(*peers.connections)


# References


async def test_references_are_given_back_along_the_whole_path() -> None:
    """In one go when the user lets go; the close hook runs once."""
    async with chain(CHAIN) as peers:
        nodes = [await peers.node.child(str(number)) for number in range(20)]
        copies = [dup(node) for node in nodes]
        nodes.clear()
        assert await copies[3].say("x") == "/3:x"
        taps = [Tap.on(client) for _, client in peers.hops]
        copies.clear()
        await until(lambda: sum(peers.tree.closed.values()) == 20)
        assert all(tap.frames and set(tap.frames) == {DROP} for tap in taps)
        peers.forget()
        await assert_nothing_left(*peers.connections)
        await until(lambda: set(peers.tree.closed.values()) == {1})
        assert len(peers.tree.closed) == 21


async def test_a_forwarder_keeps_what_it_leads_to_open() -> None:
    """The one in the middle lets go of its own proxy; those behind it are not harmed."""
    async with chain(3) as peers:
        peers.hubs[0].node = peers.hubs[1].node = None
        await peers.hops[0][1].ping()
        assert await peers.node.say("x") == ":x"
        peers.forget()
        await assert_nothing_left(*peers.connections)


class Lender(Cap, name="test.Lender"):
    """Takes a function, and gives one."""

    @call
    async def shop(self) -> Shop: ...


class MemLender(Lender):
    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    async def shop(self) -> Shop:
        return self._shop


async def test_functions_and_objects_of_the_one_in_the_middle() -> None:
    """A function of the user's called by the host, and an item of the host's in data, both through the middle."""
    async with connected(implementation := MemShop()) as one:
        middle = MemLender(await one[1].bootstrap(Shop))
        async with connected(middle) as two:
            shop = await (await two[1].bootstrap(Lender)).shop()

            async def answer(about: str) -> str:
                return about.upper()

            assert await shop.ask(answer, "tea") == "they said TEA"
            mine = MemItem("mine")
            theirs = await shop.make("theirs")
            parcel = await shop.pack(mine, theirs)
            assert parcel.item is mine and parcel.weight == 4
            assert parcel.spare is not None and await parcel.spare.label() == "theirs"
            assert await shop.unpack([parcel]) == ["mine"]
            assert (await shop.who())["transport"] == "memory"
            with pytest.raises(CapnetError) as caught:
                await shop.fail("x")
            assert isinstance(caught.value, Internal) and len(implementation.items) == 1
            del shop, parcel, theirs, middle._shop, caught
            await assert_nothing_left(*one, *two)


async def test_a_temporary_reaches_home_though_it_is_dropped_right_behind_the_call() -> None:
    async with connected(MemShop()) as one:
        middle = MemLender(await one[1].bootstrap(Shop))
        async with connected(middle) as two:
            shop = await (await two[1].bootstrap(Lender)).shop()
            for _ in range(20):
                parcel = await shop.pack(MemItem("m"), await shop.make("theirs"))
                assert parcel.spare is not None and await parcel.spare.label() == "theirs"
                del parcel
            del shop, middle._shop
            await assert_nothing_left(*one, *two)


class Shelf(Cap, name="test.Shelf"):
    """Keeps items."""

    @call
    async def put(self, item: Item) -> Item: ...
    @call
    async def fill(self, items: AsyncIterator[Item]) -> int: ...
    @stream
    def items(self) -> Stream[Item]: ...


class MemShelf(Shelf):
    def __init__(self) -> None:
        self.held: list[Item] = []

    async def put(self, item: Item) -> Item:
        self.held.append(item)
        return item

    async def fill(self, items: AsyncIterator[Item]) -> int:
        self.held += [item async for item in items]
        return len(self.held)

    async def items(self) -> Stream[Item]:
        for item in self.held:
            yield item


class Lobby(Cap, name="test.Lobby"):
    """Has a shelf of somebody else's, and an item of its own."""

    @call
    async def shelf(self) -> Shelf: ...
    @call
    async def item(self) -> Item: ...


class MemLobby(Lobby):
    def __init__(self, proxy: Shelf, own: Item) -> None:
        self.proxy = proxy
        self.own = own

    async def shelf(self) -> Shelf:
        return self.proxy

    async def item(self) -> Item:
        return self.own


async def twice(item: Item) -> AsyncIterator[Item]:
    """A stream of the same."""
    yield item
    yield item


async def test_what_the_one_in_the_middle_lends_goes_on_as_no_more_than_that() -> None:
    """In arguments, results and items it stays under the contract by which it was lent: a jewel that is an item."""
    jewel, far = MemJewel(), MemShelf()
    async with connected(far) as one:
        middle = MemLobby(await one[1].bootstrap(Shelf), jewel)
        async with connected(middle) as two:
            lobby = await two[1].bootstrap(Lobby)
            shelf, item = await lobby.shelf(), await lobby.item()
            assert await shelf.put(item) == item
            assert await shelf.fill(twice(item)) == 3
            assert [each async for each in shelf.items()] == [item] * 3
            assert {reference_of(each).imported.interface for each in far.held} == {"test.Item"}
            assert [await each.label() for each in far.held] == ["jewel"] * 3
            assert jewel.closed == 0
            far.held.clear()
            del lobby, shelf, item, middle.proxy
            await until(lambda: jewel.closed == 1)
            await assert_nothing_left(*one, *two)


async def test_the_hub_of_a_released_proxy_says_so() -> None:
    async with connected(Tree().root) as one, connected(MemHub()) as two:
        node, hub = await one[1].bootstrap(Node), await two[1].bootstrap(Hub)
        release(node)
        with pytest.raises(FailedPrecondition) as caught:
            await hub.put(node)
        assert caught.value.reason == "released"
        pending = cast("Any", hub.get())
        pending.cancel()
        with pytest.raises(CallCancelled):
            await pending
