"""Closing: from anywhere, twice, with a cause on both sides, and whatever waits is woken (P-CONN-4, P-CONN-6)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio
import pytest

from capnet import (
    INJECT,
    CallContext,
    Cap,
    CapnetError,
    CloseCause,
    Connection,
    Host,
    InvalidArgument,
    Limits,
    Stream,
    Unavailable,
    connect,
    on_broken,
    stream,
)
from capnet.connection.connect import begin, find_scheme
from capnet.loop import open_loop
from capnet.testing import connected
from capnet.transport import Attestation, Receiver, Transport
from tests.connection.shop import Item, MemItem, MemShop, Shop, left_when, socket_pair, until
from tests.loops import on_every_loop as on_every_loop


async def test_both_sides_have_a_cause() -> None:
    async with socket_pair(MemShop()) as (server, client):
        causes: list[tuple[str, CloseCause]] = []
        server.on_close(lambda cause: causes.append(("server", cause)))
        client.on_close(lambda cause: causes.append(("client", cause)))
        await client.aclose("enough for today")
        cause = await server.wait_closed()
        assert (cause.kind, cause.message) == ("remote", "enough for today")
        assert client.close_cause is not None and client.close_cause.kind == "local"
        assert sorted(name for name, _ in causes) == ["client", "server"]
        late: list[CloseCause] = []
        client.on_close(late.append)
        await until(lambda: late)
        assert client.closed and server.closed and "closed" in repr(client)


async def test_twice_and_from_two_tasks() -> None:
    async with connected(MemShop()) as (server, client):
        async with anyio.create_task_group() as tasks:
            for end in (client, server, client, server):
                tasks.start_soon(end.aclose)
        await client.aclose()
        assert client.closed and server.closed


async def test_from_a_handler() -> None:
    """Any task may close; the handler that does is told to end like the others."""

    class Closing(MemShop):
        async def who(self, ctx: CallContext = INJECT) -> dict[str, Any]:
            assert isinstance(ctx.connection, Connection)
            await ctx.connection.aclose("from a handler", grace=0)
            await anyio.sleep_forever()
            return {}

    async with socket_pair(Closing()) as (server, client):
        shop = await client.bootstrap(Shop)
        with anyio.fail_after(60), pytest.raises(Unavailable):
            await shop.who()
        await server.wait_closed()
        cause = await client.wait_closed()
        assert (cause.kind, cause.message) == ("remote", "from a handler")


async def test_from_a_handler_that_is_still_answered() -> None:
    """With a grace the close begins only: the handler that asked for it has its result sent, then everything ends."""

    class Closing(MemShop):
        async def who(self, ctx: CallContext = INJECT) -> dict[str, Any]:
            assert isinstance(ctx.connection, Connection)
            await ctx.connection.aclose("from a handler", grace=30)
            return {"told": "yes"}

    async with socket_pair(Closing()) as (server, client):
        shop = await client.bootstrap(Shop)
        with anyio.fail_after(60):
            assert await shop.who() == {"told": "yes"}
            assert (await client.wait_closed()).kind == "remote"
            await server.wait_closed()


@pytest.mark.parametrize("of", ["connection", "host"])
async def test_from_a_generator_whose_items_are_sent(of: str) -> None:
    """As from a handler: the close begins only, and the stream comes to its end."""
    ran: list[str] = []

    class Ending(Cap, name="closing.Ending"):
        @stream
        def last_words(self) -> Stream[str]: ...

    class MemEnding(Ending):
        async def last_words(self) -> Stream[str]:
            yield "first"
            await (server.aclose(grace=30) if of == "connection" else host.aclose(grace=30))
            ran.append("on")
            yield "last"

    async with Host() as host:
        host.serve(MemEnding())
        await host.listen(f"memory:closing-{of}")
        async with connect(f"memory:closing-{of}") as client:
            ending = await client.bootstrap(Ending)
            (server,) = host.connections
            with anyio.fail_after(60):
                assert [word async for word in ending.last_words()] == ["first", "last"]
                await server.wait_closed()
                await client.wait_closed()
    assert ran == ["on"]


async def test_calls_in_flight_end_within_the_grace() -> None:
    async with connected(implementation := MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        running = shop.wait("a")
        await until(lambda: implementation.gate.entered)
        async with anyio.create_task_group() as tasks:

            async def close() -> None:
                await server.aclose(grace=30)

            tasks.start_soon(close)
            await until(lambda: client.close_cause)
            with pytest.raises(Unavailable) as caught:
                await shop.add(1)
            assert caught.value.reason == "goaway" and caught.value.retry == "transparent"
            implementation.gate.open()
            assert await running == "shop:a"
        await client.wait_closed()


async def test_calls_in_flight_end_with_the_grace() -> None:
    async with connected(implementation := MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        running = shop.wait("a")
        await until(lambda: implementation.gate.entered)
        await server.aclose(grace=0.01)
        with pytest.raises(Unavailable):
            await running
        assert implementation.gate.cancelled == ["a"]


async def test_cancelling_the_wait_ends_the_grace() -> None:
    async with connected(implementation := MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        running = shop.wait("a")
        await until(lambda: implementation.gate.entered)
        with anyio.move_on_after(0.01) as scope:  # when it ends does not matter: the grace lasts for an hour
            await client.aclose(grace=3600)
        assert scope.cancelled_caught and client.closed
        with pytest.raises(Unavailable):
            await running
        await server.wait_closed()


async def test_everything_that_waits_wakes() -> None:
    """P-CONN-6: calls that run or are held back, bootstraps, watchers and whoever waits for the close."""
    ended: list[str] = []

    async def expect(name: str, wait: Callable[[], Awaitable[object]]) -> None:
        try:
            await wait()
        except Unavailable:
            ended.append(name)
        else:
            ended.append(f"{name}!")

    async with connected(MemShop(), limits=Limits(max_calls=16)) as (server, client):
        shop = await client.bootstrap(Shop)
        broken: list[CapnetError] = []
        on_broken(shop, broken.append)
        async with anyio.create_task_group() as tasks:
            for number in range(20):  # 16 run, the others are held back here
                tasks.start_soon(expect, "call", lambda number=number: shop.wait(str(number)))
            tasks.start_soon(expect, "bootstrap", lambda: client.bootstrap(Item, wait=3600))
            tasks.start_soon(expect, "wait_closed", client.wait_closed)
            await until(lambda: client.stats()["calls_held"] == 5 and server.stats()["answers"] == 16)
            server._session.driver.transport.abort()
        await until(lambda: broken)
        assert sorted(ended) == ["bootstrap", *["call"] * 20, "wait_closed!"]
        with pytest.raises(Unavailable):
            await shop.add(1)
        with pytest.raises(Unavailable):
            await client.bootstrap(Item)
        with pytest.raises(Unavailable):
            await client.ping()
        assert (await client.wait_closed()).kind == "lost"


async def test_a_ping_on_its_way_wakes() -> None:
    async with connected() as (server, client):
        server._session.driver.transport.pause()
        outcome: list[str] = []

        async def ping() -> None:
            try:
                await client.ping()
            except Unavailable as error:
                outcome.append(error.code)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ping)
            await until(lambda: client._parts.pings)
            client._session.driver.transport.abort()
        assert outcome == ["unavailable"]


async def test_a_peer_that_is_killed_is_lost() -> None:
    """The transport ends without a goaway: cause `lost`, handlers stopped, what was served to it closed."""
    async with socket_pair(implementation := MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        running = shop.wait("a")
        await until(lambda: implementation.gate.entered)
        client._session.driver.transport.abort()
        assert (await server.wait_closed()).kind == "lost"
        assert implementation.gate.cancelled == ["a"]
        with pytest.raises(Unavailable):
            await running


async def test_silence_is_noticed() -> None:
    """P-CONN-5: cause `idle`."""
    limits = Limits(keepalive=0.3, keepalive_timeout=0.3)
    async with connected(limits=limits) as (server, client):
        client._session.driver.transport.pause()
        with anyio.fail_after(60):
            assert (await server.wait_closed()).kind == "idle"
        client._session.driver.transport.resume()
        await client.wait_closed()


async def test_the_bodys_exception_comes_out_as_it_is() -> None:
    """No `ExceptionGroup` with one member; what is in flight is not waited for."""
    implementation = MemShop()
    raised = KeyError("mine")
    with pytest.raises(KeyError) as caught:  # noqa: PT012 - the block is what is tested
        async with socket_pair(implementation) as (_, client):
            shop = await client.bootstrap(Shop)
            _ = shop.wait("a")
            await until(lambda: implementation.gate.entered)
            raise raised
    assert caught.value is raised
    assert implementation.gate.cancelled == ["a"] and implementation.closed == 1


async def test_a_body_that_is_cancelled() -> None:
    implementation = MemShop()
    async with left_when(lambda: implementation.gate.entered) as scope, socket_pair(implementation) as (_, client):
        await (await client.bootstrap(Shop)).wait("a")
    assert scope.cancelled_caught and implementation.closed == 1


async def test_connecting_to_nobody_leaves_nothing() -> None:
    with tempfile.TemporaryDirectory(prefix="cap", dir="/tmp") as folder:
        for url, error in (
            (f"unix:{os.path.join(folder, 's')}", Unavailable),
            ("memory:nobody", Unavailable),
            ("nothing:here", InvalidArgument),
            ("no scheme", InvalidArgument),
            ("unix:" + "x" * 108, InvalidArgument),
        ):
            with pytest.raises(error):
                async with connect(url):
                    raise AssertionError("connected to nobody")


async def test_a_hello_that_is_too_long_is_refused_here_and_leaves_nothing() -> None:
    async with Host() as host:
        await host.listen("memory:long")
        with pytest.raises(InvalidArgument):
            async with connect("memory:long", auth="x" * 5000):
                raise AssertionError("a hello of more than 4 KiB")


async def test_cancelled_while_connecting() -> None:
    """A fault at the await that opens a connection."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with socket_pair(MemShop()):
            raise AssertionError("connected although cancelled")
    assert scope.cancelled_caught


@pytest.mark.parametrize("turns", range(12))
async def test_cancelled_after_any_number_of_turns(turns: int) -> None:
    """A fault at every await of connecting, calling and closing: nothing is left, whenever it strikes."""
    implementation = MemShop()
    implementation.gate.open()

    async def use() -> None:
        async with socket_pair(implementation) as (_, client):
            shop = await client.bootstrap(Shop)
            async with await shop.make("tea") as item:
                await item.label()
            await shop.wait("x")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(use)
        for _ in range(turns * 2):
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()


async def test_close_hooks_have_run_when_the_block_ends() -> None:
    """Also those that wait: closing frees what is dear, so it is waited for."""
    closed: list[str] = []

    class Careful(MemItem):
        async def aclose(self) -> None:
            await anyio.lowlevel.checkpoint()
            await anyio.sleep(0.001)
            closed.append(await self.label())

    class Shelf(MemShop):
        async def make(self, label: str) -> Item:
            return Careful(label)

    async with socket_pair(Shelf()) as (_, client):
        client.serve(Careful("at the client"))
        shop = await client.bootstrap(Shop)
        item = await shop.make("handed out")
        assert await item.label() == "handed out"
    assert sorted(closed) == ["at the client", "handed out"]


async def test_a_close_callback_that_raises_disturbs_nobody() -> None:
    seen: list[CloseCause] = []

    def raises(_: CloseCause) -> None:
        raise RuntimeError("no")

    async with connected() as (_, client):
        client.on_close(raises)
        client.on_close(seen.append)
        await client.aclose()
        await until(lambda: seen)


async def test_serving_and_unserving_after_the_close_is_harmless() -> None:
    """Fault 26: unserve after close tried to send on a closed transport."""
    async with connected() as (server, client):
        early = client.serve(MemShop())
        await client.aclose()
        early.close()
        late = client.serve(MemItem("late"))
        late.close()
        await server.wait_closed()


async def test_transports_are_found_by_their_scheme() -> None:
    scheme, rest = find_scheme("memory:x:y")
    assert rest == "x:y" and hasattr(scheme, "connect")


class Deaf(Transport):
    """Takes everything and never hears its peer hang up; only `abort` ends it."""

    attestation = Attestation(transport="test")

    @property
    def backlog(self) -> int:
        return 0

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def send(self, chunks: Sequence[bytes]) -> None:
        """Gone."""

    def pause(self) -> None:
        """Nothing comes."""

    resume = close = pause

    def abort(self) -> None:
        self._receiver.closed(None)


async def test_a_peer_that_never_hangs_up_is_cut_whatever_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """P-ERR-3: that the backlog falls while we close does not lift the bound on closing."""
    monkeypatch.setattr("capnet.session.driver.CLOSE_TIMEOUT", 0.01)
    async with open_loop() as loop:
        connection = begin(loop, Deaf())
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.aclose)
                await until(lambda: connection._session.driver.closing)
                connection._session.driver.writable()
        assert connection.closed
