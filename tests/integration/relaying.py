"""A peer of a chain: `python -m tests.integration.relaying OWN_URL [URL_OF_THE_PEER_BEFORE]`.

Without a second address it hosts the store itself; with one it passes on what that peer has. Says `ready` when others
may connect.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable
from contextlib import AsyncExitStack

from anyio import run, sleep_forever

from capnet import Cap, Host, Stream, call, connect, stream

__all__ = ["Desk", "Store"]


class Store(Cap, name="tests.Store"):
    """At the end of the chain."""

    @call
    async def shelf(self, name: str) -> Store: ...
    @call
    async def add(self, item: str) -> int: ...
    @call
    async def hang(self) -> None: ...
    @call
    async def hanging(self) -> int:
        """How many calls of `hang` run."""
        ...

    @stream
    def numbers(self, to: int) -> Stream[int]: ...
    @call
    async def size(self, chunks: AsyncIterable[bytes]) -> int: ...


class Desk(Cap, name="tests.Desk"):
    """Where each peer has the store for the next."""

    @call
    async def store(self) -> Store: ...


class RealStore(Store):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self._items: list[str] = []
        self._hanging = 0

    async def shelf(self, name: str) -> Store:
        return RealStore()

    async def add(self, item: str) -> int:
        self._items.append(item)
        return len(self._items)

    async def hang(self) -> None:
        self._hanging += 1
        try:
            await sleep_forever()
        finally:
            self._hanging -= 1

    async def hanging(self) -> int:
        return self._hanging

    async def numbers(self, to: int) -> Stream[int]:
        for number in range(to):
            yield number

    async def size(self, chunks: AsyncIterable[bytes]) -> int:
        return sum([len(chunk) async for chunk in chunks])


class RealDesk(Desk):
    def __init__(self, store: Store) -> None:
        self._store = store

    async def store(self) -> Store:
        return self._store


async def main(own: str, before: str | None = None) -> None:
    """Serve until killed."""
    async with AsyncExitStack() as stack:
        store: Store = RealStore()
        if before is not None:
            connection = await stack.enter_async_context(connect(before))
            store = await (await connection.bootstrap(Desk)).store()
        host = await stack.enter_async_context(Host())
        host.serve(RealDesk(store))
        await host.listen(own)
        print("ready", flush=True)  # noqa: T201 (a program speaks so)
        await sleep_forever()


if __name__ == "__main__":
    run(main, sys.argv[1], (*sys.argv[2:], None)[0])
