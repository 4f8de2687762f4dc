"""Who decides about a call or is told of it knows what it is made on, also when that comes later (P-CAP-7, P-CAP-8)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from capnet import (
    CallInfo,
    Cap,
    Connection,
    Denied,
    PermissionDenied,
    call,
    notify,
    pipe,
    release,
)
from capnet.observe import CallFinished, CallStarted, CapExported, Event
from capnet.testing import connected
from tests.balance import EITHER_WAY, UNOBSERVED
from tests.connection.shop import until
from tests.connection.test_guard import Guard, Slow, later
from tests.connection.tree import CALL, Chain, Hub, Tap, assert_nothing_left, chain

pytestmark = pytest.mark.usefixtures("whole_turns")

NODE = "test.Node"


def no_words(call: CallInfo) -> Any:
    """By contract and method, as the page on policies has it: what is not known to be bad is let through."""
    return Denied("no_words") if (call.contract, call.method) == (NODE, "say") else True


@asynccontextmanager
async def guest_of(peers: Chain, decide: Callable[[CallInfo], Any]) -> AsyncGenerator[tuple[Guard, Connection, Any]]:
    """Another peer at the end of a chain, whose calls are guarded there, with the root of the tree."""
    policy = Guard(decide)
    async with connected(peers.hubs[-1], policy=policy) as (_, guest):
        node: Any = await (await guest.bootstrap(Hub)).get()
        yield policy, guest, node
        del node
        peers.forget()


async def refused(call: Any) -> str | None:
    with pytest.raises(PermissionDenied) as caught:
        await call
    return caught.value.reason


class Echoing(Cap, name="test.Echoing"):
    @call
    async def echo(self, value: str) -> str: ...


class Mirror(Cap, name="test.Mirror"):
    @call
    async def give_back(self, one: Echoing) -> Echoing: ...


class MemEchoing(Echoing):
    def __init__(self) -> None:
        self.heard: list[str] = []

    async def echo(self, value: str) -> str:
        self.heard.append(value)
        return value


class MemMirror(Mirror):
    async def give_back(self, one: Echoing) -> Echoing:
        return one


# Guards


@EITHER_WAY
@pytest.mark.parametrize("peers", [2, 3, 4])
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "later"])
async def test_a_guard_is_asked_when_the_contract_is_known(peers: int, at_once: bool, observed: bool) -> None:
    """Whether what it is made on is of the one in the middle, or comes from one or two programs further on."""

    def decide(call: CallInfo) -> Any:
        return no_words(call) if at_once else later(no_words(call))

    async with chain(peers) as row, guest_of(row, decide) as (policy, guest, node):
        below = pipe(node.late_child("a"))
        early, deeper = below.say("1"), pipe(pipe(below.child("b")).child("c")).say("2")
        notify(below.say)("3")
        await guest.ping()
        after = below.say("4")
        row.tree.gate.open()
        for one in (early, deeper, after):
            assert await refused(one) == "no_words"
        await guest.ping()
        assert row.tree.log == []
        assert {call.contract for call in policy.asked} == {NODE, "test.Hub"}
        assert [call.method for call in policy.asked].count("say") == 4
        policy.asked.clear()
        del below, early, deeper, after, one


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "finished"])
async def test_what_was_given_back_meanwhile_is_guarded_too(kept: bool) -> None:
    """The caller may say that it needs the result no more while calls on it wait."""
    async with chain(3) as row, guest_of(row, no_words) as (policy, guest, node):
        below = pipe(node.late_child("a"))
        said = below.say("1")
        if not kept:
            release(below)
        await guest.ping()
        row.tree.gate.open()
        assert await refused(said) == "no_words"
        assert row.tree.log == [] and policy.asked[-1].contract == NODE
        policy.asked.clear()
        del below, said


async def test_what_the_guard_lets_through_keeps_its_order() -> None:
    async with chain(3) as row, guest_of(row, lambda _: True) as (_, guest, node):
        below = pipe(node.late_child("a"))
        calls: list[Any] = [below.say(str(number)) for number in range(5)]
        await guest.ping()
        calls += [below.say(str(number)) for number in range(5, 10)]
        row.tree.gate.open()
        assert [await one for one in calls] == [f"/a:{number}" for number in range(10)]
        assert row.tree.log == [str(number) for number in range(10)]
        del below, calls


async def test_calls_on_the_callers_own_wait_for_the_guard_in_their_order() -> None:
    """A result that leads back to the caller is a reference like any other."""

    slow, mine = Slow(), MemEchoing()
    policy = Guard(slow)
    async with connected(MemMirror(), policy=policy) as (server, client):
        mirror = await client.bootstrap(Mirror)
        again = pipe(mirror.give_back(mine))
        first, second = again.echo("a"), again.echo("b")
        await until(lambda: slow.thinking == ["a"])
        await client.ping()
        assert slow.thinking == ["a"]
        slow.decide("b", True)
        slow.decide("a", True)
        assert (await first, await second) == ("a", "b") and mine.heard == ["a", "b"]
        policy.asked.clear()  # what a test keeps is not given back
        del mirror, again, first, second
        await assert_nothing_left(server, client)


# Observers


Seen = list[CallStarted | CallFinished]


def watch(connection: Connection) -> Seen:
    """What is told of its calls from now on."""
    seen: Seen = []

    def see(event: Event) -> None:
        if isinstance(event, CallStarted | CallFinished):
            seen.append(event)

    connection.on(Event, see)
    return seen


def told(seen: Seen, direction: str) -> list[tuple[str, str, str]]:
    """Of calls in one direction, in order."""
    return [(type(one).__name__, one.contract, one.method) for one in seen if one.direction == direction]


SAID = [("CallStarted", NODE, "say"), ("CallFinished", NODE, "say")]


@UNOBSERVED
@pytest.mark.parametrize("after", [False, True], ids=["before it was passed on", "after it was passed on"])
@pytest.mark.parametrize("onwards", [False, True], ids=["from the guest", "to the owner"])
async def test_an_observer_is_told_the_contract(onwards: bool, after: bool, observed: bool) -> None:
    """On either side of the one in the middle, whenever it begins to observe: the call waits for it."""
    async with chain(3) as row:
        watched = row.hops[0][1] if onwards else row.hops[1][0]
        seen: Seen = [] if after else watch(watched)
        below = pipe(row.node.late_child("a"))
        await until(lambda: row.tree.gate.entered == ["a"])
        if after:
            seen = watch(watched)
        tap = Tap.on(row.hops[0][1])
        said = below.say("1")
        await row.last.ping()
        for _ in range(20):
            await checkpoint()
        assert CALL not in tap.frames
        row.tree.gate.open()
        assert await said == "/a:1"
        await until(lambda: told(seen, "out" if onwards else "in")[-2:] == SAID)
        assert all(one.contract == NODE for one in seen)
        del below, said
        row.forget()
        await assert_nothing_left(*row.connections)


@UNOBSERVED
async def test_who_observes_other_things_does_not_hold_up_calls(observed: bool) -> None:
    async with chain(3) as row:
        seen: list[CapExported] = []
        row.hops[1][0].on(CapExported, seen.append)
        tap = Tap.on(row.hops[0][1])
        below = pipe(row.node.late_child("a"))
        said = below.say("1")
        await until(lambda: tap.frames.count(CALL) == 2)
        await until(lambda: row.tree.gate.entered == ["a"])
        assert not row.tree.gate.left
        row.tree.gate.open()
        assert await said == "/a:1"
        del below, said
        row.forget()
        await assert_nothing_left(*row.connections)


@UNOBSERVED
async def test_of_what_had_gone_on_before_anybody_observed_nothing_is_told(observed: bool) -> None:
    """Its contract was not known when it went; what comes behind it waits, and keeps its place."""
    async with chain(3) as row:
        other: list[Event] = []
        for connection in row.connections:
            connection.on(CapExported, other.append)  # so that the time is taken
        tap = Tap.on(row.hops[0][1])
        below = pipe(row.node.late_child("a"))
        early = below.say("1")
        await until(lambda: tap.frames.count(CALL) == 2)
        incoming, outgoing = watch(row.hops[1][0]), watch(row.hops[0][1])
        later_on = below.say("2")
        await row.last.ping()
        row.tree.gate.open()
        assert (await early, await later_on) == ("/a:1", "/a:2")
        assert row.tree.log == ["1", "2"]
        for seen, direction in ((incoming, "in"), (outgoing, "out")):
            await until(lambda seen=seen, direction=direction: told(seen, direction)[-2:] == SAID)  # type: ignore[misc]
            assert [one for one in told(seen, direction) if one[2] == "say"] == SAID
            assert all(one.contract == NODE for one in seen)
        del below, early, later_on
        row.forget()
        await assert_nothing_left(*row.connections)


@UNOBSERVED
async def test_when_nobody_observes_any_more_calls_go_straight_on_again(observed: bool) -> None:
    """Those that wait first, as soon as one comes behind them."""
    async with chain(3) as row:
        first, second = pipe(row.node.late_child("a")), pipe(row.node.late_child("b"))
        await until(lambda: row.tree.gate.entered == ["a", "b"])
        seen: Seen = []
        end = row.hops[1][0].on(CallStarted, seen.append)
        waits = first.say("1")
        await row.last.ping()
        end()
        tap = Tap.on(row.hops[0][1])
        behind, straight = first.say("2"), second.say("3")
        await until(lambda: tap.frames.count(CALL) == 3)
        assert not row.tree.gate.left
        row.tree.gate.open()
        assert [await one for one in (waits, behind, straight)] == ["/a:1", "/a:2", "/b:3"]
        assert row.tree.log.index("1") < row.tree.log.index("2")
        del first, second, waits, behind, straight
        row.forget()
        await assert_nothing_left(*row.connections)
