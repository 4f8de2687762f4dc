"""A program that misbehaves towards a host in one way, as fast as it can, between `go` and `stop` on standard input.

It answers each with a line: how many frames and connections it has come to. When its connection ends, it comes back.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import anyio

from tests.soak.mischief import KINDS
from tests.soak.stranger import Stranger

_MOST_DRIPS = 20


async def _misbehave(peer: Stranger, kind: str) -> None:
    try:
        while True:
            if await peer.begin():
                with suppress(OSError):
                    await KINDS[kind](peer)
    finally:
        peer.end()


async def _main(path: str, kind: str) -> None:
    print("ready", flush=True)
    while True:
        await _line("go")
        peers = [Stranger(path) for _ in range(_MOST_DRIPS if kind == "slow drip" else 1)]
        async with anyio.create_task_group() as tasks:
            for peer in peers:
                tasks.start_soon(_misbehave, peer, kind)
            print("gone", flush=True)
            await _line("stop")
            tasks.cancel_scope.cancel()
        print(sum(peer.frames for peer in peers), sum(peer.connections for peer in peers), flush=True)


async def _line(expected: str) -> None:
    await anyio.wait_readable(sys.stdin.fileno())
    if sys.stdin.readline().strip() != expected:
        os._exit(0)  # nobody asks any more


if __name__ == "__main__":
    if len(sys.argv) > 3:
        os.sched_setaffinity(0, {int(sys.argv[3])})
    anyio.run(_main, sys.argv[1], sys.argv[2])
