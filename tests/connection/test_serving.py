"""Serving names: all or none, owned by handles, never the reserved ones (P-CAP-4); and bootstrap (P-CAP-2, P-CAP-3)."""

from __future__ import annotations

from typing import Any, cast

import anyio
import pytest

from capnet import (
    Admission,
    AlreadyExists,
    CallCancelled,
    Cap,
    ContractError,
    DeadlineExceeded,
    InvalidArgument,
    Limits,
    NotFound,
    ResourceExhausted,
    Unimplemented,
    VersionMismatch,
    call,
    options,
    pipe,
)
from capnet.serving.bootstrap import Bootstrap
from capnet.testing import assert_no_leaks, connected
from tests.connection.shop import Item, MemItem, MemShop, Shop, raw_call, until


async def test_serve_and_the_handle_that_ends_it() -> None:
    async with connected() as (server, client):
        handle = server.serve(MemShop())
        assert handle.names == ("test.Shop",) and "test.Shop" in repr(handle)
        assert await (await client.bootstrap(Shop)).add(1) == 11
        handle.close()
        handle.close()
        with pytest.raises(NotFound):
            await client.bootstrap(Shop)


async def test_another_name_than_the_contracts() -> None:
    async with connected(MemShop()) as (server, client):
        server.serve(MemShop("second"), name="test.second")
        second = await client.bootstrap(Shop, name="test.second")
        assert await second.add(1) == 11
        assert second != await client.bootstrap(Shop)
        server.unserve("test.second")
        with pytest.raises(NotFound):
            await client.bootstrap(Shop, name="test.second")


async def test_names_that_are_taken() -> None:
    async with connected() as (server, client):
        first, second = MemShop("first"), MemShop("second")
        server.serve(first)
        with pytest.raises(AlreadyExists) as caught:
            server.serve(second)
        assert caught.value.reason == "name_collision"
        assert server.serve(second, if_exists="skip").names == ()
        shop = await client.bootstrap(Shop)
        await shop.echo("to the first")
        assert first.started and not second.started
        server.serve(second, if_exists="replace")
        await shop.echo("to the second")
        assert second.started == ["to the second"]
        with pytest.raises(ContractError):
            server.serve(MemShop(), if_exists=cast("Any", "maybe"))


@pytest.mark.parametrize("name", ["capnet.Thing", "capnet."])
async def test_reserved_names_are_refused(name: str) -> None:
    async with connected() as (server, _):
        with pytest.raises(AlreadyExists) as caught:
            server.serve(MemShop(), name=name)
        assert caught.value.reason == "reserved_namespace"


@pytest.mark.parametrize("name", ["a\nb", "x" * 257, "\x00"])
async def test_names_that_are_none(name: str) -> None:
    async with connected() as (server, client):
        with pytest.raises(InvalidArgument):
            server.serve(MemShop(), name=name)
        with pytest.raises(InvalidArgument):
            await client.bootstrap(Shop, name=name)


async def test_serve_all_is_all_or_none() -> None:
    """P-CAP-4, fault 24: duplicates, missing methods and taken names are found before anything is registered."""

    def label(_: Item) -> str:
        return "not async"

    half = type("Half", (Item,), {"label": label})
    async with connected() as (server, client):
        for bad in ([MemShop(), MemShop()], [MemShop(), cast("Any", half())], [MemShop(), cast("Any", object())]):
            with pytest.raises(ContractError):
                server.serve_all(*bad)
            assert server.stats()["names"] == 0
        server.serve(MemItem("taken"))
        with pytest.raises(AlreadyExists):
            server.serve_all(MemShop(), MemItem("again"))
        with pytest.raises(NotFound):
            await client.bootstrap(Shop)
        handle = server.serve_all(MemShop(), MemItem("again"), if_exists="skip")
        assert handle.names == ("test.Shop",)


async def test_unserve_of_what_is_not_served() -> None:
    async with connected() as (server, _):
        with pytest.raises(NotFound):
            server.unserve(Shop)


async def test_bootstrap_of_an_unserved_name_waits_when_it_is_told_to() -> None:
    """Fault 28: a client that comes first need not poll."""
    async with connected() as (server, client):
        with pytest.raises(NotFound):
            await client.bootstrap(Shop)
        found: list[Shop] = []

        async def ask() -> None:
            found.append(await client.bootstrap(Shop, wait=60))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await until(lambda: server.stats()["answers"])
            server.serve(MemShop())
        assert await found[0].add(1) == 11
        with pytest.raises(NotFound):
            await client.bootstrap(Item, wait=0.01)
        found.clear()
        await assert_no_leaks(server, client)


class Silent:
    """Admits after a while."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.asked = self.left = 0

    async def admit(self, request: Admission) -> bool:
        self.asked += 1
        try:
            await anyio.sleep(self.seconds)
        except BaseException:
            self.left += 1
            raise
        return True


async def test_a_bootstrap_that_waits_ends_although_the_peer_says_nothing() -> None:
    """P-CAP-2: the peer may answer later than it was asked to; how much later is for the caller to say."""
    silent = Silent(3600)
    limits, ours = Limits(policy_timeout=7200), Limits(policy_timeout=0.05)
    async with connected(MemShop(), policy=silent, limits=limits, client_limits=ours) as (server, client):
        for wait in (0.0, 0.02):
            with anyio.fail_after(60), pytest.raises(DeadlineExceeded):
                await client.bootstrap(Shop, wait=wait)
        with anyio.fail_after(60), pytest.raises(DeadlineExceeded):
            await client.bootstrap_all(Shop, Item, wait=0.01)
        with anyio.fail_after(60), pytest.raises(CallCancelled):  # with what it builds on
            await pipe(client.bootstrap(Shop, wait=0.01)).add(1)
        with anyio.move_on_after(0.01) as scope:
            await client.bootstrap(Shop, wait=3600)
        assert scope.cancelled_caught
        await until(lambda: silent.left == silent.asked)  # the peer was told each time that it had been asked by then
        assert silent.asked
        await assert_no_leaks(server, client)


async def test_a_policy_may_take_its_time_beside_the_wait() -> None:
    """What `wait` bounds is the wait for the name."""
    async with connected(MemShop(), policy=Silent(0.05)) as (server, client):
        shop = await client.bootstrap(Shop, wait=0.001)
        assert await shop.add(1) == 11
        del shop
        await assert_no_leaks(server, client)


async def test_waiting_bootstraps_are_bounded_and_can_be_cancelled() -> None:
    """Fault 44: they count, they end with their caller, and more than 16 at once are refused."""
    async with connected(limits=Limits(max_pending_bootstraps=16)) as (server, client):
        refused: list[ResourceExhausted] = []

        async def ask(number: int) -> None:
            try:
                await client.bootstrap(Shop, name=f"test.{number}", wait=60)
            except ResourceExhausted as error:
                refused.append(error)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(ask, number)
            await until(lambda: len(refused) == 4)
            assert {error.reason for error in refused} == {"max_pending_bootstraps"}
            tasks.cancel_scope.cancel()
        await assert_no_leaks(server, client)
        assert not server._services.registry._waiters


async def test_bootstrap_all_gives_all() -> None:
    async with connected(MemShop(), MemItem("it")) as (server, client):
        shop, item = await client.bootstrap_all(Shop, Item)
        assert await shop.add(1) == 11 and await item.label() == "it"
        del shop, item
        await assert_no_leaks(server, client)


async def test_bootstrap_all_gives_back_what_it_got_when_one_fails() -> None:
    """All or none: the references of the successes go back, the first failure in the order of arguments is raised."""
    async with connected(MemShop()) as (server, client):
        for contracts in ((Shop, Item), (Item, Shop)):
            with pytest.raises(NotFound):
                await client.bootstrap_all(*contracts)
            await assert_no_leaks(server, client)


async def test_the_shape_of_the_arguments_is_judged_first() -> None:
    """P-CAP-2: before the policy is asked."""
    asked: list[Any] = []

    class Watch:
        def admit(self, request: Any, /) -> bool:
            asked.append(request)
            return True

    async with connected(MemShop(), policy=Watch()) as (server, client):
        bad: list[dict[str, Any]] = [{}, {"name": 3}, {"name": "x", "wait_ms": -1}, {"name": ""}, {"name": "x", "y": 1}]
        for arguments in bad:
            with pytest.raises(InvalidArgument):
                await raw_call(client, client._session.engine.imports.bootstrap, Bootstrap, "bootstrap", arguments)
        assert not asked
        await client.bootstrap(Shop)
        assert [request.name for request in asked] == ["test.Shop"]
        assert server.close_cause is None


class Report1(Cap, name="test.Report"):
    @call
    async def title(self) -> str: ...


class Report2(Cap, name="test.Report", version=2):
    @call
    async def title(self) -> str: ...
    @options(since=2)
    @call
    async def subtitle(self, upper: bool = False) -> str: ...


class Report9(Cap, name="test.Report", version=2):
    """Says the same name and means something else."""

    @call
    async def title(self, language: str) -> str: ...
    @options(since=2)
    @call
    async def pages(self) -> int: ...


class MemReport1(Report1):
    async def title(self) -> str:
        return "one"


class MemReport2(Report2):
    async def title(self) -> str:
        return "two"

    async def subtitle(self, upper: bool = False) -> str:
        return "SUB" if upper else "sub"


async def test_an_older_client_is_served() -> None:
    """P-CAP-3: additive."""
    async with connected(MemReport2()) as (_, client):
        assert await (await client.bootstrap(Report1)).title() == "two"


async def test_a_newer_client_may_use_what_an_older_server_has() -> None:
    """P-CAP-3: methods say `since`; the one the server lacks fails here, the others work."""
    async with connected(MemReport1()) as (_, client):
        report = await client.bootstrap(Report2)
        assert await report.title() == "one"
        with pytest.raises(Unimplemented) as caught:
            await report.subtitle()
        assert caught.value.reason == "version_mismatch"
        assert caught.value.details == {"since": 2, "offered": 1}


async def test_another_structure_is_refused_with_what_differs() -> None:
    """P-CAP-3: precisely, and no reference stays."""
    async with connected(MemReport2()) as (server, client):
        with pytest.raises(VersionMismatch) as caught:
            await client.bootstrap(Report9)
        differences = "\n".join(caught.value.details["differences"])
        assert "language" in differences and "pages" in differences and "subtitle" not in differences
        assert not server.stats()["exports"]


async def test_the_runtime_capability_describes_what_is_served() -> None:
    """P-CAP-9."""
    async with connected(MemReport2()) as (server, client):
        runtime = client.runtime()
        await runtime.ping()
        described = await runtime.describe()
        assert described["test.Report"]["version"] == 2 and "subtitle" in str(described["test.Report"]["methods"])
        assert (await runtime.stats())["answers"] == 1
        await runtime.aclose()
        await client.runtime().ping()
        assert server.close_cause is None
