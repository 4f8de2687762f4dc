"""Links inside of links: virtual connections that are opened again when they end, or what is around them does."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest

from capnet import (
    CapnetError,
    Connection,
    Host,
    Indeterminate,
    Link,
    Opening,
    PermissionDenied,
    ResourceExhausted,
    Retry,
    Unavailable,
    connect,
    generation,
    link,
)
from capnet.observe import Reconnected
from tests.connection.shop import until
from tests.cost import HANGS
from tests.links.desk import FAST, Desk, MemDesk, Server, down


class House:
    """What is behind the server: a desk for whoever opens, by what is said."""

    def __init__(self) -> None:
        self.desks = {"blue": MemDesk("blue"), "red": MemDesk("red")}
        self.inner: list[Connection] = []

    async def decide(self, opening: Opening) -> None:
        desk = self.desks.get(str(opening.metadata.get("tenant")))
        if desk is None:
            raise PermissionDenied("no such tenant", reason="tenant")
        child = opening.accept({"welcome": desk.name})
        child.serve(desk)
        child.on_open(self.decide)
        self.inner.append(child)


@asynccontextmanager
async def housed(wait: Retry = FAST) -> AsyncGenerator[tuple[Server, anyio.abc.TaskGroup, House, Link]]:
    """A server with a house behind it, a group for what runs beside the test, and a link to the server."""
    server, house = Server(), House()
    server.opener = house.decide
    async with anyio.create_task_group() as tasks:
        await server.start(tasks, MemDesk("around"))
        async with link(server.url, wait=wait) as one:
            yield server, tasks, house, one
        tasks.cancel_scope.cancel()


async def test_what_was_got_inside_heals_with_what_is_around_it() -> None:
    """Names, and calls that wait, whichever of the two was lost; each has names and events of its own."""
    async with housed() as (server, tasks, house, one):
        events: list[Reconnected] = []
        async with one.open({"tenant": "blue"}) as blue, one.open({"tenant": "red"}) as red:
            blue.on(Reconnected, events.append)
            desks = [await each.bootstrap(Desk) for each in (blue, red, one)]
            assert [await desk.who() for desk in desks] == ["blue", "red", "around"]
            lost = blue.connection
            assert lost is not None
            house.inner[0]._session.driver.transport.abort()  # of these three the first alone
            await lost.wait_closed()
            assert await desks[0].who() == "blue"
            await until(lambda: events)
            assert (events[0].healed, events[0].generation) == (("test.LinkDesk",), 1)
            assert blue.connection is not None and blue.connection.attestation.metadata == {"welcome": "blue"}
            await server.cut(one)
            assert [await desk.who() for desk in desks] == ["blue", "red", "around"]
            await server.stop()
            house.desks["red"] = MemDesk("another")
            await down(one)
            await server.start(tasks, MemDesk("around"))
            assert [await desk.who() for desk in desks] == ["blue", "another", "around"]
            assert blue.generation == 3 and generation(desks[2]) == 1, "what is accepted alone is new each time"
            assert repr(blue) == f"<Link to inside of {server.url} up, generation 3>"


async def test_calls_inside_are_told_the_truth() -> None:
    """As on any link: one that must not run twice does not, and one that may is made again."""
    async with housed() as (server, _, house, one), one.open({"tenant": "blue"}) as blue:
        desk, first = await blue.bootstrap(Desk), house.desks["blue"]
        ends: dict[str, object] = {}

        async def make(key: str) -> None:
            try:
                ends[key] = await (desk.work("work") if key == "work" else desk.look([key]))
            except CapnetError as error:
                ends[key] = error

        async with anyio.create_task_group() as tasks:
            for key in ("work", "look"):
                tasks.start_soon(make, key)
            await until(lambda: len(first.ran) == 2)
            await server.cut(one)
            await until(lambda: len(first.ran) == 3)
            first.gate.open()
        assert type(ends["work"]) is Indeterminate and ends["look"] == "look by blue"
        assert sorted(first.ran) == ["look", "look", "work"]


async def test_ids_hold_inside_as_well() -> None:
    """P-CALL-10: the host is the same, whatever way its peer has come."""
    served = MemDesk("once")
    async with Host(operations=True) as tenant:
        tenant.serve(served)

        async def decide(opening: Opening) -> None:
            tenant.accept(opening.transport())

        server = Server()
        server.opener = decide
        async with anyio.create_task_group() as tasks:
            await server.start(tasks)
            async with link(server.url, wait=FAST) as one, one.open(operations=True) as inner:
                desk = await inner.bootstrap(Desk)
                brought: list[str] = []

                async def make() -> None:
                    brought.append(await desk.work("work"))

                async with anyio.create_task_group() as users:
                    users.start_soon(make)
                    await until(lambda: served.ran)
                    await server.cut(one)
                    served.gate.open()
                assert brought == ["work by once"] and served.ran == ["work"]
                assert inner.generation == 0, "and it is known to be the same"
            tasks.cancel_scope.cancel()


async def test_one_inside_of_one_inside() -> None:
    """Each waits for the one around it."""
    async with (
        housed() as (_, _tasks, house, one),
        one.open({"tenant": "blue"}) as blue,
        blue.open({"tenant": "red"}) as red,
    ):
        desk = await red.bootstrap(Desk)
        assert await desk.who() == "red"
        for each in (one, blue, red):
            connection, lost = each.connection, red.connection
            assert connection is not None and lost is not None
            connection._session.driver.transport.abort()
            await lost.wait_closed()
            assert await desk.who() == "red"
        assert len(house.inner) == 7


async def test_who_is_not_let_in_any_more() -> None:
    """Is over, and what is around it goes on; so it is at first."""
    async with housed() as (server, _, house, one):
        with pytest.raises(PermissionDenied):
            async with one.open({"tenant": "green"}):
                pass
        async with one.open({"tenant": "blue"}) as blue:
            desk = await blue.bootstrap(Desk)
            del house.desks["blue"]
            await server.cut(one)
            assert isinstance(await blue.wait_closed(), PermissionDenied)
            with pytest.raises(Unavailable) as caught:
                await desk.who()
            assert caught.value.reason == "link_closed" and "no such tenant" in caught.value.message
            assert await (await one.bootstrap(Desk)).who() == "around"


async def test_the_end_of_what_is_around_it() -> None:
    """Ends it at once, however long it would try by itself."""
    async with (
        housed(Retry(attempts=2, base=0.001)) as (server, _, _house, one),
        one.open({"tenant": "blue"}, wait=Retry(budget=HANGS * 10)) as blue,
    ):
        await server.stop()
        with anyio.fail_after(HANGS):
            assert isinstance(await blue.wait_closed(), Unavailable)
            with pytest.raises(Unavailable):
                async with one.open({"tenant": "blue"}):
                    pass


async def test_a_hub_lends_by_a_link() -> None:
    """The way to the third program may be lost and come back: who opens next is put through again."""
    async with housed() as (server, _, _house, one), Host() as middle:

        async def lend(opening: Opening) -> None:
            await opening.lend(one)

        middle.on_open(lend)
        await middle.listen("memory:lends-by-a-link")
        async with connect("memory:lends-by-a-link") as conn:
            for _ in range(2):
                async with conn.open({"tenant": "red"}) as inner:
                    assert await (await inner.bootstrap(Desk)).who() == "red"
                await server.cut(one)
        async with (
            link("memory:lends-by-a-link", wait=FAST) as outer,
            outer.open({"tenant": "red"}) as red,
        ):
            desk = await red.bootstrap(Desk)
            for cut in (partial(server.cut, one), partial(server.cut, one), partial(middle.close_all, grace=0)):
                lost = red.connection
                assert lost is not None
                await cut()
                await lost.wait_closed()
                assert await desk.who() == "red"


async def test_who_has_no_room_or_no_time_is_asked_again() -> None:
    """A hub that cannot put us through yet, and a host that is full: neither ends a link."""
    refusals: list[CapnetError] = []

    async def busy(opening: Opening) -> None:
        if refusals:
            raise refusals.pop()
        await house.decide(opening)

    async with housed() as (server, _, house, one), one.open({"tenant": "blue"}) as blue:
        desk = await blue.bootstrap(Desk)
        assert server.host is not None
        server.host.on_open(busy)
        refusals += [ResourceExhausted("full", reason="max_connections"), Unavailable("later", reason="policy_timeout")]
        await server.cut(one)
        assert await desk.who() == "blue" and not refusals


@pytest.mark.parametrize("grace", [0.0, HANGS])
async def test_goaway_of_what_is_around_it(grace: float) -> None:
    """What runs inside may end within the grace; what is new there goes on the next connection."""
    async with housed() as (server, _, house, one), one.open({"tenant": "blue"}) as blue:
        desk, first = await blue.bootstrap(Desk), house.desks["blue"]
        ends: list[object] = []

        async def make() -> None:
            try:
                ends.append(await desk.work("work"))
            except CapnetError as error:
                ends.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(make)
            await until(lambda: first.ran)
            (outer,), before = server.connections, blue.connection
            tasks.start_soon(partial(outer.aclose, grace=grace))
            await until(lambda: blue.connection not in (None, before))
            assert await desk.who() == "blue"
            first.gate.open()
        assert ends == ["work by blue"] if grace else type(ends[0]) is Indeterminate
        assert first.ran == ["work"]
