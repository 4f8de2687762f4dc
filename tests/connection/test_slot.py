"""Slots: what users hold stays, while what is behind it comes, goes and comes again."""

from __future__ import annotations

import gc
import math
from contextlib import aclosing
from functools import partial
from typing import Any

import anyio
import pytest

from capnet import (
    CapnetError,
    DeadlineExceeded,
    FailedPrecondition,
    Host,
    Indeterminate,
    InvalidArgument,
    NotFound,
    Revoked,
    Slot,
    Stream,
    Unavailable,
    generation,
    on_broken,
    pipe,
    restrict,
    restrictions,
)
from capnet.testing import connected
from tests.connection.part import Feed, MemPart, MemRoom, Part, Room, plugin
from tests.connection.shop import until
from tests.connection.tree import assert_nothing_left
from tests.cost import HANGS


async def test_it_survives_what_is_behind_it() -> None:
    """One proxy, here and at a peer, over a death and a swap; what the dead one had made is broken."""
    slot = Slot(Part, wait=HANGS)
    mine = slot.proxy
    assert repr(slot) == "<Slot test.SlotPart empty>" and slot.proxy is mine
    async with plugin("a") as a, plugin("b") as b, connected() as (host, guest):
        host.serve(slot.proxy)
        theirs = await guest.bootstrap(Part)
        first = await a.proxy()
        assert slot.set(first) is None
        assert slot.waiting(HANGS) is mine and slot.current == first
        assert [await mine.who(), await theirs.who(), slot.generation] == ["a", "a", 1]
        room, own = await theirs.room("r"), await mine.room("r")
        assert await room.topic() == await own.topic() == "r by a"
        broken: list[CapnetError] = []
        on_broken(theirs, broken.append)
        on_broken(room, broken.append)
        await a.die()
        await until(lambda: slot.current is None and broken)
        with pytest.raises(Revoked) as of:
            await room.topic()
        assert "generation 1" in of.value.message
        with pytest.raises(Unavailable):
            await own.topic()
        slot.set(await b.proxy())
        assert [await mine.who(), await theirs.who(), slot.generation] == ["b", "b", 2]
        assert len(broken) == 1 and generation(theirs) == 2
        assert await (await theirs.room("s")).topic() == "s by b"
        with pytest.raises(NotFound):
            await theirs.room("")


async def test_calls_in_between_wait_or_fail_at_once() -> None:
    """By slot and by call; the reason that was given is told."""
    slot = Slot(Part, wait=0)
    patient = slot.waiting(HANGS)
    assert patient is slot.waiting(HANGS) and patient is not slot.proxy
    slot.clear("starting")
    with pytest.raises(Unavailable) as empty:
        await slot.proxy.who()
    assert (empty.value.reason, empty.value.retry) == ("vacant", "after-cooldown")
    assert "starting" in empty.value.message
    with pytest.raises(Unavailable) as gone:
        async for _ in slot.proxy.count(1):
            pass
    assert gone.value.reason == "vacant"
    found: list[str] = []

    async def ask() -> None:
        found.append(await patient.who())

    async def read(mutable: list[str]) -> None:
        async with aclosing(patient.count(5)) as numbers:
            found.append(str(await anext(numbers)))

    keys = ["as", "called"]
    async with plugin("a") as a, anyio.create_task_group() as tasks:
        a.part.gate.open()
        tasks.start_soon(ask)
        tasks.start_soon(read, keys)
        tasks.start_soon(patient.look, keys)
        await anyio.wait_all_tasks_blocked()
        assert found == []
        keys.append("later")
        slot.set(await a.proxy())
        await until(lambda: len(found) == 2 and a.part.ran)
        assert sorted(found) == ["5", "a"] and a.part.ran == ["as,called"]


async def test_calls_fail_at_once_where_nobody_is_about_to_come() -> None:
    slot = Slot(Room, wait=math.inf)
    failed: list[str] = []

    async def ask() -> None:
        with pytest.raises(Unavailable) as caught:
            await slot.proxy.topic()
        assert caught.value.reason == "vacant"
        failed.append(caught.value.message)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        slot.clear("it is given up", in_vain=True)
        tasks.start_soon(ask)
    assert len(failed) == 2 and all("it is given up" in said for said in failed)
    slot.clear("it is tried again")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        assert len(failed) == 2
        slot.clear("it is given up", in_vain=True)
    assert len(failed) == 3


async def test_who_waits_may_leave() -> None:
    """By cancellation, by the method's timeout, by the end of the slot; and nobody waits for ever for a slot."""
    slot = Slot(Part, wait=math.inf)
    with anyio.move_on_after(0) as left:
        await slot.proxy.who()
    assert left.cancelled_caught
    with pytest.raises(DeadlineExceeded):
        await slot.proxy.soon()
    with pytest.raises(Unavailable) as late:
        await slot.waiting(0.01).who()
    assert late.value.reason == "vacant"
    ends: list[CapnetError] = []

    async def ask() -> None:
        try:
            await slot.proxy.who()
        except CapnetError as error:
            ends.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        await slot.aclose("gone for good")
        await slot.aclose("twice")
    assert [error.reason for error in ends] == ["slot_closed"] and "gone for good" in ends[0].message
    with pytest.raises(Unavailable):
        await slot.proxy.who()
    with pytest.raises(FailedPrecondition):
        slot.set(MemPart("late"))


async def test_the_timeout_of_a_method_holds_for_all_of_it() -> None:
    async with plugin("a") as a:
        slot = Slot(Part)
        slot.set(await a.proxy())
        with pytest.raises(DeadlineExceeded):
            await slot.proxy.soon()


async def test_the_end_of_a_slot_takes_back_what_it_gave() -> None:
    async with plugin("a") as a, connected() as (host, guest):
        slot = Slot(Part)
        slot.set(await a.proxy())
        host.serve(slot.proxy)
        theirs = await guest.bootstrap(Part)
        room = await theirs.room("r")
        await slot.aclose("the plugin was unloaded")
        with pytest.raises(Revoked):
            await theirs.who()
        with pytest.raises(Revoked):
            await room.topic()
        assert repr(slot) == "<Slot test.SlotPart closed>"


@pytest.mark.parametrize("method", ["work", "look"])
async def test_a_call_that_breaks_midway(method: str) -> None:
    """One that is idempotent is made again, with the arguments it had; of another it is not known whether it ran."""
    slot = Slot(Part, wait=HANGS)
    ends: list[Any] = []

    async def ask(key: str) -> None:
        try:
            keys = [key]
            ends.append(await (slot.proxy.work(key) if method == "work" else slot.proxy.look(keys)))
        except CapnetError as error:
            ends.append(error)

    async with plugin("a") as a, plugin("b") as b:
        slot.set(await a.proxy())
        b.part.gate.open()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, "k")
            await until(lambda: a.part.gate.entered)
            await a.die()
            await until(lambda: slot.current is None)
            if method == "look":
                await anyio.wait_all_tasks_blocked()
                assert ends == []
            slot.set(await b.proxy())
        if method == "look":
            assert ends == ["k by b"] and a.part.ran == b.part.ran == ["k"]
        else:
            (error,) = ends
            assert type(error) is Indeterminate and b.part.ran == []
            assert (error.reason, error.retry, error.details) == ("indeterminate", "never", {"generation": 1})


async def test_a_stream_that_was_taken_from_is_not_sent_again() -> None:
    """Whatever the method declares: the next one would get the rest for the whole."""
    slot = Slot(Part, wait=HANGS)
    ends: list[str | None] = []

    async def numbers() -> Stream[int]:
        yield 1
        await anyio.sleep(HANGS)

    async def ask() -> None:
        with pytest.raises(Unavailable) as error:
            await slot.proxy.feed(Feed(numbers()))
        ends.append(error.value.reason)

    async with plugin("a") as a, anyio.create_task_group() as tasks:
        slot.set(await a.proxy())
        tasks.start_soon(ask)
        await until(lambda: a.part.gate.entered)
        await a.die()
        await until(lambda: ends)
        assert ends == ["indeterminate"] and a.part.ran == ["1"]


async def test_a_call_that_ends_whatever_answers_it_is_not_made_for_ever() -> None:
    slot = Slot(Part, wait=HANGS)
    ends: list[CapnetError] = []

    async def ask() -> None:
        with pytest.raises(Unavailable) as error:
            await slot.proxy.look(["poison"])
        ends.append(error.value)

    async with (
        plugin("a") as a,
        plugin("b") as b,
        plugin("c") as c,
        plugin("d") as d,
        anyio.create_task_group() as tasks,
    ):
        parts = [a, b, c, d]
        tasks.start_soon(ask)
        for one in parts[:3]:
            slot.set(await one.proxy())
            await until(partial(getattr, one.part, "ran"))
            await one.die()
        await until(lambda: ends)
        slot.set(await parts[3].proxy())
        assert [error.reason for error in ends] == ["indeterminate"]
        assert [one.part.ran for one in parts] == [["poison"]] * 3 + [[]]


async def test_a_call_that_could_not_leave_is_made_elsewhere() -> None:
    """Also one that is not idempotent: what drains refuses it, what has broken unnoticed never gets it."""
    async with plugin("a") as a, plugin("b") as b, plugin("c") as c:
        for one in (b, c):
            one.part.gate.open()
        slot = Slot(Part, wait=HANGS)
        slot.set(await a.proxy())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(slot.proxy.look, ["keeps a open"])
            await until(lambda: a.part.gate.entered)
            tasks.start_soon(a.line.aclose)
            await anyio.wait_all_tasks_blocked()
            found: list[str] = []

            async def ask() -> None:
                found.append(await slot.proxy.work("k"))

            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            assert slot.current is None and found == []
            slot.set(await b.proxy())
            await until(lambda: found)
            assert found == ["k by b"]
            a.part.gate.open()


async def test_a_swap_under_work() -> None:
    """What runs ends where it runs, new calls go to the new one, and the old one can be waited for."""
    async with plugin("a") as a, plugin("b") as b:
        slot = Slot(Part)
        slot.set(await a.proxy())
        found: list[str] = []

        async def ask() -> None:
            found.append(await slot.proxy.work("old"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            numbers = slot.proxy.count(7)
            assert await anext(numbers) == 7
            await until(lambda: a.part.gate.entered)
            old = slot.set(await b.proxy())
            assert old is not None and (old.generation, old.running, old.streams) == (1, 1, 1)
            assert await slot.proxy.who() == "b"
            assert not await old.drained(0.01)
            a.part.gate.open()
            assert [number async for number in numbers] == [8, 9]
            assert await old.drained(HANGS) and found == ["old by a"]
            assert (old.running, old.streams) == (0, 0)
        forgotten = slot.proxy.count(1)
        assert await anext(forgotten) == 1
        old = slot.clear("again")
        del forgotten
        gc.collect()
        assert old is not None and await old.drained(HANGS)


async def test_streams_break_with_what_produces_them() -> None:
    """One that had begun says so with the generation; one that had not is opened again if that is harmless."""
    async with plugin("a") as a, plugin("b") as b, connected() as (host, guest):
        slot = Slot(Part, wait=HANGS)
        slot.set(await a.proxy())
        host.serve(slot.proxy)
        theirs = await guest.bootstrap(Part)
        b.part.gate.open()
        mine, far, names = slot.proxy.count(1), theirs.count(1), slot.proxy.view()
        for numbers in (mine, far):
            assert [await anext(numbers) for _ in range(3)] == [1, 2, 3]
        ends: list[Any] = []

        async def read(items: Any) -> None:
            try:
                ends.append(await anext(items))
            except CapnetError as error:
                ends.append((type(error), error.reason, error.details))

        async with anyio.create_task_group() as tasks:
            for items in (mine, far, names):
                tasks.start_soon(read, items)
            await until(lambda: len(a.part.gate.entered) == 3)
            await a.die()
            await until(lambda: len(ends) == 2)
            slot.set(await b.proxy())
        told = (Indeterminate, "indeterminate", {"generation": 1})
        assert ends == [told, told, "b"]
        assert [item async for item in mine] == [] == [item async for item in names]
        early = theirs.count(4)
        assert [number async for number in early] == [4, 5, 6]


async def test_what_may_be_put_behind_it() -> None:
    """A proxy, a narrower one, an object of this program; nothing of another contract, and nothing that is broken."""
    async with plugin("a") as a, plugin("b") as b, connected(MemRoom("r")) as (_, line):
        slot = Slot(Part, wait=0, name="the part")
        first = await a.proxy()
        async with first:
            slot.set(restrict(first, methods={"who"}))
        assert await slot.proxy.who() == "a" and len(await restrictions(slot.proxy)) == 1
        wrong: list[Any] = [await line.bootstrap(Room), MemRoom("x"), "a"]
        for other in wrong:
            with pytest.raises(InvalidArgument):
                slot.set(other)
        assert await slot.proxy.who() == "a" and slot.generation == 1
        await a.die()
        with pytest.raises(Unavailable) as gone:
            await slot.proxy.who()
        assert gone.value.reason == "vacant" and await restrictions(slot.proxy) == []
        dead = await b.proxy()
        await b.die()
        with pytest.raises(Unavailable):
            slot.set(dead)
        assert slot.generation == 1 and repr(slot) == "<Slot the part empty>"
        slot.set(MemPart("here"))
        assert await slot.proxy.who() == "here" and repr(slot) == "<Slot the part generation 2>"
        with pytest.raises(NotFound):
            await slot.proxy.room("")


@pytest.mark.parametrize("wait", [-1, math.nan, True, "1"], ids=str)
async def test_the_wait_is_seconds(wait: Any) -> None:
    with pytest.raises(InvalidArgument):
        Slot(Part, wait=wait)


async def test_another_thread_is_told_so() -> None:
    slot = Slot(Part)
    slot.set(MemPart("a"))

    def elsewhere() -> None:
        with pytest.raises(FailedPrecondition):
            slot.clear("x")

    await anyio.to_thread.run_sync(elsewhere)


async def test_a_slot_leaves_nothing_behind() -> None:
    async with plugin("a") as a, connected() as (host, guest):
        slot = Slot(Part)
        first = await a.proxy()
        slot.set(first)
        host.serve(slot.proxy)
        theirs = await guest.bootstrap(Part)
        room = await pipe(theirs.room("r")).topic()
        assert room == "r by a"
        assert await anext(theirs.count(1)) == 1
        a.part.gate.open()
        slot.clear("done")
        del first, theirs
        gc.collect()
        await assert_nothing_left(host, guest)
        await assert_nothing_left(a.line)


async def test_a_slot_that_is_forgotten_keeps_nothing() -> None:
    async with plugin("a") as a:
        slot = Slot(Part)
        slot.set(await a.proxy())
        assert await slot.proxy.who() == "a" and a.line.stats()["imports"] == 1
        del slot
        gc.collect()
        await until(lambda: not a.line.stats()["imports"])


async def test_a_host_serves_it_like_any_other() -> None:
    """A policy is asked for its name, a scope ends it."""
    async with Host() as host, host.scope("plug") as scope:
        slot = Slot(Part)
        handle = scope.serve(slot.proxy)
        assert handle.names == ("plug.test.SlotPart",)
