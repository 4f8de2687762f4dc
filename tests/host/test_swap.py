"""Swap: another implementation is prepared, checked, and then committed or rolled back (P-CAP-5)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import pytest

from capnet import (
    INJECT,
    AlreadyExists,
    CallContext,
    Cap,
    Connection,
    FailedPrecondition,
    Host,
    NotFound,
    Replaced,
    ReplaceReport,
    Revoked,
    ServeHandle,
    Stream,
    Swap,
    VersionMismatch,
    call,
    connect,
    generation,
    on_broken,
    release,
    stream,
)
from capnet.observe import CapBroken, CapReplaced, Event, NameReplaced, NameUnserved, SwapBegan, SwapEnded
from capnet.testing import assert_no_leaks, connected
from tests.connection.shop import Gate, left_when, until
from tests.host.test_host import host_and_clients


class Notes(Cap, name="test.Notes"):
    """Something with state, calls that wait and streams."""

    @call
    async def write(self, text: str) -> int: ...
    @call
    async def wait(self) -> str: ...
    @call
    async def upgrade(self, mode: str) -> int: ...
    @stream
    def follow(self) -> Stream[str]:
        """Its name, and nothing more until the gate opens."""
        ...


class MemNotes(Notes):
    """Notes in memory; `serving` is who swaps when a peer asks for it."""

    def __init__(self, name: str = "notes") -> None:
        self.name = name
        self.gate = Gate()
        self.texts: list[str] = []
        self.closed = 0
        self.serving: Host | Connection | None = None
        self.successor: MemNotes | None = None
        self.report: ReplaceReport | None = None

    async def write(self, text: str) -> int:
        self.texts.append(text)
        return len(self.texts)

    async def wait(self) -> str:
        await self.gate.pass_through("wait")
        return self.name

    async def upgrade(self, mode: str) -> int:
        assert self.serving is not None and self.successor is not None
        self.report = await self.serving.replace(self.successor, mode=cast("Any", mode), grace=30)
        return self.report.generation

    async def follow(self) -> Stream[str]:
        yield self.name
        await self.gate.pass_through("follow")
        yield "end"

    async def aclose(self) -> None:
        self.closed += 1


class Heir(MemNotes):
    """Takes over what was written, as soon as it is let."""

    def __init__(self, name: str = "heir", *, error: Exception | None = None) -> None:
        super().__init__(name)
        self.adopted: list[object] = []
        self.error = error

    async def adopt(self, previous: MemNotes) -> None:
        self.adopted.append(previous)
        await self.gate.pass_through("adopt")
        if self.error is not None:
            raise self.error
        self.texts = previous.texts


class QuickHeir(MemNotes):
    """The same with a plain function."""

    def adopt(self, previous: MemNotes) -> None:
        self.texts = previous.texts


@asynccontextmanager
async def served(implementation: Cap) -> AsyncGenerator[tuple[Host, Connection, Notes]]:
    """A host on a real unix socket that serves it, a client of it, and the proxy; everything is gone afterwards."""
    host = Host()
    async with host_and_clients(host, 1) as (client,):
        host.serve(implementation)
        notes = await client.bootstrap(Notes)
        yield host, client, notes
        release(notes)
        await assert_no_leaks(client, *host.connections)


def recorded(serving: Host | Connection) -> list[Event]:
    """What is told of its names from now on."""
    events: list[Event] = []

    def record(event: Event) -> None:
        if isinstance(event, (SwapBegan, SwapEnded, NameReplaced, NameUnserved)):
            events.append(event)

    serving.on(Event, record)
    return events


async def reached(notes: Notes, number: int) -> None:
    """Until the client has heard of a generation."""
    await until(lambda: generation(notes) == number)


def told(events: list[Event]) -> list[str | tuple[str, str]]:
    """The kinds, with the result of a swap."""
    return [
        (type(event).__name__, event.result) if isinstance(event, SwapEnded) else type(event).__name__
        for event in events
    ]


def report_of(swap: Swap[Any]) -> ReplaceReport | None:
    """A function, because a checker takes an attribute that it has seen for one that stays."""
    return swap.report


# --- commit ---


async def test_at_the_end_of_the_block_the_candidate_answers() -> None:
    old, new = MemNotes("old"), MemNotes("new")
    async with served(old) as (host, client, notes):
        replaced: list[CapReplaced] = []
        client.on(CapReplaced, replaced.append)
        events = recorded(host)
        async with host.swap(new) as swap:
            assert swap.candidate is new and report_of(swap) is None
            assert await swap.candidate.write("check") == 1
            assert await notes.write("a") == 1 and old.texts == ["a"]
        report = report_of(swap)
        assert report is not None
        assert (report.generation, report.drained, report.cut, report.streams_drained) == (2, 0, 0, 0)
        assert await notes.write("b") == 2 and old.texts == ["a"]
        await until(lambda: old.closed)
        await until(lambda: replaced and len(events) == 3)
        assert generation(notes) == replaced[0].generation == 2
        assert told(events) == ["SwapBegan", "NameReplaced", ("SwapEnded", "committed")]
        assert [event.generation for event in events] == [1, 2, 2]
    assert (old.closed, new.closed) == (1, 1)


async def test_running_calls_and_open_streams_finish_on_the_old_one() -> None:
    """On all connections; the report counts both, and the old one is closed after the last of them, once."""
    host, old, new = Host(), MemNotes("old"), MemNotes("new")
    async with host_and_clients(host, 3) as clients:
        host.serve(old)
        proxies = [await client.bootstrap(Notes) for client in clients]
        calls = [notes.wait() for notes in proxies]
        streams = [notes.follow() for notes in proxies]
        assert [await anext(one) for one in streams] == ["old"] * 3
        await until(lambda: len(old.gate.entered) == 6)
        reports: list[ReplaceReport | None] = []

        async def swap() -> None:
            async with host.swap(new, grace=30) as swap:
                pass
            reports.append(swap.report)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(swap)
            await until(lambda: all(generation(notes) == 2 for notes in proxies))
            assert [await notes.write("x") for notes in proxies] == [1, 2, 3] and not old.texts
            assert not reports and not old.closed
            old.gate.open()
            assert [await one for one in calls] == ["old"] * 3
            assert [[item async for item in one] for one in streams] == [["end"]] * 3
        (report,) = reports
        assert report is not None
        assert (report.drained, report.cut, report.streams_drained, report.streams_cut) == (3, 0, 3, 0)
        await until(lambda: old.closed)
        assert old.closed == 1 and not old.gate.cancelled


async def test_after_the_grace_they_are_cut() -> None:
    old, new = MemNotes("old"), MemNotes("new")
    async with served(old) as (host, _, notes):
        running, follow = notes.wait(), notes.follow()
        assert await anext(follow) == "old"
        await until(lambda: len(old.gate.entered) == 2)
        async with host.swap(new, grace=0.01) as swap:
            pass
        report = swap.report
        assert report is not None
        assert (report.drained, report.cut, report.streams_drained, report.streams_cut) == (0, 1, 0, 1)
        with pytest.raises(Replaced):
            await running
        with pytest.raises(Replaced):
            await anext(follow)
        await until(lambda: old.closed)
        assert sorted(old.gate.cancelled) == ["follow", "wait"]


async def test_a_connection_swaps_what_it_serves_itself() -> None:
    async with connected() as (server, client):
        old, new = MemNotes("old"), MemNotes("new")
        server.serve(old, name="notes")
        notes = await client.bootstrap(Notes, name="notes")
        with pytest.raises(NotFound):
            async with server.swap(new):
                pass
        async with server.swap(new, name="notes") as swap:
            await notes.write("to the old one")
        assert await notes.write("to the new one") == 1 and old.texts == ["to the old one"]
        assert swap.report is not None and swap.report.generation == 2


# --- roll back ---


class Sick(Exception):
    """What the checks of these tests raise."""


async def _write_and_raise(notes: Notes, error: Exception) -> None:
    await notes.write("meanwhile")
    raise error


async def test_when_the_block_raises_nothing_has_changed() -> None:
    """Not for the peers, not for what runs; the candidate is closed, once, before the exception goes on."""
    old, bad, good = MemNotes("old"), MemNotes("bad"), MemNotes("good")
    async with served(old) as (host, client, notes):
        replaced: list[CapReplaced] = []
        client.on(CapReplaced, replaced.append)
        events = recorded(host)
        running, sick = notes.wait(), Sick()
        await until(lambda: old.gate.entered)
        with pytest.raises(Sick) as caught:
            async with host.swap(bad):
                await _write_and_raise(notes, sick)
        assert caught.value is sick and bad.closed == 1
        await notes.write("afterwards")
        assert old.texts == ["meanwhile", "afterwards"] and not bad.texts
        old.gate.open()
        assert await running == "old" and old.closed == 0
        await until(lambda: len(events) == 2)
        assert told(events) == ["SwapBegan", ("SwapEnded", "rolled_back")]
        assert generation(notes) == 0 and not replaced
        async with host.swap(good):
            pass
        assert await notes.write("x") == 1 and good.texts == ["x"]
    assert (old.closed, bad.closed, good.closed) == (1, 1, 1)


async def test_a_candidate_that_something_else_holds_stays_open() -> None:
    both = MemNotes("both")
    async with served(MemNotes()) as (host, client, _):
        host.serve(both, name="other")
        with pytest.raises(Sick):
            async with host.swap(both):
                raise Sick
        other = await client.bootstrap(Notes, name="other")
        assert await other.write("x") == 1 and both.closed == 0
        release(other)
    assert both.closed == 1


@pytest.mark.parametrize("waits", [True, False])
async def test_cancellation_in_the_block_rolls_back(waits: bool) -> None:
    """Also when the block itself ends before it has noticed."""
    old, new = MemNotes("old"), MemNotes("new")
    async with served(old) as (host, _, notes):
        with anyio.CancelScope() as scope:
            async with host.swap(new):
                scope.cancel()
                if waits:
                    await anyio.sleep_forever()
            pytest.fail("the cancellation was lost")
        assert scope.cancelled_caught and new.closed == 1
        assert await notes.write("x") == 1 and old.texts == ["x"]


async def test_cancelling_the_drain_takes_nothing_back() -> None:
    """The commit has been; the old implementation is closed when its last call has ended all the same."""
    old, new = MemNotes("old"), MemNotes("new")
    async with served(old) as (host, _, notes):
        events = recorded(host)
        running = notes.wait()
        await until(lambda: old.gate.entered)
        async with anyio.create_task_group() as tasks:

            async def swap() -> None:
                async with host.swap(new, grace=30):
                    pass

            tasks.start_soon(swap)
            await reached(notes, 2)
            tasks.cancel_scope.cancel()
        assert await notes.write("x") == 1 and new.texts == ["x"] and not old.closed
        old.gate.open()
        assert await running == "old"
        await until(lambda: old.closed and len(events) == 3)
        assert told(events)[-1] == ("SwapEnded", "committed") and (old.closed, new.closed) == (1, 0)


class Less(Cap, name="test.Notes"):
    """The name of the notes, and less of their methods."""

    @call
    async def write(self, text: str) -> int: ...


class MemLess(Less):
    def __init__(self) -> None:
        self.closed = 0

    async def write(self, text: str) -> int:
        return 0

    async def aclose(self) -> None:
        self.closed += 1


async def test_one_that_does_not_fit_is_not_even_begun() -> None:
    """P-CAP-3: its structure is checked first; it is left alone, and the block does not run."""
    old, less = MemNotes(), MemLess()
    async with served(old) as (host, _, notes):
        events = recorded(host)
        with pytest.raises(VersionMismatch):
            async with host.swap(less):
                pytest.fail("the block ran")
        await notes.write("x")
        assert not events and less.closed == 0 and generation(notes) == 0


def by_replace(host: Host, _: ServeHandle) -> Awaitable[Any]:
    return host.replace(MemNotes("third"))


async def by_serving_over_it(host: Host, _: ServeHandle) -> None:
    host.serve(MemNotes("third"), if_exists="replace")


async def by_unserving(_: Host, handle: ServeHandle) -> None:
    handle.close()


async def by_serving_anew(host: Host, handle: ServeHandle) -> None:
    handle.close()
    host.serve(MemNotes("third"))


@pytest.mark.parametrize("interfere", [by_replace, by_serving_over_it, by_unserving, by_serving_anew])
async def test_who_changes_the_name_meanwhile_wins(
    interfere: Callable[[Host, ServeHandle], Awaitable[Any]],
) -> None:
    """The commit fails `superseded`, and that is a roll back."""
    host, old, new = Host(), MemNotes("old"), MemNotes("new")
    async with host_and_clients(host, 1) as (client,):
        events = recorded(host)
        handle = host.serve(old)
        with pytest.raises(FailedPrecondition) as caught:
            async with host.swap(new):
                await interfere(host, handle)
        assert caught.value.reason == "superseded" and new.closed == 1
        found = host._services.registry.find("test.Notes")
        assert found is None or (found.hosted.implementation.name == "third" and found.generation < 3)
        await until(lambda: old.closed)
        await until(lambda: told(events).count(("SwapEnded", "rolled_back")) == 1)
        if found is not None:
            assert await (await client.bootstrap(Notes)).write("x") == 1
            async with host.swap(MemNotes("fourth")):
                pass
        assert not new.texts and old.closed == 1


async def test_one_swap_of_a_name_at_a_time() -> None:
    """The second is refused and left alone; other names are free, and so is this one afterwards."""
    first, second = MemNotes("first"), MemNotes("second")
    async with served(MemNotes()) as (host, _, notes):
        host.serve(MemNotes(), name="other")
        async with host.swap(first):
            with pytest.raises(FailedPrecondition) as caught:
                async with host.swap(second):
                    pytest.fail("the block ran")
            assert caught.value.reason == "swap_running" and second.closed == 0
            async with host.swap(MemNotes(), name="other"):
                pass
        assert await notes.write("x") == 1 and first.texts == ["x"]
        async with host.swap(second):
            pass
        await until(lambda: first.closed == 1)


async def test_a_swap_during_the_drain_of_another() -> None:
    """Each old implementation ends for itself."""
    first, second, third = MemNotes("first"), MemNotes("second"), MemNotes("third")
    async with served(first) as (host, _, notes):
        running = notes.wait()
        await until(lambda: first.gate.entered)
        reports: list[ReplaceReport | None] = []

        async def swap(new: MemNotes) -> None:
            async with host.swap(new, grace=30) as swap:
                pass
            reports.append(swap.report)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(swap, second)
            await reached(notes, 2)
            also = notes.wait()
            await until(lambda: second.gate.entered)
            tasks.start_soon(swap, third)
            await reached(notes, 3)
            second.gate.open()
            assert await also == "second"
            await until(lambda: second.closed == 1)
            assert first.closed == 0 and len(reports) == 1
            first.gate.open()
            assert await running == "first"
        await until(lambda: first.closed == 1)
        assert [report and (report.generation, report.drained) for report in reports] == [(3, 1), (2, 1)]


async def test_a_swap_that_outlives_its_host_has_ended_with_it() -> None:
    """Its end is told when the names end; the candidate is closed all the same, once."""
    new, entered, leave = MemNotes("new"), anyio.Event(), anyio.Event()
    events: list[Event] = []

    async def stay() -> None:
        entered.set()
        await leave.wait()

    async with anyio.create_task_group() as tasks:
        async with Host() as host:
            events = recorded(host)
            host.serve(MemNotes("old"))

            async def swap() -> None:
                with pytest.raises(FailedPrecondition) as caught:
                    async with host.swap(new):
                        await stay()
                assert caught.value.reason == "superseded"

            tasks.start_soon(swap)
            await entered.wait()
        assert told(events) == ["SwapBegan", ("SwapEnded", "rolled_back"), "NameUnserved"]
        leave.set()
    assert new.closed == 1


# --- adopt ---


async def test_adopt_gets_the_old_implementation_before_anything_changes() -> None:
    old, heir = MemNotes("old"), Heir()
    async with served(old) as (host, _, notes):
        await notes.write("a")
        async with anyio.create_task_group() as tasks:

            async def swap() -> None:
                async with host.swap(heir) as swap:
                    assert swap.candidate.texts is old.texts

            tasks.start_soon(swap)
            await until(lambda: heir.gate.entered)
            assert heir.adopted == [old] and await notes.write("b") == 2
            heir.gate.open()
        assert await notes.write("c") == 3 and heir.texts == ["a", "b", "c"]
        await until(lambda: old.closed)
        quick = QuickHeir()
        await host.replace(quick)
        assert await notes.write("d") == 4 and quick.texts == ["a", "b", "c", "d"]


async def test_replace_adopts_too_and_a_cancelled_one_changes_nothing() -> None:
    old, heir, late = MemNotes("old"), Heir(), Heir()
    heir.gate.open()
    async with served(old) as (host, _, notes):
        await notes.write("a")
        async with left_when(lambda: late.gate.entered) as scope:
            await host.replace(late)
        assert scope.cancelled_caught and late.closed == 1 and await notes.write("b") == 2
        await host.replace(heir)
        assert await notes.write("c") == 3 and heir.adopted == [old] and old.closed == 1
        await host.replace(heir)  # by itself: there is nothing to adopt
        assert heir.adopted == [old] and heir.closed == 0


async def by_replacing(host: Host, new: Cap) -> None:
    await host.replace(new)


async def by_swapping(host: Host, new: Cap) -> None:
    async with host.swap(new):
        pytest.fail("the block ran")


@pytest.mark.parametrize("bring", [by_replacing, by_swapping])
async def test_adopt_that_raises_changes_nothing(bring: Callable[[Host, Cap], Awaitable[None]]) -> None:
    old, sick = MemNotes("old"), Sick()
    heir = Heir(error=sick)
    heir.gate.open()
    async with served(old) as (host, _, notes):
        with pytest.raises(Sick) as caught:
            await bring(host, heir)
        assert caught.value is sick and heir.closed == 1
        assert await notes.write("x") == 1 and old.texts == ["x"] and generation(notes) == 0


async def test_a_replace_that_is_overtaken_while_it_adopts() -> None:
    old, heir, third = MemNotes("old"), Heir(), MemNotes("third")
    async with served(old) as (host, _, notes):

        async def replace() -> None:
            with pytest.raises(FailedPrecondition) as caught:
                await host.replace(heir)
            assert caught.value.reason == "superseded"

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(replace)
            await until(lambda: heir.gate.entered)
            await host.replace(third)
            heir.gate.open()
        assert heir.closed == 1 and await notes.write("x") == 1 and third.texts == ["x"]


class Family(Cap, name="test.Family"):
    """A contract may use any method name, so this is no hook."""

    @call
    async def adopt(self, child: str) -> str: ...


class MemFamily(Family):
    def __init__(self) -> None:
        self.children: list[str] = []

    async def adopt(self, child: str) -> str:
        self.children.append(child)
        return child


async def test_a_method_of_the_contract_is_no_hook() -> None:
    async with connected() as (server, client):
        new = MemFamily()
        server.serve(MemFamily())
        family = await client.bootstrap(Family)
        await server.replace(new)
        assert not new.children and await family.adopt("Ann") == "Ann" and new.children == ["Ann"]


# --- who, and when ---


async def test_threat_24_a_name_is_replaced_by_its_owner_or_by_whoever_runs_the_host() -> None:
    """T24: a plugin that serves a name of another's is refused; one that acts for its own handle touches only that."""
    async with connected() as (server, client):
        mine, theirs = MemNotes("mine"), MemNotes("theirs")
        ours = server.serve(mine)
        other = server.serve(MemNotes(), name="other")
        with pytest.raises(AlreadyExists) as taken:
            server.serve(theirs)
        assert taken.value.reason == "name_collision"
        for refused in (other, ServeHandle(lambda _: None)):
            with pytest.raises(FailedPrecondition) as caught:
                await server.replace(theirs, owner=refused)
            assert caught.value.reason == "superseded"
            with pytest.raises(FailedPrecondition):
                async with server.swap(theirs, owner=refused):
                    pytest.fail("the block ran")
        notes = await client.bootstrap(Notes)
        assert await notes.write("x") == 1 and mine.texts == ["x"] and theirs.closed == 0

        newer = MemNotes("newer")
        await server.replace(newer, owner=ours)
        async with server.swap(MemNotes("newest"), owner=ours):
            pass
        await server.replace(MemNotes("by the host"))  # the name stays who served it
        await server.replace(MemNotes("again"), owner=ours)
        # A peer has no way to replace anything here: what it serves under the name is its own.
        client.serve(MemNotes("the peer's"))
        assert await notes.write("y") == 1 and server._services.registry.find("test.Notes") is not None
        took = server.serve(theirs, if_exists="replace")  # who runs the host lets somebody else have it
        with pytest.raises(FailedPrecondition):
            await server.replace(MemNotes(), owner=ours)
        ours.close()
        assert await notes.write("z") == 1 and theirs.texts == ["z"]
        took.close()
        with pytest.raises(Revoked):
            await notes.write("?")


@pytest.mark.parametrize("mode", ["drain", "cut"])
async def test_threat_24_a_handler_replaces_what_it_runs_on(mode: str) -> None:
    """T24: it does not wait for its own end and is not cut; other calls are drained or cut, each ran on one of both."""
    old, new = MemNotes("old"), MemNotes("new")
    async with served(old) as (host, _, notes):
        old.serving, old.successor = host, new
        with anyio.fail_after(60):
            running = notes.wait()
            await until(lambda: old.gate.entered)
            upgrade = notes.upgrade(mode)
            await reached(notes, 2)
            old.gate.open()
            assert await upgrade == 2
            if mode == "drain":
                assert await running == "old"
            else:
                with pytest.raises(Replaced):
                    await running
        report = old.report
        assert report is not None
        assert (report.drained, report.cut) == ((1, 0) if mode == "drain" else (0, 1))
        await until(lambda: old.closed)
        assert await notes.write("x") == 1 and new.texts == ["x"] and old.closed == 1


class Diary(Cap, name="test.Diary"):
    """What else an implementation of notes can be."""

    @call
    async def read(self) -> str: ...


class MemDiary(MemNotes, Diary, name="test.MemDiary"):
    async def read(self) -> str:
        await self.gate.pass_through("read")
        return self.name


class Lender(Cap, name="test.Lender"):
    """Hands out one of the contracts of an object."""

    @call
    async def diary(self) -> Diary: ...


class MemLender(Lender):
    def __init__(self, diary: MemDiary) -> None:
        self._diary = diary

    async def diary(self, ctx: CallContext = INJECT) -> Diary:
        return self._diary


async def test_calls_that_came_another_way_are_not_cut() -> None:
    """What was replaced is a name; by a capability that still leads to the old implementation it goes on."""
    old, new = MemDiary("old"), MemDiary("new")
    async with connected(MemLender(old)) as (server, client):
        server.serve(old)
        diary = await (await client.bootstrap(Lender)).diary()
        notes = await client.bootstrap(MemDiary)
        reading, waiting, follow = diary.read(), notes.wait(), notes.follow()
        assert await anext(follow) == "old"
        await until(lambda: len(old.gate.entered) == 3)
        report = await server.replace(new, mode="cut")
        assert (report.cut, report.streams_cut) == (1, 1)
        with pytest.raises(Replaced):
            await waiting
        with pytest.raises(Replaced):
            await anext(follow)
        old.gate.open()
        assert await reading == await diary.read() == "old" and old.closed == 0
        new.gate.open()
        assert await notes.wait() == "new"
        await diary.aclose()
        await until(lambda: old.closed == 1)


# --- faults of the ancestor ---


async def test_fault_21_nothing_stays_on_the_old_implementation_for_ever() -> None:
    """Fault 21: calls and streams stayed there without end or notice, it was never closed, and shapes could change."""
    old, new = MemNotes("old"), MemNotes("new")
    async with served(old) as (host, client, notes):
        replaced: list[CapReplaced] = []
        client.on(CapReplaced, replaced.append)
        with pytest.raises(VersionMismatch):
            await host.replace(MemLess())
        running, follow = notes.wait(), notes.follow()
        assert await anext(follow) == "old"
        await until(lambda: len(old.gate.entered) == 2)
        report = await host.replace(new, mode="cut")
        assert (report.cut, report.streams_cut) == (1, 1)
        for ended in (running, anext(follow)):
            with pytest.raises(Replaced) as caught:
                await ended
            assert caught.value.retry == "transparent"
        await until(lambda: old.closed == 1 and replaced)
        new.gate.open()
        assert await notes.wait() == "new" and [item async for item in notes.follow()] == ["new", "end"]


async def test_fault_22_one_rule_for_who_boots_and_who_replaces() -> None:
    """Fault 22: bootstrap was lenient and replace strict; here both name the same differences."""
    async with connected(MemLess()) as (server, client):
        with pytest.raises(VersionMismatch) as booted:
            await client.bootstrap(Notes)
        server.serve(MemNotes())  # hides the host's, which knows less
        with pytest.raises(VersionMismatch) as over:
            await server.replace(MemLess())
        with pytest.raises(VersionMismatch) as swapped:
            async with server.swap(MemLess()):
                pytest.fail("the block ran")
        lacking = [caught.value.details["differences"] for caught in (booted, over, swapped)]
        assert lacking[0] and lacking[0] == lacking[1] == lacking[2]
        less = await client.bootstrap(Less)  # more than what is asked for is welcome
        assert await less.write("x") == 1


async def test_fault_23_clients_are_told_of_a_replacement_and_of_an_end() -> None:
    """Fault 23: they only saw calls fail; here each proxy has a generation and a state, and there are events."""
    async with served(MemNotes()) as (host, client, notes):
        events: list[Event] = []
        broken: list[Any] = []
        client.on(CapReplaced, events.append)
        client.on(CapBroken, events.append)
        on_broken(notes, broken.append)
        for number in (2, 3):
            async with host.swap(MemNotes()):
                pass
            await reached(notes, number)
        assert not broken
        host.unserve(Notes)
        await until(lambda: broken and len(events) == 3)
        assert [type(event) for event in events] == [CapReplaced, CapReplaced, CapBroken]
        assert [event.generation for event in events[:2]] == [2, 3] and isinstance(broken[0], Revoked)


async def test_a_peer_that_comes_later_gets_the_new_one() -> None:
    host, new = Host(), MemNotes("new")
    async with host_and_clients(host, 1):
        host.serve(MemNotes("old"))
        (listener,) = host._listeners  # pyright: ignore[reportPrivateUsage]
        async with host.swap(new), connect(listener.url) as during:
            before = await during.bootstrap(Notes)
            await before.write("to the old one")
        async with connect(listener.url) as client:
            assert await (await client.bootstrap(Notes)).write("x") == 1 and new.texts == ["x"]
