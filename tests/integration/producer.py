"""A program that produces and consumes streams: for the host that has started it, and for who comes to its socket.

`python -m tests.integration.producer [PATH]`.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from anyio import run

from capnet import Cap, Host, call, connect
from tests.connection.flows import MemFlows

__all__ = ["Producer"]


class Producer(Cap, name="tests.Producer"):
    """What is known of the `Flows` that are served beside it."""

    @call
    async def state(self) -> dict[str, Any]: ...


class RealProducer(Producer):
    """Tells."""

    def __init__(self, flows: MemFlows) -> None:
        self._flows = flows

    async def state(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "produced": self._flows.produced,
            "ended": self._flows.ended,
            "read": len(self._flows.read),
        }


async def main(path: str | None) -> None:
    """Serve until the host that has started this is gone."""
    flows = MemFlows()
    async with Host() as host:
        host.serve_all(flows, RealProducer(flows))
        if path is not None:
            await host.listen(f"unix:{path}")
        async with connect("fd:", name="tests.producer") as parent:
            parent.serve_all(flows, RealProducer(flows))
            await parent.wait_closed()


if __name__ == "__main__":
    run(main, sys.argv[1] if len(sys.argv) > 1 else None)
