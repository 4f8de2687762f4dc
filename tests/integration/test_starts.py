"""Plugins that start: many at once, slowly, not at all; and what is known of their processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import anyio
import pytest

from capnet import Host, Limits, Unavailable, connect
from capnet.transport import Process
from capnet_transports import process as exec_process
from tests.cost import BARS, HANGS
from tests.integration.contract import Worker
from tests.integration.host import Squares
from tests.integration.programs import PLUGIN, ROOT
from tests.loops import ONE_LOOP


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """For programs that do not go by themselves."""
    monkeypatch.setattr(exec_process, "GRACE", 0.1)


def state(process: Process) -> tuple[bool, int | None]:
    """What is known of it."""
    return process.running, process.returncode


async def refused(host: Host, *argv: str, start_timeout: float = 60) -> str:
    """Why a program is not there, as a call is told that waits for it."""
    plugin = await host.connect("exec:", argv=argv, start_timeout=start_timeout)
    with pytest.raises(Unavailable) as caught, anyio.fail_after(HANGS):
        await plugin.bootstrap(Worker, wait=HANGS)
    assert caught.value.reason == "connection_lost"
    return str(caught.value)


@pytest.mark.usefixtures("impatience")
async def test_a_plugin_that_does_not_start_says_why() -> None:
    async with Host() as host:
        said = await refused(host, sys.executable, "-c", "import spell_chekker")
        assert "exited with code 1" in said and "No module named 'spell_chekker'" in said
        assert "no capnet" not in said  # that would be a guess
        said = await refused(host, "sleep", "600", start_timeout=0.1)
        assert "sleep 600 did not start in 0.1 s" in said


async def test_a_plugin_may_start_slowly() -> None:
    """A stranger has a fifth of a second for its hello here; a program of our own has a minute."""
    slow = f"import runpy, time; time.sleep(1); runpy.run_module('{PLUGIN[-1]}', run_name='__main__')"
    async with Host(limits=Limits(handshake_timeout=0.2)) as host:
        host.serve(Squares())
        plugin = await host.connect("exec:", argv=[sys.executable, "-c", slow], cwd=ROOT)
        worker = await plugin.bootstrap(Worker, wait=HANGS)
        assert await worker.sum_of_squares(3) == 5


async def test_its_process_is_there_to_be_asked() -> None:
    """Before and after the end of the connection, which waits for it."""
    async with Host() as host:
        host.serve(Squares())
        plugin = await host.connect("exec:", argv=PLUGIN, cwd=ROOT)
        worker = await plugin.bootstrap(Worker, wait=HANGS)
        process = plugin.process
        assert process is not None and process.pid == await worker.pid()
        assert state(process) == (True, None)
        await plugin.aclose()
        assert state(process) == (False, 0) and await process.wait() == 0
        killed = await host.connect("exec:", argv=PLUGIN, cwd=ROOT)
        assert killed.process is not None
        killed.process.send_signal(signal.SIGKILL)
        assert await killed.process.wait() == -signal.SIGKILL
        killed.process.send_signal(signal.SIGKILL)
        await killed.wait_closed()


async def test_other_connections_have_no_process(tmp_path: Path) -> None:
    async with Host() as host:
        await host.listen(url := f"unix:{tmp_path}/s")
        async with connect(url) as connection:
            assert connection.process is None


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("way", ["connection", "block", "host"])
async def test_the_end_of_a_block_is_the_end_of_the_program(way: str) -> None:
    """So that the next one finds the lock that it held, and who execs leaves no zombie."""
    program = "import os, time; os.write(int(os.environ['CAPNET_FD']), b'!'); time.sleep(600)"
    argv = [sys.executable, "-c", program]
    if way == "block":
        async with connect("exec:", argv=argv) as connection:
            pid = connection.attestation.pid
    else:
        async with Host() as host:
            connection = await host.connect("exec:", argv=argv)
            pid = connection.attestation.pid
            if way == "connection":
                await connection.aclose(grace=0)
                with pytest.raises(ProcessLookupError):
                    os.kill(pid or 0, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid or 0, 0)


@ONE_LOOP
async def test_many_plugins_start_at_once() -> None:
    """On however many cores."""
    count = 60 if BARS else 16
    sums: list[int] = []
    async with Host() as host, anyio.create_task_group() as tasks:
        host.serve(Squares())

        async def one() -> None:
            plugin = await host.connect("exec:", argv=PLUGIN, cwd=ROOT, stdout=subprocess.DEVNULL, start_timeout=HANGS)
            sums.append(await (await plugin.bootstrap(Worker, wait=HANGS)).sum_of_squares(3))

        for _ in range(count):
            tasks.start_soon(one)
    assert sums == [5] * count


def test_transports_are_found_without_metadata(tmp_path: Path) -> None:
    """As in a frozen program, which has the packages and nothing that says so."""
    for name in ("capnet", "capnet_transports"):
        spec = find_spec(name)
        assert spec is not None and spec.origin is not None
        shutil.copytree(Path(spec.origin).parent, tmp_path / name)
    program = """
import importlib.metadata, sys
importlib.metadata.distributions = lambda **_: []
import anyio, capnet
from capnet import Host, InvalidArgument, connect
assert capnet.__file__.startswith(sys.path[0]), capnet.__file__
async def main():
    async with Host() as host:
        for url in ("memory:here", f"unix:{sys.argv[1]}"):
            await host.listen(url)
            async with connect(url) as connection:
                await connection.ping()
        await (await host.connect("exec:cat")).wait_closed()
    try:
        await connect("none:here").__aenter__()
    except InvalidArgument as error:
        print(*error.__notes__)
anyio.run(main)
"""
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py", tmp_path / "s"],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        encoding="utf-8",
        timeout=HANGS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "known: asgi, exec, fd, memory, nats, stdio, tcp, tls, unix, ws, wss;" in done.stdout
