"""A host of its own process, to be killed: prints its plugin's process id once a call runs there, and waits."""

from __future__ import annotations

import sys

from anyio import run

from capnet import Host
from tests.integration.contract import Watcher, Worker
from tests.integration.programs import PLUGIN


class Squares(Watcher):
    """Squares."""

    async def square(self, number: int) -> int:
        return number * number


async def main() -> None:
    """Start the plugin and have it hang."""

    async def started(pid: int) -> None:
        print(f"hangs {pid}", flush=True)  # noqa: T201 (a program speaks so)

    async with Host() as host:
        host.serve(Squares())
        plugin = await host.connect("exec:", argv=PLUGIN, stdout=sys.stdout)
        worker = await plugin.bootstrap(Worker, wait=60)
        await worker.hang(started)


if __name__ == "__main__":
    run(main)
