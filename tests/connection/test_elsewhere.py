"""Another thread, another loop, a forked child: what is used there is noticed before anything is sent."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import anyio
import pytest
from anyio import from_thread, to_thread

from capnet import Broadcast, Cap, FailedPrecondition, Host, Sink, Stream, call, notify, release, stream
from capnet.testing import connected


class Desk(Cap, name="elsewhere.Desk"):
    @call
    async def add(self, a: int) -> int: ...

    @call
    async def sink(self) -> Sink[int]: ...

    @stream
    def numbers(self) -> Stream[int]: ...


class _Taking(Sink[int]):
    async def send(self, item: int) -> None: ...

    async def aclose(self) -> None: ...

    def fail(self, error: object) -> None: ...


class MemDesk(Desk):
    def __init__(self) -> None:
        self.called = 0

    async def add(self, a: int) -> int:
        self.called += 1
        return a + 1

    async def sink(self) -> Sink[int]:
        return _Taking()

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
        ]
        for way in ways:
            with pytest.raises(FailedPrecondition) as caught:
                await to_thread.run_sync(way)
            assert caught.value.reason == "another_loop" and "from_thread" in caught.value.__notes__[0]
        assert desk.called == 0 and await proxy.add(1) == 2
        assert await to_thread.run_sync(lambda: from_thread.run(proxy.add, 2)) == 3
        await sink.aclose()
        await numbers.aclose()
        await heard.aclose()


def _driven(coroutine: Any) -> None:
    """A coroutine up to where it first waits."""
    try:
        coroutine.send(None)
    finally:
        coroutine.close()


async def test_in_another_loop() -> None:
    """That of a thread, which has nothing to do with the connection."""
    desk = MemDesk()
    async with connected(desk) as (_, client):
        proxy = await client.bootstrap(Desk)

        async def use() -> str | None:
            try:
                await proxy.add(1)
            except FailedPrecondition as error:
                return error.reason
            return None

        for backend in ("asyncio", "trio"):
            assert await to_thread.run_sync(partial(anyio.run, use, backend=backend)) == "another_loop"
        assert desk.called == 0 and await proxy.add(1) == 2


async def test_a_host_is_of_the_loop_that_has_opened_it() -> None:
    """Before that it is nobody's."""
    host = Host()
    await to_thread.run_sync(lambda: host.serve(MemDesk()))
    async with host:
        for way in (lambda: host.serve(MemDesk(), name="other"), lambda: _driven(host.aclose())):
            with pytest.raises(FailedPrecondition) as caught:
                await to_thread.run_sync(cast("Any", way))
            assert caught.value.reason == "another_loop"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
async def test_in_a_forked_child() -> None:
    """What it has of its parent is its parent's."""
    async with connected(MemDesk()) as (_, client):
        proxy = await client.bootstrap(Desk)
        child = os.fork()
        if not child:
            code = 1
            try:
                cast("Any", proxy.add(1))
            except FailedPrecondition as error:
                code = 0 if error.reason == "another_loop" else 2
            finally:
                os._exit(code)
        _, status = await to_thread.run_sync(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert await proxy.add(1) == 2
