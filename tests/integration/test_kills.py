"""kill -9 and worse, of plugins and of their hosts, under load (reliability R8, T25–T27)."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import anyio
import pytest

from capnet import Host, InvalidArgument, Limits, connect, notify
from capnet_transports import process as exec_process
from capnet_transports.exec import spawn
from tests.connection.leaks import nothing_left as nothing_left  # a fixture
from tests.cost import HANGS
from tests.integration.kills import LOST, SOON, LoadedPlugin, kill_hosts, kill_plugins, new_mark
from tests.integration.load import ENDS, Load, Target, program
from tests.integration.processes import PATIENT, descriptors, exited, marked, running, until, zombies
from tests.loops import ONE_LOOP

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
SOON_SILENT = Limits(keepalive=1.0, keepalive_timeout=1.0, handshake_timeout=600.0)
"""After two seconds; a loaded plugin says something many times in each, also on a machine that is busy."""


@pytest.fixture
def chance() -> random.Random:
    """Decides the instants."""
    seed = int(os.environ.get("CAPNET_SEED", "2024"))
    print(f"CAPNET_SEED={seed}")  # noqa: T201 (to repeat it)
    return random.Random(seed)


@pytest.fixture
def loop(anyio_backend_name: str, anyio_backend_options: dict[str, object]) -> str:
    """What the programs run on: the same as the test."""
    return f"{anyio_backend_name}+uvloop" if anyio_backend_options.get("use_uvloop") else anyio_backend_name


@pytest.fixture
def folder() -> Generator[Path]:
    """One whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="cap", dir="/tmp") as name:
        yield Path(name)


async def test_plugins_are_killed(chance: random.Random, loop: str) -> None:
    tally = await kill_plugins(4, chance, loop)
    assert tally.kills.total() == 4


async def test_hosts_are_killed(chance: random.Random, loop: str, folder: Path) -> None:
    tally = await kill_hosts(2, chance, loop, folder)
    assert tally.kills.total() == 2


# --- plugins that are there and do nothing ---


async def test_plugins_that_fall_silent(chance: random.Random, loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGSTOP, and a loop that is blocked with SIGTERM ignored: keepalive closes, and both are killed."""
    monkeypatch.setattr(exec_process, "GRACE", 0.5)
    mark, before = new_mark(chance), descriptors()
    async with Host(limits=SOON_SILENT) as host:
        argv = program("plugin", loop)
        stopped_one, blocked = plugins = [await LoadedPlugin.start(host, argv, mark) for _ in range(2)]
        async with anyio.create_task_group() as tasks:
            for plugin in plugins:
                tasks.start_soon(plugin.run)
            for plugin in plugins:
                await plugin.is_on()
            os.kill(stopped_one.pid, signal.SIGSTOP)
            assert blocked.load is not None
            notify(blocked.load.target.block)()
        for plugin in plugins:
            fell_silent(plugin)
            assert plugin.codes == [-signal.SIGKILL]
        assert not host.connections
    assert not marked(mark) and not zombies()
    assert descriptors() <= before


async def test_plugin_that_is_told_to_go_on_in_time(chance: random.Random, loop: str, folder: Path) -> None:
    """It finds a closed connection, and exits by itself."""
    mark, before = new_mark(chance), descriptors()
    with (folder / "told").open("wb") as told:
        async with Host(limits=SOON_SILENT) as host:
            woken = await LoadedPlugin.start(host, program("plugin", loop), mark, stdout=told.fileno())
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(woken.run)
                await woken.is_on()
                os.kill(woken.pid, signal.SIGSTOP)
                await until(lambda: woken.ended)
                os.kill(woken.pid, signal.SIGCONT)
            fell_silent(woken)
            assert woken.codes == [0]
        assert not marked(mark) and not zombies()
    (account,) = map(json.loads, (folder / "told").read_text().splitlines())
    assert account["left"] == {} and sum(account["ends"].values()) == ENDS
    assert {end.partition("/")[0] for end in account["ends"]} == {"unavailable"}
    assert descriptors() <= before


def fell_silent(plugin: LoadedPlugin) -> None:
    """Its silence was the end of all that was on."""
    assert plugin.load is not None and plugin.load.ends == LOST
    cause = plugin.connection.close_cause
    assert cause is not None and cause.kind == "idle"


async def test_host_that_falls_silent(chance: random.Random, loop: str, folder: Path) -> None:
    """Its plugin and its client give it up, the plugin exits; told to go on, it finds both gone and reaps."""
    mark, path = new_mark(chance), folder / "s"
    async with running(program("host", loop, keepalive=1.0, path=str(path)), mark) as host:
        plugin = await host.loaded()
        async with connect(f"unix:{path}", limits=SOON_SILENT) as client:
            load = Load(await client.bootstrap(Target))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(load.run)
                await load.is_on(loads=2)
                os.kill(host.process.pid, signal.SIGSTOP)
            cause = await client.wait_closed()
            assert cause.kind == "idle" and load.ends == LOST
        await exited(plugin, SOON)
        assert marked(mark) == {host.process.pid}
        host.process.send_signal(signal.SIGCONT)
        with anyio.fail_after(SOON):
            accounts = {account["role"]: account for account in await host.accounts()}
        assert await host.code() == 0
    assert not marked(mark) and not os.listdir(folder)
    assert accounts["plugin"]["cause"] == "idle" and accounts["plugin"]["ends"] == LOST
    assert sum(accounts["host"]["ends"].values()) == ENDS
    assert accounts["plugin"]["left"] == accounts["host"]["left"] == {}


# --- processes that others leave behind ---


@ONE_LOOP
async def test_grandchild_that_left_the_group_delays_no_end(chance: random.Random, loop: str) -> None:
    """It holds the plugin's end of the socket, so no end of file comes: the exit of the plugin is the end."""
    mark = new_mark(chance)
    async with Host(limits=PATIENT) as host:
        plugin = await LoadedPlugin.start(host, program("plugin+daemon", loop), mark)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(plugin.run)
                await plugin.is_on()
                os.kill(plugin.pid, signal.SIGKILL)
            assert plugin.load is not None and plugin.load.ends == LOST
        finally:
            for pid in marked(mark):
                os.kill(pid, signal.SIGKILL)


@ONE_LOOP
async def test_plugin_notices_the_death_of_a_host_whose_child_lives_on(
    chance: random.Random, loop: str, folder: Path
) -> None:
    """The child that the host has forked holds the host's end of the socket: no end of file comes (T27)."""
    mark = new_mark(chance)
    async with running(program("host+fork", loop, path=str(folder / "s")), mark) as host:
        plugin = await host.loaded()
        host.process.kill()
        try:
            await exited(plugin, HANGS)
        finally:
            for pid in marked(mark):
                os.kill(pid, signal.SIGKILL)


# --- output ---


@ONE_LOOP
async def test_flood_on_standard_error(chance: random.Random, loop: str, folder: Path) -> None:
    """16 MiB without a newline, from two plugins at a time: they go where they are sent, and nobody waits for them."""
    size = 8 * 1024 * 1024
    mark = new_mark(chance)
    with (folder / "errors").open("wb") as errors:
        async with Host(limits=PATIENT) as host:
            plugins = [
                await LoadedPlugin.start(host, program("plugin", loop), mark, stderr=errors.fileno()) for _ in range(2)
            ]
            async with anyio.create_task_group() as tasks:
                for plugin in plugins:
                    tasks.start_soon(plugin.run)
                for plugin in plugins:
                    await plugin.is_on()
                with anyio.fail_after(HANGS):
                    async with anyio.create_task_group() as shouting:
                        for plugin in plugins:
                            assert plugin.load is not None
                            shouting.start_soon(plugin.load.target.shout, size)
                for plugin in plugins:
                    assert plugin.load is not None and not plugin.load.ends
                    assert await plugin.load.target.echo(1) == 1
                    await plugin.connection.aclose(grace=0)
            assert [plugin.codes for plugin in plugins] == [[0], [0]]
    assert (folder / "errors").stat().st_size == 2 * size


@ONE_LOOP
async def test_pipe_that_nobody_would_drain_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="stderr"):
        await spawn(["cat"], stderr=subprocess.PIPE)
