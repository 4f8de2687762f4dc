"""A host in a process of its own, for tests of commands: `python -m tests.cli.office_host unix:…`."""

from __future__ import annotations

import sys
from typing import Any

import anyio

from capnet import Admission, Cap, Denied, Host, call
from tests.connection.office import MemClerk, MemFile, Note


def say(word: str) -> None:
    """Tell the test."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


class Odd(Cap, name="odd.Odd"):
    """What is said of it \x1b[31m is meant to harm a terminal."""

    @call
    async def say(self) -> str: ...

    @call
    async def data(self, data: bytes, flag: bool = False) -> dict[str, Any]: ...


class MemOdd(Odd):
    async def say(self) -> str:
        return "\x1b[31mred\x07"

    async def data(self, data: bytes, flag: bool = False) -> dict[str, Any]:
        return {"data": data, "flag": flag}


class Clerk(MemClerk):
    async def hang(self) -> None:
        say("hangs")
        try:
            await anyio.sleep_forever()
        finally:
            say("cancelled")


class Policy:
    """Not everything is for everybody."""

    async def admit(self, request: Admission) -> bool | Denied:
        """See `capnet.Policy`."""
        return Denied("it is not for you") if request.name == "office.Secret" else True


async def main() -> None:
    async with Host(name="office", policy=Policy()) as host:
        host.serve(Clerk({"tea": MemFile([Note("a")])}))
        host.serve(MemFile())
        host.serve(MemOdd(), name="odd")
        host.serve(MemFile(), name="office.Secret")
        await host.listen(sys.argv[1])
        say("listens")
        await host.serve_forever()


if __name__ == "__main__":
    anyio.run(main)
