"""Ordered contracts: calls on one object run one at a time (P-CALL-2); one that would wait for itself is told so."""

from __future__ import annotations

import anyio
import pytest

from capnet import Call, Cap, FailedPrecondition, Host, Stream, call, connect, notify, stream
from capnet.testing import assert_no_leaks, connected


class Ledger(Cap, name="test.Ledger", ordered=True):
    """Whoever calls it has it for itself."""

    @call
    async def add(self, entry: str) -> int: ...

    @call
    async def ask(self, helper: Helper, how: str) -> str: ...

    @stream
    def entries(self) -> Stream[str]: ...


class Helper(Cap, name="test.Helper"):
    """Is called from within, and calls back."""

    @call
    async def help(self, ledger: Ledger, how: str) -> str: ...


class MemLedger(Ledger):
    def __init__(self) -> None:
        self.entered: list[str] = []
        self.log: list[str] = []
        self.inside = 0
        self.gate = anyio.Event()
        self.closed = 0

    async def add(self, entry: str) -> int:
        self.entered.append(entry)
        self.inside += 1
        assert self.inside == 1, "two calls run at once"
        if entry.startswith("slow"):
            await self.gate.wait()
        await anyio.lowlevel.checkpoint()
        self.inside -= 1
        self.log.append(entry)
        return len(self.log)

    async def ask(self, helper: Helper, how: str) -> str:
        answer = await helper.help(self, how)
        self.log.append("asked")
        return answer

    async def entries(self) -> Stream[str]:
        for entry in list(self.log):
            yield entry
        await self.gate.wait()

    async def aclose(self) -> None:
        self.closed += 1


class MemHelper(Helper):
    def __init__(self, ledger: Ledger | None = None) -> None:
        self.ledger = ledger

    async def help(self, ledger: Ledger, how: str) -> str:
        target = self.ledger or ledger
        if how == "notify":
            notify(target.add)("afterwards")
            return "noted"
        return str(await target.add("within"))


async def until_entered(ledger: MemLedger, count: int) -> None:
    """Wait until so many calls have started."""
    with anyio.fail_after(60):
        while len(ledger.entered) < count:
            await anyio.lowlevel.checkpoint()


async def test_calls_run_one_at_a_time_in_their_order() -> None:
    ledger = MemLedger()
    async with connected(ledger) as (server, client):
        proxy = await client.bootstrap(Ledger)
        calls = [proxy.add(entry) for entry in ("slow", "b", "c", "d")]
        await until_entered(ledger, 1)
        await client.ping()
        assert ledger.entered == ["slow"]
        ledger.gate.set()
        assert [await call for call in calls] == [1, 2, 3, 4]
        assert ledger.log == ["slow", "b", "c", "d"]
        del proxy, calls
        await assert_no_leaks(server, client)


async def test_callers_on_different_connections_take_turns() -> None:
    ledger = MemLedger()
    async with Host() as host:
        host.serve(ledger)
        await host.listen("memory:turns")
        async with connect("memory:turns") as one, connect("memory:turns") as two:
            first, second = await one.bootstrap(Ledger), await two.bootstrap(Ledger)
            slow = first.add("slow")
            await until_entered(ledger, 1)
            calls = [second.add("b"), first.add("c")]
            await one.ping()
            await two.ping()
            assert ledger.entered == ["slow"]
            ledger.gate.set()
            assert await slow == 1
            assert sorted([await call for call in calls]) == [2, 3]


async def test_a_call_that_is_cancelled_in_line_leaves_it() -> None:
    ledger = MemLedger()
    async with connected(ledger) as (server, client):
        proxy = await client.bootstrap(Ledger)
        slow, waiting, last = proxy.add("slow"), proxy.add("cancelled"), proxy.add("last")
        await until_entered(ledger, 1)
        assert isinstance(waiting, Call)
        waiting.cancel()
        await client.ping()
        ledger.gate.set()
        assert (await slow, await last) == (1, 2)
        assert ledger.entered == ["slow", "last"]
        del proxy, slow, waiting, last
        await assert_no_leaks(server, client)


async def test_a_connection_that_goes_leaves_the_line() -> None:
    ledger = MemLedger()
    async with Host() as host:
        host.serve(ledger)
        await host.listen("memory:leaving")
        async with connect("memory:leaving") as stays:
            proxy = await stays.bootstrap(Ledger)
            slow = proxy.add("slow")
            await until_entered(ledger, 1)
            async with connect("memory:leaving") as goes:
                lost = await goes.bootstrap(Ledger)
                never = lost.add("never")
                await goes.ping()
                assert isinstance(never, Call) and not never.done
                await goes.aclose(grace=0)
            last = proxy.add("last")
            await stays.ping()
            ledger.gate.set()
            assert (await slow, await last) == (1, 2)
            assert ledger.entered == ["slow", "last"]


async def test_a_handler_that_would_wait_for_itself_is_told_so() -> None:
    """Rule R7: what would wait for itself through a chain is a cycle, broken with an error."""
    ledger = MemLedger()
    async with connected(ledger) as (server, client):
        proxy = await client.bootstrap(Ledger)
        with anyio.fail_after(60), pytest.raises(FailedPrecondition) as caught:
            await proxy.ask(MemHelper(proxy), "wait")
        assert caught.value.reason == "reentrant_call"
        assert await proxy.add("free again") == 1
        del proxy, caught
        await assert_no_leaks(server, client)


async def test_a_chain_over_two_hops_is_found_too() -> None:
    """The calls above travel with each call, whoever makes it (P-CALL-4)."""
    ledger = MemLedger()
    async with connected(ledger) as (_, client):
        proxy = await client.bootstrap(Ledger)
        async with connected(MemHelper(proxy)) as (_, far):
            helper = await far.bootstrap(Helper)  # a proxy of another connection: it is forwarded
            with anyio.fail_after(60), pytest.raises(FailedPrecondition) as caught:
                await proxy.ask(helper, "wait")
            assert caught.value.reason == "reentrant_call"
            assert await proxy.add("free again") == 1


async def test_what_nobody_waits_for_runs_afterwards() -> None:
    ledger = MemLedger()
    async with connected(ledger) as (_, client):
        proxy = await client.bootstrap(Ledger)
        assert await proxy.ask(MemHelper(proxy), "notify") == "noted"
        assert await proxy.add("last") == 3
        assert ledger.log == ["asked", "afterwards", "last"]


async def test_a_stream_has_its_turn_only_while_it_opens() -> None:
    ledger = MemLedger()
    async with connected(ledger) as (_, client):
        proxy = await client.bootstrap(Ledger)
        await proxy.add("a")
        entries = proxy.entries()
        assert await anext(entries) == "a"
        assert await proxy.add("b") == 2
        await entries.aclose()


async def test_calls_in_line_go_to_the_new_implementation() -> None:
    """P-CAP-5: new calls go to the new one, and those that wait have not begun."""
    old, new = MemLedger(), MemLedger()
    async with Host() as host:
        host.serve(old)
        await host.listen("memory:replaced")
        async with connect("memory:replaced") as connection, anyio.create_task_group() as group:
            proxy = await connection.bootstrap(Ledger)
            slow, waiting = proxy.add("slow"), proxy.add("waiting")
            await until_entered(old, 1)
            group.start_soon(host.replace, new)
            await until_entered(new, 1)
            later = proxy.add("later")
            assert (await waiting, await later) == (1, 2)
            assert new.log == ["waiting", "later"]
            assert not old.closed
            old.gate.set()
            assert await slow == 1
        assert (old.closed, new.closed) == (1, 0)
