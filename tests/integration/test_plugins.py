"""A host and its plugin as real processes, and what happens when one of them dies."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from capnet import Connection, Host, Unavailable
from capnet.observe import ConnectionClosed
from tests.cost import HANGS
from tests.integration.contract import Worker
from tests.integration.host import Squares
from tests.integration.plugin import GARBAGE
from tests.integration.processes import PATIENT
from tests.integration.programs import HOST, PLUGIN, ROOT
from tests.loops import on_every_loop as on_every_loop


class Exit:
    """Waits for the end of a program."""

    def __init__(self) -> None:
        self.codes: list[int | None] = []
        self._news = anyio.Event()

    def note(self, code: int | None) -> None:
        self.codes.append(code)
        self._news.set()

    async def code(self) -> int | None:
        with anyio.fail_after(HANGS):
            await self._news.wait()
        (code,) = self.codes
        return code


@asynccontextmanager
async def plugin(
    stdout: int | None = subprocess.DEVNULL,
) -> AsyncGenerator[tuple[Host, Connection, Worker, Exit]]:
    """A host with a plugin."""
    exit_ = Exit()
    async with Host(limits=PATIENT) as host:
        host.serve(Squares())
        connection = await host.connect("exec:", argv=PLUGIN, cwd=ROOT, stdout=stdout, on_exit=exit_.note)
        yield host, connection, await connection.bootstrap(Worker, wait=60), exit_


async def hang(worker: Worker, action: Callable[[int], None]) -> None:
    """Call `hang`, run `action` once the call runs; the call fails `unavailable`."""

    async def started(pid: int) -> None:
        action(pid)

    with pytest.raises(Unavailable), anyio.fail_after(HANGS):
        await worker.hang(started)


def no_zombie(pid: int) -> None:
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


async def test_calls_go_both_ways() -> None:
    async with plugin() as (host, connection, worker, exit_):
        assert connection.peer_name == "tests.plugin"
        assert connection.attestation.pid == await worker.pid()
        assert await worker.sum_of_squares(10) == 285
        await connection.aclose()
        assert await exit_.code() == 0
        assert host.connections == ()


async def test_plugin_killed_in_a_call() -> None:
    """The call ends at once, the connection says why, and no zombie is left."""
    closed: list[ConnectionClosed] = []
    async with plugin() as (host, connection, worker, exit_):
        host.on(ConnectionClosed, closed.append)
        pid = await worker.pid()
        await hang(worker, lambda pid: os.kill(pid, signal.SIGKILL))
        assert await exit_.code() == -signal.SIGKILL
        no_zombie(pid)
        with anyio.fail_after(HANGS):
            cause = await connection.wait_closed()
        assert cause.kind == "lost"
        with pytest.raises(Unavailable):
            await worker.pid()
    assert [event.cause for event in closed] == ["lost"]


async def test_plugin_that_exits_in_a_call() -> None:
    async with plugin() as (_, _, worker, exit_):
        with pytest.raises(Unavailable), anyio.fail_after(HANGS):
            await worker.exit(7)
        assert await exit_.code() == 7


async def test_one_plugin_dies_and_another_goes_on() -> None:
    async with plugin() as (host, _, worker, exit_):
        other = Exit()
        connection = await host.connect("exec:", argv=PLUGIN, cwd=ROOT, stdout=subprocess.DEVNULL, on_exit=other.note)
        survivor = await connection.bootstrap(Worker, wait=60)
        await hang(worker, lambda pid: os.kill(pid, signal.SIGKILL))
        assert await survivor.sum_of_squares(3) == 5
        assert other.codes == []
    assert (await exit_.code(), await other.code()) == (-signal.SIGKILL, 0)


async def test_plugin_that_stands_still_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes no notice of a goaway, of its end of file, nor of SIGTERM."""
    from capnet_transports import process as exec_process

    monkeypatch.setattr(exec_process, "GRACE", 0.1)
    monkeypatch.setattr("capnet.session.driver.CLOSE_TIMEOUT", 0.1)
    async with plugin() as (_, connection, worker, exit_):
        os.kill(await worker.pid(), signal.SIGSTOP)
        with anyio.fail_after(HANGS):
            await connection.aclose(grace=0.1)
        assert await exit_.code() == -signal.SIGKILL


def test_host_killed() -> None:
    """The plugin sees the end of its connection, and exits in the middle of its call."""
    with subprocess.Popen(HOST, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdout is not None
        lines = iter(process.stdout)
        pid = next(int(line.split()[1]) for line in lines if line.startswith("hangs "))
        assert pid != process.pid
        process.kill()
        # The plugin has the same standard output: its end of file comes when both have gone.
        out, _ = process.communicate(timeout=HANGS)
    assert (process.returncode, out) == (-signal.SIGKILL, "")


async def test_garbage_on_standard_output_disturbs_nobody(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        async with plugin(out.fileno()) as (_, connection, worker, exit_):
            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(worker.shout, 1000)
                    tasks.start_soon(worker.sum_of_squares, 10)
            assert await worker.sum_of_squares(10) == 285
            await connection.aclose()
            assert await exit_.code() == 0
    shouted = (tmp_path / "out").read_bytes()
    assert shouted == b"an early print disturbs nobody\n" + GARBAGE * 10_000
