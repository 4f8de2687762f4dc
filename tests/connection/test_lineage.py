"""Revocation of what was handed out, with all that came of it: the tree, and what falls (P-CAP-6)."""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import anyio
import pytest
from anyio.lowlevel import checkpoint

from capnet import (
    CapnetError,
    Connection,
    InvalidArgument,
    Limits,
    Revoked,
    Unavailable,
    detach,
    on_broken,
    pipe,
    release,
    revoke,
)
from capnet.observe import CapExported, CapRevoked
from capnet.references.proxy import reference_of
from capnet.registry import Hosted
from capnet.revocation import lineage
from capnet.revocation.lineage import MAX_WAYS, Granted
from capnet.testing import connected
from capnet.wire.frames import Op
from capnet.wire.references import CapRef
from tests.balance import EITHER_WAY
from tests.connection.doors import Door, House, Keeper, MemDoor, MemKeeper
from tests.connection.shop import MemItem, socket_pair, until
from tests.connection.tree import Tap, assert_nothing_left, chain
from tests.counting import counting_calls, lines_of

MANY = Limits(max_caps=20_000)
FASTEST = ("asyncio", {"use_uvloop": True})
"""Where the large numbers are run, once."""


@asynccontextmanager
async def house(limits: Limits | None = None) -> AsyncGenerator[tuple[House, Connection, Connection, Door]]:
    """A program that serves a door, and one that has bootstrapped it."""
    made = House()
    async with connected(made.root, limits=limits, client_limits=limits) as (server, client):
        yield made, server, client, await client.bootstrap(Door)


@asynccontextmanager
async def house_and_keeper() -> AsyncGenerator[tuple[House, Door, MemKeeper, list[Connection]]]:
    """The same with a third program, whose keeper the first one has."""
    made, keeper = House(), MemKeeper(MemDoor(House(), "elsewhere"))
    async with (
        connected(made.root) as (server, client),
        connected(keeper) as (other, ours),
        anyio.create_task_group() as made.tasks,
    ):
        made.keeper = await ours.bootstrap(Keeper)
        try:
            yield made, await client.bootstrap(Door), keeper, [server, client, other, ours]
        finally:
            made.tasks.cancel_scope.cancel()
            made.keeper = None


async def is_gone(door: Any) -> bool:
    """Whether a call on it is refused as revoked."""
    try:
        await door.name()
    except Revoked:
        return True
    return False


async def fails_at_last(ask: Callable[[], Awaitable[object]]) -> CapnetError:
    """The error of something that is asked again and again until it fails."""
    with anyio.fail_after(60):
        while True:
            try:
                await ask()
            except CapnetError as error:
                return error
            await checkpoint()


async def all_gone(*doors: Any) -> bool:
    """Whether calls on each of them are refused as revoked."""
    return all([await is_gone(door) for door in doors])


async def is_answered_revoked(*calls: Awaitable[object]) -> bool:
    """Whether each of them ends so."""
    errors: list[CapnetError] = []
    for call in calls:
        try:
            await call
        except Revoked as error:
            errors.append(error)
    return len(errors) == len(calls)


def granted_now() -> int:
    """Records of lineage that there are in this process."""
    gc.collect()
    return sum(type(one) is Granted for one in gc.get_objects())


# What is recorded


async def test_results_fall_with_what_they_came_of() -> None:
    """Fault 20: the ancestor left callable what the methods of an unserved capability had exported."""
    async with house() as (made, server, client, root):
        child = await root.open("child")
        leaf = await child.open("leaf")
        others = await leaf.many(3)
        planned = revoke(made.root, dry_run=True)
        assert [await door.name() for door in (root, child, leaf, *others)] == ["root", "child", "leaf", "0", "1", "2"]
        taken = revoke(made.root, reason="closing time")
        assert taken == planned and len(taken) == 6 and {one.contract for one in taken} == {"test.Door"}
        assert {(one.connection, one.peer) for one in taken} == {(server.number, "client")}
        before = list(made.started)
        with pytest.raises(Revoked, match="closing time"):
            await leaf.name()
        assert await all_gone(root, child, leaf, *others)
        assert made.started == before and not revoke(made.root)
        again = await client.bootstrap(Door)  # a name that is served stays served
        assert await again.name() == "root"
        await until(lambda: len(made.closed) == 5)
        del root, child, leaf, others, again
        await assert_nothing_left(server, client)


async def test_fault_19_handlers_and_streams_of_the_whole_tree_are_ended() -> None:
    """Fault 19: the ancestor left handlers running and producers waiting; here each call is answered once."""
    async with socket_pair() as (server, client):
        made = House()
        handle = server.serve(made.root)
        root = await client.bootstrap(Door)
        child = await (await root.open("middle")).open("child")
        doors = [root, child]
        calls = [door.wait(str(number)) for door in doors for number in range(3)]
        streams = [door.row(["first"]) for door in doors]
        firsts = [await anext(stream) for stream in streams]
        await until(lambda: len(made.gate.entered) == 6)
        handle.close()
        assert await is_answered_revoked(*calls, *map(anext, streams)) and await all_gone(*firsts)
        await until(lambda: len(made.gate.cancelled) == 6 and made.streams_ended == 2)
        assert not server.stats()["answers"] and not server.stats()["streams"]
        del root, child, doors, calls, streams, firsts
        await assert_nothing_left(server, client)


async def test_functions_and_stream_items_fall_too() -> None:
    async with house() as (made, server, client, root):
        child = await root.open("child")
        key: Any = await child.key()
        row = child.row(["a", "b"])
        items = [await anext(row), await anext(row)]
        assert await key("turned") == "turned" and await items[1].name() == "b"
        revoke(made.root)
        with pytest.raises(Revoked):
            await key("again")
        assert [await is_gone(item) for item in items] == [True, True]
        assert made.started == ["turned", "b"]
        await row.aclose()
        del root, child, key, row, items
        await assert_nothing_left(server, client)


async def test_what_a_handler_gave_to_another_peer_falls_with_what_it_was_called_on() -> None:
    """P-CAP-6: also on another connection, also what came of it there."""
    async with house_and_keeper() as (made, root, keeper, connections):
        child = await root.open("child")
        await child.give("given")
        (given,) = keeper.doors
        below = await given.open("below")
        assert len(revoke(made.root, dry_run=True)) == 4
        assert len(revoke(made.door("given"), dry_run=True)) == 2
        taken = revoke(made.root)
        assert {one.connection for one in taken} == {connections[0].number, connections[3].number}
        assert await is_gone(given) and await is_gone(below) and await is_gone(child)
        del root, child, given, below
        keeper.doors.clear()
        made.keeper = None
        await assert_nothing_left(*connections)


async def test_tasks_that_a_handler_started_hand_out_what_came_of_it() -> None:
    async with house_and_keeper() as (made, root, keeper, _):
        await root.give_later("given")
        made.gate.open()
        await until(lambda: keeper.doors)
        revoke(made.root)
        assert await is_gone(keeper.doors[0])


async def test_what_is_handed_out_after_the_fall_falls_at_once() -> None:
    """A task goes on when what its handler was called on has fallen: what it gives away answers nothing."""
    async with house_and_keeper() as (made, root, keeper, connections):
        await root.give_later("given")
        made.doors["given"] = MemDoor(made, "given")
        events: list[Any] = []
        connections[3].on(CapExported, events.append)
        connections[3].on(CapRevoked, events.append)
        revoke(made.root)
        made.gate.open()
        await until(lambda: len(events) == 2)
        assert [type(event) for event in events] == [CapExported, CapRevoked]
        await until(lambda: keeper.doors)
        assert await is_gone(keeper.doors[0]) and not made.started
        await until(lambda: not connections[3].stats()["exports"] or keeper.doors)


async def test_what_a_peer_has_already_it_keeps_when_fallen_code_gives_it_again() -> None:
    async with house_and_keeper() as (made, root, keeper, _):
        assert made.keeper is not None
        await made.keeper.keep(made.door("given"))  # by the program, on its own
        await root.give_later("given")
        revoke(made.root)
        made.gate.open()
        await until(lambda: len(keeper.doors) == 2)
        assert await keeper.doors[1].name() == "given"


async def test_calls_that_were_deferred_hand_out_what_came_of_where_they_were_made() -> None:
    """One that waits for the answer of another leaves from nowhere; it is still the handler's."""
    async with house_and_keeper() as (made, root, keeper, _):
        giving = root.give_first("given")
        await until(lambda: keeper.gate.entered)
        keeper.gate.open()
        await giving
        revoke(made.root)
        assert await is_gone(keeper.doors[0])


async def test_streams_and_sinks_that_a_handler_passed_on_end() -> None:
    """Both ends of a stream are authority too, also at another peer, also when the call has ended."""
    async with house_and_keeper() as (made, root, keeper, _):
        child = await root.open("child")
        await child.feed()
        reading: Any = keeper.reading
        assert await anext(reading) == 1 and keeper.sink is not None
        await keeper.sink.send(7)
        fed: Any = made.actions["fed"]()
        assert await anext(fed) == 7
        revoke(made.root)
        with pytest.raises(CapnetError):
            await anext(reading)
        await until(lambda: made.streams_ended == 1)
        sink = keeper.sink
        await fails_at_last(lambda: sink.send(8))
        with pytest.raises(Revoked):
            await anext(fed)


async def test_ends_of_channels_in_results_end() -> None:
    async with house() as (made, _, __, root):
        child = await root.open("child")
        ends = await child.ends()
        kept: Any = made.actions["sink"]()
        await kept.send(3)
        assert await anext(ends["reader"]) == 3
        revoke(made.root)
        with pytest.raises(Revoked):
            await anext(ends["reader"])
        await fails_at_last(lambda: ends["sink"].send(1))


async def test_pipelined_results_fall() -> None:
    async with house() as (made, _, __, root):
        below = await pipe(pipe(root.open("a")).open("b")).open("c")
        assert await below.name() == "c"
        revoke(made.root)
        assert await is_gone(below)


@EITHER_WAY
async def test_through_forwarders(observed: bool) -> None:
    """P-REF-4: who takes back in the middle takes what came by way of it; who does at the end of the path, all."""
    for at_the_host in (True, False):
        async with chain(3) as peers:
            child = await peers.node.child("child")
            piped = await pipe(peers.node.child("x")).child("y")
            handed = await anext(peers.node.children(["item"]))
            passed_on = peers.hubs[1].node
            taken = revoke(peers.tree.root if at_the_host else passed_on)
            # the root, child, x, y, item, and at the host also the promise in the middle
            assert {one.contract for one in taken} == {"test.Node"} and len(taken) >= 4
            errors = [await fails_at_last(partial(node.say, "x")) for node in (peers.node, child, piped, handed)]
            assert all(isinstance(error, Revoked) for error in errors)
            assert passed_on is not None and (at_the_host or await passed_on.say("here") == ":here")
            connections = peers.connections
            peers.forget()
            del child, piped, handed, passed_on, errors
            del peers
            await assert_nothing_left(*connections)


async def test_what_came_through_a_forwarder_falls_also_when_that_was_given_back() -> None:
    """The capability is still held in the middle: it names what came of it, by any forwarder."""
    async with chain(3) as peers:
        child = await peers.node.child("child")
        middle = peers.hubs[1].node
        peers.node = None
        await until(lambda: peers.hops[1][0].stats()["exports"] == 1)
        assert [one.contract for one in revoke(middle)] == ["test.Node"]
        with pytest.raises(Revoked):
            await child.say("x")


async def test_a_broken_path_takes_what_came_by_way_of_it() -> None:
    async with chain(3) as peers:
        child = await peers.node.child("child")
        await peers.hops[0][0].aclose(grace=0)
        errors = [await fails_at_last(partial(node.say, "x")) for node in (peers.node, child)]
        assert all(isinstance(error, (Revoked, Unavailable)) for error in errors)


# What stands


async def test_a_child_of_two_parents_falls_with_the_last() -> None:
    """What a peer has by another way as well, it keeps; in whichever order, at once or one after the other."""
    for first, second in (("a", "b"), ("b", "a")):
        async with house() as (made, server, client, root):
            ways = {name: await root.known(name) for name in "ab"}
            shared = await ways["a"].known("shared")
            again = await ways["b"].known("shared")
            below = await shared.open("below")
            assert again == shared
            assert [one.cap for one in revoke(made.door(first))] != [] and not await is_gone(shared)
            assert await below.name() == "below"
            assert len(revoke(made.door(second), dry_run=True)) == 3
            revoke(made.door(second))
            assert await is_gone(shared) and await is_gone(below) and not await is_gone(root)
            del ways, shared, again, below, root
            await assert_nothing_left(server, client)
    async with house() as (made, _, __, root):
        ways = {name: await root.known(name) for name in "ab"}
        shared = await ways["a"].known("shared")
        await ways["b"].known("shared")
        assert len(revoke(made.root)) == 4 and await is_gone(shared)


async def test_what_was_bootstrapped_stands_alone() -> None:
    async with house() as (made, server, client, root):
        server.serve(made.door("served"), name="test.served")
        handed = await root.known("served")
        booted = await client.bootstrap(Door, name="test.served")
        assert booted == handed
        revoke(made.root)
        assert await is_gone(root) and await booted.name() == "served"
        server.unserve("test.served")
        assert await is_gone(booted)


async def test_detached_it_stands_alone_and_takes_its_own_branch_along() -> None:
    async with house() as (made, server, client, root):
        kept = await root.known("kept")
        below = await kept.open("below")
        lost = await root.open("lost")
        detach(made.door("kept"))
        assert len(revoke(made.root)) == 2
        assert await is_gone(lost) and await kept.name() == "kept" and await below.name() == "below"
        assert len(revoke(made.door("kept"))) == 2 and await is_gone(below)
        del root, kept, below, lost
        await assert_nothing_left(server, client)


async def test_one_that_leads_back_to_its_parent_falls_all_the_same() -> None:
    """There are no circles: what came of it adds no way to it, or neither would ever fall."""
    async with house() as (made, server, client, root):
        a = await root.known("a")
        b = await a.known("b")
        c = await b.known("c")
        assert await b.known("a") == a and await c.known("a") == a
        assert await c.hand(root) == root and await a.known("a") == a
        assert await c.hand(b) == b
        assert len(revoke(made.root)) == 4 and await all_gone(root, a, b, c)
        del root, a, b, c
        await assert_nothing_left(server, client)


async def test_one_that_was_given_back_is_a_parent_still() -> None:
    """Intermediate ones need not be held: by its object, and by what that came of, the branch falls."""
    for which in ("root", "middle"):
        async with house() as (made, server, client, root):
            middle = await root.known("middle")
            leaf = await (await middle.open("between")).open("leaf")
            release(middle)
            await until(lambda: server.stats()["exports"] == 2)
            taken = revoke(made.door(which))
            assert len(taken) == (2 if which == "root" else 1)
            assert await is_gone(leaf)
            del middle, leaf, root
            await assert_nothing_left(server, client)


async def test_given_back_and_exported_again() -> None:
    """The new export is another; the object takes what came of both."""
    async with house() as (made, server, client, root):
        first = await root.known("room")
        of_first = await first.open("of the first")
        release(first)
        await until(lambda: server.stats()["exports"] == 2)
        second = await root.known("room")
        of_second = await second.open("of the second")
        assert len(revoke(made.door("room"))) == 3
        assert [await is_gone(door) for door in (second, of_first, of_second)] == [True] * 3
        third = await root.known("room")
        assert await third.name() == "room"
        del root, first, second, third, of_first, of_second
        await assert_nothing_left(server, client)


async def test_given_back_while_a_call_runs_on_it() -> None:
    """What the call brings came of it, and the call ends with it; the peer has nothing that it could be told of."""
    async with house() as (made, server, client, root):
        middle = await root.known("middle")
        bringing, waiting = middle.wait_and_open("leaf"), middle.wait("on")
        stream = middle.row(["item"])
        item = await anext(stream)
        await until(lambda: len(made.gate.entered) == 2)
        release(middle)
        await until(lambda: server.stats()["exports"] == 2)
        made.gate.open()
        leaf = await bringing
        assert await waiting == "middle"
        taken = revoke(made.door("middle"))
        assert len(taken) == 3 and await is_gone(leaf) and await is_gone(item)
        with pytest.raises(Revoked):
            await anext(stream)
        del root, middle, leaf, item, stream, bringing, waiting
        await assert_nothing_left(server, client)


async def test_a_call_on_what_was_given_back_is_answered_when_its_ancestor_falls() -> None:
    async with house() as (made, server, client, root):
        middle = await root.open("middle")
        waiting = middle.wait("on")
        await until(lambda: made.gate.entered)
        release(middle)
        await until(lambda: server.stats()["exports"] == 1)
        revoke(made.root)
        with pytest.raises(Revoked):
            await waiting
        await until(lambda: made.gate.cancelled == ["on"])
        del root, middle, waiting
        await assert_nothing_left(server, client)


async def test_a_grant_moves_with_replace() -> None:
    """P-CAP-5: what came of the old implementation is the new one's, also by exports that were given back."""
    async with connected() as (server, client):
        old, new = House(), House()
        handle = server.serve(old.root)
        root = await client.bootstrap(Door)
        child = await root.open("child")
        release(root)
        await until(lambda: server.stats()["exports"] == 1)
        again = await client.bootstrap(Door)
        await server.replace(new.root)
        fresh = await again.open("fresh")
        assert not revoke(old.root, dry_run=True)
        assert len(revoke(new.root, dry_run=True)) == 3
        handle.close()
        assert [await is_gone(door) for door in (again, child, fresh)] == [True] * 3
        del root, child, again, fresh
        await assert_nothing_left(server, client)


async def test_the_connection_in_between_has_closed() -> None:
    """What was handed out elsewhere on its calls falls with the object, or with its name, still."""
    for by_name in (False, True):
        made, keeper = House(), MemKeeper()
        async with connected(keeper) as (_, ours), connected() as (server, client):
            handle = server.serve(made.root)
            made.keeper = await ours.bootstrap(Keeper)
            root = await client.bootstrap(Door)
            await root.give("given")
            del root
            async with connected(made.root) as (_, other):
                await (await other.bootstrap(Door)).give("by another")
            if by_name:
                handle.close()
            else:
                assert len(revoke(made.root)) >= 2
            assert [await is_gone(door) for door in keeper.doors] == [True, True]
            made.keeper = None
            keeper.doors.clear()


async def test_what_is_closed_is_not_revoked() -> None:
    made = House()
    async with connected(made.root) as (_, client):
        root = await client.bootstrap(Door)
        assert await root.name() == "root"
        assert len(revoke(made.root, dry_run=True)) == 1
    assert not revoke(made.root)


# When and what


async def test_from_inside_of_the_very_handler() -> None:
    """It is answered with `revoked`, and what it returns goes nowhere."""
    async with house() as (made, server, client, root):
        child = await root.known("child")
        made.actions["child"] = lambda: revoke(made.door("child"))
        made.actions["root"] = lambda: revoke(made.root)
        with pytest.raises(Revoked):
            await child.do("child")
        assert await root.name() == "root"
        with pytest.raises(Revoked):
            await root.do("root")
        del root, child
        await assert_nothing_left(server, client)


async def test_what_is_on_its_way_out_is_revoked_before_it_arrives() -> None:
    """The peer is told behind the frame that brings it, and nothing it asks reaches the object."""
    async with house() as (made, server, client, root):
        made.actions["later"] = lambda: server._session.loop.call_soon(lambda: revoke(made.door("fresh")))
        bringing, doing = root.known("fresh"), root.do("later")
        await doing
        with pytest.raises(Revoked):
            await (await bringing).name()
        assert "fresh" not in made.started
        del root, bringing, doing
        await assert_nothing_left(server, client)


async def test_in_a_frame_that_is_held_back() -> None:
    """The peer has no room for the call: what it would bring is revoked, and it is told when the call leaves."""
    async with connected(limits=Limits(max_calls=16)) as (server, client):
        keeper = MemKeeper(MemDoor(House(), "own"))
        server.serve(keeper)
        remote, made = await client.bootstrap(Keeper), House()
        waiting = [remote.get() for _ in range(16)]
        giving = remote.keep(made.root)
        assert client.stats()["calls_held"] == 1 and len(revoke(made.root)) == 1
        keeper.gate.open()
        assert not await is_answered_revoked(*waiting)
        await giving
        assert type(await fails_at_last(keeper.doors[0].name)) is Revoked
        assert not made.started
        del remote, waiting, giving
        keeper.doors.clear()
        await assert_nothing_left(server, client)


async def test_only_capabilities_can_be_revoked() -> None:
    async def function(word: str) -> str:
        return word

    for nothing in (function, 1, None):
        with pytest.raises(InvalidArgument):
            revoke(nothing)
        with pytest.raises(InvalidArgument):
            detach(nothing)
    assert revoke(MemItem("never passed")) == []
    detach(MemItem("never passed"))
    async with house() as (_, __, ___, root):
        assert revoke(root) == []  # held, and passed on to nobody


async def test_an_object_that_was_copied_is_another() -> None:
    """A copy of what a peer holds shares neither its exports nor their end."""
    from copy import copy

    async with house() as (made, _, __, root):
        one = await root.known("one")
        made.doors["two"] = copied = copy(made.door("one"))
        copied.label = "two"
        two = await root.known("two")
        assert two != one and await two.name() == "two"
        revoke(made.door("one"))
        assert await is_gone(one) and await two.name() == "two"


async def test_fault_27_and_t16_a_revoked_one_is_refused_and_kept_until_it_is_dropped() -> None:
    """T16: a call after `cap_revoked` is answered per call; the entry goes when the peer gives its references back."""
    async with house() as (made, server, client, root):
        child = await root.open("child")
        revoke(made.root)
        told: list[CapnetError] = []
        on_broken(child, told.append)
        await until(lambda: told)
        reference_of(child).imported.broken = None  # type: ignore[misc]  # a peer that does not care
        for _ in range(20):
            assert await is_gone(child)
        assert not made.started and server.close_cause is None and server.stats()["exports"] == 2
        del root, child
        await until(lambda: not server.stats()["exports"])
        await assert_nothing_left(server, client)


async def test_t17_a_storm_is_told_in_a_few_frames_and_starves_nobody() -> None:
    """T17: ten thousand at once; frames fewer than exports by far, each observer and holder told of each once.

    10 000 exports are revoked without stalling the loop: no turn of it has more than a portion of the work.
    """
    made = House()
    async with connected(made.root, limits=MANY, client_limits=MANY) as (server, client):
        root = await client.bootstrap(Door)
        doors = [door for _ in range(10) for door in await root.many(1000)]
        events: list[CapRevoked] = []
        told: list[CapnetError] = []
        kept: list[Door] = []
        server.on(CapRevoked, events.append)
        while doors:
            on_broken(doors[-1], told.append)
            kept.append(doors.pop())
        tap = Tap.on(server)
        assert len(revoke(made.root)) == 10_001
        turns: list[int] = []
        while len(told) < 10_000 or len(made.closed) < 10_000:
            with counting_calls() as calls:
                await checkpoint()
            turns.append(calls.total())
        assert max(turns) < sum(turns) / 8
        assert tap.frames.count(Op.CAP_REVOKED) == 3 and len(told) == 10_000
        assert len(events) + server._session.bus.stats().get("events_dropped", 0) >= 1000
        assert all(isinstance(error, Revoked) for error in told)
        del root, kept
        await assert_nothing_left(server, client)


async def test_what_is_being_cleared_away_when_the_connection_closes() -> None:
    """Every close hook runs once, also of those whose turn had not come."""
    made = House()
    async with connected(made.root, limits=MANY, client_limits=MANY) as (server, client):
        root = await client.bootstrap(Door)
        doors = [door for _ in range(3) for door in await root.many(1000)]
        revoke(made.root)
        assert server._parts.cleanup.due
        await server.aclose(grace=0)
        del doors, root
    assert len(made.closed) == 3001 and not server._parts.cleanup.due


# What it costs


async def test_many_that_are_handed_out_far_down_cost_no_more_than_at_the_top() -> None:
    """T8: what a place in the tree came of is looked for once for a frame, not for each reference in it."""

    async def work(depth: int) -> int:
        async with house() as (_, server, client, root):
            places = [root]
            for number in range(depth):
                places.append(await places[-1].open(str(number)))
            doors = await root.many(100)
            below = [await door.open("child") for door in doors]
            bottom, *handed_out = (
                server._parts.lineage.granted[cast("int", reference_of(door).imported.id)]
                for door in (places[-1], *doors)
            )
            references = [CapRef(one.interface, 1, one.hosted, one.export.id) for one in handed_out]
            lines = lines_of(partial(server._parts.calls.payloads.queued, references, bottom), lineage)
            assert all(len(one.parents) == 2 for one in handed_out)
            del places, doors, below, root, bottom, handed_out, references
            await assert_nothing_left(server, client)
            return lines

    assert await work(200) < 2 * await work(20)


async def test_exports_that_come_and_go_leave_nothing(anyio_backend: Any) -> None:
    """10^5 of them, and a chain of five hundred of which only the last is held at any time."""
    before = granted_now()
    async with house(MANY) as (_, server, client, root):
        for _ in range(100 if anyio_backend == FASTEST else 5):
            await root.many(1000)
        cursor = root
        for number in range(500):
            cursor = await cursor.open(str(number))
        await until(lambda: server.stats()["exports"] == 2)
        assert granted_now() - before <= 4
        del cursor, root
        await assert_nothing_left(server, client)
        assert granted_now() == before


async def test_going_back_and_forth_between_objects_that_stay_costs_no_more_than_they_do() -> None:
    """Each step is a new export on a call on the one before: records that say the same are left out."""
    before = granted_now()
    async with house() as (made, server, client, root):
        here = await root.known("a")
        for number in range(200):
            here = await here.known("ba"[number % 2])
            await until(lambda: server.stats()["exports"] == 2)
        assert granted_now() - before <= 4
        assert len(revoke(made.door("b"), dry_run=True)) == 1, "it came by way of b"
        assert len(revoke(made.root)) == 2 and await is_gone(here)
        del here, root
        await assert_nothing_left(server, client)
    assert granted_now() == before


async def test_one_that_is_handed_out_by_very_many_remembers_the_newest() -> None:
    before = granted_now()
    async with house() as (made, server, client, root):
        ways: list[Door] = []
        for number in range(3 * MAX_WAYS):
            ways = [await (await root.open(str(number))).known("shared"), *ways[:1]]
        await until(lambda: server.stats()["exports"] == 2)
        (one,) = Hosted.of(made.door("shared")).granted
        assert len(one.parents) == MAX_WAYS and granted_now() - before <= MAX_WAYS + 3
        assert len(revoke(made.root)) == 2 and await all_gone(*ways)
        del root, ways, one
        await assert_nothing_left(server, client)
    assert granted_now() == before


@pytest.mark.parametrize("held", [True, False])
async def test_chains_of_any_length(anyio_backend: Any, held: bool) -> None:
    """Nothing goes down a chain by recursion: ten thousand, held all the way or only at the end."""
    before = granted_now()
    async with house(MANY) as (made, server, client, root):
        depth = 10_000 if anyio_backend == FASTEST else 1_500
        way = [root]
        for number in range(depth):
            way.append(await way[-1].known(str(number)))
        last = way[-1]
        if not held:
            del way[1:]
            await until(lambda: server.stats()["exports"] == 2)
        assert await last.name() == str(depth - 1)
        assert len(revoke(made.door("17"), dry_run=True)) == (depth - 17 if held else 1)
        assert len(revoke(made.root)) == (depth + 1 if held else 2) and await is_gone(last)
        del root, way, last
        await assert_nothing_left(server, client)
    made.doors.clear()
    del made
    assert granted_now() == before
