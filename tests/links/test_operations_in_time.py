"""Calls with an id, as time goes by: what runs on is stopped, what is kept is forgotten (P-CALL-10)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from capnet import Indeterminate
from capnet.dispatch import operations
from capnet.testing.simulate.clock import VirtualLoop
from tests.connection.shop import Gate, until
from tests.links.office import EXPIRED, Office, by_hand, cut, said


@pytest.fixture
def nothing_left() -> None:
    """Each test has a loop of its own."""


def on_a_clock_of_its_own(run: Callable[[], Awaitable[None]]) -> None:
    """An hour takes no time there."""
    anyio.run(run, backend="asyncio", backend_options={"loop_factory": VirtualLoop})


def test_nobody_comes_back() -> None:
    """A call that runs on is stopped after a while, and what came of it is said to whoever asks later."""

    async def run() -> None:
        async with by_hand() as (host, served, another):
            served.gate = Gate()
            desk = await (await another()).bootstrap(Office)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(said, "link 1", lambda: desk.add("a"))
                await until(lambda: served.gate.entered)
                await cut(host)
            await anyio.sleep(operations.GRACE - 1)
            assert not served.gate.cancelled
            again = await (await another()).bootstrap(Office)
            with anyio.move_on_after(operations.GRACE):
                await said(f"link 1 {host._instance}", lambda: again.add("a"))
            assert not served.gate.cancelled, "somebody waited for it"
            await anyio.sleep(operations.GRACE + 1)
            assert served.gate.cancelled == ["a"]
            error = await said(f"link 1 {host._instance}", lambda: again.add("a"))
            assert isinstance(error, Indeterminate) and served.ran == ["a"]

    on_a_clock_of_its_own(run)


def test_answers_are_kept_for_a_while() -> None:
    """Then what they hold is closed."""

    async def run() -> None:
        async with by_hand() as (host, served, another):
            connection = await another()
            desk = await connection.bootstrap(Office)
            await (await said("link 1", lambda: desk.buy("tea"))).aclose()
            await anyio.sleep(operations.KEPT / 2)
            await said("link 2", lambda: desk.add("x"))
            await anyio.sleep(operations.KEPT / 2 - 1)
            assert (served.sold[0].closed, len(host._operations or ())) == (0, 2)
            await anyio.sleep(2)
            assert (served.sold[0].closed, len(host._operations or ())) == (1, 1)
            await anyio.sleep(operations.KEPT)
            assert not len(host._operations or ())
            assert (await said(f"link 1 {host._instance}", lambda: desk.buy("tea"))).reason == EXPIRED

    on_a_clock_of_its_own(run)


@pytest.mark.parametrize("who", ["of one caller", "of all callers"])
def test_too_many_run_on(who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those above the bound are stopped with their line, as calls without an id."""
    most = operations.MOST
    if who == "of all callers":
        most = 8
        monkeypatch.setattr(operations, "MOST_ALONE", most)

    async def run() -> None:
        async with by_hand() as (host, served, another):
            served.gate = Gate()
            desk = await (await another()).bootstrap(Office)
            async with anyio.create_task_group() as tasks:
                for number in range(1, most + 6):
                    link = f"link{number}" if who == "of all callers" else "link"
                    tasks.start_soon(said, f"{link} {number}", lambda: desk.add("a"))
                await until(lambda: len(served.gate.entered) == most + 5)
                await cut(host)
            await until(lambda: len(served.gate.cancelled) == 5)
            served.gate.open()
            await until(lambda: len(served.gate.left) == most)
            assert host._operations is not None and host._operations.alone == 0

    on_a_clock_of_its_own(run)


def test_nothing_runs_on_when_the_host_closes() -> None:
    """Nobody can come back for it, and what it brings is not kept."""

    async def run() -> None:
        async with by_hand() as (host, served, another):
            served.gate = Gate()
            desk = await (await another()).bootstrap(Office)
            async with anyio.create_task_group() as tasks:
                for number, start in enumerate((lambda: desk.add("a"), lambda: desk.buy("tea")), start=1):
                    tasks.start_soon(said, f"link {number}", start)
                await until(lambda: len(served.gate.entered) == 2)
                await cut(host)
            assert not served.gate.cancelled
            began = anyio.current_time()
            await host.aclose()
            await until(lambda: len(served.gate.cancelled) == 2)
            assert anyio.current_time() < began + operations.GRACE
            assert host._operations is not None and not len(host._operations) and host._operations.alone == 0

    on_a_clock_of_its_own(run)


def test_a_call_that_comes_late_does_not_run() -> None:
    """Which was written to a line that was lost, and made again on the next one, before it arrives."""

    async def run() -> None:
        async with by_hand() as (host, served, another):
            old, new = await (await another()).bootstrap(Office), await (await another()).bootstrap(Office)
            await said("link 1", lambda: old.add("a"))
            assert await said(f"link 2 {host._instance}", lambda: new.add("b")) == 2
            assert await said("link 2", lambda: old.add("b")) == 2, "it is known still"
            await anyio.sleep(operations.KEPT + 1)
            assert (await said("link 2", lambda: old.add("b"))).reason == EXPIRED
            assert await said("link 3", lambda: old.add("c")) == 3, "that one has not been"
            assert served.ran == ["a", "b", "c"]

    on_a_clock_of_its_own(run)
