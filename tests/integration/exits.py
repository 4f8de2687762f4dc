"""The program of `test_exits.py`: `python -m tests.integration.exits URL LOOP`. It ends as it is told to by a call."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import anyio

from capnet import Cap, Host, Stream, call, stream
from tests.integration.processes import PATIENT


class Desk(Cap, name="exits.Desk"):
    @call
    async def end(self, how: str) -> None: ...

    @stream
    def end_later(self, how: str) -> Stream[int]: ...

    @call
    async def wait(self) -> None: ...

    @call
    async def count(self, items: Stream[int]) -> int: ...

    @stream
    def follow(self) -> Stream[int]: ...

    @call
    async def fine(self) -> int: ...


class MemDesk(Desk):
    async def end(self, how: str) -> None:
        await end(how)

    async def end_later(self, how: str) -> Stream[int]:
        yield 1
        await anyio.lowlevel.checkpoint()
        await end(how)

    async def wait(self) -> None:
        await anyio.sleep_forever()

    async def count(self, items: Stream[int]) -> int:
        return len([item async for item in items])

    async def follow(self) -> Stream[int]:
        yield 1
        await anyio.sleep_forever()

    async def fine(self) -> int:
        return 1


async def end(how: str) -> None:
    match how:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            sys.exit(3)
        case "elsewhere":
            asyncio.get_running_loop().call_soon(sys.exit, 3)
            await anyio.sleep_forever()
        case "task":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await anyio.sleep_forever()
        case _:
            await end(how)  # until there is no more stack


async def main(url: str) -> None:
    """Serve a desk."""
    async with Host(limits=PATIENT) as host:
        host.serve(MemDesk())
        await host.listen(url)
        print("listens", flush=True)  # noqa: T201 (a program speaks so)
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], backend=sys.argv[2])
