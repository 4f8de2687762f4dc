"""Hosts that end while their programs run, in every way that there is: none of the programs, nor what they started,
outlives them. All hold a pipe, whose end of file says that nobody is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import anyio
import pytest

from capnet_transports import guard
from capnet_transports.exec import spawn
from tests.cost import HANGS
from tests.loops import ONE_LOOP
from tests.loops import on_both_kinds as on_both_kinds
from tests.transports.ends import started
from tests.transports.test_exec import BARE, ROOT, pipe_ends, python

IGNORANT = "signal.signal(signal.SIGTERM, signal.SIG_IGN); "
PROGRAMS = {
    "idle": "s.send(b'!'); s.recv(1)",
    "asleep": "s.send(b'!'); import time; time.sleep(1e5)",
    "busy": "s.send(b'!')\nwhile True: pass",
    "busy in C": "s.send(b'!'); import re; re.match('(a+)+$', 'a' * 60 + 'b')",
    "ignorant": IGNORANT + "s.send(b'!')\nwhile True: signal.pause()",
    "stopped": "s.send(b'!'); os.kill(os.getpid(), signal.SIGSTOP)",
    "with a helper": "subprocess.Popen(['sleep', '600'], stdout=1); s.send(b'!'); s.recv(1)",
    "with an ignorant helper": (
        "subprocess.Popen(['sh', '-c', 'trap \"\" HUP INT TERM; while :; do sleep 600; done']); s.send(b'!');s.recv(1)"
    ),
    "with a forked helper": "os.fork() or signal.pause(); s.send(b'!')\nwhile True: signal.pause()",
}
"""What each does once it has said a word; the last three also leave somebody behind."""
HOST = """
import os, signal, sys, time
import anyio
from capnet_transports import guard
from capnet_transports.exec import spawn

if os.environ["HURRY"]:  # it gives them two seconds, in which nothing is to be seen
    guard._SCRIPT = guard._SCRIPT.replace("sleep 1", "sleep 0.1")
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests may have been started by nohup

class Heard:
    def __init__(self):
        self.word = anyio.Event()
    def data_received(self, data):
        self.word.set()
    def writable(self):
        pass
    def closed(self, error):
        pass

async def main():
    programs = []
    async with anyio.create_task_group() as tasks:
        for program in sys.argv[3:]:
            if programs:
                exec(sys.argv[2])
            child = await spawn([sys.executable, "-c", program], stdout=1)
            heard = Heard()
            child.transport.start(heard)
            if child.transport.pump is not None:
                tasks.start_soon(child.transport.pump)
            await heard.word.wait()
            programs.append(child)
        exec(sys.argv[1])
        os.write(2, b"!")
        await anyio.sleep_forever()

anyio.run(main, backend=os.environ["BACKEND"])
"""


@asynccontextmanager
async def host(
    backend: str,
    *programs: str,
    between: str = "pass",
    then: str = "pass",
    how: str = "stdout=1",
    hurry: bool = True,
) -> AsyncGenerator[tuple[subprocess.Popen[bytes], int]]:
    """A host whose programs have all said a word, and the end of the pipe that it and all of them hold.

    Args:
        backend: that it runs on.
        programs: what they do.
        between: what the host does before the second, and each that follows.
        then: what it does when they all run.
        how: it starts them, as options of `spawn`.
        hurry: its guard is to end them at once, where they have no time to clean up.
    """
    read, write = os.pipe()
    ready, told = os.pipe()
    environment = os.environ | {"PYTHONPATH": ROOT, "BACKEND": backend, "HURRY": "1" if hurry else ""}
    with subprocess.Popen(  # noqa: ASYNC220 (it starts at once)
        [*python(HOST.replace("stdout=1", how)), then, between, *(BARE + program for program in programs)],
        stdout=write,
        stderr=told,
        env=environment,
        start_new_session=True,
    ) as process:
        os.close(write)
        os.close(told)
        try:
            with anyio.fail_after(HANGS):
                await anyio.wait_readable(ready)
            assert os.read(ready, 1) == b"!"
            yield process, read
            await pipe_ends(read)
        finally:
            os.close(ready)
            process.kill()


async def test_no_program_outlives_a_host_that_is_killed(anyio_backend_name: str) -> None:
    """Whatever each of them does at that moment."""
    async with host(anyio_backend_name, *PROGRAMS.values()) as (process, _):
        process.kill()


@ONE_LOOP
@pytest.mark.parametrize("end", ["SIGTERM", "SIGHUP", "_exit", "execv", "abort"])
async def test_nor_one_that_ends_otherwise(anyio_backend_name: str, end: str) -> None:
    """Several programs at a time, also when another program takes the host's place."""
    ends = {
        "_exit": "os._exit(0)",
        "abort": "os.abort()",
        "execv": "os.execv('/bin/sh', ['sh', '-c', 'exec >&-; exec sleep 600'])",
    }
    programs = [PROGRAMS[name] for name in ("busy", "ignorant", "with an ignorant helper")]
    then = f"os.write(2, b'!'); {ends[end]}" if end in ends else "pass"
    async with host(anyio_backend_name, *programs, then=then) as (process, _):
        if end not in ends:
            process.send_signal(getattr(signal, end))


@ONE_LOOP
async def test_nor_does_one_that_is_reached_by_its_standard_input(anyio_backend_name: str) -> None:
    programs = [PROGRAMS[name] for name in ("busy", "ignorant", "with an ignorant helper")]
    how = "name='stdio', stderr=1, env={'CAPNET_FD': '0'}"
    async with host(anyio_backend_name, *programs, how=how) as (process, _):
        process.kill()


async def test_a_program_that_is_polite_has_time_to_clean_up(anyio_backend_name: str) -> None:
    program = "s.send(b'!'); s.recv(1); import time; time.sleep(0.3); os.write(1, b'done')"
    async with host(anyio_backend_name, program, PROGRAMS["busy"], hurry=False) as (process, read):
        process.kill()
        with anyio.fail_after(HANGS):
            await anyio.wait_readable(read)
        assert os.read(read, 4) == b"done"


async def test_a_forked_child_of_the_host_keeps_no_program(anyio_backend_name: str) -> None:
    """It has a copy of all that is open in the host, and outlives it; only what it holds of the pipe is closed here."""
    then = "os.fork() or (os.close(1), os.close(2), signal.alarm(600), signal.pause())"
    async with host(anyio_backend_name, PROGRAMS["busy"], then=then) as (process, _):
        process.kill()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


async def test_a_second_interrupt_means_now(anyio_backend_name: str) -> None:
    """The host does not wait until its programs have been asked to go; nor do they live on."""
    patience = "from capnet_transports import process; process.GRACE = 600.0"
    async with host(anyio_backend_name, PROGRAMS["ignorant"], PROGRAMS["busy"], then=patience) as (process, _):
        with anyio.fail_after(HANGS):
            while process.poll() is None:
                process.send_signal(signal.SIGINT)
                await anyio.sleep(0.2)
    assert process.returncode in (-signal.SIGINT, 1)


async def test_a_guard_that_was_killed_is_started_again(anyio_backend_name: str) -> None:
    """With the next program, and it knows all of them."""
    between = (
        "from capnet_transports import guard; pid = guard._guard[0]; os.kill(pid, signal.SIGKILL);"
        "os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)"  # until it has ended its pipe can still be written to
    )
    async with host(anyio_backend_name, PROGRAMS["busy"], PROGRAMS["idle"], between=between) as (process, _):
        process.kill()


async def test_the_guard_goes_with_the_last_program() -> None:
    """Nothing is left of it: who waits for all children of this process does not wait for it."""
    children = [await spawn(["cat"], stdout=subprocess.DEVNULL) for _ in range(2)]
    for child in children:
        async with started(child.transport):
            pass
        await child.wait()
    assert guard._guard is None and not guard._programs
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)  # noqa: ASYNC222 (it does not block)


@pytest.mark.skipif(sys.platform != "linux", reason="only there the guard can tell")
@pytest.mark.parametrize("shell", [name for name in ("sh", "bash", "busybox") if shutil.which(name)])
def test_the_guard_signals_nobody_who_got_the_number_of_a_program(shell: str) -> None:
    """Told when two processes were born, the one rightly, it ends that one alone."""
    argv = [*(["busybox", "sh"] if shell == "busybox" else [shell]), "-c", guard._SCRIPT]
    ours, strange = (subprocess.Popen(["sleep", "600"], start_new_session=True) for _ in range(2))
    with ours, strange:
        try:
            lines = [
                f"+ {ours.pid} {guard._born(ours.pid).decode()}\n",
                f"+ {strange.pid} 1\n",
                f"+ {os.getpid()} {guard._born(os.getpid()).decode()}\n",
                f"- {os.getpid()}\n",
            ]
            subprocess.run(argv, input="".join(lines).encode(), check=False, timeout=HANGS)
            assert ours.wait(HANGS) == -signal.SIGTERM
            assert strange.poll() is None
        finally:
            ours.kill()
            strange.kill()
