"""A host in a process of its own that serves an agent: `python -m tests.interop.acp_host unix:…`."""

from __future__ import annotations

import sys

import anyio

from capnet import Host
from tests.gateways.agents import MemAgent


async def main() -> None:
    async with Host() as host:
        host.serve(MemAgent())
        await host.listen(sys.argv[1])
        sys.stdout.write("listens\n")
        sys.stdout.flush()
        await host.serve_forever()


if __name__ == "__main__":
    anyio.run(main)
