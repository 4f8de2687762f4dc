"""What the end of a block does: to handlers that do not end, and to calls whose answers nobody waits for."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from capnet import Cap, CapnetError, Host, Limits, Stream, Unavailable, call, connect, notify, stream
from capnet.observe import HandlerFailed
from tests.connection.shop import until
from tests.loops import on_every_loop as on_every_loop

Wait = Callable[[anyio.Event], Awaitable[None]]


async def shielded(released: anyio.Event) -> None:
    with anyio.CancelScope(shield=True):
        await released.wait()


async def deaf(released: anyio.Event) -> None:
    """Takes every cancellation for something to be caught."""
    while not released.is_set():
        with anyio.CancelScope(shield=True):
            try:
                await released.wait()
            except BaseException:
                continue


class Desk(Cap, name="blocks.Desk"):
    @call
    async def stuck(self) -> None: ...

    @stream
    def stuck_items(self) -> Stream[int]: ...

    @call
    async def later(self) -> None: ...

    @call
    async def at_once(self) -> None: ...


class MemDesk(Desk):
    def __init__(self, wait: Wait = shielded) -> None:
        self.wait = wait
        self.stuck_now = 0
        self.released = anyio.Event()
        self.free = anyio.Event()
        self.begun = self.ended = self.cancelled = 0
        self.enough = -1

    async def _stuck(self) -> None:
        self.stuck_now += 1
        try:
            await self.wait(self.released)
        finally:
            self.stuck_now -= 1

    async def stuck(self) -> None:
        await self._stuck()

    async def stuck_items(self) -> Stream[int]:
        yield 1
        await self._stuck()

    def _begin(self) -> None:
        self.begun += 1
        if self.begun == self.enough:
            self.free.set()

    async def later(self) -> None:
        self._begin()
        try:
            await self.free.wait()
        except BaseException:
            self.cancelled += 1
            raise
        self.ended += 1

    async def at_once(self) -> None:
        self._begin()
        self.ended += 1


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for seconds is waited for shortly."""
    monkeypatch.setattr("capnet.connection.connect.GRACE", 0.05)
    monkeypatch.setattr("capnet.connection.parts.STOP_TIMEOUT", 0.05)
    monkeypatch.setattr("capnet.loop.asyncio.LEAVE_TIMEOUT", 0.05)
    monkeypatch.setattr("capnet.loop.trio.LEAVE_TIMEOUT", 0.05)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("wait", [shielded, deaf])
@pytest.mark.parametrize("how", ["connection", "host", "peer", "block"])
async def test_a_handler_that_never_ends_holds_nobody_up(how: str, wait: Wait, tmp_path: Path) -> None:
    """Whoever closes, and however; it is told of, and may end later, which disturbs nobody."""
    impl = MemDesk(wait)
    failed: list[HandlerFailed] = []
    with anyio.fail_after(60):
        async with Host() as host:
            host.on(HandlerFailed, failed.append)
            host.serve(impl)
            await host.listen(f"unix:{tmp_path}/s")
            async with connect(f"unix:{tmp_path}/s") as client:
                desk = await client.bootstrap(Desk)
                pending = desk.stuck()
                items = desk.stuck_items()
                assert await anext(items) == 1
                await until(lambda: impl.stuck_now == 2)
                (server,) = host.connections
                match how:
                    case "connection":
                        await server.aclose(grace=0)
                    case "host":
                        await host.aclose(grace=0)
                    case "peer":
                        await client.aclose(grace=0)
                        await server.wait_closed()
                    case _:
                        pass
                if how != "block":
                    assert server.closed and not host.connections
                    await until(lambda: len(failed) == 2)
                    assert {one.where for one in failed} == {"handler of blocks.Desk.stuck", "stream"}
        with pytest.raises(CapnetError):
            await pending
        impl.released.set()
        await until(lambda: impl.stuck_now == 0)


@pytest.mark.usefixtures("impatient")
async def test_a_callback_that_never_ends_holds_up_neither_side(tmp_path: Path) -> None:
    class Asking(Cap, name="blocks.Asking"):
        @call
        async def ask(self, on: Callable[[], Awaitable[None]]) -> None: ...

    class MemAsking(Asking):
        async def ask(self, on: Callable[[], Awaitable[None]]) -> None:
            await on()

    impl = MemDesk()
    with anyio.fail_after(60):
        async with Host() as host:
            host.serve(MemAsking())
            await host.listen(f"unix:{tmp_path}/s")
            async with connect(f"unix:{tmp_path}/s") as client:
                pending = (await client.bootstrap(Asking)).ask(impl.stuck)
                await until(lambda: impl.stuck_now == 1)
        with pytest.raises(CapnetError):
            await pending
        impl.released.set()
        await until(lambda: impl.stuck_now == 0)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second that calls have at the end of a block is no matter of how fast this machine is."""
    monkeypatch.setattr("capnet.connection.connect.GRACE", 60.0)


@pytest.mark.usefixtures("patient")
async def test_calls_that_have_left_end_before_a_block_does(tmp_path: Path) -> None:
    """One-way calls, and those that nobody awaits, whether their handlers wait or not."""
    impl = MemDesk()
    impl.enough = 40
    with anyio.fail_after(120):
        async with Host() as host:
            host.serve(impl)
            await host.listen(f"unix:{tmp_path}/s")
            async with connect(f"unix:{tmp_path}/s") as client:
                desk = await client.bootstrap(Desk)
                dropped: list[Awaitable[None]] = []
                for _ in range(10):
                    notify(desk.later)()
                    notify(desk.at_once)()
                    dropped += [desk.later(), desk.at_once()]
            assert impl.ended == 40 and not impl.cancelled
        for one in dropped:
            await one


@pytest.mark.usefixtures("patient")
async def test_calls_that_wait_for_room_are_lost_at_the_end_of_a_block(tmp_path: Path) -> None:
    """Whoever awaits one later is told so."""
    impl = MemDesk()
    impl.enough = 16
    with anyio.fail_after(120):
        async with Host(limits=Limits(max_calls=16)) as host:
            host.serve(impl)
            await host.listen(f"unix:{tmp_path}/s")
            async with connect(f"unix:{tmp_path}/s") as client:
                desk = await client.bootstrap(Desk)
                for _ in range(20):
                    notify(desk.later)()
                behind = desk.at_once()
            assert impl.ended == impl.begun == 16
        with pytest.raises(Unavailable) as caught:
            await behind
        assert caught.value.reason == "peer_closing"


class Oops(Exception):
    """What leaves the block."""


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("side", ["client", "host"])
async def test_an_error_that_leaves_a_block_ends_what_runs(side: str, tmp_path: Path) -> None:
    """At once: nobody waits until the handlers have what they wait for, which never comes."""
    impl = MemDesk()
    pending: list[Awaitable[None]] = []
    with anyio.fail_after(60), pytest.raises(Oops):
        await _leave_by_an_error(impl, pending, side, f"unix:{tmp_path}/s")
    assert impl.ended == 5 and impl.cancelled == 10
    for one in pending:
        with pytest.raises(Unavailable):
            await one


async def _leave_by_an_error(impl: MemDesk, pending: list[Awaitable[None]], side: str, url: str) -> None:
    async with Host() as host:
        host.serve(impl)
        await host.listen(url)
        try:
            async with connect(url) as client:
                desk = await client.bootstrap(Desk)
                for _ in range(5):
                    notify(desk.later)()
                    notify(desk.at_once)()
                    pending.append(desk.later())
                await until(lambda: impl.begun == 15)
                if side == "client":
                    raise Oops
        finally:
            await until(lambda: impl.cancelled == 10 or side == "host")
        raise Oops


PROGRAM = """
import sys, anyio
from capnet import Cap, Host, call, connect

class Desk(Cap, name="blocks.Quitting"):
    @call
    async def quit(self) -> None: ...

class MemDesk(Desk):
    async def quit(self) -> None:
        if "later" in sys.argv:
            await anyio.lowlevel.checkpoint()
        sys.exit(3)

async def main() -> None:
    async with Host() as host:
        host.serve(MemDesk())
        await host.listen("memory:quitting")
        async with connect("memory:quitting") as client:
            await (await client.bootstrap(Desk)).quit()
        await anyio.sleep_forever()

anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.parametrize("when", ["at once", "later"])
async def test_a_handler_that_exits_ends_the_program_with_its_code(when: str, anyio_backend_name: str) -> None:
    with anyio.fail_after(60):
        ended = await anyio.run_process([sys.executable, "-c", PROGRAM, anyio_backend_name, when], check=False)
    assert ended.returncode == 3, ended.stderr.decode()
