"""Room: one guest of a hop leaves some for the others, and calls that wait for each other end (P-CALL-7, P-LIMIT-2)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any, cast

import anyio
import pytest
from anyio.lowlevel import checkpoint

from capnet import (
    Cap,
    CapnetError,
    Connection,
    InvalidArgument,
    Limits,
    Membrane,
    ResourceExhausted,
    Sink,
    Stream,
    Unavailable,
    call,
    notify,
    pipe,
    restrict,
    revocable,
    stream,
)
from capnet.engine.inspect import check_invariants
from capnet.engine.pace import Pace
from capnet.testing import assert_no_leaks, connected
from tests.connection.shop import Gate, until

SMALL = Limits(max_calls=16)
NARROW = Limits(max_streams=16)
ALONE = 12
"""Calls, and streams, that one guest may have of these."""
PATIENCE = 60


class Well(Cap, name="test.Well"):
    """What many want to use."""

    @call
    async def quick(self) -> int: ...
    @call
    async def hold(self, key: str, weight: bytes = b"") -> str:
        """Until the gate opens."""
        ...

    @call
    async def deeper(self) -> Well: ...
    @call
    async def fresh(self) -> Well:
        """Another one."""
        ...

    @call
    async def number(self, value: int) -> int: ...
    @stream
    def count(self) -> Stream[int]:
        """One number, and another when the gate opens."""
        ...

    @call
    async def read(self, items: AsyncIterable[int]) -> int: ...
    @call
    async def write(self, into: Sink[int]) -> None: ...
    @call
    async def nest(self, depth: int, other: Well) -> int:
        """Calls the other, which calls back, and so on."""
        ...

    @call
    async def both(self, other: Well, times: int) -> int:
        """Calls the other so many times at once, each of which calls back once."""
        ...

    @call
    async def all_hold(self, other: Well, times: int) -> int:
        """Has the other hold so many calls at once."""
        ...

    @stream
    def nested(self, depth: int, other: Well) -> Stream[int]:
        """Reads the stream of the other, which reads one of this one, and so on."""
        ...

    @call
    async def pass_it(self, depth: int, other: Well) -> None:
        """Passes it to the other one way, which passes it back, and so on; the last one opens the gate."""
        ...


class MemWell(Well):
    def __init__(self) -> None:
        self.gate = Gate()
        self.streams = 0

    async def quick(self) -> int:
        return 1

    async def hold(self, key: str, weight: bytes = b"") -> str:
        await self.gate.pass_through(key)
        return key

    async def deeper(self) -> Well:
        return self

    async def fresh(self) -> Well:
        return MemWell()

    async def number(self, value: int) -> int:
        return value

    async def count(self) -> Stream[int]:
        self.streams += 1
        yield 1
        await self.gate.pass_through("count")
        yield 2

    async def read(self, items: AsyncIterable[int]) -> int:
        self.streams += 1
        return len([item async for item in items])

    async def write(self, into: Sink[int]) -> None:
        self.streams += 1
        await into.send(1)
        await self.gate.pass_through("write")
        await into.aclose()

    async def nest(self, depth: int, other: Well) -> int:
        return 1 + await other.nest(depth - 1, self) if depth else 0

    async def both(self, other: Well, times: int) -> int:
        ends: list[int] = []

        async def once() -> None:
            ends.append(await other.nest(1, self))

        async with anyio.create_task_group() as tasks:
            for _ in range(times):
                tasks.start_soon(once)
        return sum(ends)

    async def all_hold(self, other: Well, times: int) -> int:
        async with anyio.create_task_group() as tasks:
            for number in range(times):
                tasks.start_soon(other.hold, str(number))
        return times

    async def nested(self, depth: int, other: Well) -> Stream[int]:
        if depth:
            async for item in other.nested(depth - 1, self):
                yield item + 1
        else:
            yield 0

    async def pass_it(self, depth: int, other: Well) -> None:
        if depth:
            notify(other.pass_it)(depth - 1, self)
        else:
            self.gate.open()


class Facade(Well):
    """What the middle offers of its own, made of what it has from the owner."""

    def __init__(self, well: Well) -> None:
        self._well = well

    async def quick(self) -> int:
        return await self._well.quick()

    async def hold(self, key: str, weight: bytes = b"") -> str:
        return await self._well.hold(key, weight)

    async def deeper(self) -> Well:
        return self

    async def fresh(self) -> Well:
        return await self._well.fresh()

    async def number(self, value: int) -> int:
        notify(self._well.hold)(str(value))
        return value

    def count(self) -> Any:
        return self._well.count()

    async def read(self, items: AsyncIterable[int]) -> int:
        return await self._well.read(items)

    async def write(self, into: Sink[int]) -> None:
        await self._well.write(into)

    async def nest(self, depth: int, other: Well) -> int:
        return await self._well.nest(depth, other)

    async def both(self, other: Well, times: int) -> int:
        return await self._well.both(other, times)

    async def all_hold(self, other: Well, times: int) -> int:
        return await self._well.all_hold(other, times)

    async def nested(self, depth: int, other: Well) -> Stream[int]:
        async for item in self._well.nested(depth, other):
            yield item

    async def pass_it(self, depth: int, other: Well) -> None:
        await self._well.pass_it(depth, other)


class Lender(Cap, name="test.Lender"):
    """Where guests get it."""

    @call
    async def well(self) -> Well: ...


class MemLender(Lender):
    def __init__(self, well: Well) -> None:
        self._well = well

    async def well(self) -> Well:
        return self._well


class Hub:
    """An owner, a program in the middle, and its guests."""

    def __init__(self, owner: MemWell, far: Connection, near: Connection, well: Well) -> None:
        self.owner = owner
        self.far, self.near = far, near
        self.well = well
        """The middle's own."""
        self.guests: list[Well] = []
        self.connections = [far, near]
        self._stack = AsyncExitStack()

    async def add(self, lend: Callable[[Well], Well] = lambda well: well) -> Well:
        """Another guest's."""
        server, client = await self._stack.enter_async_context(connected(MemLender(lend(self.well))))
        self.connections += server, client
        self.guests.append(await (await client.bootstrap(Lender)).well())
        return self.guests[-1]

    async def aclose(self) -> None:
        """The guests go."""
        await self._stack.aclose()

    async def assert_nothing_left(self) -> None:
        """Neither in the tables, nor counted for anybody."""
        calls, streams = self.near._session.engine.calls, self.near._session.engine.streams
        await until(lambda: not calls.held and not calls._portions.total and not calls._charges.total)
        for connection in self.connections:
            check_invariants(connection._session.engine)
            await until(partial(_no_streams, connection))
        assert not streams._lent.total and not streams._portions.total


def _no_streams(connection: Connection) -> bool:
    return not connection.stats()["streams"]


@asynccontextmanager
async def hub(guests: int, limits: Limits = SMALL, owner: MemWell | None = None) -> AsyncGenerator[Hub]:
    """Guests of one program in the middle, which has one connection to the owner."""
    owner = owner or MemWell()
    async with connected(owner, limits=limits, client_limits=limits) as (far, near):
        made = Hub(owner, far, near, await near.bootstrap(Well))
        for _ in range(guests):
            await made.add()
        try:
            yield made
        finally:
            await made.aclose()


def direct(well: Well) -> Well:
    return well


def restricted(well: Well) -> Well:
    return restrict(well, rate="100000/s")


def behind_a_membrane(well: Well) -> Well:
    return Membrane().wrap(well)


def revocably(well: Well) -> Well:
    return revocable(well)[0]


def facade(well: Well) -> Well:
    return Facade(well)


def twice(well: Well) -> Well:
    return restrict(Membrane().wrap(well), rate="100000/s")


WAYS = [direct, restricted, behind_a_membrane, revocably, facade, twice]


# Calls


@pytest.mark.parametrize("lend", WAYS)
async def test_one_guest_leaves_room_for_the_next_and_for_the_middle(lend: Callable[[Well], Well]) -> None:
    async with hub(0) as made:
        greedy, other = await made.add(lend), await made.add(lend)
        keys = [str(number) for number in range(40)]
        held = [cast("Any", greedy.hold(key)) for key in keys]
        await until(lambda: len(made.owner.gate.entered) == ALONE)
        with anyio.fail_after(PATIENCE):
            for _ in range(20):
                assert await other.quick() == await made.well.quick() == 1
        assert len(made.owner.gate.entered) == ALONE
        more = [cast("Any", other.hold(f"other {number}")) for number in range(10)]
        await until(lambda: len(made.owner.gate.entered) == ALONE + 1)
        with anyio.fail_after(PATIENCE):
            assert await made.well.quick() == 1
        made.owner.gate.open()
        assert [await one for one in held] == keys
        assert [await one for one in more] == [f"other {number}" for number in range(10)]
        entered = made.owner.gate.entered
        assert [key for key in entered if key in keys] == keys, "in the order of the calls"
        assert [key for key in entered if key not in keys] == [f"other {number}" for number in range(10)]
        await made.assert_nothing_left()


async def test_many_greedy_guests_leave_room_for_an_honest_one() -> None:
    async with hub(10, Limits(max_calls=64)) as made:
        *greedy, honest = made.guests
        held = [cast("Any", guest.hold("x")) for guest in greedy for _ in range(80)]
        await until(lambda: len(made.owner.gate.entered) >= 55)
        for _ in range(50):
            await checkpoint()
        with anyio.fail_after(PATIENCE):
            for number in range(50):
                assert await honest.number(number) == number
        made.owner.gate.open()
        for one in held:
            assert await one == "x"
        await made.assert_nothing_left()


class Stepping(MemWell):
    """Lets one call go after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.gates: list[anyio.Event] = []

    async def hold(self, key: str, weight: bytes = b"") -> str:
        self.gate.entered.append(key)
        self.gates.append(gate := anyio.Event())
        await gate.wait()
        return key


async def test_who_comes_later_gets_its_part_as_calls_end() -> None:
    """What ends is not given to the one that has most."""
    async with hub(2, Limits(max_calls=32), owner=(owner := Stepping())) as made:
        greedy, other = made.guests
        held = [cast("Any", greedy.hold("greedy")) for _ in range(60)]
        await until(lambda: len(owner.gates) == 24)
        held += [cast("Any", other.hold("other")) for _ in range(60)]
        await until(lambda: len(owner.gates) == 26)
        for number in range(8):
            had = len(owner.gates)
            owner.gates[number].set()
            await until(partial(_more_than, owner.gates, had))
        assert set(owner.gate.entered[24:]) == {"other"}
        for number in range(120):
            await until(partial(_more_than, owner.gates, number))
            owner.gates[number].set()
        assert sorted([await one for one in held]) == ["greedy"] * 60 + ["other"] * 60
        await made.assert_nothing_left()


def _more_than(entries: list[Any], count: int) -> bool:
    return len(entries) > count


async def test_memory_is_divided_as_well() -> None:
    """P-LIMIT-3: by the calls' charge, before the peer has no room for the next."""
    async with hub(3, Limits(max_calls=256, max_call_charge=1024 * 1024)) as made:
        greedy, other, third = made.guests
        weight = bytes(60_000)
        held = [cast("Any", greedy.hold("heavy", weight)) for _ in range(30)]
        await until(lambda: len(made.owner.gate.entered) == 11)
        for _ in range(50):
            await checkpoint()
        assert len(made.owner.gate.entered) == 11
        more = cast("Any", other.hold("other", weight))
        await until(lambda: len(made.owner.gate.entered) == 12)
        with anyio.fail_after(PATIENCE):
            assert await third.quick() == await made.well.quick() == 1
        made.owner.gate.open()
        assert [await one for one in (*held, more)] == ["heavy"] * 30 + ["other"]
        await made.assert_nothing_left()


async def test_calls_that_were_given_up_count_until_the_owner_has_answered() -> None:
    """P-CALL-6: to cancel and call again does not get more of it."""
    async with hub(2) as made:
        engine = made.near._session.engine
        engine.tables.own_pace = Pace(1, 1e-6, engine.timers.now)
        engine.tables.own_pace.spend(engine.timers.now)  # the news of cancels has to wait
        greedy, other = made.guests
        for _ in range(3):
            calls = [cast("Any", greedy.hold("x")) for _ in range(20)]
            await until(lambda: len(made.owner.gate.entered) == ALONE)
            for one in calls:
                one.cancel()
            with anyio.fail_after(PATIENCE):
                assert await other.quick() == 1
        assert len(made.owner.gate.entered) == ALONE and engine.calls.cancelled
        made.owner.gate.open()
        await until(lambda: not len(engine.calls))
        with anyio.fail_after(PATIENCE):
            assert [await one for one in [cast("Any", greedy.hold("x")) for _ in range(20)]] == ["x"] * 20
        await made.assert_nothing_left()


async def test_pipelined_and_one_way_calls_are_divided_and_keep_their_order() -> None:
    async with hub(2) as made:
        greedy, other = made.guests
        held = [cast("Any", greedy.hold("first")) for _ in range(30)]
        behind = [cast("Any", pipe(greedy.deeper()).hold(str(number))) for number in range(5)]
        for number in range(5):
            notify(greedy.hold)(f"one way {number}")
        with anyio.fail_after(PATIENCE):
            assert await pipe(other.deeper()).quick() == 1
        made.owner.gate.open()
        assert [await one for one in (*held, *behind)] == ["first"] * 30 + [str(number) for number in range(5)]
        await until(lambda: len(made.owner.gate.left) == 40)
        one_way = [key for key in made.owner.gate.entered if key.startswith("one way")]
        assert one_way == [f"one way {number}" for number in range(5)]
        await made.assert_nothing_left()


async def test_one_way_calls_of_a_handler_are_divided() -> None:
    """Those that the middle's own program makes while it handles a guest's call."""
    async with hub(0) as made:
        greedy, other = await made.add(facade), await made.add(facade)
        for number in range(40):
            assert await greedy.number(number) == number
        await until(lambda: len(made.owner.gate.entered) == ALONE)
        with anyio.fail_after(PATIENCE):
            assert await other.quick() == await made.well.quick() == 1
        notify(made.well.hold)("ours")
        await until(lambda: "ours" in made.owner.gate.entered)
        made.owner.gate.open()
        await until(lambda: len(made.owner.gate.left) == 41)
        await made.assert_nothing_left()


@pytest.mark.parametrize("how", ["deadline", "cancel", "loss"])
async def test_however_calls_end_they_are_counted_no_more(how: str) -> None:
    """With what they carried, and whoever else calls meanwhile. The owner runs what it was told to stop no longer."""
    async with hub(1, NARROW) as made:
        (other,) = made.guests
        for _ in range(3):
            greedy = await made.add()
            calls: list[Any] = []
            with anyio.move_on_after(0.1 if how == "deadline" else PATIENCE) as scope:
                for number in range(5):
                    calls += greedy.read(_numbers()), greedy.write(Quiet()), greedy.hold(str(number))
                    notify(greedy.hold)(f"one way {number}")
                if how == "deadline":
                    await calls[0]
            assert scope.cancelled_caught == (how == "deadline")
            if how == "loss":
                await made.connections[-2].aclose(grace=0)
            for one in calls if how == "cancel" else ():
                one.cancel()
            for one in calls:
                assert how != "loss" or isinstance(await outcome(one), CapnetError)
            with anyio.fail_after(PATIENCE):
                assert await other.quick() == 1
            if how != "loss":
                made.owner.gate.open()
            await made.assert_nothing_left()


async def test_what_waits_holds_up_no_news_for_the_owner() -> None:
    """P-REF-2: what others let go of goes back while a guest's calls wait."""
    async with hub(1) as made:
        (greedy,) = made.guests
        held = [cast("Any", greedy.hold("x")) for _ in range(20)]
        await until(lambda: made.near.stats()["calls_held"] == 8)
        fresh = await made.well.fresh()
        assert made.far.stats()["exports"] == 2
        del fresh
        await until(lambda: made.far.stats()["exports"] == 1)
        made.owner.gate.open()
        assert [await one for one in held] == ["x"] * 20


async def test_what_waits_can_be_cancelled_or_lose_its_guest() -> None:
    async with hub(3) as made:
        greedy, leaving, other = made.guests
        held = [cast("Any", greedy.hold("x")) for _ in range(20)]
        await until(lambda: len(made.owner.gate.entered) == ALONE)
        for one in held[ALONE:]:
            one.cancel()
        calls = [cast("Any", leaving.hold("leaving")) for _ in range(20)]
        await until(lambda: len(made.owner.gate.entered) == ALONE + 1 and bool(made.near._session.engine.calls.held))
        await made.connections[5].aclose(grace=0)
        for one in calls:
            with pytest.raises(CapnetError):
                await one
        await until(lambda: not made.near._session.engine.calls.held)
        with anyio.fail_after(PATIENCE):
            assert await other.quick() == 1
        made.owner.gate.open()
        for one in held[:ALONE]:
            assert await one == "x"
        await made.assert_nothing_left()


@pytest.mark.parametrize("grace", [0.0, 5.0])
async def test_what_waits_ends_with_the_owner(grace: float) -> None:
    async with hub(2) as made:
        greedy, other = made.guests
        held = [cast("Any", greedy.hold("x")) for _ in range(20)]
        held += [cast("Any", other.hold("x")) for _ in range(20)]
        await until(lambda: len(made.near._session.engine.calls.held) == 2)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: made.near.aclose(grace=grace))
            for one in (*held[ALONE:20], *held[30:]):
                with anyio.fail_after(PATIENCE), pytest.raises(CapnetError):
                    await one
            made.owner.gate.open()
        for one in held:
            with suppress(Unavailable, CapnetError):
                await one
        assert not made.near._session.engine.calls.held


async def test_a_call_that_waits_in_line_waits_as_long_as_it_takes() -> None:
    """However long the others take: none of them waits for anything from here."""
    async with hub(2, NESTED) as made:
        greedy, other = made.guests
        held = [cast("Any", greedy.hold("x")) for _ in range(3 * ALONE)]
        await until(lambda: len(made.owner.gate.entered) == ALONE)
        await anyio.sleep(4 * NESTED.nested_timeout)
        assert not any(one.done for one in held)
        with anyio.fail_after(PATIENCE):
            assert await other.quick() == 1
        made.owner.gate.open()
        assert [await one for one in held] == ["x"] * 3 * ALONE
        await made.assert_nothing_left()


async def test_a_guest_that_has_calls_refused_does_not_cost_the_hop_its_connection() -> None:
    """P-LIMIT-4: who passes calls on has not chosen their arguments."""
    async with hub(2) as made:
        odd, other = made.guests
        for _ in range(2 * Limits().control_burst // 10):
            calls = [cast("Any", odd.number(cast("Any", "text"))) for _ in range(10)]
            for one in calls:
                with pytest.raises(InvalidArgument):
                    await one
        assert await other.quick() == 1
        assert made.near.close_cause is None and made.far.close_cause is None
        await made.assert_nothing_left()


# Streams


async def _numbers() -> AsyncIterator[int]:
    yield 1
    await anyio.sleep_forever()


class Quiet(Sink[int]):
    """Takes what comes."""

    async def send(self, item: int) -> None: ...
    async def aclose(self) -> None: ...
    def fail(self, error: CapnetError) -> None: ...


@pytest.mark.parametrize("lend", WAYS)
@pytest.mark.parametrize("way", ["out", "in"])
async def test_streams_in_arguments_are_divided(lend: Callable[[Well], Well], way: str) -> None:
    async with hub(0, NARROW) as made:
        greedy, other = await made.add(lend), await made.add(lend)

        def open_one(well: Well) -> Any:
            return well.read(_numbers()) if way == "out" else well.write(Quiet())

        calls = [open_one(greedy) for _ in range(ALONE)]
        await until(lambda: made.owner.streams == ALONE)
        with anyio.fail_after(PATIENCE), pytest.raises(ResourceExhausted) as caught:
            await open_one(greedy)
        assert caught.value.reason == "max_streams"
        calls += [open_one(other), open_one(made.well)]
        await until(lambda: made.owner.streams == ALONE + 2)
        for one in calls[:2]:
            one.cancel()
        await until(lambda: made.near.stats()["streams"] == ALONE)
        calls += [open_one(other)]
        await until(lambda: made.owner.streams == ALONE + 3)
        for one in calls:
            one.cancel()
        await made.assert_nothing_left()


@pytest.mark.parametrize("lend", WAYS)
async def test_streams_in_results_are_divided(lend: Callable[[Well], Well]) -> None:
    async with hub(0, NARROW) as made:
        greedy, other = await made.add(lend), await made.add(lend)
        readers: list[Any] = []
        for _ in range(20):
            reader = cast("Any", greedy.count())
            with anyio.fail_after(PATIENCE), suppress(ResourceExhausted):
                assert await anext(reader) == 1
                readers.append(reader)
        assert len(readers) == ALONE
        with anyio.fail_after(PATIENCE), pytest.raises(ResourceExhausted, match="max_streams"):
            await anext(cast("Any", greedy.count()))
        await until(lambda: made.near.stats()["streams"] == ALONE)
        theirs = cast("Any", other.count())
        with anyio.fail_after(PATIENCE):
            assert await anext(theirs) == 1
        await readers.pop().aclose()
        await until(lambda: made.near.stats()["streams"] == ALONE)
        made.owner.gate.open()
        for reader in (*readers, theirs):
            assert [item async for item in reader] == [2]
        await made.assert_nothing_left()


async def test_a_burst_of_streams_leaves_room_once_it_is_known_what_the_method_brings() -> None:
    """From the second on, they are counted before they are asked for."""
    async with hub(2, NARROW) as made:
        greedy, other = made.guests
        first = cast("Any", greedy.count())
        assert await anext(first) == 1
        await first.aclose()
        await until(lambda: not made.near.stats()["streams"])
        for _ in range(5):
            readers = [cast("Any", greedy.count()) for _ in range(64)]
            theirs = cast("Any", other.count())
            with anyio.fail_after(PATIENCE):
                assert await anext(theirs) == 1
            assert made.owner.streams <= 1 + ALONE + 1
            for reader in (*readers, theirs):
                await reader.aclose()
            await made.assert_nothing_left()
            made.owner.streams = 1


# Calls that wait for each other


NESTED = Limits(max_calls=16, nested_timeout=0.05, handshake_timeout=3600, keepalive=3600)
"""No other clock rings in time."""


@asynccontextmanager
async def two(limits: Limits = NESTED) -> AsyncGenerator[tuple[Connection, Connection, Well]]:
    """Two programs, each of which may call the other."""
    async with connected(MemWell(), limits=limits, client_limits=limits) as (server, client):
        yield server, client, await client.bootstrap(Well)


async def test_calls_back_that_are_nested_deeper_than_there_is_room_end() -> None:
    async with two() as (server, client, well):
        mine = MemWell()
        with anyio.fail_after(PATIENCE):
            assert await well.nest(31, mine) == 31, "sixteen on each side"
            with pytest.raises(ResourceExhausted) as caught:
                await well.nest(64, mine)
            assert caught.value.reason == "max_calls" and "max_calls" in str(caught.value)
            assert await well.nest(31, mine) == 31
        del well
        await assert_no_leaks(server, client)


async def outcome(awaited: Any) -> object:
    """What a call brings, or the error that it ends with."""
    try:
        return await awaited
    except CapnetError as error:
        return error.again()


async def test_many_chains_at_once_end() -> None:
    async with two() as (server, client, well):
        mine = MemWell()
        ends: list[str] = []

        async def chain(well: Well) -> None:
            ended = await outcome(well.nest(12, mine))
            ends.append(str(ended.reason if isinstance(ended, ResourceExhausted) else ended))

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                for _ in range(16):
                    tasks.start_soon(chain, well)
            assert len(ends) == 16 and "max_calls" in ends and set(ends) <= {"12", "max_calls"}
            assert await well.nest(12, mine) == 12
        del well
        await assert_no_leaks(server, client)


async def test_both_sides_full_of_calls_that_call_back_end() -> None:
    """Neither side nests deeply; what is full are all places of both."""
    async with two() as (server, client, well):
        mine = MemWell()
        client.serve(mine)
        theirs = await server.bootstrap(Well)
        own = MemWell()
        ends = 0

        async def ask(one: Well, other: Well) -> None:
            nonlocal ends
            with suppress(ResourceExhausted):
                await one.nest(3, other)
            ends += 1

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                for _ in range(40):
                    tasks.start_soon(ask, well, mine)
                    tasks.start_soon(ask, theirs, own)
            assert ends == 80
            assert await well.nest(3, mine) == await theirs.nest(3, own) == 3
        del well, theirs
        await assert_no_leaks(server, client)


async def test_calls_back_by_way_of_a_third_program_end() -> None:
    async with hub(1, NESTED) as made:
        (guest,) = made.guests
        mine = MemWell()
        with anyio.fail_after(PATIENCE):
            assert await guest.nest(14, mine) == 14
            with pytest.raises(ResourceExhausted) as caught:
                await guest.nest(100, mine)
            assert caught.value.reason == "max_calls"
            assert await guest.nest(14, mine) == 14
        await made.assert_nothing_left()


async def test_calls_that_only_wait_for_room_get_it() -> None:
    """However many: what is made for another waits as long as something ends."""
    async with two(Limits(max_calls=16, nested_timeout=1.0)) as (server, client, well):
        with anyio.fail_after(PATIENCE):
            assert await well.both(MemWell(), 300) == 300
        del well
        await assert_no_leaks(server, client)


async def test_however_long_calls_back_take_the_others_wait() -> None:
    """None of them waits for anything but time."""
    async with two() as (server, client, well):
        mine = MemWell()
        all_of_them = cast("Any", well.all_hold(mine, 40))
        await until(lambda: server.stats()["calls_held"] == 24)
        await anyio.sleep(4 * NESTED.nested_timeout)
        assert len(mine.gate.entered) == 16 and not all_of_them.done
        mine.gate.open()
        with anyio.fail_after(PATIENCE):
            assert await all_of_them == 40
        del well
        await assert_no_leaks(server, client)


async def test_streams_that_are_nested_deeper_than_there_is_room_end() -> None:
    """A call that brings a stream has ended, so these take up streams alone."""
    async with two(NARROW) as (server, client, well):
        mine = MemWell()
        with anyio.fail_after(PATIENCE):
            assert [item async for item in well.nested(20, mine)] == [20]
            with pytest.raises(ResourceExhausted, match="max_streams"):
                async for _ in well.nested(100, mine):
                    pass
            assert [item async for item in well.nested(20, mine)] == [20]
        del well
        await assert_no_leaks(server, client)


class Puller(Cap, name="room.Puller"):
    @call
    async def pull(self, numbers: AsyncIterable[int]) -> int: ...


class MemPuller(Puller):
    async def pull(self, numbers: AsyncIterable[int]) -> int:
        return sum([number async for number in numbers])


async def test_streams_whose_items_take_calls_are_nested_too() -> None:
    """Each call reads a stream whose next item is what another such call brings."""
    async with connected(MemPuller(), limits=NESTED, client_limits=NESTED) as (server, client):
        puller = await client.bootstrap(Puller)

        async def numbers(of: Puller, depth: int) -> AsyncIterator[int]:
            if depth:
                yield await of.pull(numbers(of, depth - 1))
            yield 1

        with anyio.fail_after(PATIENCE):
            assert await puller.pull(numbers(puller, 14)) == 15
            with pytest.raises(ResourceExhausted) as caught:
                await puller.pull(numbers(puller, 40))
            assert caught.value.reason == "max_calls"
            assert await puller.pull(numbers(puller, 14)) == 15
        del puller
        await assert_no_leaks(server, client)


async def test_one_way_calls_may_lead_to_one_way_calls_without_end() -> None:
    async with two() as (server, client, well):
        mine = MemWell()
        notify(well.pass_it)(101, mine)
        with anyio.fail_after(PATIENCE):
            await mine.gate.pass_through("end")
        del well
        await assert_no_leaks(server, client)


async def test_calls_of_nobody_wait_for_ever() -> None:
    """A call that is made for no other holds up nobody, so it is held as long as it takes."""
    async with two() as (_, client, well):
        calls = [cast("Any", well.hold(str(number))) for number in range(20)]
        await anyio.sleep(4 * NESTED.nested_timeout)
        assert client.stats()["calls_held"] == 4 and not any(one.done for one in calls)
        for one in calls:
            one.cancel()
