"""`connect`: awaited instead of entered, and before anybody listens."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from capnet import Connection, Host, InvalidArgument, PermissionDenied, Unavailable, connect
from capnet.connection.connect import OWN
from capnet.observe import ConnectionClosed, Event
from capnet.observe.observer import TURN
from capnet.transport import Transport
from capnet_transports.memory import memory_pair
from tests.connection.shop import MemShop, Shop, until
from tests.cost import HANGS
from tests.loops import TRIO
from tests.loops import on_every_loop as on_every_loop


async def test_awaited_it_stays_until_it_is_closed() -> None:
    async with Host() as host:
        shop = MemShop()
        host.serve(shop)
        await host.listen("memory:stays")
        connection = await connect("memory:stays", name="awaited")
        assert isinstance(connection, Connection)
        assert await (await connection.bootstrap(Shop)).echo(1) == 1
        assert [one.peer_name for one in host.connections] == ["awaited"]
        await connection.aclose()
        assert connection.closed and connection.close_cause is not None
        await until(lambda: not host.connections)


async def test_awaited_twice_it_is_two_connections() -> None:
    async with Host() as host:
        await host.listen("memory:twice")
        opening = connect("memory:twice")
        first, second = await opening, await opening
        assert first is not second and len({first.number, second.number}) == 2
        async with opening as third:
            assert third.number not in (first.number, second.number)
        await first.aclose()
        assert await second.ping() >= 0
        await second.aclose()


async def test_it_may_be_closed_in_another_task_than_the_one_that_opened_it() -> None:
    """And outlives the task that did."""
    opened: list[Connection] = []

    async def open_one() -> None:
        opened.append(await connect("memory:other"))

    async with Host() as host:
        await host.listen("memory:other")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(open_one)
        assert await opened[0].ping() >= 0
        await opened[0].aclose()


async def test_its_end_by_the_peer_is_its_end() -> None:
    """Nothing is left running, as the fixture of this folder sees."""
    async with Host() as host:
        await host.listen("memory:peer")
        connection = await connect("memory:peer")
    with anyio.fail_after(HANGS):
        await connection.wait_closed()


async def test_what_is_served_on_it_is_closed_with_it() -> None:
    async with Host() as host:
        await host.listen("memory:serves")
        connection = await connect("memory:serves")
        shop = MemShop()
        connection.serve(shop)
        await connection.ping()  # by then the host has it
        await (await host.connections[0].bootstrap(Shop)).echo(1)
        await connection.aclose()
        await until(lambda: shop.closed == 1)


async def test_what_goes_wrong_comes_out_of_the_await(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await connect(f"unix:{tmp_path}/nothing")
    with pytest.raises(InvalidArgument):
        await connect("nothing")
    with pytest.raises(InvalidArgument):
        await connect("nothing", wait=HANGS)


async def test_an_await_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    with anyio.move_on_after(0.05) as scope:
        await connect(f"unix:{tmp_path}/nothing", wait=HANGS)
    assert scope.cancelled_caught
    async with Host() as host, anyio.create_task_group() as tasks:
        await host.listen("memory:cancelled")
        tasks.cancel_scope.cancel()
        await connect("memory:cancelled")
    assert host.connections == ()


@pytest.mark.parametrize("anyio_backend", [TRIO], scope="module")
async def test_observers_are_told_of_an_end_that_goes_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that has held up the loop and waits for its next turn, which does not come any more. (On asyncio what a
    task has failed with does not come out of the block.)"""
    broken, seen = anyio.Event(), list[Event]()

    class Scheme:
        async def connect(self, _rest: str, /) -> Transport:
            near, far = memory_pair()
            host.accept(far)
            near.pump = partial(fail, near)
            return near

    async def fail(transport: Transport) -> None:
        await broken.wait()
        transport.abort()
        raise LookupError("the transport is broken")

    def hold_up(event: Event) -> None:
        seen.append(event)
        time.sleep(2 * TURN)

    async def use() -> None:
        async with connect("broken:") as connection:
            connection.on(Event, hold_up)
            await connection.bootstrap(Shop)
            broken.set()
            await connection.wait_closed()

    monkeypatch.setitem(cast("dict[str, Any]", OWN), "broken", Scheme)
    async with Host() as host:
        host.serve(MemShop())
        with pytest.raises(LookupError):
            await use()
    assert isinstance(seen[-1], ConnectionClosed)


@pytest.mark.parametrize("before", ["nothing", "a stale file", "no directory"])
async def test_it_waits_for_a_server_that_is_not_there_yet(tmp_path: Path, before: str) -> None:
    path = tmp_path / ("new/s" if before == "no directory" else "s")
    url = f"unix:{path}"
    if before == "a stale file":
        async with Host() as host:
            await host.listen(url)
            os.rename(path, tmp_path / "kept")
        os.rename(tmp_path / "kept", path)
    reached: list[int] = []

    async def reach() -> None:
        async with connect(url, wait=HANGS) as connection:
            reached.append(await (await connection.bootstrap(Shop)).echo(1))

    async def await_it() -> None:
        connection = await connect(url, wait=HANGS)
        reached.append(await (await connection.bootstrap(Shop)).echo(1))
        await connection.aclose()

    async with Host() as host, Host() as caller, anyio.create_task_group() as tasks:

        async def from_a_host() -> None:
            connection = await caller.connect(url, wait=HANGS)
            reached.append(await (await connection.bootstrap(Shop)).echo(1))
            await connection.aclose()

        for function in (reach, await_it, from_a_host):
            tasks.start_soon(function)
        await anyio.sleep(0.05)
        host.serve(MemShop())
        await host.listen(url)
        with anyio.fail_after(HANGS):
            await until(lambda: reached == [1, 1, 1])


async def test_when_nobody_comes_it_says_so_as_it_does_without_waiting(tmp_path: Path) -> None:
    for wait in (None, 0.0, 0.05):
        with pytest.raises(Unavailable) as caught:
            async with connect(f"unix:{tmp_path}/s", wait=wait):
                pass
        assert caught.value.reason == "enoent"
    with pytest.raises(Unavailable) as caught:
        await connect("memory:nobody", wait=0.05)
    assert caught.value.reason == "no_listener"


async def test_what_waiting_does_not_mend_is_said_at_once(tmp_path: Path) -> None:
    """The guard of the test is the time limit: each of these would wait for it."""
    with anyio.fail_after(HANGS):
        with pytest.raises(Unavailable) as caught:
            await connect("exec:/no/such/program", wait=2 * HANGS)
        assert caught.value.reason == "enoent"
        with pytest.raises(Unavailable) as caught:
            await connect("fd:", wait=2 * HANGS)
        assert caught.value.reason == "not_a_plugin"
        os.chmod(tmp_path, 0o777)
        with pytest.raises(PermissionDenied):
            await connect(f"unix:{tmp_path}/s", wait=2 * HANGS)


async def test_who_is_not_there_is_asked_for_with_the_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Unavailable) as caught:
        await connect("unix:chat.sock")
    assert "is the server running?" in str(caught.value) and f"unix:{tmp_path}/chat.sock" in str(caught.value)
    assert any("wait=" in note for note in caught.value.__notes__)


async def test_who_forgets_to_wait_for_a_connection_is_told() -> None:
    with pytest.raises(AttributeError) as caught:
        cast("Any", connect("unix:chat.sock")).bootstrap(Shop)
    assert "async with connect" in caught.value.__notes__[0]
    with pytest.raises(AttributeError, match="'connect' object has no attribute 'nothing'"):
        cast("Any", connect("unix:chat.sock")).nothing()
