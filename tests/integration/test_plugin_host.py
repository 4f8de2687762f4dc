"""The plugin host with real processes: good plugins, and each kind of bad one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from capnet import (
    AlreadyExists,
    CapnetError,
    FailedPrecondition,
    Internal,
    NotFound,
    PluginHost,
    PluginSpec,
    ResourceExhausted,
    Unavailable,
    VersionMismatch,
)
from capnet.plugins import PluginChanged, PluginEnded, PluginUnresponsive
from capnet_transports import process as exec_process
from tests.cost import HANGS
from tests.integration.plugged import Bench, Wood
from tests.integration.programs import ROOT

ONE_LOOP = pytest.mark.parametrize("anyio_backend", ["asyncio"], scope="module")
"""For what is not a matter of the loop."""


class Oak(Wood):
    async def cut(self) -> int:
        return 7


def spec(main: str = "bench", **options: Any) -> PluginSpec[Bench]:
    given: dict[str, Any] = {"cwd": ROOT, "start_timeout": HANGS, "heartbeat": None, "backoff": 0.01, **options}
    return PluginSpec("bench", contract=Bench, run=f"tests.integration.plugged:{main}", **given)


class Watched:
    """A plugin host, and what it has told."""

    def __init__(self, host: PluginHost) -> None:
        self.host = host
        self.states: list[str] = []
        self.ends: list[PluginEnded] = []
        self.silences: list[PluginUnresponsive] = []
        host.on(PluginChanged, lambda event: self.states.append(event.state))
        host.on(PluginEnded, self.ends.append)
        host.on(PluginUnresponsive, self.silences.append)


@asynccontextmanager
async def plugins() -> AsyncGenerator[Watched]:
    with capture_logs(), anyio.fail_after(HANGS):
        async with PluginHost(expose=Oak()) as host:
            yield Watched(host)


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(HANGS):
        while not condition():  # noqa: ASYNC110 - other processes are waited for
            await anyio.sleep(0.005)


def gone(pid: int | None) -> bool:
    try:
        os.kill(pid or 0, 0)
    except ProcessLookupError:
        return True
    return False


async def test_a_plugin_is_loaded_called_and_unloaded() -> None:
    async with plugins() as watched:
        plugin = await watched.host.load(spec(settings={"colour": "red"}, secrets={"secret": "hunter2"}))
        assert (plugin.state, plugin.generation, dict(watched.host.plugins)) == ("ready", 1, {"bench": plugin})
        about = await plugin.slot.about()
        assert about["pid"] == str(plugin.pid) and about["plugin"] == "bench"
        assert (about["colour"], about["secret"], about["generation"]) == ("red", "hunter2", "1")
        assert "hunter2" not in about["environment"]
        assert await plugin.slot.saw() == 7
        assert plugin.manifest.pid == plugin.pid and [need.name for need in plugin.manifest.needs] == ["plugged.Wood"]
        await plugin.check()
        pid = plugin.pid
        await watched.host.unload("bench")
        assert gone(pid) and not watched.host.plugins
        with pytest.raises(Unavailable):
            await plugin.slot.saw()
        await until(lambda: len(watched.states) == 4)
    assert watched.states == ["starting", "ready", "draining", "stopped"]
    ((code, taken),) = [(end.returncode, end.taken_back) for end in watched.ends]
    assert (code, taken) == (0, 1)  # the wood
    written = {(line.channel, line.level, line.text, line.fields.get("colour")) for line in plugin.output}
    assert written == {("stdout", "info", "on bench", None), ("stderr", "debug", "ready", 3)}


@ONE_LOOP
async def test_in_development_a_plugin_tells_its_traceback() -> None:
    """P-ERR-4: it runs as the host's own user; its own environment may say otherwise."""
    with capture_logs(), anyio.fail_after(HANGS):
        async with PluginHost(expose=Oak(), development=True) as host:
            told = await host.load(spec())
            silent = await host.load(replace(spec(env={"CAPNET_DEVELOPMENT": "0"}), name="silent"))
            for plugin, lines in ((told, ["KeyError: 'raise'"]), (silent, [])):
                with pytest.raises(Internal) as caught:
                    await plugin.slot.do("raise")
                notes = "\n".join(getattr(caught.value, "__notes__", []))
                assert [line.strip(" |") for line in notes.splitlines()][-1:] == lines


@ONE_LOOP
async def test_names() -> None:
    async with plugins() as watched:
        host = watched.host
        for act in (host.unload, host.start, host.stop, host.restart):
            with pytest.raises(NotFound):
                await act("bench")
        with pytest.raises(FailedPrecondition) as refused:
            await host.load(spec(requires=("wood",)))
        assert refused.value.reason == "not_loaded"
        plugin = await host.load(spec("alone"))
        with pytest.raises(AlreadyExists):
            await host.load(spec("alone"))
        with pytest.raises(FailedPrecondition) as refused:
            await host.start("bench")
        assert refused.value.reason == "running"
        first = plugin.pid
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(host.restart, "bench")
            await until(lambda: plugin.state != "ready")
            assert await plugin.waiting(HANGS).add(1) == 1
        assert gone(first) and plugin.pid != first and plugin.generation == 2
        await host.stop("bench")
        assert plugin.state == "stopped"
        await host.start("bench")
        assert (await plugin.slot.about())["generation"] == "3"


@ONE_LOOP
@pytest.mark.parametrize(
    ("main", "options", "kind", "reason", "words"),
    [
        (
            "nothing",
            {"run": "tests.integration.no_such_module:main"},
            Unavailable,
            "not_started",
            "ModuleNotFoundError",
        ),
        ("nothing", {}, Unavailable, "not_started", "exited with code 1"),
        ("nothing", {"run": None, "argv": ["sh", "-c", "kill -9 $$"]}, Unavailable, "not_started", "SIGKILL"),
        ("nothing", {"run": None, "argv": ["true"]}, Unavailable, "not_started", "exited with code 0"),
        ("nothing", {"run": None, "argv": ["/no/such/program"]}, Unavailable, "enoent", "/no/such/program"),
        ("failing", {}, FailedPrecondition, "main_failed", "no bench here"),
        ("sick", {}, FailedPrecondition, "unhealthy", "it has a cold"),
        ("bench_of_another_kind", {}, VersionMismatch, "version_mismatch", "plugged.Plane"),
        ("never_ready", {"start_timeout": 1.0}, Unavailable, "start_timeout", "1 s"),
        ("nothing", {"run": None, "argv": ["sleep", "3600"], "start_timeout": 0.2}, Unavailable, "start_timeout", ""),
    ],
    ids=["import", "no main", "killed", "no plugin", "no program", "raises", "sick", "other", "hangs", "silent"],
)
async def test_a_plugin_that_does_not_start_says_why(
    main: str, options: dict[str, Any], kind: type[CapnetError], reason: str, words: str
) -> None:
    given: dict[str, Any] = {"start_timeout": HANGS, "run": f"tests.integration.plugged:{main}", **options}
    async with plugins() as watched:
        with pytest.raises(kind) as caught:
            await watched.host.load(PluginSpec("bench", contract=Bench, cwd=ROOT, **given))
        assert caught.value.reason == reason and words in str(caught.value)
        assert not watched.host.plugins
        assert watched.host._host.connections == ()


@ONE_LOOP
async def test_a_plugin_that_prints_as_it_likes() -> None:
    """Before the first word, and more than anybody wants: calls go on, and what is kept is bounded."""
    program = """
import os; os.write(1, b'early\\n' * 50)
from capnet.plugin import run; from tests.integration.plugged import alone
run(alone, backend="trio")
"""
    async with plugins() as watched:
        plugin = await watched.host.load(
            PluginSpec("bench", contract=Bench, argv=[sys.executable, "-c", program], cwd=ROOT, max_output=1 << 24)
        )
        assert [line.text for line in plugin.output] == ["early"] * 50
        lines = plugin.follow()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(plugin.slot.do, "flood")
            assert [await plugin.slot.add(1) for _ in range(20)][-1] == 20
        await until(lambda: plugin.output[-1].text.startswith("19999 "))
        assert len(plugin.output) == 200
        assert (await anext(aiter(lines))).channel == "stderr"


@ONE_LOOP
async def test_a_plugin_that_dies_is_started_again() -> None:
    async with plugins() as watched:
        plugin = await watched.host.load(spec("alone"))
        await plugin.slot.add(5)
        with pytest.raises(Unavailable):
            await plugin.slot.do("die")
        await until(lambda: plugin.generation == 2 and plugin.state == "ready")
        assert await plugin.slot.add(1) == 1
        assert plugin.restarts == 1 and plugin.failure is not None and "SIGKILL" in str(plugin.failure)
        await plugin.slot.do("sick")
        with pytest.raises(FailedPrecondition) as unhealthy:
            await plugin.check()
        assert unhealthy.value.reason == "unhealthy"
        with pytest.raises(Unavailable):
            await plugin.slot.do("exit")  # code 0 is no failure
        await until(lambda: plugin.state == "stopped")
    assert watched.states[:5] == ["starting", "ready", "backoff", "starting", "ready"]
    assert [end.returncode for end in watched.ends] == [-signal.SIGKILL, 0]


@ONE_LOOP
async def test_a_plugin_that_dies_too_often_is_left_alone() -> None:
    async with plugins() as watched:
        plugin = await watched.host.load(spec("alone", max_restarts=1))
        for generation in (1, 2):
            await until(lambda: (plugin.state, plugin.generation) == ("ready", generation))  # noqa: B023 - at once
            with pytest.raises(Unavailable):
                await plugin.slot.do("die")
        await until(lambda: plugin.state == "quarantined")
        with pytest.raises(Unavailable) as caught:
            await plugin.slot.add(1)
        assert "quarantine" in str(caught.value)
        await watched.host.start("bench")
        assert await plugin.slot.add(1) == 1


@ONE_LOOP
async def test_a_plugin_that_blocks_its_loop_is_killed() -> None:
    """That its loop hangs, and what its process does, is told apart."""
    async with plugins() as watched:
        plugin = await watched.host.load(spec("alone", heartbeat=0.1, hang_timeout=1.0, max_restarts=100))
        pid = plugin.pid
        with pytest.raises(Unavailable):
            await plugin.slot.do("block")
        await until(lambda: (plugin.state, plugin.generation) == ("ready", 2))
        assert gone(pid)
    assert watched.silences[-1].process in ("waits", "runs")
    assert watched.ends[0].returncode == -signal.SIGKILL


@ONE_LOOP
async def test_a_plugin_that_does_not_go_is_made_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when whoever unloads it is cancelled meanwhile."""
    monkeypatch.setattr(exec_process, "GRACE", 0.1)
    async with plugins() as watched:
        plugin = await watched.host.load(spec("stubborn", grace=0.1))
        pid = plugin.pid
        with anyio.move_on_after(0.01):
            await watched.host.unload("bench")
        assert gone(pid) and not watched.host.plugins
        await until(lambda: len(watched.ends))
    assert watched.ends[0].returncode == -signal.SIGKILL


@ONE_LOOP
async def test_a_plugin_that_leaves_things_behind() -> None:
    """A child that holds its output and its connection holds up nobody; nor does what it has closed."""
    async with plugins() as watched:
        plugin = await watched.host.load(spec("alone", wait=HANGS))
        await plugin.slot.do("close")
        assert await plugin.slot.add(1) == 1
        with pytest.raises(Unavailable):
            await plugin.slot.do("fork")
        assert await plugin.slot.add(1) == 1 and plugin.generation == 2
        await until(lambda: watched.ends)
    assert watched.ends[0].returncode == 4


@ONE_LOOP
async def test_a_host_without_descriptors_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left() -> tuple[int, int]:
        raise OSError(24, "Too many open files")

    async with plugins() as watched:
        with monkeypatch.context() as patch:
            patch.setattr(os, "pipe", none_left)
            with pytest.raises(ResourceExhausted) as caught:
                await watched.host.load(spec("alone"))
        assert caught.value.reason == "emfile" and not watched.host.plugins


@ONE_LOOP
async def test_a_plugin_that_is_confined() -> None:
    """What stands in front of it hands on the connection; a file that is another starts nothing."""
    async with plugins() as watched:
        plugin = await watched.host.load(spec("alone", prefix=("env", "CONFINED=yes"), rlimits={"core": 0}))
        assert "('CONFINED', 'yes')" in (await plugin.slot.about())["environment"]
        with pytest.raises(FailedPrecondition) as caught:
            await watched.host.swap("bench", sha256={ROOT / "README.md": "0" * 64})
        assert caught.value.reason == "checksum" and plugin.state == "ready"


@ONE_LOOP
async def test_what_it_waits_for_may_be_stopped() -> None:
    """Between two starts, and in the midst of one."""
    async with plugins() as watched:
        plugin = await watched.host.load(spec("alone", backoff=3600, max_backoff=3600))
        with pytest.raises(Unavailable):
            await plugin.slot.do("die")
        await until(lambda: plugin.state == "backoff")
        await watched.host.stop("bench")
        assert plugin.state == "stopped"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watched.host.start, "bench")
            await until(lambda: plugin.state == "starting")
            tasks.cancel_scope.cancel()
        assert watched.states[-1] == "stopped"
        assert watched.host._host.connections == ()


def test_who_starts_it_by_hand_is_told() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CAPNET_")}
    done = subprocess.run(
        [sys.executable, "-m", "capnet.plugin", "tests.integration.plugged:bench"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=HANGS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (64, "")
    assert "plugin" in done.stderr and "Traceback" not in done.stderr
