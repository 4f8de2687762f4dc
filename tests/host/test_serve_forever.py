"""A server that stays, and what else ends it; signals are in `tests/integration/test_serve_forever.py`."""

from __future__ import annotations

import signal
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from capnet import Cap, Host, Unavailable, call, connect
from capnet.serving import close_hooks
from tests.cost import HANGS
from tests.loops import on_every_loop as on_every_loop


class Door(Cap, name="forever.Door"):
    @call
    async def shut(self) -> str: ...


class Closes(Door):
    """Its host can be closed through it."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def shut(self) -> str:
        await self._host.aclose()
        return "shut"


async def test_it_ends_when_the_host_is_closed_in_another_way(tmp_path: Path) -> None:
    url = f"unix:{tmp_path}/s"
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with anyio.fail_after(HANGS):
        async with Host() as host, anyio.create_task_group() as tasks:
            host.serve(Closes(host))
            await host.listen(url)
            tasks.start_soon(host.serve_forever)
            tasks.start_soon(host.serve_forever)
            tasks.start_soon(host.wait_closed)
            async with connect(url) as connection:
                assert await (await connection.bootstrap(Door)).shut() == "shut"
        with pytest.raises(Unavailable):
            await host.serve_forever()
        await host.wait_closed()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


async def test_waiting_for_the_end_waits_for_close_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many wait, here three: none is forgotten, and goes on when the hook's time is up only."""
    monkeypatch.setattr(close_hooks, "HOOKS_TIMEOUT", 3600.0)
    begun, finish, ended = anyio.Event(), anyio.Event(), anyio.Event()

    class Slow(Closes):
        async def aclose(self) -> None:
            begun.set()
            await finish.wait()

    async def wait(host: Host) -> None:
        await host.wait_closed()
        ended.set()

    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            async with Host() as host:
                host.serve(Slow(host))
                tasks.start_soon(wait, host)
                tasks.start_soon(host.aclose)
                await begun.wait()
                await anyio.wait_all_tasks_blocked()
                assert not ended.is_set()
                finish.set()
            await ended.wait()


async def test_cancelling_it_leaves_the_host_open() -> None:
    async with Host() as host, anyio.create_task_group() as tasks:
        tasks.start_soon(host.serve_forever)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
        host.serve(Closes(host))


async def test_it_says_that_nobody_can_reach_it(capsys: pytest.CaptureFixture[str]) -> None:
    async with Host() as host, anyio.create_task_group() as tasks:

        async def stay() -> None:
            await host.serve_forever(announce=True)

        tasks.start_soon(stay)
        await anyio.wait_all_tasks_blocked()
        await host.aclose()
    assert capsys.readouterr().err == "listening nowhere; Ctrl-C ends it\n"


async def test_in_another_thread_it_leaves_signals_alone(anyio_backend_name: str) -> None:
    before = signal.getsignal(signal.SIGTERM)

    async def stay() -> None:
        async with Host() as host, anyio.create_task_group() as tasks:
            tasks.start_soon(host.serve_forever)
            await anyio.wait_all_tasks_blocked()
            assert signal.getsignal(signal.SIGTERM) == before
            await host.aclose()

    def run() -> None:
        anyio.run(stay, backend=anyio_backend_name)

    with anyio.fail_after(HANGS):
        await to_thread.run_sync(run)
