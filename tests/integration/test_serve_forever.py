"""A server that stays: what ends it, and how it ends. Signals are sent to programs of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Thread

import anyio
import pytest

from capnet import Cap, Host, Unavailable, call, connect
from tests.cost import HANGS
from tests.integration.programs import ROOT
from tests.loops import on_every_loop as on_every_loop

say = partial(print, flush=True)
LOOPS = ["asyncio", "uvloop", "trio"]


class Door(Cap, name="forever.Door"):
    @call
    async def stay(self) -> None: ...

    @call
    async def shut(self) -> str: ...


class Closes(Door):
    """Its host can be closed through it; it says when it is closed itself."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def stay(self) -> None:
        say("staying")
        try:
            await anyio.sleep_forever()
        finally:
            say("stayed")

    async def shut(self) -> str:
        await self._host.aclose()
        return "shut"

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()
        say("closed")


async def serving(url: str) -> None:
    async with Host() as host:
        host.serve(Closes(host))
        await host.listen(url)
        await host.serve_forever(announce=True)
    say("over")


async def two(url: str) -> None:
    """Two hosts that wait for the same signal."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serving, url)
        tasks.start_soon(serving, url + "2")


async def slow(url: str) -> None:
    """A host that takes its time to close."""

    class Slow(Closes):
        async def aclose(self) -> None:
            say("closing")
            await anyio.sleep_forever()

    async with Host() as host:
        host.serve(Slow(host))
        await host.listen(url)
        await host.serve_forever(announce=True)


PROGRAM = """
import sys
import anyio
from tests.integration import test_serve_forever as programs

_, name, url, loop = sys.argv
options = {"use_uvloop": True} if loop == "uvloop" else {}
anyio.run(getattr(programs, name), url, backend="trio" if loop == "trio" else "asyncio", backend_options=options)
"""


@contextmanager
def running(
    name: str, url: str, loop: str, before: Callable[[], object] | None = None
) -> Generator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, name, url, loop],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        preexec_fn=before,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def announced(process: subprocess.Popen[str], *urls: str) -> None:
    """Wait until it says that it listens there."""
    assert process.stderr is not None
    assert sorted(process.stderr.readline() for _ in urls) == sorted(
        f"listening on {url}; Ctrl-C ends it\n" for url in urls
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("loop", LOOPS)
def test_a_signal_closes_the_host_and_the_program_ends_well(tmp_path: Path, loop: str, number: signal.Signals) -> None:
    url = f"unix:{tmp_path}/s"

    async def stay() -> None:
        async with connect(url) as connection:
            with pytest.raises(Unavailable):
                await (await connection.bootstrap(Door)).stay()

    with running("serving", url, loop) as process:
        announced(process, url)
        client = Thread(target=anyio.run, args=[stay])
        client.start()
        assert said(process) == "staying\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=HANGS)
        client.join()
    assert (process.returncode, out, err) == (0, "stayed\nclosed\nover\n", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("loop", LOOPS)
def test_a_signal_is_for_all_hosts_of_a_program(tmp_path: Path, loop: str) -> None:
    url = f"unix:{tmp_path}/s"
    with running("two", url, loop) as process:
        announced(process, url, url + "2")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=HANGS)
    assert (process.returncode, err) == (0, "")
    assert sorted(out.splitlines()) == ["closed", "closed", "over", "over"]


@pytest.mark.parametrize("loop", LOOPS)
def test_the_second_signal_ends_the_program_at_once(tmp_path: Path, loop: str) -> None:
    url = f"unix:{tmp_path}/s"
    with running("slow", url, loop) as process:
        announced(process, url)
        process.send_signal(signal.SIGTERM)
        assert said(process) == "closing\n"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=HANGS)
    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("loop", LOOPS)
def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path, loop: str) -> None:
    url = f"unix:{tmp_path}/s"

    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    with running("serving", url, loop, ignore) as process:
        announced(process, url)
        process.send_signal(signal.SIGINT)
        anyio.run(shut, url)
        out, err = process.communicate(timeout=HANGS)
    assert (process.returncode, out, err) == (0, "closed\nover\n", "")


async def shut(url: str) -> None:
    async with connect(url) as connection:
        assert await (await connection.bootstrap(Door)).shut() == "shut"
