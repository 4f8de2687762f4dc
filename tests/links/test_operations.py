"""Calls with an id: their answer is kept for a link that has lost the line, and they run once (P-CALL-10)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest

from capnet import (
    CapnetError,
    FailedPrecondition,
    Host,
    Indeterminate,
    InvalidArgument,
    NotFound,
    Revoked,
    link,
    revoke,
)
from capnet.dispatch import operations
from capnet.testing import connected
from tests.connection.shop import Gate, until
from tests.links.desk import FAST
from tests.links.office import EXPIRED, MemOffice, Office, by_hand, cut, office, said


async def begun(
    host: Host, served: MemOffice, start: Callable[[], Awaitable[Any]], *, then: Callable[[], object]
) -> Any:
    """What a call brings whose line is cut while its handler waits; then something is done, and the gate opened."""
    brought: list[Any] = []

    async def make() -> None:
        try:
            brought.append(await start())
        except CapnetError as error:
            brought.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(make)
        await until(lambda: served.gate.entered)
        await cut(host)
        then()
        if not brought:
            await until(lambda: brought or host.connections)
        served.gate.open()
    return brought[0]


async def test_the_line_is_cut_while_it_runs() -> None:
    """It runs on, and whoever comes back for it waits with it."""
    async with office() as (host, served, _, desk):
        assert await begun(host, served, lambda: desk.add("a"), then=lambda: None) == 1
        assert served.ran == ["a"] and not served.gate.cancelled


async def test_the_line_is_cut_and_it_ends_before_anybody_is_back() -> None:
    """What it has brought is kept, capabilities among it."""
    async with office() as (host, served, _, desk):
        ticket = await begun(host, served, lambda: desk.buy("tea"), then=served.gate.open)
        assert served.ran == ["tea"] and await ticket.number() == 1
        both = await desk.both()
        assert [await one.number() for one in both["tickets"]] == [7, 7]


async def test_an_error_is_an_answer_as_well() -> None:
    """With its details, and the same one."""
    async with office() as (host, served, _, desk):
        error = await begun(host, served, desk.fail, then=served.gate.open)
        assert isinstance(error, NotFound) and (error.reason, error.details["n"]) == ("mine", 1)
        assert served.ran == ["fail"]


@pytest.mark.parametrize("which", ["host", "link"])
async def test_who_does_not_want_it_has_what_there_was(which: str) -> None:
    """It may have run or not."""
    async with office(keeps=which != "host", asks=which != "link") as (host, served, _, desk):
        error = await begun(host, served, lambda: desk.add("a"), then=lambda: None)
        assert isinstance(error, Indeterminate) and served.gate.cancelled == ["a"]
        assert await desk.add("b") == 2


async def test_another_host_does_not_run_it() -> None:
    """It knows nothing of what the one before has done."""
    first, second = MemOffice(), MemOffice()
    second.gate.open()
    ended: list[CapnetError] = []
    gone = anyio.Event()

    async def serve(served: MemOffice, until_set: anyio.Event, ready: anyio.Event) -> None:
        async with Host(operations=True) as host:
            host.serve(served)
            await host.listen("memory:operations-another")
            ready.set()
            await until_set.wait()
            await cut(host)
        gone.set()

    async with anyio.create_task_group() as tasks:
        ends, ready = anyio.Event(), anyio.Event()
        tasks.start_soon(serve, first, ends, ready)
        await ready.wait()
        async with link("memory:operations-another", wait=FAST, operations=True) as one:
            desk = await one.bootstrap(Office)

            async def make() -> None:
                with pytest.raises(Indeterminate) as caught:
                    await desk.add("a")
                ended.append(caught.value)

            tasks.start_soon(make)
            await until(lambda: first.gate.entered)
            ends.set()
            await gone.wait()
            tasks.start_soon(serve, second, anyio.Event(), anyio.Event())
            await until(lambda: ended)
            assert await desk.add("b") == 1 and second.ran == ["b"] and first.ran == ["a"]
        tasks.cancel_scope.cancel()


async def test_a_call_that_is_given_up_is_stopped() -> None:
    """By its caller, whose line is there: that is told as always."""
    async with office() as (host, served, _, desk):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(desk.add, "a")
            await until(lambda: served.gate.entered)
            tasks.cancel_scope.cancel()
        await until(lambda: served.gate.cancelled)
        assert len(host._operations or ()) == 1


# --- by hand ---


async def test_one_answer_for_each_id() -> None:
    """On whichever connection of the same caller; a capability in it stays open while it is kept."""
    async with by_hand() as (host, served, another):
        first, second = await another(), await another()
        desk, again = await first.bootstrap(Office), await second.bootstrap(Office)
        life = host._instance
        ticket = await said("link 1", lambda: desk.buy("tea"))
        assert await said(f"link 1 {life}", lambda: again.add("tea")) is not None
        conflict = await said(f"link 1 {life}", lambda: again.add("tea"))
        assert isinstance(conflict, InvalidArgument) and conflict.reason == "operation_conflict"
        await first.aclose()
        assert served.sold[0].closed == 0
        ticket = await said(f"link 1 {life}", lambda: again.buy("tea"))
        assert await ticket.number() == 1 and served.ran == ["tea"]
        await ticket.aclose()
        assert served.sold[0].closed == 0
        await second.aclose()
    assert served.sold[0].closed == 1


@pytest.mark.parametrize(
    "id", ["", "link", "link 0", "link -1", "link x", "link 1 2 3", " 1", f"{'l' * 65} 1", "l " + "1" * 16]
)
async def test_what_is_no_id(id: str) -> None:
    """It is refused, and nothing runs."""
    async with by_hand() as (_, served, another):
        desk = await (await another()).bootstrap(Office)
        error = await said(id, lambda: desk.add("a"))
        assert isinstance(error, InvalidArgument) and error.reason == "operation_conflict" and not served.ran


async def test_what_is_not_known_any_more_does_not_run_again() -> None:
    """P-CALL-10: neither one of another life of the host, nor one of too many, nor one that was too large."""
    async with by_hand() as (host, served, another):
        desk = await (await another()).bootstrap(Office)
        life = host._instance
        old = await said("link 1 another", lambda: desk.add("a"))
        assert isinstance(old, FailedPrecondition) and old.reason == EXPIRED and not served.ran
        for number in range(1, operations.MOST + 2):
            await said(f"link {number}", lambda: desk.add("x"))
        ran = len(served.ran)
        assert (await said(f"link 1 {life}", lambda: desk.add("x"))).reason == EXPIRED
        assert await said(f"link 2 {life}", lambda: desk.add("x")) == 2
        assert len(served.ran) == ran and len(host._operations or ()) == operations.MOST
        assert len(await said("link 100", lambda: desk.much(operations.LARGEST))) == operations.LARGEST
        assert (await said(f"link 100 {life}", lambda: desk.much(1))).reason == EXPIRED
        assert await said(f"link 101 {life}", lambda: desk.much(1)) == "x", "it never came, and nothing above was lost"


async def test_room_for_all_together() -> None:
    """The oldest go when it is used up."""
    async with by_hand() as (host, _, another):
        desk = await (await another()).bootstrap(Office)
        size = operations.LARGEST - 10_000
        for number in range(1, 10):
            await said(f"link {number}", lambda: desk.much(size))
        kept = operations.ROOM // size
        assert host._operations is not None and len(host._operations) == kept < 9
        assert (await said(f"link 1 {host._instance}", lambda: desk.much(1))).reason == EXPIRED


async def test_callers_that_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many the one that was here longest ago is forgotten, and then what is not known may have run."""
    monkeypatch.setattr(operations, "MOST_CALLERS", 3)
    async with by_hand() as (host, served, another):
        desk = await (await another()).bootstrap(Office)
        life = host._instance
        for name in ("a", "b", "c"):
            await said(f"{name} 1", lambda: desk.add("x"))
        assert await said(f"a 1 {life}", lambda: desk.add("x")) == 1
        await said("d 1", lambda: desk.add("x"))
        assert (await said(f"b 1 {life}", lambda: desk.add("x"))).reason == EXPIRED
        assert await said(f"a 1 {life}", lambda: desk.add("x")) == 1 and len(served.ran) == 4


async def test_another_principal_has_nothing_of_it() -> None:
    """An id is its caller's alone."""
    async with by_hand() as (host, served, another):
        desk = await (await another()).bootstrap(Office)
        await said("link 1", lambda: desk.add("a"))
        other = await another()
        await other.ping()
        mine = host.connections[-1]
        mine._session.attestation = replace(mine.attestation, principal="eve")
        again = await other.bootstrap(Office)
        assert await said("link 1", lambda: again.add("b")) == 2 and served.ran == ["a", "b"]


async def test_what_was_taken_back_is_not_given_again() -> None:
    """P-CAP-6: neither itself, nor with what it came of; also when nobody held it any more."""
    async with by_hand() as (host, served, another):
        first = await another()
        desk = await first.bootstrap(Office)
        for number in (1, 2, 3):
            await said(f"link {number}", lambda: desk.buy("tea"))
        await first.aclose()
        await until(lambda: not host.connections)
        revoke(served.sold[1], reason="stolen")
        again = await (await another()).bootstrap(Office)
        life = host._instance
        error = await said(f"link 2 {life}", lambda: again.buy("tea"))
        assert isinstance(error, Revoked) and str(error).endswith("stolen")
        assert await (await said(f"link 1 {life}", lambda: again.buy("tea"))).number() == 1
        revoke(served)
        again = await (await another()).bootstrap(Office)
        assert isinstance(await said(f"link 3 {life}", lambda: again.buy("tea")), Revoked)
        assert served.ran == ["tea"] * 3


async def test_who_waits_for_one_that_is_too_large_has_it() -> None:
    """It is kept for nobody else."""
    async with by_hand() as (host, served, another):
        served.gate = Gate()
        served.size = operations.LARGEST
        first, second = [await (await another()).bootstrap(Office) for _ in range(2)]
        brought: list[str] = []

        async def make(id: str, desk: Office) -> None:
            brought.append(await said(id, lambda: desk.large()))

        kept = host._operations
        assert kept is not None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(make, "link 1", first)
            await until(lambda: served.gate.entered)
            tasks.start_soon(make, f"link 1 {host._instance}", second)
            (caller,) = kept._callers.values()
            await until(lambda: caller.operations[1]._waiting)
            served.gate.open()
        assert [len(one) for one in brought] == [operations.LARGEST] * 2 and served.gate.left == ["large"]
        assert not len(kept)


async def test_what_has_no_single_answer() -> None:
    """A stream is opened anew, as without an id."""
    async with by_hand() as (host, served, another):
        desk = await (await another()).bootstrap(Office)
        for _ in range(2):
            assert await said("link 1", lambda: _read(desk)) == ["one"]
        assert served.ran == ["lines", "lines"] and not len(host._operations or ())


async def _read(desk: Office) -> list[str]:
    return [line async for line in desk.lines()]


async def test_a_call_that_is_passed_on_is_not_made_again() -> None:
    """Who passes it on does not know whether it ran."""
    async with by_hand() as (host, _, another), connected() as (server, client):
        beyond = MemOffice()
        beyond.gate.open()
        client.serve(beyond)
        host.serve(await server.bootstrap(Office), name="beyond")
        desk = await (await another()).bootstrap(Office, name="beyond")
        assert await said("link 1", lambda: desk.add("a")) == 1
        assert (await said(f"link 1 {host._instance}", lambda: desk.add("a"))).reason == EXPIRED
        assert beyond.ran == ["a"]
        host.unserve("beyond")
