"""A plugin that serves one part: `python -m tests.integration.part NAME`."""

from __future__ import annotations

import sys

from anyio import run, sleep

from capnet import connect
from tests.connection.part import MemPart


class RealPart(MemPart):
    """Takes a moment for everything."""

    async def who(self) -> str:
        await sleep(0.001)
        return self.name


async def main() -> None:
    part = RealPart(sys.argv[1])
    part.gate.open()
    async with connect("fd:", name=part.name) as host:
        host.serve(part)
        await host.wait_closed()


if __name__ == "__main__":
    run(main)
