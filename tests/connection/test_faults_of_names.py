"""The faults of the library that capnet descends from, second half; see `test_faults_of_calls.py`."""

from __future__ import annotations

import importlib.util
import sys
from functools import partial
from types import ModuleType, new_class
from typing import Any, cast

import anyio
import pytest

from capnet import (
    INJECT,
    CallContext,
    Cap,
    ContractError,
    Internal,
    InvalidArgument,
    NotFound,
    Revoked,
    VersionMismatch,
    call,
    generation,
    options,
)
from capnet.observe import CallFinished, CallStarted, CapBroken, ConnectionClosed, Event
from capnet.testing import connected
from tests.connection.shop import Gate, Item, MemItem, MemShop, Shop, raw_call, until


async def test_fault_22_one_rule_of_versions_for_bootstrap_and_replace() -> None:
    """There: bootstrap was lenient and replace strict. Here: both ask whether the structure suffices (P-CAP-3)."""

    class Newer(Cap, name="test.Item", version=2):
        @call
        async def label(self) -> str: ...
        @options(since=2)
        @call
        async def colour(self) -> str: ...

    class MemNewer(Newer):
        async def label(self) -> str:
            return "newer"

        async def colour(self) -> str:
            return "red"

    async with connected() as (server, client):
        server.serve(MemItem("old"))
        item = await client.bootstrap(Item)
        with pytest.raises((ContractError, VersionMismatch)):
            await server.replace(MemShop(), name="test.Item")
        server.unserve(Item)
        server.serve(MemNewer())
        assert await (await client.bootstrap(Item)).label() == "newer"
        with pytest.raises(VersionMismatch):
            await server.replace(MemItem("older"))
        with pytest.raises(Revoked):
            await item.label()


async def test_fault_24_serve_all_is_atomic() -> None:
    """There: two roots of one name failed half-way, and missing methods were found by callers."""
    async with connected() as (server, _):
        with pytest.raises(ContractError):
            server.serve_all(MemItem("a"), MemShop(), MemItem("b"))
        assert server.stats()["names"] == 0


async def test_fault_26_handles_after_the_close_are_harmless() -> None:
    """There: unserve took anybody's registration, and after a close it sent on a closed transport."""
    async with connected() as (_, client):
        handle = client.serve(MemShop())
        await client.aclose()
        handle.close()
        handle.close()


async def test_fault_27_ids_that_are_gone_stay_gone() -> None:
    """There: revoked ids were kept in a bounded set, and forgotten ones changed their error; one frame could revoke the
    bootstrap. Here: the state is on the import, and ids are never used again (hostile frames: `tests/hostile`)."""
    async with connected() as (server, client):
        dead: list[Shop] = []
        for _ in range(50):
            handle = server.serve(MemShop())
            dead.append(await client.bootstrap(Shop))
            handle.close()
        await client.ping()
        for shop in dead:
            with pytest.raises(Revoked):
                await shop.add(1)
        server.serve(MemShop())
        assert await (await client.bootstrap(Shop)).add(1) == 11


class Relay(Cap, name="test.Relay"):
    @call
    async def pass_on(self, key: str) -> str: ...


class MemRelay(Relay):
    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    async def pass_on(self, key: str) -> str:
        return await self._shop.wait(key)


async def test_fault_38_cancelling_finds_the_right_child_on_another_connection() -> None:
    """There: only the parent's number was kept, so an unrelated call with that number was cancelled on another
    connection. Here: tasks, not numbers. Two calls with the same id on two connections prove it."""
    far = MemShop("far")
    async with connected(far) as (_, near):
        shop = await near.bootstrap(Shop)
        async with connected(MemRelay(shop)) as (_, one), connected(MemRelay(shop)) as (_, two):
            relays = [await one.bootstrap(Relay), await two.bootstrap(Relay)]
            calls = [cast("Any", relay.pass_on(name)) for relay, name in zip(relays, ("one", "two"), strict=True)]
            await until(lambda: sorted(far.gate.entered) == ["one", "two"])
            assert calls[0].entry.id == calls[1].entry.id
            calls[0].cancel()
            await until(lambda: far.gate.cancelled == ["one"])
            far.gate.open()
            assert await calls[1] == "far:two"


async def test_fault_39_everything_that_a_handler_starts_is_its_child() -> None:
    """There: work outside of the handler's own frame ran without its scope. Here: also a task group inside of it."""
    gate = Gate()

    class Busy(MemShop):
        async def wait(self, key: str = "") -> str:
            async with anyio.create_task_group() as tasks:
                for number in range(3):
                    tasks.start_soon(gate.pass_through, str(number))
            return key

    async with connected(Busy()) as (server, client):
        shop = await client.bootstrap(Shop)
        waiting = cast("Any", shop.wait())
        await until(lambda: len(gate.entered) == 3)
        waiting.cancel()
        await until(lambda: len(gate.cancelled) == 3 and not server.stats()["answers"])


async def test_fault_41_a_deadline_is_kept_where_the_handler_runs() -> None:
    """There: it was only signalled and not handed on. Here: answered there, and nested calls inherit what is left."""

    class Asking(MemShop):
        async def ask(self, question: Any, about: str) -> str:
            left = anyio.current_effective_deadline() - anyio.current_time()
            return f"{left} {await question(about)}"

    async with connected(Asking()) as (_, client):
        shop = await client.bootstrap(Shop)

        async def question(about: str) -> str:
            return f"{anyio.current_effective_deadline() - anyio.current_time()}"

        with anyio.fail_after(3600):
            there, back = map(float, (await shop.ask(question, "x")).split())
        assert 3500 < there < 3601 and 3500 < back < 3601


async def test_fault_46_exceptions_are_not_told() -> None:
    """There: the text of any exception went to the peer (P-ERR-2)."""
    async with connected(MemShop()) as (_, client):
        shop = await client.bootstrap(Shop)
        with pytest.raises(Internal) as caught:
            await shop.fail("the password is canary")
        assert "canary" not in str(caught.value) + repr(caught.value.details)


async def test_fault_50_handlers_are_methods_of_their_object() -> None:
    """There: they were called without it. Here: `self` is the implementation; only declared methods are reached."""
    async with connected(one := MemShop("one")) as (server, client):
        server.serve(two := MemShop("two"), name="test.two")
        await (await client.bootstrap(Shop)).echo(1)
        await (await client.bootstrap(Shop, name="test.two")).echo(2)
        assert (one.started, two.started) == ([1], [2])


CONTRACT = """
from capnet import Cap, NotFound, call

class Late(Cap, name="test.Late"):
    @call
    async def find(self, what: str) -> str: ...

class MemLate(Late):
    async def find(self, what: str) -> str:
        if what == "nothing":
            raise NotFound("nothing", reason="empty")
        return what
"""


def _loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_loader(name, loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    exec(CONTRACT, module.__dict__)  # what a reload of a plugin does
    return module


async def test_fault_51_contracts_are_compared_by_what_they_say() -> None:
    """There: by identity of classes, so a reloaded module fitted nothing. Here: by name and structure."""
    first, second = _loaded("late_one"), _loaded("late_two")
    assert first.Late is not second.Late
    try:
        async with connected() as (server, client):
            server.serve(first.MemLate())
            late = await client.bootstrap(second.Late)
            assert await late.find("x") == "x"
            with pytest.raises(NotFound) as caught:
                await late.find("nothing")
            assert caught.value.reason == "empty"
            await server.replace(second.MemLate())
            assert await late.find("y") == "y" and generation(late) == 2
    finally:
        del sys.modules["late_one"], sys.modules["late_two"]


async def test_fault_52_the_client_has_events_too() -> None:
    """There: outgoing calls, revocations and the end were silent on the calling side, and events had no envelope."""
    seen: list[Event] = []
    async with connected() as (server, client):
        client.on(Event, seen.append)
        server.serve(MemShop())
        await (await client.bootstrap(Shop)).add(1)
        shop = await client.bootstrap(Shop)
        server.unserve(Shop)
        await until(lambda: any(isinstance(event, CapBroken) for event in seen))
        assert isinstance(shop, Shop)
        await client.aclose()
        await until(lambda: any(isinstance(event, ConnectionClosed) for event in seen))
    calls = [event for event in seen if isinstance(event, CallStarted)]
    assert {(event.direction, event.connection) for event in calls} == {("out", client.number)}
    assert [event.sequence for event in seen] == sorted(event.sequence for event in seen)


async def test_fault_54_a_close_is_graceful_awaited_and_has_a_cause() -> None:
    """There: no goaway, no drain, reasons as free text. Here: running calls end, and each side knows which it was."""
    ended: list[CallFinished] = []
    async with connected(implementation := MemShop()) as (server, client):
        client.on(CallFinished, ended.append)
        shop = await client.bootstrap(Shop)
        running = shop.wait("a")
        await until(lambda: implementation.gate.entered)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.aclose, "upgrade")
            await until(lambda: client.close_cause)
            implementation.gate.open()
            assert await running == "shop:a"
        assert (await client.wait_closed()).message == "upgrade"
        assert client.close_cause is not None and client.close_cause.kind == "remote"
        assert server.close_cause is not None and server.close_cause.kind == "local"


def _declared() -> Any:
    async def method(self: Any) -> None: ...

    return call(method)


def _fill(body: dict[str, Any], namespace: dict[str, Any]) -> None:
    namespace.update(body)


async def test_fault_57_reserved_names_are_refused_when_the_contract_is_declared() -> None:
    """There: a method called `then` made a proxy awaitable by accident. Here: the few names that are not the user's are
    refused at once, with what to do."""
    for name in ("aclose", "_private", "__await__"):
        body = {name: _declared()}
        with pytest.raises(ContractError):
            new_class("Bad", (Cap,), {"name": "test.Bad"}, partial(_fill, body))


async def test_fault_57_any_other_name_is_the_users() -> None:
    """`release`, `close`, `send`: what capnet does with proxies are functions of the module, so the names are free."""

    class Busy(Cap, name="test.Busy"):
        @call
        async def release(self) -> str: ...
        @call
        async def close(self) -> str: ...
        @call
        async def send(self, connection: str) -> str: ...

    class MemBusy(Busy):
        async def release(self) -> str:
            return "released"

        async def close(self) -> str:
            return "closed"

        async def send(self, connection: str) -> str:
            return connection

    async with connected(MemBusy()) as (_, client):
        busy = await client.bootstrap(Busy)
        assert [await busy.release(), await busy.close(), await busy.send("x")] == ["released", "closed", "x"]


async def test_a_context_is_no_way_in() -> None:
    """An argument that is called like the injected context is refused like any that the contract does not have."""

    class Watching(MemShop):
        async def who(self, ctx: CallContext = INJECT) -> dict[str, Any]:
            return {"kind": type(ctx).__name__}

    async with connected(Watching()) as (_, client):
        shop = await client.bootstrap(Shop)
        assert await shop.who() == {"kind": "CallContext"}
        with pytest.raises(InvalidArgument):
            await raw_call(client, shop, Shop, "who", {"ctx": {"peer": "root"}})
