"""Another thread, another loop, a forked child: what is used there is noticed before anything is sent."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, cast

import anyio
import pytest
from anyio import from_thread, to_thread

from capnet import (
    Broadcast,
    Cap,
    FailedPrecondition,
    Host,
    Membrane,
    NotFound,
    Sink,
    State,
    Stream,
    call,
    channel,
    connect,
    detach,
    dup,
    notify,
    on_broken,
    release,
    revocable,
    revoke,
    stream,
)
from capnet.observe import Event
from capnet.testing import connected
from capnet_transports.memory import scheme
from tests.connection.shop import until
from tests.cost import HANGS
from tests.loops import on_every_loop as on_every_loop


class Desk(Cap, name="elsewhere.Desk"):
    @call
    async def add(self, a: int) -> int: ...

    @call
    async def sink(self) -> Sink[int]: ...

    @call
    async def wait(self) -> None: ...

    @call
    async def keep(self, desk: Desk) -> None: ...

    @stream
    def numbers(self) -> Stream[int]: ...


class _Taking(Sink[int]):
    async def send(self, item: int) -> None: ...

    async def aclose(self) -> None: ...

    def fail(self, error: object) -> None: ...


class MemDesk(Desk):
    def __init__(self) -> None:
        self.called = 0
        self.kept: list[Desk] = []

    async def add(self, a: int) -> int:
        self.called += 1
        return a + 1

    async def sink(self) -> Sink[int]:
        return _Taking()

    async def wait(self) -> None:
        await anyio.sleep_forever()

    async def keep(self, desk: Desk) -> None:
        self.kept.append(desk)

    async def numbers(self) -> Stream[int]:
        while True:
            yield 1


async def test_from_another_thread() -> None:
    """Each way in says so; nothing has left, and the loop's own use goes on."""
    desk = MemDesk()
    async with connected(desk) as (server, client):
        proxy = await client.bootstrap(Desk)
        sink, numbers = await proxy.sink(), proxy.numbers()
        assert await anext(numbers) == 1
        said: Broadcast[int] = Broadcast()
        heard = said.subscribe()
        state = State(1)
        changes = state.changes()
        channelled, _items = channel(int)
        waiting = cast("Any", proxy.wait())
        unread = proxy.numbers()
        membrane, (lent, take_back) = Membrane(), revocable(MemDesk())
        wrapped = membrane.wrap(MemDesk())
        around = Membrane()
        inside = around.wrap(proxy)
        await proxy.keep(wrapped)
        await proxy.keep(lent)
        server.serve(desk, name="again")
        again = await client.bootstrap(Desk, name="again")
        scope = client.scope("scope")
        ways: list[Callable[[], object]] = [
            lambda: proxy.add(1),
            lambda: notify(proxy.add)(1),
            lambda: client.bootstrap(Desk),
            lambda: release(proxy),
            lambda: server.serve(MemDesk(), name="other"),
            lambda: server.unserve(Desk),
            lambda: said.send_nowait(1),
            lambda: said.close(),
            lambda: _driven(client.ping()),
            lambda: _driven(client.aclose()),
            lambda: _driven(sink.send(1)),
            lambda: _driven(sink.aclose()),
            lambda: _driven(numbers.aclose()),
            lambda: _driven(proxy.wait()),
            lambda: waiting.cancel(),
            lambda: _driven(waiting),
            lambda: _driven(_awaiting(waiting)),
            lambda: _driven(unread.__anext__()),
            lambda: dup(proxy),
            lambda: on_broken(proxy, print),
            lambda: revocable(proxy),
            lambda: revoke(desk),
            lambda: detach(desk),
            lambda: take_back(),
            lambda: membrane.cut(),
            lambda: around.cut(),
            lambda: client.on_close(print),
            lambda: client.on(Event, print),
            lambda: client.events(Event),
            lambda: client.fallback(lambda _: None),
            lambda: client.scope("plug"),
            lambda: _driven(client.wait_closed()),
            lambda: _driven(client.explain("name")),
            lambda: _driven(client.reconsider()),
            lambda: _driven(client.replace(MemDesk())),
            lambda: scope.serve(MemDesk()),
            lambda: scope.lend(desk),
            lambda: scope.push(print),
            lambda: scope.start(anyio.sleep_forever),
            lambda: _driven(scope.aclose()),
            lambda: _driven(said.send(1)),
            lambda: said.fail(NotFound("x")),
            lambda: said.subscribe(),
            lambda: _driven(heard.__anext__()),
            lambda: _driven(heard.aclose()),
            lambda: state.set(2),
            lambda: channelled.fail(NotFound("x")),
            lambda: sink.fail(NotFound("x")),
        ]
        for number, way in enumerate(ways):
            with pytest.raises(FailedPrecondition) as caught:
                await to_thread.run_sync(way)
            assert (number, caught.value.reason) == (number, "another_loop")
            assert "from_thread" in caught.value.__notes__[0]
        assert desk.called == 0 and await proxy.add(1) == 2 and not waiting.done
        assert not around.is_cut and await inside.add(2) == 3
        assert state.value == 1 and not membrane.is_cut and await lent.add(1) == 2 and await wrapped.add(1) == 2
        assert not scope.closed and said.subscribers == 1
        waiting.cancel()
        assert await to_thread.run_sync(lambda: from_thread.run(proxy.add, 2)) == 3
        await sink.aclose()
        await numbers.aclose()
        await heard.aclose()
        await scope.aclose()
        assert await changes.__anext__() == 1 and await again.add(3) == 4


async def _awaiting(what: Any) -> None:
    await what


def _driven(coroutine: Any) -> None:
    """A coroutine up to where it first waits."""
    try:
        coroutine.send(None)
    finally:
        coroutine.close()


async def test_in_another_loop() -> None:
    """That of a thread, which has nothing to do with the connection; also what was begun here and is awaited there."""
    desk = MemDesk()
    async with connected(desk) as (_, client):
        proxy = await client.bootstrap(Desk)
        waiting, numbers = cast("Any", proxy.wait()), proxy.numbers()
        sink, said = await proxy.sink(), Broadcast[int]()
        heard = said.subscribe()
        ways: list[Callable[[], Any]] = [
            lambda: proxy.add(1),
            lambda: waiting,
            numbers.__anext__,
            lambda: sink.send(1),
            client.wait_closed,
            lambda: said.send(1),
            heard.__anext__,
        ]

        async def use() -> list[str | None]:
            reasons: list[str | None] = []
            for way in ways:
                try:
                    await way()
                except FailedPrecondition as error:
                    reasons.append(error.reason)
            return reasons

        for backend in ("asyncio", "trio"):
            assert await to_thread.run_sync(partial(anyio.run, use, backend=backend)) == ["another_loop"] * len(ways)
        assert desk.called == 0 and await proxy.add(1) == 2 and await anext(numbers) == 1 and not waiting.done
        waiting.cancel()
        await numbers.aclose()
        await sink.aclose()


async def test_a_host_is_of_the_loop_that_has_opened_it() -> None:
    """Before that it is nobody's."""
    host = Host()
    await to_thread.run_sync(lambda: host.serve(MemDesk()))
    async with host:
        for way in (lambda: host.serve(MemDesk(), name="other"), lambda: _driven(host.aclose())):
            with pytest.raises(FailedPrecondition) as caught:
                await to_thread.run_sync(cast("Any", way))
            assert caught.value.reason == "another_loop"


def in_a_child(check: Callable[[], bool]) -> int:
    """Fork, and have the child end with what it finds; its id."""
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if check() else 2
        finally:
            os._exit(code)
    return child


async def found(child: int) -> int:
    """What a child has ended with."""
    _, status = await to_thread.run_sync(os.waitpid, child, 0)
    return os.waitstatus_to_exitcode(status)


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")


@needs_fork
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
async def test_in_a_forked_child() -> None:
    """What it has of its parent is its parent's."""
    async with Host() as host, connected(MemDesk()) as (_, client):
        proxy = await client.bootstrap(Desk)
        sink, said = await proxy.sink(), Broadcast[int]()
        heard = said.subscribe()
        ways: list[Callable[[], object]] = [
            lambda: proxy.add(1),
            lambda: notify(proxy.add)(1),
            lambda: release(proxy),
            lambda: _driven(sink.send(1)),
            lambda: said.send_nowait(1),
            lambda: host.serve(MemDesk()),
            lambda: _driven(client.aclose()),
        ]

        def refused() -> bool:
            reasons: list[str | None] = []
            for way in ways:
                try:
                    way()
                except FailedPrecondition as error:
                    reasons.append(error.reason)
            return reasons == ["another_loop"] * len(ways)

        assert await found(in_a_child(refused)) == 0
        assert await proxy.add(1) == 2
        await sink.aclose()
        await heard.aclose()


@needs_fork
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
async def test_a_forked_child_harms_nobody(tmp_path: Path) -> None:
    """It may drop what it has of its parent, outlive its parent's connection, and have one of its own."""
    async with Host() as host:
        host.serve(MemDesk())
        await host.listen(url := f"unix:{tmp_path}/s")
        asleep, wake = os.pipe()
        async with connect(url) as client:
            kept = [await client.bootstrap(Desk)]

            def drops() -> bool:
                kept.clear()
                gc.collect()
                return True

            assert await found(in_a_child(drops)) == 0 and await kept[0].add(1) == 2
            sleeper = in_a_child(lambda: os.read(asleep, 1) == b"!")
            assert await kept[0].add(2) == 3
        await until(lambda: not host.connections)  # though a copy of the socket is open in a child

        async def own() -> int:
            async with connect(url) as connection:
                return await (await connection.bootstrap(Desk)).add(3)

        def connects() -> bool:
            got: list[int] = []

            def runs(backend: str) -> None:
                got.append(anyio.run(own, backend=backend))

            for backend in ("asyncio", "trio"):  # in threads of its own: here the parent's loop seems to run
                thread = Thread(target=runs, args=(backend,))
                thread.start()
                thread.join()
            return got == [4, 4]

        assert await found(in_a_child(connects)) == 0
        os.write(wake, b"!")
        assert await found(sleeper) == 0
        for end in (asleep, wake):
            os.close(end)


async def test_in_a_loop_that_comes_later() -> None:
    """Of the same thread, when the first has ended without a word: each use says so, and none waits for ever."""
    kept: dict[str, Any] = {}

    async def first() -> None:
        kept["listener"] = await scheme.listen("later", lambda _: None)
        async with Host() as host:
            host.serve(MemDesk())
            await host.listen("memory:earlier")
            kept["manager"] = connect("memory:earlier")
            kept["client"] = await kept["manager"].__aenter__()
            kept["desk"] = await kept["client"].bootstrap(Desk)
            assert await kept["desk"].add(1) == 2

    async def second() -> None:
        ways: list[Callable[[], Any]] = [
            lambda: kept["desk"].add(1),
            kept["client"].aclose,
            kept["client"].ping,
            lambda: kept["manager"].__aexit__(None, None, None),
            lambda: connect("memory:later").__aenter__(),
        ]
        for way in ways:
            with anyio.fail_after(HANGS), pytest.raises(FailedPrecondition) as caught:
                await way()
            assert caught.value.reason == "another_loop"
        await kept["listener"].aclose()

    def one_after_the_other() -> None:
        anyio.run(first)
        anyio.run(second)

    await to_thread.run_sync(one_after_the_other)
