"""Ctrl-C while a call is under way: the program ends as it does without capnet, and its peer goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from anyio import Event, to_thread

from capnet import Cap, Host, call
from tests.cost import HANGS
from tests.integration.processes import until
from tests.integration.programs import ROOT


class Desk(Cap, name="interrupts.Desk"):
    @call
    async def wait(self) -> None: ...


class MemDesk(Desk):
    def __init__(self) -> None:
        self.begun = Event()
        self.cancelled = Event()

    async def wait(self) -> None:
        self.begun.set()
        try:
            await anyio.sleep_forever()
        except BaseException:
            self.cancelled.set()
            raise


PROGRAM = """
import sys
import anyio
from capnet import connect
from tests.integration.test_interrupts import Desk

async def main():
    async with connect(sys.argv[1]) as connection:
        await (await connection.bootstrap(Desk)).wait()

try:
    anyio.run(main, backend=sys.argv[2])
except KeyboardInterrupt:
    print("interrupted")
"""


def started(url: str, backend: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url, backend],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_an_interrupt_comes_out_of_the_program(tmp_path: Path, anyio_backend: str) -> None:
    """Nothing else is said, and the handler that runs for it is cancelled."""
    async with Host() as host:
        desk = MemDesk()
        host.serve(desk)
        await host.listen(url := f"unix:{tmp_path}/s")
        with started(url, anyio_backend) as process:
            with anyio.fail_after(HANGS):
                await desk.begun.wait()
                process.send_signal(signal.SIGINT)
                await desk.cancelled.wait()
            out, _ = await to_thread.run_sync(process.communicate)
        assert (out, process.returncode) == ("interrupted\n", 0)
        await until(lambda: not host.connections)
