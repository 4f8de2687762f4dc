"""A story of one link, on a clock of its own: a line that ends at any frame, in any way, and what must be true then.

Whatever ends, and however: no call of a method that is not idempotent runs twice; who was given a result has had the
call run; who was told that it has not run is right; everybody is told something; a stream has every item once, in
order. So it is for calls with an id, for those that are pipelined on a connection of the link, and all the same where
the link is one inside of another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Literal

import anyio
import pytest

from capnet import (
    Cap,
    Connection,
    Host,
    Indeterminate,
    Link,
    NotRun,
    Opening,
    Retry,
    Stream,
    Unavailable,
    call,
    link,
    options,
    pipe,
)
from capnet import stream as streamed
from capnet.connection import connect as connecting
from capnet.testing.simulate.clock import VirtualLoop
from capnet.testing.simulate.weather import Weather, weather_pair
from capnet.transport import Transport
from capnet.wire.framing import HEADER_BYTES

__all__ = ["KINDS", "Figures", "tell", "tell_seed"]

Kind = Literal["before", "after", "goaway", "restart", "kill", "inner"]
KINDS: Final[tuple[Kind, ...]] = ("before", "after", "goaway", "restart", "kill")
"""How a line ends at a frame: that is lost, or arrives; the host says goaway; it is started anew, which it says or not.
Where there is one inside, `inner` ends that alone."""
LONG: Final = 36_000.0
"""Seconds of the story's clock in which it is over, or hangs."""
CALLS: Final = 3
PIPED: Final = 2
ITEMS: Final = 6
END: Final = 0
CALM: Final = Weather(delay=0.05, split=0.0, stall=0.0)
MOST: Final = 400
"""Frames of a story; far more than there are."""


@dataclass
class Figures:
    """What was played."""

    stories: int = 0
    steps: int = 0
    cuts: int = 0
    ends: Counter[str] = field(default_factory=Counter[str])

    def add(self, other: Figures) -> None:
        self.stories += other.stories
        self.steps += other.steps
        self.cuts += other.cuts
        self.ends += other.ends

    def __str__(self) -> str:
        return f"{self.stories} stories, {self.steps} steps, {self.cuts} cuts, {dict(self.ends)}"


class Leaf(Cap, name="story.Leaf"):
    @call
    async def add(self, key: str) -> str: ...


class Tree(Cap, name="story.Tree"):
    @call
    async def add(self, key: str) -> str:
        """Must not run twice."""
        ...

    @options(idempotent=True)
    @call
    async def put(self, key: str) -> str: ...
    @options(idempotent=True)
    @call
    async def leaf(self, number: int) -> Leaf: ...
    @options(idempotent=True, resume="after")
    @streamed
    def grow(self, after: int = 0) -> Stream[int]: ...


class World:
    """What lives on when hosts and lines end: what has run, and where hosts are found."""

    def __init__(self, random: Random, operations: bool, inside: bool) -> None:
        self.random = random
        self.operations = operations
        self.inside = inside
        self.ran: Counter[str] = Counter()
        self.figures = Figures(stories=1)

    async def run(self, key: str) -> str:
        self.figures.steps += 1
        await anyio.sleep(self.random.random() * 0.2)
        self.ran[key] += 1
        await anyio.sleep(self.random.random() * 0.2)
        return key


class MemLeaf(Leaf):
    def __init__(self, world: World) -> None:
        self.world = world

    async def add(self, key: str) -> str:
        return await self.world.run(key)


class MemTree(Tree):
    def __init__(self, world: World) -> None:
        self.world = world

    async def add(self, key: str) -> str:
        return await self.world.run(key)

    async def put(self, key: str) -> str:
        return await self.world.run(key)

    async def leaf(self, number: int) -> Leaf:
        return MemLeaf(self.world)

    async def grow(self, after: int = 0) -> Stream[int]:
        for number in range(after + 1, ITEMS + 1):
            await anyio.sleep(self.world.random.random() * 0.1)
            yield number


class Place:
    """Where the link connects to: hosts that come and go, over lines that end when `plan` says so.

    Args:
        plan: how the line is to end with a frame, by its number; None lets it go on.
    """

    def __init__(self, world: World, weather: Weather, plan: Callable[[int], Kind | None]) -> None:
        self.world = world
        self.weather = weather
        self.plan = plan
        self.frames = 0
        self.host: Host | None = None
        self.inner: Connection | None = None
        """The last virtual connection that was opened, as the host has it."""
        self.tasks: anyio.abc.TaskGroup | None = None
        self._ends = anyio.Event()

    async def serve(self) -> None:
        """Hosts, one after the other."""
        while True:
            self._ends = anyio.Event()
            async with Host(operations=self.world.operations) as host:
                host.serve(MemTree(self.world))
                host.on_open(self.take)
                self.host = host
                await self._ends.wait()
                self.host = None
            await anyio.sleep(self.world.random.random())

    def take(self, opening: Opening) -> None:
        """What is inside is the same host."""
        assert self.host is not None
        self.inner = self.host.accept(opening.transport())

    async def connect(self, rest: str, /, **_: Any) -> Transport:
        host, world = self.host, self.world
        if host is None or host._closing:
            raise Unavailable("nobody is there")
        here, there = weather_pair(host._services.loop, world.random, self.weather, lambda said: lost(said))
        connection = host.accept(there)
        ends = here, there

        def lost(said: str) -> None:
            world.figures.cuts += said.endswith("breaks")

        def frame() -> None:
            world.figures.steps += 1
            self.frames += 1
            kind = self.plan(self.frames)
            if kind is not None:
                world.figures.cuts += 1
                host._services.loop.call_at(
                    host._services.loop.now() + (0.0 if kind == "before" else self.weather.delay + 0.001),
                    lambda: self.end(kind, host, connection, ends),
                )

        for end in ends:
            end._outgoing.put = by_frame(end._outgoing.put, frame)  # type: ignore[assignment, method-assign]
        return here

    def end(self, kind: Kind, host: Host, connection: Connection, ends: tuple[Any, Any]) -> None:
        if kind in ("before", "after", "kill"):
            for end in ends:
                end.lose(ConnectionResetError("the line broke"))
        if kind in ("restart", "kill") and host is self.host:
            self._ends.set()
        if kind == "goaway" and self.tasks is not None:
            self.tasks.start_soon(leave, connection)
        if kind == "inner" and self.inner is not None:
            self.inner._session.driver.transport.abort()

    async def listen(self, rest: str, accept: Callable[[Transport], object], /, **_: Any) -> Any:
        raise NotImplementedError


def by_frame(put: Callable[[bytes], None], written: Callable[[], None]) -> Callable[[bytes], None]:
    """Writes frames one by one, and tells of each: the line may end between any two."""

    def put_each(data: bytes) -> None:
        while data:
            size = HEADER_BYTES + int.from_bytes(data[:HEADER_BYTES], "big")
            put(data[:size])
            written()
            data = data[size:]

    return put_each


async def leave(connection: Connection) -> None:
    await connection.aclose("bye", grace=0.3)


def tell(
    random: Random,
    plan: Callable[[int], Kind | None],
    weather: Weather,
    patch: pytest.MonkeyPatch,
    *,
    operations: bool = False,
    inside: bool = False,
) -> Figures:
    """One story. Fails when something that must be true is not.

    Args:
        operations: calls have ids, and the host keeps answers.
        inside: the link is inside of another.
    """
    world = World(random, operations, inside)
    place = Place(world, weather, plan)
    patch.setitem(connecting.OWN, "story", lambda: place)
    anyio.run(_tell, place, backend="asyncio", backend_options={"loop_factory": VirtualLoop})
    return world.figures


def tell_seed(seed: int, patch: pytest.MonkeyPatch, *, operations: bool = False, inside: bool = False) -> Figures:
    """One that chance has made, and its own seed."""
    random = Random(seed)
    kinds: tuple[Kind, ...] = (*KINDS, "inner") if inside else KINDS
    often, split = random.choice([0.02, 0.05, 0.1]), random.choice([0.0, 0.5])

    def plan(_: int) -> Kind | None:
        return random.choice(kinds) if random.random() < often else None

    weather = Weather(delay=random.choice([0.0, 0.05]), split=split, stall=0.01, cut=random.choice([0.0, 0.03]))
    try:
        return tell(random, plan, weather, patch, operations=operations, inside=inside)
    except BaseException as error:
        error.add_note(f"seed {seed}")
        raise


def end_at_each_frame(
    kind: Kind,
    operations: bool,
    inside: bool,
    patch: pytest.MonkeyPatch,
    *,
    first: int = 1,
    every: int = 1,
    seed: int = 0,
) -> Figures:
    """The same story again and again, in calm weather, whose line ends at one frame after the other."""
    played = Figures()
    for number in range(first, MOST, every):
        plan: dict[int, Kind] = {number: kind}
        figures = tell(Random(seed), plan.get, CALM, patch, operations=operations, inside=inside)
        if not figures.cuts:
            return played
        played.add(figures)
    pytest.fail("there is no end of frames")


async def _tell(place: Place) -> None:
    world = place.world
    told: dict[str, Any] = {}
    items: list[list[int]] = []
    retry = Retry(budget=600.0, base=0.05, cap=2.0)
    with anyio.fail_after(LONG):
        async with anyio.create_task_group() as tasks:
            place.tasks = tasks
            tasks.start_soon(place.serve)
            async with link("story:", wait=retry, operations=world.operations) as one:
                if world.inside:
                    async with one.open(operations=world.operations) as inner:
                        await _use(inner, world, told, items)
                else:
                    await _use(one, world, told, items)
            tasks.cancel_scope.cancel()
    _check(world, told, items)


async def _use(one: Link, world: World, told: dict[str, Any], items: list[list[int]]) -> None:
    tree = await one.bootstrap(Tree)
    leaf = await until_known(lambda: tree.leaf(1))

    async def make(key: str, start: Callable[[str], Awaitable[str]]) -> None:
        await anyio.sleep(world.random.random() * 0.5)
        world.figures.steps += 1
        try:
            told[key] = await start(key)
        except Exception as error:
            told[key] = error

    async def add_piped(key: str) -> str:
        if one.connection is None:
            raise NotRun("there is nothing to pipe on")
        leaf = pipe(pipe(one.connection.bootstrap(Tree)).leaf(2))
        return await leaf.add(key)

    async def read() -> None:
        found: list[int] = []
        items.append(found)
        with suppress(Indeterminate):  # three breaks without one item between them
            async for item in tree.grow():
                found += [item]
            found += [END]

    async with anyio.create_task_group() as users:
        for number in range(CALLS):
            users.start_soon(make, f"add {number}", tree.add)
            users.start_soon(make, f"put {number}", tree.put)
            users.start_soon(make, f"leaf {number}", leaf.add)
        for number in range(PIPED):
            users.start_soon(make, f"piped {number}", add_piped)
        users.start_soon(read)


async def until_known(start: Callable[[], Awaitable[Leaf]]) -> Leaf:
    """An idempotent call that breaks three times is left to its caller."""
    while True:
        with suppress(Indeterminate):
            return await start()


def _check(world: World, told: Mapping[str, Any], items: list[list[int]]) -> None:
    assert len(told) == 3 * CALLS + PIPED, "somebody was told nothing"
    for key, end in told.items():
        ran = world.ran[key]
        world.figures.ends[type(end).__name__] += 1
        if not key.startswith("put"):
            assert ran <= 1, f"{key} has run {ran} times"
        if end == key:
            assert ran >= 1, f"{key} has a result and has not run"
        elif isinstance(end, Indeterminate):
            assert not key.startswith("put") or world.figures.cuts >= 3, f"{key} was not made again"
        else:
            assert isinstance(end, Unavailable), f"{key} ended with {end!r}"
            if key.startswith("piped") and not isinstance(end, NotRun):
                continue  # on a connection by itself nobody says more
            assert ran == 0, f"{key} has run, and its caller was told that it has not: {end!r}"
    for found in items:
        if END in found:
            assert found == [*range(1, ITEMS + 1), END], f"a stream brought {found}"
        else:
            assert found == list(range(1, len(found) + 1)), f"a stream brought {found}"
