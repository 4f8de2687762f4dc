"""A program that keeps a ledger in a file, so that what has run is known also when it was killed.

`python -m tests.integration.ledger PATH FILE`.
"""

from __future__ import annotations

import os
import sys

import anyio

from capnet import Cap, Host, Stream, call, options, stream

__all__ = ["Ledger", "Sheet"]


class Sheet(Cap, name="tests.LedgerSheet"):
    @call
    async def add(self, key: str) -> str: ...


class Ledger(Cap, name="tests.Ledger"):
    @call
    async def add(self, key: str) -> str:
        """Must not run twice."""
        ...

    @options(idempotent=True)
    @call
    async def put(self, key: str) -> str: ...
    @options(idempotent=True)
    @call
    async def sheet(self, number: int) -> Sheet: ...
    @options(idempotent=True, resume="after")
    @stream
    def count(self, after: int = 0) -> Stream[int]:
        """All numbers."""
        ...


class Written(Ledger):
    """Writes each key down before it answers."""

    def __init__(self, file: int) -> None:
        self._file = file

    async def add(self, key: str) -> str:
        os.write(self._file, f"{key}\n".encode())
        return key

    async def put(self, key: str) -> str:
        return await self.add(key)

    async def sheet(self, number: int) -> Sheet:
        return OneSheet(self)

    async def count(self, after: int = 0) -> Stream[int]:
        while True:
            after += 1
            await anyio.sleep(0.001)
            yield after


class OneSheet(Sheet):
    def __init__(self, ledger: Written) -> None:
        self._ledger = ledger

    async def add(self, key: str) -> str:
        return await self._ledger.add(key)


async def main(path: str, file: str) -> None:
    async with Host() as host:
        host.serve(Written(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)))
        await host.listen(f"unix:{path}")
        await host.serve_forever()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2])
