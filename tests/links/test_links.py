"""Links: what heals when a connection is gone, what is made again, and what callers are told of all else."""

from __future__ import annotations

import gc
import itertools
import math
from collections.abc import AsyncGenerator, Awaitable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from capnet import (
    Admission,
    CapnetError,
    FailedPrecondition,
    Host,
    Indeterminate,
    InvalidArgument,
    NotFound,
    Released,
    Retry,
    Revoked,
    Unavailable,
    generation,
    link,
    on_broken,
    revoke,
)
from capnet.observe import Reconnected, Reconnecting
from tests.connection.shop import Gate, until
from tests.cost import HANGS
from tests.links.desk import FAST, Bell, Desk, Line, MemDesk, Server, down, linked


class Rings(Bell):
    def __init__(self) -> None:
        self.times: list[int] = []

    async def ring(self, times: int) -> None:
        self.times.append(times)


async def test_a_name_heals_when_the_line_is_cut_and_when_the_host_is_another() -> None:
    """The same proxy; the generation tells whether the state is new, and events what has healed."""
    first = MemDesk("a")
    events: list[Reconnecting | Reconnected] = []
    async with linked(first) as (server, tasks, one):
        one.on(Reconnecting, events.append)
        one.on(Reconnected, events.append)
        desk = await one.bootstrap(Desk)
        assert await desk.who() == "a"
        assert (one.generation, generation(desk)) == (0, 0)
        await server.cut(one)
        assert await desk.who() == "a"
        await until(lambda: isinstance(events[-1], Reconnected))
        assert (one.generation, generation(desk)) == (0, 0)
        await server.stop()
        await down(one)
        await server.start(tasks, MemDesk("b"))
        assert await desk.who() == "b"
        await until(lambda: sum(isinstance(event, Reconnected) for event in events) == 2)
        assert (one.generation, generation(desk)) == (1, 1)
    back = [event for event in events if isinstance(event, Reconnected)]
    assert [(one.generation, one.state_lost, one.healed, one.broken) for one in back] == [
        (0, False, ("test.LinkDesk",), ()),
        (1, True, ("test.LinkDesk",), ()),
    ]
    tried = [event for event in events if isinstance(event, Reconnecting)]
    assert tried[0].attempt == 1 and tried[0].delay > 0 and "lost" in tried[0].cause
    assert all(later.attempt == before.attempt + 1 for before, later in itertools.pairwise(tried))


async def outcome(call: Awaitable[Any], into: list[Any]) -> None:
    try:
        into.append(await call)
    except CapnetError as error:
        into.append(error)


@pytest.mark.parametrize("method", ["work", "look", "waits", "read"])
async def test_what_becomes_of_a_call(method: str) -> None:
    """Idempotent ones are made again, with the arguments as they were; others end as not known. What waited leaves."""
    first, second = MemDesk("a"), MemDesk("b")
    second.gate.open()
    events: list[Reconnected] = []
    keys, ends = ["k"], list[Any]()
    items = 0

    async def lines() -> AsyncGenerator[str]:
        nonlocal items
        for _ in range(2):
            items += 1
            yield "line"

    async with linked(first) as (server, tasks, one):
        one.on(Reconnected, events.append)
        desk = await one.bootstrap(Desk)
        if method == "waits":
            await server.stop()
            await down(one)
        calls: dict[str, Any] = {"look": partial(desk.look, keys), "read": partial(desk.read, lines())}
        tasks.start_soon(outcome, calls.get(method, partial(desk.work, "k"))(), ends)
        if method == "waits":
            await anyio.wait_all_tasks_blocked()
        else:
            await until(lambda: first.ran)
            await server.stop()
        keys.append("changed later")
        await server.start(tasks, second)
        await until(lambda: ends and events)
    (end,) = ends
    ran: dict[str, tuple[list[str], list[str]]] = {
        "work": (["k"], []),
        "look": (["k"], ["k"]),
        "waits": ([], ["k"]),
        "read": (["read 2"], []),
    }
    assert (first.ran, second.ran) == ran[method]
    if method in ("work", "read"):  # of which a second call would not have all the lines
        assert type(end) is Indeterminate and end.retry == "never"
    else:
        assert end == "k by b"
    (event,) = events
    assert (event.again, event.indeterminate) == (int(method == "look"), int(method in ("work", "read")))


async def test_what_a_closing_peer_has_not_seen_is_made_again() -> None:
    """Above the last call that its goaway names nothing has run; what it has taken it still answers."""
    first, second = MemDesk("a"), MemDesk("b")
    second.gate.open()
    ends: list[Any] = []
    async with linked(first) as (server, tasks, one):
        desk = await one.bootstrap(Desk)
        tasks.start_soon(outcome, desk.work("seen"), ends)
        await until(lambda: first.ran)
        (connection,) = server.connections
        listener = server.host
        assert listener is not None
        # Its goaway is written and not read yet when the next call leaves.
        connection._session.engine.close("bye", HANGS, connection._session.loop.now())
        connection._session.driver.flush()
        tasks.start_soon(outcome, desk.work("unseen"), ends)
        await until(lambda: "unseen" in first.ran or ends)
        first.gate.open()
        await until(lambda: len(ends) == 2)
    assert sorted(ends) == ["seen by a", "unseen by a"] and first.ran.count("unseen") == 1
    assert second.ran == []


async def test_capabilities_of_idempotent_methods_heal_when_they_are_used() -> None:
    """Down the whole way, once for all who need it; what nobody said of stays broken."""
    async with linked(MemDesk("a")) as (server, tasks, one):
        desk = await one.bootstrap(Desk)
        book = await desk.book("tea")
        page, torn = await book.page(7), await book.torn(7)
        maybe, nothing = await desk.maybe("pot"), await desk.maybe("")
        assert await page.text() == await torn.text() == "tea 7 of a" and nothing is None
        assert await book.same(page), "at home it is what it stands for there"
        await server.stop()
        second = MemDesk("b")
        await server.start(tasks, second)
        assert await desk.who() == "b" and second.ran == [], "not before it is used"
        texts: list[Any] = []
        async with anyio.create_task_group() as users:
            for _ in range(3):
                users.start_soon(outcome, page.text(), texts)
        assert texts == ["tea 7 of b"] * 3 and second.ran == ["book tea", "page 7"]
        assert maybe is not None and await (await maybe.page(1)).text() == "pot 1 of b"
        with pytest.raises(Unavailable):
            await torn.text()
        assert await book.same(page)
        await server.cut(one)
        await page.write("once")
        assert second.ran.count("once") == 1


async def test_what_cannot_be_brought_again_says_so() -> None:
    """The call that was to bring it fails with its own reason; the one that was made has not run."""
    async with linked(MemDesk("a")) as (server, tasks, one):
        desk = await one.bootstrap(Desk)
        book = await desk.book("tea")
        await server.stop()
        await server.start(tasks, MemDesk("b", books=False))
        with pytest.raises(FailedPrecondition) as gone:
            await book.page(1)
        assert (gone.value.reason, gone.value.details["code"]) == ("connection_replaced", "not_found")


async def test_what_was_taken_back_is_not_asked_for_again() -> None:
    """As long as the peer is there that has done so; a name is asked for anew on the next connection."""
    first = MemDesk("a")
    async with linked(first) as (server, _, one):
        desk = await one.bootstrap(Desk)
        book = await desk.book("tea")
        told: list[CapnetError] = []
        on_broken(desk, told.append)
        on_broken(book, told.append)
        revoke(first, reason="not yours")
        await until(lambda: len(told) == 2)
        for use in (desk.who, partial(book.page, 1)):
            with pytest.raises(Revoked):
                await use()
        assert first.ran == ["book tea"]
        events: list[Reconnected] = []
        one.on(Reconnected, events.append)
        await server.cut(one)
        await until(lambda: events)
        assert await desk.who() == "a"
        with pytest.raises(Revoked):
            await book.page(1)


async def test_a_name_that_is_not_given_any_more_breaks_and_the_link_stays() -> None:
    """Until a connection on which it is given again."""

    class Doors:
        open = True

        def admit(self, request: Admission, /) -> bool:
            return self.open or request.name != "test.LinkDesk"

    doors, events, told = Doors(), list[Reconnected](), list[CapnetError]()
    server = Server()
    async with anyio.create_task_group() as tasks:
        await server.start(tasks, MemDesk("a"), policy=doors)
        async with link(server.url, wait=FAST) as one:
            one.on(Reconnected, events.append)
            desk = await one.bootstrap(Desk)
            on_broken(desk, told.append)
            doors.open = False
            await server.cut(one)
            with pytest.raises(FailedPrecondition) as denied:
                await desk.who()
            assert (denied.value.reason, denied.value.details["code"]) == ("connection_replaced", "permission_denied")
            await until(lambda: events)
            assert (events[0].healed, events[0].broken) == ((), ("test.LinkDesk",)) and len(told) == 1
            doors.open = True
            await server.cut(one)
            await until(lambda: len(events) == 2)
            assert await desk.who() == "a"
        tasks.cancel_scope.cancel()


async def test_a_stream_goes_on_behind_what_was_read() -> None:
    """Where the contract has a position. One that has none ends as not known."""
    first = MemDesk("a")
    async with linked(first) as (server, tasks, one):
        desk = await one.bootstrap(Desk)
        news, rumours = desk.news(), desk.rumours()
        read = [await anext(news), await anext(news)]
        assert await anext(rumours) == "a"
        await server.stop()
        second = MemDesk("b")
        second.gate.open()
        await server.start(tasks, second)
        read += [line async for line in news]
        assert [line.number for line in read] == list(range(1, 10))
        assert read[0] == Line(1, "1 of a") and read[-1] == Line(9, "9 of b")
        with pytest.raises(Indeterminate):
            await anext(rumours)


async def test_what_the_peer_was_given_is_given_anew() -> None:
    """By a hook; one that fails later is logged, and the link goes on."""
    async with linked(MemDesk("a")) as (server, tasks, one):
        bell = Rings()
        desk = await one.bootstrap(Desk)
        hooked: list[int] = []

        async def listen(connection: object) -> None:
            hooked.append(len(hooked))
            await desk.listen(bell)
            if len(hooked) == 2:
                raise ValueError("a fault of the hook's")

        await one.on_connected(listen)
        with pytest.raises(ValueError, match="at once"):
            await one.on_connected(_fails)
        for name in "bc":
            await server.stop()
            other = MemDesk(name)
            await server.start(tasks, other)
            await until(partial(_rung, other))
            await other.bells[0].ring(len(hooked))
            other.bells.clear()
        assert bell.times == [2, 3]


def _rung(desk: MemDesk) -> bool:
    return bool(desk.bells)


async def _fails(connection: object) -> None:
    raise ValueError("at once")


async def test_the_end_of_a_link_ends_what_it_gave() -> None:
    """By its block, and by what no other attempt can change; those who wait are told."""
    ends: list[Any] = []
    server = Server()
    async with anyio.create_task_group() as tasks:
        await server.start(tasks, MemDesk("a"))
        async with link(server.url, wait=Retry(attempts=2, base=0.001)) as one:
            desk = await one.bootstrap(Desk)
            book = await desk.book("tea")
            await server.stop()
            await down(one)
            tasks.start_soon(outcome, desk.who(), ends)
            tasks.start_soon(outcome, one.bootstrap(Desk), ends)
            with anyio.fail_after(HANGS):
                assert isinstance(await one.wait_closed(), Unavailable)
            await until(lambda: len(ends) == 2)
            assert all(isinstance(end, Unavailable) for end in ends)
            for late in (desk.who(), book.page(1), one.bootstrap(Desk)):
                with pytest.raises(Unavailable):
                    await late
        await server.start(tasks, MemDesk("b"))
        async with link(server.url, wait=FAST) as two:
            kept = await two.bootstrap(Desk)
        with pytest.raises(Unavailable) as closed:
            await kept.who()
        assert closed.value.reason == "link_closed" and "the link was closed" in closed.value.message
        tasks.cancel_scope.cancel()


async def test_what_is_given_back_heals_no_more() -> None:
    """By hand, or because nobody holds it."""
    events: list[Reconnected] = []
    async with linked(MemDesk("a")) as (server, _tasks, one):
        one.on(Reconnected, events.append)
        async with await one.bootstrap(Desk) as desk:
            assert await desk.who() == "a"
        with pytest.raises(Released):
            await desk.who()
        kept, dropped = await one.bootstrap(Desk), await one.bootstrap(Desk)
        assert kept is not dropped
        del dropped
        gc.collect()
        await server.cut(one)
        await until(lambda: events)
        assert events[0].healed == ("test.LinkDesk",)
        assert await kept.who() == "a"


async def test_names_that_are_not_there() -> None:
    async with linked(MemDesk("a")) as (_, _tasks, one):
        with pytest.raises(NotFound):
            await one.bootstrap(Bell)
        with pytest.raises(NotFound):
            await one.bootstrap(Bell, wait=0.001)
        named = Rings()
        one.serve(named, name="bell")
        assert repr(one).endswith("up, generation 0>")


@pytest.mark.parametrize("patience", [-1, math.nan, "1"])
async def test_numbers_that_make_no_sense_are_refused(patience: Any) -> None:
    with pytest.raises(InvalidArgument):
        link("memory:none", patience=patience)


async def test_calls_need_not_wait() -> None:
    server = Server()
    async with anyio.create_task_group() as tasks:
        await server.start(tasks, MemDesk("a"))
        async with link(server.url, wait=FAST, patience=0) as one:
            desk = await one.bootstrap(Desk)
            await server.stop()
            await down(one)
            with pytest.raises(Unavailable) as vacant:
                await desk.who()
            assert vacant.value.reason == "vacant"
        tasks.cancel_scope.cancel()


async def test_a_hook_waits_for_nothing_that_needs_another_connection() -> None:
    """When the one that it was called for is lost, it is cancelled and begins anew: nobody waits for it in between."""
    first = MemDesk("a")
    async with linked(first) as (server, _, one):
        desk = await one.bootstrap(Desk)
        hooked: list[str] = []

        async def look(_: object) -> None:
            hooked.append("begun")
            hooked.append(await desk.look(["k"]))

        first.gate.open()
        await one.on_connected(look)
        first.gate = Gate()
        for number in (2, 3):
            await server.cut(one)
            await until(lambda: len(first.gate.entered) == number - 1)  # noqa: B023 - called here
        first.gate.open()
        await until(lambda: hooked[-1] != "begun")
        assert hooked == ["begun", "k by a", "begun", "begun", "k by a"]


@pytest.mark.parametrize("raises", [False, True])
async def test_a_hook_that_is_new_when_the_line_is_cut(raises: bool) -> None:
    """It is called for the connection that there is when it has ended."""
    async with linked(MemDesk("a")) as (server, _, one):
        hooked: list[object] = []

        async def hook(connection: object) -> None:
            hooked.append(connection)
            if len(hooked) == 1:
                with anyio.CancelScope(shield=True):
                    await server.cut(one)
                if raises:
                    raise ValueError("of no interest: it is called again")

        await one.on_connected(hook)
        assert len(hooked) == 2 and hooked[-1] is one.connection is not None
        await server.cut(one)
        await until(lambda: len(hooked) == 3)


async def test_from_another_thread() -> None:
    """Each way in says so before anything is sent, and what the link gave goes on."""
    first = MemDesk("a")
    async with linked(first) as (_server, _tasks, one):
        desk = await one.bootstrap(Desk)

        async def hook(_: object) -> None: ...

        def begin(way: Any) -> None:
            way().send(None)

        ways: list[Any] = [
            lambda: desk.work("k"),
            lambda: one.bootstrap(Desk),
            lambda: one.open().__aenter__(),
            lambda: one.open_transport(),
            lambda: one.on_connected(hook),
            lambda: one.wait_closed(),
        ]
        for number, way in enumerate(ways):
            with pytest.raises(FailedPrecondition, match="from_thread") as caught:
                await to_thread.run_sync(partial(begin, way))
            assert caught.value.reason == "another_loop", number
        assert await desk.who() == "a" and first.ran == []


async def test_one_that_is_made_outside_of_a_loop(tmp_path: Path) -> None:
    """As a host may be: it belongs to the loop in which its block is entered."""
    one = await to_thread.run_sync(link, f"unix:{tmp_path}/s")
    async with Host() as host:
        host.serve(MemDesk("a"))
        await host.listen(f"unix:{tmp_path}/s")
        async with one:
            assert await (await one.bootstrap(Desk)).who() == "a"
