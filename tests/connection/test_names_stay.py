"""A name outlives what is behind it: capabilities of other programs are served, break, are replaced and swapped."""

from __future__ import annotations

import gc
from typing import Any

import anyio
import pytest

from capnet import (
    CapnetError,
    ContractError,
    FailedPrecondition,
    Indeterminate,
    NotFound,
    Released,
    Revoked,
    Unavailable,
    VersionMismatch,
    call,
    cast_cap,
    generation,
    on_broken,
    options,
    pipe,
    restrict,
    revocable,
    revoke,
)
from capnet.observe import CapBroken, CapReplaced, CapRevoked, NameReplaced, NameServed, NameUnserved
from capnet.references.proxy import make_proxy, reference_of
from capnet.testing import connected
from tests.connection.part import MemPart, Part, Plugin, plugin
from tests.connection.shop import until
from tests.connection.tree import assert_nothing_left
from tests.cost import HANGS


async def bare(plugin: Plugin) -> Part:
    return await plugin.proxy()


async def restricted(plugin: Plugin) -> Part:
    return restrict(await plugin.proxy(), rate="1000/s")


async def revocable_twice(plugin: Plugin) -> Part:
    return revocable(revocable(await plugin.proxy())[0])[0]


def died(plugin: Plugin) -> Any:
    return plugin.die()


def closed(plugin: Plugin) -> Any:
    return plugin.line.aclose(grace=0)


async def took_back(plugin: Plugin) -> None:
    revoke(plugin.part)
    await plugin.line.ping()


BEHIND = pytest.mark.parametrize("given", [bare, restricted, revocable_twice])
ENDS = pytest.mark.parametrize("end", [died, closed, took_back])


@BEHIND
@ENDS
async def test_proxies_of_a_name_outlive_what_is_behind_it(given: Any, end: Any) -> None:
    """After the end they are unavailable, after `replace` they work; what the old one made is broken, and says so."""
    async with plugin("a") as a, plugin("b") as b, connected() as (server, guest), connected() as (other, _):
        handle = server.serve(await given(a))
        part = await guest.bootstrap(Part)
        assert await part.who() == "a"
        room, numbers = await part.room("r"), part.count(1)
        assert await room.topic() == "r by a" and await anext(numbers) == 1
        told: list[CapnetError] = []
        on_broken(part, told.append)
        on_broken(room, told.append)
        ends: list[CapnetError] = []

        async def ask(call: Any) -> None:
            try:
                await call
            except CapnetError as error:
                ends.append(error)

        a.part.gate.entered.clear()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, part.work("k"))
            await until(lambda: "k" in a.part.gate.entered)
            tasks.start_soon(end, a)
            await until(lambda: told)
            await until(lambda: ends)
            with pytest.raises(Unavailable) as vacant:
                await part.who()
            assert (vacant.value.reason, vacant.value.retry) == ("vacant", "after-cooldown")
            assert type(vacant.value) is Unavailable and vacant.value.details == {"generation": 1}
            assert await guest.bootstrap(Part) == part
            with pytest.raises(Revoked) as gone:
                await room.topic()
            assert "generation 1" in gone.value.message
            a.part.gate.open()
        assert [(type(one), one.reason, one.retry) for one in ends] == [(Indeterminate, "indeterminate", "never")]
        assert [await anext(numbers), await anext(numbers)] == [2, 3]
        with pytest.raises(CapnetError) as broken:
            await anext(numbers)
        assert (type(broken.value), broken.value.reason) == (Indeterminate, "indeterminate")
        report = await server.replace(await given(b))
        assert (report.generation, report.cut) == (2, 0)
        assert await part.who() == "b" and generation(part) == 2
        assert await (await part.room("s")).topic() == "s by b"
        assert len(told) == 1
        handle.close()
        with pytest.raises(Revoked):
            await part.who()
        await until(lambda: len(told) == 2)
        assert other.closed is False


async def test_what_is_made_by_the_old_one_lasts_as_long_as_that() -> None:
    """A swap changes nothing for it; the end of the old one does, and says of which generation it was."""
    async with plugin("a") as a, plugin("b") as b, connected() as (server, guest):
        a.part.gate.open()
        first = await a.proxy()
        server.serve(first)
        part = await guest.bootstrap(Part)
        room = await part.room("r")
        async with server.swap(await b.proxy()) as swap:
            assert await swap.candidate.who() == "b" and await part.who() == "a"
        assert swap.report is not None and swap.report.generation == 2
        later = await part.room("r")
        assert [await room.topic(), await later.topic(), await part.who()] == ["r by a", "r by b", "b"]
        lost: list[CapnetError] = []
        on_broken(room, lost.append)
        on_broken(part, lost.append)
        await a.die()
        await until(lambda: lost)
        assert [type(one) for one in lost] == [Revoked] and "generation 1" in lost[0].message
        assert [await later.topic(), await part.who()] == ["r by b", "b"]
        revoke(await b.proxy())  # what this program passed on, by the name as well
        with pytest.raises(Revoked):
            await part.who()
        with pytest.raises(Revoked):
            await later.topic()
        assert await (await guest.bootstrap(Part)).who() == "b"


@BEHIND
@ENDS
async def test_a_candidate_that_ends_before_the_swap_does(given: Any, end: Any) -> None:
    """The old one goes on, as with everything else that goes wrong in the block."""
    async with plugin("a") as a, plugin("b") as b, connected() as (server, guest):
        server.serve(await a.proxy())
        part = await guest.bootstrap(Part)
        with pytest.raises((Unavailable, Revoked)):
            async with server.swap(await given(b)):
                await end(b)
        assert await part.who() == "a" and generation(part) == 0
        async with plugin("c") as c:
            async with server.swap(await given(c)):
                assert await part.who() == "a"
            assert await part.who() == "c" and generation(part) == 2


async def test_a_swap_of_programs_under_work() -> None:
    """Calls and streams that run end on the old one, or are cut; new ones go to the new one. The report counts them."""
    async with plugin("a") as a, plugin("b") as b, plugin("c") as c, connected() as (server, guest):
        for one in (b, c):
            one.part.gate.open()
        server.serve(await a.proxy())
        part = await guest.bootstrap(Part)
        ends: list[Any] = []
        reports: list[Any] = []

        async def ask(call: Any) -> None:
            try:
                ends.append(await call)
            except CapnetError as error:
                ends.append(type(error).__name__)

        async def replace(new: Part, grace: float) -> None:
            reports.append(await server.replace(new, grace=grace))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, part.work("k"))
            numbers = part.count(1)
            assert await anext(numbers) == 1
            await until(lambda: a.part.gate.entered)
            tasks.start_soon(replace, await b.proxy(), HANGS)
            await until(lambda: generation(part) == 2)
            assert await part.work("new") == "new by b" and ends == reports == []
            a.part.gate.open()
            assert [number async for number in numbers] == [2, 3]
        (report,) = reports
        assert ends == ["k by a"]
        counts = report.generation, report.drained, report.cut, report.streams_drained, report.streams_cut
        assert counts == (2, 1, 0, 1, 0)


async def test_calls_are_cut_when_the_grace_is_over() -> None:
    """As with objects of this program: one that is idempotent is made again at once, for the new one."""
    async with plugin("a") as a, plugin("b") as b, connected() as (server, guest):
        b.part.gate.open()
        server.serve(await a.proxy())
        part = await guest.bootstrap(Part)
        ends: list[Any] = []

        async def ask(call: Any) -> None:
            try:
                ends.append(await call)
            except CapnetError as error:
                ends.append(error.reason)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, part.look(["k"]))
            await until(lambda: a.part.gate.entered)
            tasks.start_soon(ask, part.work("k"))
            await until(lambda: len(a.part.gate.entered) == 2)
            assert (await server.replace(await b.proxy(), mode="cut")).cut == 2
        assert sorted(ends) == ["k by b", "replaced"]
        await until(lambda: len(a.part.gate.cancelled) == 2)


async def test_calls_pass_through_as_they_are() -> None:
    """Errors, pipelining, cancellation and deadlines, as with every capability that is passed on."""
    async with plugin("a") as a, connected() as (server, guest):
        server.serve(await a.proxy())
        part = await guest.bootstrap(Part)
        with pytest.raises(NotFound):
            await part.room("")
        assert await pipe(pipe(guest.bootstrap(Part)).room("r")).topic() == "r by a"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(part.work, "k")
            await until(lambda: a.part.gate.entered == ["k"])
            tasks.cancel_scope.cancel()
        await until(lambda: a.part.gate.cancelled == ["k"])
        with pytest.raises(TimeoutError):
            await part.soon()


async def test_the_old_one_is_given_back() -> None:
    """When nobody uses it any more: after a replacement, and after the end of the name. The program keeps its own."""
    async with plugin("a") as a, plugin("b") as b, connected() as (server, guest):
        for one in (a, b):
            one.part.gate.open()
        first = await a.proxy()
        handle = server.serve(first)
        part = await guest.bootstrap(Part)
        assert await part.who() == "a"
        await server.replace(await b.proxy(), owner=handle)
        assert await first.who() == "a"
        await first.aclose()
        await until(lambda: not a.line.stats()["imports"])
        assert await part.who() == "b"
        del first
        handle.close()
        gc.collect()
        await until(lambda: not b.line.stats()["imports"])
        del part
        gc.collect()
        await assert_nothing_left(server, guest)
        for one in (a, b):
            await assert_nothing_left(one.within, one.line)


async def test_a_proxy_can_be_closed_while_it_is_served() -> None:
    async with plugin("a") as a, connected() as (server, guest):
        async with await a.proxy() as mine:
            server.serve(mine)
        assert await (await guest.bootstrap(Part)).who() == "a"


class NewPart(Part, name="test.SlotPart", version=2):
    @options(since=2)
    @call
    async def more(self) -> str: ...


async def test_what_cannot_be_served_says_why() -> None:
    async with plugin("a") as a, plugin("b") as b, connected() as (server, guest):
        dead = await b.proxy()
        await b.die()
        lost = await a.proxy()
        await lost.aclose()
        mine = await a.proxy()
        untyped: Any = make_proxy(reference_of(mine))
        wrong: list[tuple[Any, type[BaseException]]] = [
            (dead, Unavailable),
            (lost, Released),
            (untyped, ContractError),
            (pipe(a.line.bootstrap(Part)), FailedPrecondition),
            (a.line.runtime(), ContractError),
            (cast_cap(untyped, NewPart), VersionMismatch),
        ]
        for proxy, error in wrong:
            with pytest.raises(error):
                server.serve(proxy)
        server.serve(MemPart("mine"))
        for proxy, error in wrong:
            with pytest.raises(error):
                await server.replace(proxy)
        assert await (await guest.bootstrap(Part)).who() == "mine"


async def test_objects_and_programs_take_turns() -> None:
    """One mechanism: an object of this program, a capability of a peer's, and a narrower one of that."""
    seen: list[object] = []

    class Heir(MemPart):
        async def adopt(self, previous: Part) -> None:
            seen.append(await previous.who())

    async with plugin("a") as a, connected() as (server, guest):
        server.serve(MemPart("mine"))
        part = await guest.bootstrap(Part)
        names = [await part.who()]
        for new in (await a.proxy(), Heir("heir"), restrict(await a.proxy(), methods={"who"}), MemPart("last")):
            await server.replace(new)
            names.append(await part.who())
        assert names == ["mine", "a", "heir", "a", "last"] and seen == ["a"] and generation(part) == 5


async def test_generations_count_upwards_whoever_replaces() -> None:
    """The peer's own replacements count as well, and a swap that is under way does not mind them."""
    async with plugin("a") as a, connected() as (within, line), connected() as (server, guest):
        within.serve(MemPart("b"))
        server.serve(await a.proxy())
        part = await guest.bootstrap(Part)
        told: list[int] = []
        guest.on(CapReplaced, lambda event: told.append(event.generation))
        await server.replace(await line.bootstrap(Part))
        async with server.swap(MemPart("mine")):
            await within.replace(MemPart("c"))
            await until(lambda: told == [2, 3])
            assert await part.who() == "c"
        await until(lambda: told == [2, 3, 4])
        assert await part.who() == "mine"


async def test_two_names_and_a_result_are_one_capability() -> None:
    """A name that ends takes what was bootstrapped by it; the break of what is behind both leaves both."""
    async with plugin("a") as a, plugin("b") as b, connected() as (server, guest):
        mine = await a.proxy()
        one, two = server.serve(mine, name="one"), server.serve(mine, name="two")
        first, second = await guest.bootstrap(Part, name="one"), await guest.bootstrap(Part, name="two")
        assert first == second
        await a.die()
        for part in (first, second):
            with pytest.raises(Unavailable) as vacant:
                await part.who()
            assert vacant.value.reason == "vacant"
        await server.replace(await b.proxy(), name="one")
        assert await first.who() == await second.who() == "b"
        one.close()
        with pytest.raises(Revoked):
            await first.who()
        with pytest.raises(Unavailable):
            await (await guest.bootstrap(Part, name="two")).who()
        two.close()


async def test_a_plugin_may_have_the_name_that_it_is_behind() -> None:
    """By way of its host, so that it has the next one as well; and a host passes on the names of another."""
    async with plugin("a") as a, plugin("b") as b, connected() as (server, guest), connected() as (far, further):
        server.serve(await a.proxy())
        far.serve(await guest.bootstrap(Part))
        part = await further.bootstrap(Part)
        assert await part.who() == "a"
        room = await part.room("r")
        await a.die()
        with pytest.raises(Unavailable) as vacant:
            await part.who()
        assert vacant.value.reason == "vacant"
        with pytest.raises(Revoked):
            await room.topic()
        await server.replace(await b.proxy())
        await until(lambda: generation(part) == 2)
        assert await part.who() == "b"
        server.unserve(Part)
        with pytest.raises(Unavailable):
            await part.who()


async def test_what_happens_is_told() -> None:
    """Names begin, are replaced and end; what the peer lost is told at both ends, and nothing of what stays."""
    async with plugin("a") as a, plugin("b") as b, connected() as (server, guest):
        kinds = (NameServed, NameReplaced, NameUnserved, CapRevoked)
        told: list[tuple[str, Any]] = []
        for kind in kinds:
            server.on(kind, lambda event: told.append((type(event).__name__, getattr(event, "contract", ""))))
        guest.on(CapBroken, lambda event: told.append(("CapBroken", event.contract)))
        handle = server.serve(await a.proxy())
        part = await guest.bootstrap(Part)
        room = await part.room("r")
        await a.die()
        await until(lambda: ("CapBroken", "test.SlotRoom") in told)
        await server.replace(await b.proxy())
        handle.close()
        await until(lambda: ("CapBroken", "test.SlotPart") in told)
        assert sorted(told) == [
            ("CapBroken", "test.SlotPart"),
            ("CapBroken", "test.SlotRoom"),
            ("CapRevoked", "test.SlotPart"),
            ("CapRevoked", "test.SlotRoom"),
            ("NameReplaced", "test.SlotPart"),
            ("NameServed", "test.SlotPart"),
            ("NameUnserved", "test.SlotPart"),
        ]
        del room
