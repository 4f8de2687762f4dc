"""The plugin of these tests: `python -m tests.integration.plugin`."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable

from anyio import run, sleep_forever

from capnet import connect
from tests.integration.contract import Watcher, Worker

GARBAGE = b"\x00\x00\x00\x05\xff\xff\xff\xff\xff print('not a frame')\n"


class RealWorker(Worker):
    """Does what it is asked."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    async def pid(self) -> int:
        return os.getpid()

    async def sum_of_squares(self, count: int) -> int:
        return sum([await self._watcher.square(number) for number in range(count)])

    async def hang(self, started: Callable[[int], Awaitable[None]]) -> None:
        await started(os.getpid())
        await sleep_forever()

    async def shout(self, count: int) -> None:
        for _ in range(count):
            sys.stdout.buffer.write(GARBAGE)
        sys.stdout.flush()

    async def exit(self, code: int) -> None:
        os._exit(code)


async def main() -> None:
    """Serve until the host closes the connection, or is gone."""
    async with connect("fd:", name="tests.plugin") as host:
        host.serve(RealWorker(await host.bootstrap(Watcher)))
        await host.wait_closed()


if __name__ == "__main__":
    print("an early print disturbs nobody", flush=True)  # noqa: T201 (a program speaks so)
    run(main)
