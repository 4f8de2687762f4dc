"""kill -9 of a host, again and again, under callers with one link: the short test and the long one do the same."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

import anyio

from capnet import Indeterminate, Link, Retry, Unavailable, link
from tests.cost import HANGS
from tests.integration.ledger import Ledger
from tests.integration.processes import until
from tests.integration.programs import ROOT

__all__ = ["CALLERS", "kill_under_link"]

CALLERS: Final = 16
CALLS_BETWEEN: Final = 50
"""That have ended between two kills, so that each comes while there is much to do."""


class Callers:
    """Those who call without end, and what they were told."""

    def __init__(self) -> None:
        self.told: dict[str, object] = {}
        self.counted: list[int] = []
        self.stops = False

    def going_on(self) -> Callable[[], bool]:
        """Whether much has ended since now, and the stream has brought something."""
        enough, read = len(self.told) + CALLS_BETWEEN, len(self.counted)
        return lambda: len(self.told) > enough and len(self.counted) > read

    async def call(self, caller: int, kind: str, start: Callable[[str], Awaitable[str]]) -> None:
        for number in count():
            if self.stops:
                return
            key = f"{kind} {caller} {number}"
            try:
                self.told[key] = await start(key)
            except Exception as error:
                self.told[key] = error

    async def read(self, ledger: Ledger) -> None:
        async for number in ledger.count():
            self.counted.append(number)
            if self.stops:
                return


async def kill_under_link(kills: int, chance: Random, folder: Path) -> Counter[str]:
    """Returns how the calls have ended; fails when somebody was not told the truth."""
    path, file = folder / "s", folder / "ledger"
    callers = Callers()
    with running(path, file) as first:
        host = [first]
        async with link(f"unix:{path}", wait=Retry(base=0.01, cap=0.05, budget=HANGS)) as one:
            with anyio.fail_after(HANGS * max(1, kills // 10)):
                await _use(one, callers, host, kills, chance, path, file)
            assert one.generation == kills
        host[0].kill()
        host[0].wait()
    return _check(callers, file)


async def _use(
    one: Link, callers: Callers, host: list[subprocess.Popen[bytes]], kills: int, chance: Random, path: Path, file: Path
) -> None:
    ledger = await one.bootstrap(Ledger)
    sheet = await ledger.sheet(1)
    async with anyio.create_task_group() as tasks:
        for caller in range(CALLERS):
            kind = ("add", "put", "sheet")[caller % 3]
            start = {"add": ledger.add, "put": ledger.put, "sheet": sheet.add}[kind]
            tasks.start_soon(callers.call, caller, kind, start)
        tasks.start_soon(callers.read, ledger)
        for _ in range(kills):
            await until(callers.going_on())
            await anyio.sleep(chance.random() * 0.02)
            host[0].send_signal(signal.SIGKILL)
            host[0].wait()
            host[0] = start_host(path, file)
        await until(callers.going_on())
        callers.stops = True


@contextmanager
def running(path: Path, file: Path) -> Generator[subprocess.Popen[bytes]]:
    process = start_host(path, file)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def start_host(path: Path, file: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.integration.ledger", path, file], cwd=ROOT)


def _check(callers: Callers, file: Path) -> Counter[str]:
    ran = Counter(file.read_text().splitlines())
    ends: Counter[str] = Counter()
    for key, end in callers.told.items():
        ends[type(end).__name__] += 1
        assert key.startswith("put") or ran[key] <= 1, f"{key} has run {ran[key]} times"
        if end == key:
            assert ran[key] >= 1, f"{key} has a result and has not run"
        elif not isinstance(end, Indeterminate):
            assert isinstance(end, Unavailable) and not ran[key], f"{key} has run, and ended with {end!r}"
    assert not ran.keys() - callers.told.keys(), "a call has run that nobody was told of"
    assert callers.counted == list(range(1, len(callers.counted) + 1)), "the stream has a gap, or goes back"
    return ends
